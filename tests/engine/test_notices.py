"""Status listeners and onStateChange: told once the step is written, again until it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.core import events as ev
from engine.services import notices
from engine.services.options import Options
from engine.testing.http_peer import Answer, HttpPeer
from engine.testing.story import Story, task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen


def _told(story: Story) -> list[str]:
    sent = [msgspec.json.decode(m.body) for m in story.messages if m.kind == "notice"]
    return [one["event"] for one in sent]


def _bodies(peer: HttpPeer) -> list[dict[str, Any]]:
    return [msgspec.json.decode(one.body) for one in peer.heard]


def test_a_listened_workflow_tells_of_each_turn_of_its_life() -> None:
    """In order, and of its end with what upstream calls its finalisation."""
    story = Story.of(task("a", retryCount=0), workflowStatusListenerEnabled=True).begun()

    story.tells(ev.Pause())
    story.tells(ev.Resume())
    story.fails("a")
    story.tells(ev.Retry())
    story.done("a")
    story.tells(ev.Restart())
    story.tells(ev.Terminate(reason="enough"))
    story.tells(ev.Rerun())

    assert _told(story) == [
        *("STARTED", "PAUSED", "RESUMED", "TERMINATED", "FINALIZED", "RETRIED", "COMPLETED", "FINALIZED"),
        *("RESTARTED", "TERMINATED", "FINALIZED", "RERAN"),
    ]


def test_nobody_is_told_of_a_workflow_that_is_not_listened_to() -> None:
    """The default."""
    story = Story.of(task("a")).begun()
    story.done("a")

    assert _told(story) == []


def test_state_changes_of_a_task_are_told_with_their_payload() -> None:
    """Each with the payload as it evaluates then; a text without a colon names an event of the workflow."""
    events = {
        "onScheduled": [{"type": "audit", "payload": {"who": "${workflow.input.who}"}}],
        "onSuccess": [{"type": "https://example.com/x"}, {"type": "kafka:topic"}],
        "onFailed": [{"type": "never"}],
    }
    story = Story.of(task("a", onStateChange=events)).begun(who="me")
    story.done("a")

    sent = [msgspec.json.decode(m.body) for m in story.messages if m.kind == "notice"]
    assert [one["sink"] for one in sent] == ["conductor:story:audit", "https://example.com/x", "kafka:topic"]
    assert sent[0]["payload"]["who"] == "me"
    assert (sent[1]["payload"]["referenceTaskName"], sent[1]["payload"]["status"]) == ("a", "COMPLETED")


async def test_a_listener_gets_the_summary_of_the_workflow(reopen: Reopen) -> None:
    """The sink of the definition, else the one of the settings; masked as for every reader."""
    async with HttpPeer() as peer:
        farm = reopen(Options(listener_sink=f"{peer.url}/default"))
        listened: dict[str, Any] = {"workflowStatusListenerEnabled": True, "maskedFields": ["pin"]}
        await farm.register(task("a"), **listened)
        workflow_id = await farm.start(pin=1)
        await farm.register(task("a"), **listened, workflowStatusListenerSink=f"{peer.url}/own")
        await farm.start(pin=1)
        await farm.settle()

        assert await farm.engine.notices.step() is None

    assert [one.target for one in peer.heard] == ["/default", "/own"]
    body = _bodies(peer)[0]
    assert (body["workflowId"], body["eventType"], body["status"]) == (workflow_id, "STARTED", "RUNNING")
    assert body["input"] == "{pin=***}"


async def test_a_notice_is_tried_again_with_growing_pauses_until_it_is_taken(reopen: Reopen) -> None:
    """It survives its server, and carries one key, so that the other side can tell a repeat."""
    async with HttpPeer() as peer:
        peer.answers["/"] = [Answer(status="500 Broken"), Answer(status="500 Broken"), Answer()]
        farm = reopen(Options(listener_sink=f"{peer.url}/"))
        await farm.register(task("a"), workflowStatusListenerEnabled=True)
        await farm.start()
        await farm.settle()
        pauses = []
        for _ in range(2):
            due_ms = await farm.engine.notices.step()
            assert due_ms is not None
            pauses.append(due_ms - farm.clock.now_ms())
            farm.clock.advance(pauses[-1] / 1000)

        second = reopen(Options(listener_sink=f"{peer.url}/"))
        assert await second.engine.notices.step() is None

    assert pauses == [1_000, 2_000]
    assert len({one.headers["idempotency-key"] for one in peer.heard}) == 1
    assert (len(peer.heard), second.engine.notices.sent) == (3, 1)


async def test_a_notice_nobody_takes_is_given_up_after_a_day(farm: Farm) -> None:
    """Until then it waits; afterwards nothing of it is left."""
    async with HttpPeer() as peer:
        peer.answers["/"] = [Answer(status="500 Broken")]
        await farm.register(
            task("a"), workflowStatusListenerEnabled=True, workflowStatusListenerSink=f"{peer.url}/"
        )
        await farm.start()
        await farm.settle()
        await farm.engine.notices.step()
        farm.clock.advance(notices.GIVEN_UP_AFTER_MS / 1000)

        assert await farm.engine.notices.step() is None

    assert farm.engine.notices.given_up == 1
    assert await farm.engine.documents.list(notices.KIND) == []


async def test_a_message_delivered_twice_is_one_notice(farm: Farm) -> None:
    """The message's id is the notice's."""
    async with HttpPeer() as peer:
        sink: dict[str, Any] = {
            "workflowStatusListenerEnabled": True,
            "workflowStatusListenerSink": f"{peer.url}/",
        }
        await farm.register(task("a"), **sink)
        await farm.start()
        await farm.settle()
        groups = [w for g in farm.store.groups for w in g]
        [message] = [m for w in groups for m in getattr(w, "outbox", []) if m.kind == "notice"]
        farm.engine.outbox.committed([message])
        await farm.settle()

        await farm.engine.notices.step()

    assert len(peer.heard) == 1


async def test_an_event_queue_is_a_sink_too(farm: Farm) -> None:
    """What handlers of that event get is the same summary."""
    await farm.register(
        task("a"), workflowStatusListenerEnabled=True, workflowStatusListenerSink="conductor:ended"
    )
    await farm.start()
    await farm.settle()

    assert await farm.engine.notices.step() is None
    assert farm.engine.notices.sent == 1
