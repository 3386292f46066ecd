"""A workflow under a rate limit, step by step."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from engine.core import events as ev
from engine.core.slots import KEY_CHARS_MAX
from engine.testing.story import Story, task

ONE = {"rateLimitKey": "${workflow.input.customer}", "concurrentExecLimit": 1}


def waiting(**config: Any) -> Story:
    """A workflow that found no slot."""
    story = Story.of(task("a"), rateLimitConfig=config or ONE, timeoutSeconds=60, timeoutPolicy="TIME_OUT_WF")
    story.tells(ev.Start(input=Raw(b'{"customer":"c"}'), slots_max=1, wait_for_slot=True))
    return story


def key(story: Story) -> str | None:
    assert story.header is not None
    return story.header.rate_limit_key


def test_it_waits_without_a_task() -> None:
    """RUNNING and marked; its timeout does not run."""
    story = waiting()
    assert (story.state, story.shown, dict(story.timers)) == ("RUNNING", [], {})
    assert story.header is not None
    assert story.header.rate_limited


def test_a_freed_slot_lets_it_begin() -> None:
    """From now on its timeout counts; a second notice changes nothing."""
    story = waiting()
    story.passes(3_600)
    assert story.tells(ev.SlotFreed(slots_max=1)).changed
    assert not story.tells(ev.SlotFreed(slots_max=1)).changed
    assert story.shown == ["a SCHEDULED"]
    assert story.timers["workflow"].due_ms == story.now_ms + 60_000
    story.done("a")
    assert story.state == "COMPLETED"


def test_pause_and_resume_while_it_waits() -> None:
    """Neither begins nor ends it."""
    story = waiting()
    story.tells(ev.Pause())
    assert not story.tells(ev.SlotFreed(slots_max=1)).changed
    story.tells(ev.Resume())
    assert (story.state, story.shown) == ("RUNNING", [])
    story.tells(ev.SlotFreed(slots_max=1))
    assert story.shown == ["a SCHEDULED"]


def test_terminated_while_it_waits_it_does_not_begin() -> None:
    """And is not marked any more; a restart begins it at once."""
    story = waiting()
    story.tells(ev.Terminate(reason="enough"))
    assert not story.tells(ev.SlotFreed(slots_max=1)).changed
    assert story.header is not None
    assert (story.state, story.header.rate_limited) == ("TERMINATED", False)
    story.tells(ev.Restart())
    assert story.shown == ["a SCHEDULED"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ONE, "c"),
        ({"concurrentExecLimit": 1}, "story"),
        ({"rateLimitKey": "", "concurrentExecLimit": 1}, "story"),
        ({"rateLimitKey": "${workflow.input.nobody}", "concurrentExecLimit": 1}, "story"),
        ({"rateLimitKey": "all", "concurrentExecLimit": 1}, "all"),
        ({"rateLimitKey": "x" * 999, "concurrentExecLimit": 1}, "x" * KEY_CHARS_MAX),
        ({"rateLimitKey": "all", "concurrentExecLimit": 0}, None),
    ],
)
def test_what_workflows_share_their_slots_by(config: dict[str, Any], expected: str | None) -> None:
    """A literal, an expression over the input, else the workflow's name; no limit, no key."""
    story = Story.of(task("a"), rateLimitConfig=config)
    story.tells(ev.Start(input=Raw(b'{"customer":"c"}')))
    assert key(story) == expected
    assert story.shown == ["a SCHEDULED"]
