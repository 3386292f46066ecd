"""The view of a workflow: pure."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from api.videos import present
from api.videos.models import VideoStatus
from api.videos.store import VideoRow
from api.videos.view import PHASES, Snapshot, changes, snapshot

PLAN_NAMES = ["plan", "renditions", "name", "width", "audio", "video", "file", "size"]
NAMES = st.sampled_from([*PLAN_NAMES, "facts", "progress", "fraction", "verdicts", "error", "code"])
TYPES = [name for _, types, _, _ in PHASES for name in types]


def task(task_type: str, status: str = "COMPLETED", *, ref: str = "", **more: Any) -> dict[str, Any]:
    return {
        "taskId": f"id-{ref or task_type}-{more.get('retryCount', 0)}",
        "taskType": task_type,
        "referenceTaskName": ref or task_type,
        "status": status,
        "startTime": 1000,
        "endTime": 3000 if status == "COMPLETED" else 0,
        "inputData": {},
        "outputData": {},
        **more,
    }


def workflow(*tasks: dict[str, Any], status: str = "RUNNING", **more: Any) -> dict[str, Any]:
    return {"status": status, "tasks": list(tasks), **more}


def seen(document: dict[str, Any], previous: Snapshot | None = None, now_ms: int = 5000) -> Snapshot:
    return snapshot(document, previous=previous, now_ms=now_ms)


def test_shares_sum_to_one() -> None:
    """The phases' shares make up the whole job."""
    assert abs(sum(share for _, _, share, _ in PHASES) - 1.0) < 1e-9


def test_queued_until_a_worker_takes_it() -> None:
    """A video is queued while its first task has never been polled, and processing afterwards."""
    waiting = workflow(task("media_validate", "SCHEDULED", startTime=0))
    taken = workflow(task("media_validate", "IN_PROGRESS"))

    assert seen(waiting).status is VideoStatus.QUEUED
    assert seen(taken).status is VideoStatus.PROCESSING


def test_ends_follow_the_workflow() -> None:
    """Each end of a workflow is one end of the video."""
    ends = {"COMPLETED": "ready", "FAILED": "failed", "TIMED_OUT": "failed", "TERMINATED": "cancelled"}
    assert {end: seen(workflow(status=end)).status.value for end in ends} == ends


statuses = st.sampled_from(["SCHEDULED", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"])
steps = st.lists(
    st.lists(st.tuples(st.sampled_from(TYPES), statuses, st.floats(-1, 2)), max_size=8),
    min_size=1,
    max_size=6,
)


@given(steps)
def test_progress_never_falls_and_stays_within_bounds(runs: list[list[tuple[str, str, float]]]) -> None:
    """Whatever the tasks say, in whatever order, the fraction only grows, and 1 is kept for ready."""
    previous: Snapshot | None = None
    for run in runs:
        tasks = [
            task(kind, status, ref=f"{kind}{index}", outputData={"progress": {"fraction": fraction}})
            for index, (kind, status, fraction) in enumerate(run)
        ]
        now = seen(workflow(*tasks), previous)
        assert 0.0 <= now.progress.fraction < 1.0
        assert previous is None or now.progress.fraction >= previous.progress.fraction
        previous = now


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
wild_tasks = st.lists(
    st.fixed_dictionaries(
        {"taskType": st.sampled_from(TYPES), "referenceTaskName": st.text(max_size=3), "status": statuses},
        optional=dict.fromkeys(("outputData", "inputData", "startTime", "workerId", "taskId"), json_values),
    ),
    max_size=6,
)


@given(wild_tasks, st.sampled_from(["RUNNING", "COMPLETED", "FAILED"]), json_values)
def test_whatever_workers_write_can_be_shown(tasks: list[dict[str, Any]], status: str, output: Any) -> None:
    """Outputs of any shape give a view that can be stored, read back and presented."""
    view = seen({"status": status, "tasks": tasks, "output": output})

    stored = msgspec.json.decode(msgspec.json.encode(view))
    row = VideoRow(
        id="v",
        status=view.status,
        title="t",
        profile="default",
        source_key="k",
        source_sha256="s",
        source_size=1,
        created_ms=1,
        updated_ms=1,
    )

    assert present.video(row, msgspec.convert(stored, Snapshot), "http://x").status is view.status


def test_bigger_renditions_weigh_more() -> None:
    """Half of the large rendition is more progress than half of the small one."""
    plan = {
        "renditions": [
            {"name": "L", "width": 1280, "height": 720},
            {"name": "S", "width": 320, "height": 180},
        ]
    }

    def half(name: str) -> float:
        encodes = [
            task(
                "media_encode",
                "IN_PROGRESS",
                ref=f"encode_{each}",
                inputData={"rendition": each, "plan": plan},
                outputData={"progress": {"fraction": 0.5 if each == name else 0.0}},
            )
            for each in ("L", "S")
        ]
        return seen(workflow(*encodes)).progress.fraction

    assert half("L") > 5 * half("S") > 0


def test_a_rejected_source_fails_with_its_code() -> None:
    """The verdict's code and sentence become the video's error, named by the task."""
    output = {"error": {"code": "not_media", "message": "This is no video.", "retryable": False}}
    rejected = task("media_validate", "FAILED_WITH_TERMINAL_ERROR", ref="validate", outputData=output)

    error = seen(workflow(rejected, status="FAILED", reasonForIncompletion="long text")).error

    assert error is not None
    assert (error.code, error.message, error.task, error.retryable) == (
        "not_media",
        "This is no video.",
        "validate",
        False,
    )


def test_another_failure_is_one_sentence() -> None:
    """A failure without a code is processing_failed, its message one line, retryable."""
    failed = task("media_encode", "FAILED", ref="encode_720p", reasonForIncompletion="it broke\n  twice")

    error = seen(workflow(failed, status="FAILED")).error

    assert error is not None
    assert (error.code, error.message, error.retryable) == ("processing_failed", "it broke twice", True)


def test_the_last_attempt_counts() -> None:
    """A failed attempt that was repeated successfully leaves no trace in the rendition."""
    first = task("media_encode", "FAILED", ref="encode_720p", retryCount=0, retried=True)
    second = task("media_encode", "COMPLETED", ref="encode_720p", retryCount=1)

    renditions = seen(workflow(first, second)).renditions

    assert [(each.name, each.status) for each in renditions] == [("720p", "ready")]


def test_events_tell_only_what_changed() -> None:
    """From one view to an equal one there are no events; a change of one rendition tells that rendition."""
    before = seen(workflow(task("media_encode", "IN_PROGRESS", ref="encode_720p")))
    same = seen(workflow(task("media_encode", "IN_PROGRESS", ref="encode_720p")))
    after = seen(workflow(task("media_encode", "COMPLETED", ref="encode_720p")))

    assert changes(before, same) == []
    assert {name for name, _ in changes(before, after)} == {"rendition", "progress"}


def test_eta_waits_for_something_to_go_by() -> None:
    """There is no estimate at the start, and a plausible one later."""
    half = {"progress": {"fraction": 0.5}}
    done = [task("media_validate"), task("media_plan")]
    encode = task("media_encode", "IN_PROGRESS", ref="encode_720p", outputData=half)

    early = seen(workflow(*done, encode), now_ms=1500).progress
    later = seen(workflow(*done, encode), now_ms=11_000).progress

    assert early.eta_seconds is None
    assert later.eta_seconds is not None
    assert 5 < later.eta_seconds < 20
