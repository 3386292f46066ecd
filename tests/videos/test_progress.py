"""Progress and what is left: pure figures over a plan and its tasks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.videos.progress import (
    FRACTION_MAX_OPEN,
    SHARES,
    Item,
    Pace,
    encode_items,
    job_parts,
    overall,
    paced,
    phase_now,
    share_done,
)
from api.videos.view import Snapshot, snapshot
from tests.videos.tasks import PLAN, chunked, task, whole_job, workflow

fractions = st.floats(0, 1)
items = st.lists(st.builds(Item, seconds=st.floats(0.01, 1e6), done=fractions), min_size=1, max_size=20)


@given(items, st.data())
def test_more_done_is_never_less(work: list[Item], data: st.DataObject) -> None:
    """Whichever piece of work moves on, the whole does not fall, and it stays between 0 and 1."""
    index = data.draw(st.integers(0, len(work) - 1))
    further = data.draw(st.floats(work[index].done, 1))
    moved = [*work[:index], Item(seconds=work[index].seconds, done=further), *work[index + 1 :]]

    before, after = share_done(work), share_done(moved)

    assert 0 <= before <= after + 1e-12
    assert after <= 1


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=20))
def test_all_done_is_one_and_nothing_done_is_zero(seconds: list[float]) -> None:
    """Whatever the predictions are, the ends are exact."""
    assert share_done([Item(seconds=each, done=0.0) for each in seconds]) == 0
    assert share_done([Item(seconds=each, done=1.0) for each in seconds]) == pytest.approx(1)


@given(st.dictionaries(st.sampled_from(sorted(SHARES)), fractions, min_size=1))
def test_the_whole_is_bounded_by_its_parts(parts: dict[str, float]) -> None:
    """The job is as far as something between its least and its most advanced kind of work."""
    assert min(parts.values()) - 1e-9 <= overall(parts) <= max(parts.values()) + 1e-9


def test_a_chunk_weighs_what_it_was_predicted_to_take() -> None:
    """A chunk of a slow group counts for its predicted seconds; a short last chunk counts less."""
    by_seconds = sorted(item.seconds for item in encode_items(PLAN, []))

    # Chunks of 250, 250 and 125 frames, in groups of 40 and 4 seconds a chunk; sound and stills beside them.
    assert by_seconds[-3:] == [20.0, 40.0, 40.0]
    assert {2.0, 4.0} < set(by_seconds)


@settings(deadline=None)  # a slow machine is no bug
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_a_job_only_grows_over_retries_and_second_encodes(steps: list[int], chance: Any) -> None:
    """A whole job with failing attempts and a second round of the quality gate: the fraction never falls."""
    job = whole_job(again=True)
    before: Snapshot | None = None
    position = 0
    for number, step in enumerate(steps):
        position = min(position + step, len(job))
        tasks = [dict(each) for each in job[:position]]
        if tasks and chance.random() < 0.3:
            # The newest attempt failed and waits to be done again.
            tasks[-1] = {**tasks[-1], "status": "SCHEDULED", "outputData": {}}
        now = snapshot(workflow(*tasks), previous=before, now_ms=1000 * (number + 1))
        assert before is None or now.progress.fraction >= before.progress.fraction
        assert 0 <= now.progress.fraction <= FRACTION_MAX_OPEN
        before = now
    ended = snapshot(workflow(*job, status="COMPLETED"), previous=before, now_ms=10**6)
    assert ended.progress.fraction == 1.0


def test_phases_come_in_their_order() -> None:
    """The phase that is shown goes from validate to publish, and the gate's second round stays in measure."""
    job = whole_job(again=True)
    seen: list[str] = []
    for position in range(len(job)):
        phase = phase_now(job_parts(PLAN if position > 3 else {}, job[:position]))
        seen += [phase] if not seen or seen[-1] != phase else []

    assert seen == ["validate", "plan", "encode", "measure", "package", "publish"]


def test_what_was_skipped_holds_nothing_up() -> None:
    """Planned work that never got a task (an empty preview, say) is over once the next step has begun."""
    stitched = [*whole_job(again=False)[:4], task("media_stitch", "IN_PROGRESS")]

    assert job_parts(PLAN, stitched)["encode"] == 1.0


def test_renditions_gather_their_chunks() -> None:
    """A rendition is as far as its frames are, running while a chunk is, and ready when all are."""
    chunks = chunked(done=1)
    running = {
        **chunks[1],
        "status": "IN_PROGRESS",
        "outputData": {"progress": {"fraction": 0.5, "fps": 30.0}},
    }
    tasks = [*whole_job(again=False)[:4], chunks[0], running]

    seen = {each.name: each for each in snapshot(workflow(*tasks), previous=None, now_ms=9000).renditions}

    assert (seen["1080p"].status, seen["1080p"].progress, seen["1080p"].fps) == ("running", 0.6, 30.0)
    assert (seen["720p"].status, seen["720p"].progress) == ("running", 0.6)
    assert (seen["1080p_av1"].status, seen["1080p_av1"].progress) == ("waiting", 0.0)


looks = st.lists(st.tuples(st.integers(-1000, 60_000), fractions), min_size=1, max_size=30)


@given(looks)
def test_the_pace_is_sound_whatever_the_clock_does(steps: list[tuple[int, float]]) -> None:
    """Time stands still or goes back, a fraction falls: what is left is a finite number or unknown."""
    pace: Pace | None = None
    now_ms = 1_000_000
    for passed_ms, fraction in steps:
        now_ms += passed_ms
        pace = paced(pace, fraction, now_ms)
        eta = pace.eta_seconds()
        assert eta is None or 0 <= eta < 10**8
        assert pace.grown >= 0
        assert pace.seconds >= 0


def test_a_steady_job_ends_when_it_was_said_to() -> None:
    """At one percent a second, what is left is the rest of a hundred seconds, however often one looks."""
    pace: Pace | None = None
    for second in range(41):
        pace = paced(pace, second / 100, 1000 * second)

    assert pace is not None
    assert pace.eta_seconds() == pytest.approx(60, rel=0.01)


def test_a_slower_part_is_noticed() -> None:
    """After a minute at a tenth of the speed, the estimate follows the new one."""
    pace: Pace | None = None
    for second in range(30):
        pace = paced(pace, second / 100, 1000 * second)
    for second in range(30, 121):
        pace = paced(pace, 0.29 + (second - 29) / 1000, 1000 * second)

    assert pace is not None
    assert pace.eta_seconds() == pytest.approx((1 - pace.fraction) * 1000, rel=0.35)
