"""The view of a workflow: pure."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.videos import present
from api.videos.models import VideoStatus
from api.videos.store import VideoRow
from api.videos.view import Snapshot, changes, snapshot
from tests.videos.tasks import (
    PLAN,
    TYPES,
    json_values,
    measured,
    statuses,
    task,
    whole_job,
    wild_tasks,
    workflow,
)


def row(status: VideoStatus) -> VideoRow:
    return VideoRow(
        id="v",
        status=status,
        title="t",
        profile="default",
        source_key="k",
        source_sha256="s",
        source_size=1,
        created_ms=1,
        updated_ms=1,
    )


def seen(document: dict[str, Any], previous: Snapshot | None = None, now_ms: int = 5000) -> Snapshot:
    return snapshot(document, previous=previous, now_ms=now_ms)


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


@given(wild_tasks, st.sampled_from(["RUNNING", "COMPLETED", "FAILED"]), json_values)
def test_whatever_workers_write_can_be_shown(tasks: list[dict[str, Any]], status: str, output: Any) -> None:
    """Outputs of any shape give a view that can be stored, read back and presented."""
    view = seen({"status": status, "tasks": tasks, "output": output})

    stored = msgspec.json.decode(msgspec.json.encode(view))
    assert (
        present.video(row(view.status), msgspec.convert(stored, Snapshot), "http://x").status is view.status
    )


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


def test_eta_follows_the_observed_speed() -> None:
    """There is no estimate at the first look; after two looks it is what is left at the speed seen."""
    done = [task("media_validate"), task("media_plan")]

    def at(fraction: float, now_ms: int, before: Snapshot | None) -> Snapshot:
        told = {"progress": {"fraction": fraction}}
        encode = task("media_encode", "IN_PROGRESS", ref="encode_720p", outputData=told)
        return seen(workflow(*done, encode), before, now_ms)

    first = at(0.2, 1000, None)
    second = at(0.5, 11_000, first)

    assert first.progress.eta_seconds is None
    speed = (second.progress.fraction - first.progress.fraction) / 10
    assert second.progress.eta_seconds == pytest.approx((1 - second.progress.fraction) / speed, rel=0.01)


def test_measured_renditions_show_their_quality() -> None:
    """A rendition made again shows its second measurement, its attempt and the stitched file's size."""
    renditions = {each.name: each for each in seen(workflow(*whole_job(again=True))).renditions}

    assert renditions["1080p"].quality == {"vmaf": {"mean": 95.0, "p5": 91.0}}
    assert renditions["720p"].quality == {"vmaf": {"mean": 94.0, "p5": 90.0}}
    assert (renditions["720p"].attempt, renditions["1080p"].attempt) == (2, 1)
    assert (renditions["1080p_av1"].codec, renditions["1080p_av1"].size) == ("av1", 5000)
    assert all(each.status == "ready" for each in renditions.values())


def test_a_rendition_that_is_made_again_runs_again() -> None:
    """While its second encode runs, the rendition is running and the message says so."""
    job = whole_job(again=True)
    first_redo = next(i for i, each in enumerate(job) if each["referenceTaskName"].startswith("redo_"))
    running = {**job[first_redo], "status": "IN_PROGRESS", "outputData": {"progress": {"fraction": 0.25}}}

    view = seen(workflow(*job[:first_redo], running))

    assert {each.name: each.status for each in view.renditions}["720p"] == "running"
    assert (view.progress.phase, view.progress.message) == ("measure", "encoding again 720p")


def test_the_preview_is_told_once_and_plays_before_the_rest() -> None:
    """Once the first rendition is published an event says so, and the video plays from its version."""
    job = whole_job(again=False)
    position = next(i for i, each in enumerate(job) if each["taskType"] == "media_preview")

    before, after = seen(workflow(*job[:position])), seen(workflow(*job[: position + 1]))
    told = [data for name, data in changes(before, after) if name == "previewReady"]

    assert told == [{"version": "v1-preview", "playback": {"hls": "master.m3u8"}, "rendition": "720p"}]
    assert "previewReady" not in {name for name, _ in changes(after, after)}
    shown = present.video(row(after.status), after, "http://x").playback
    assert shown is not None
    assert (shown.preview, shown.hls) == (True, "http://x/media/v/v1-preview/master.m3u8")


def test_a_protected_video_names_its_keys_but_never_holds_one() -> None:
    """Scheme, systems and key ids by label; of `dual` the second copy's apart."""
    ended = workflow(*whole_job(again=False), status="COMPLETED", output={"playback": {"hls": "master.m3u8"}})

    shown = present.video(row(VideoStatus.READY), seen(ended), "http://x").playback

    assert shown is not None
    assert shown.drm is not None
    assert shown.drm.scheme == "dual"
    assert shown.drm.systems == ["widevine", "playready", "fairplay"]
    assert shown.drm.key_ids == {"audio": "a" * 32, "hd": "1" * 32}
    assert shown.drm.cenc_key_ids == {"hd": "2" * 32}


def test_sound_subtitles_and_the_scans_verdicts_are_shown() -> None:
    """Tracks with what became of them, and what only the decode scan found."""
    view = seen(workflow(*whole_job(again=False)))

    assert [(each["language"], each["layout"], each["status"]) for each in view.audio] == [
        ("eng", "stereo", "ready")
    ]
    assert [(each["language"], each["cues"], each["status"]) for each in view.subtitles] == [
        ("fra", 7, "ready")
    ]
    assert [each["code"] for each in view.verdicts] == ["no_timestamps"]


def test_a_failed_quality_gate_has_its_numbers() -> None:
    """`quality_failed` comes with what was measured before and after the second encode."""
    verdict = {"rendition": "720p", "first": measured("720p", 70.0), "second": measured("720p", 80.0)}
    error = {"code": "quality_failed", "message": "720p reached 80.0, not 93.0.", "retryable": False}
    gate = task(
        "media_gate",
        "FAILED_WITH_TERMINAL_ERROR",
        ref="gate__2",
        outputData={"error": error, "verdicts": [verdict]},
    )

    found = seen(workflow(gate, status="FAILED")).error

    assert found is not None
    assert (found.code, found.retryable, found.details) == ("quality_failed", False, {"verdicts": [verdict]})


def test_the_cost_counts_each_artefact_once() -> None:
    """Nine chunk encodes of two seconds, sound, stills, package and three joins of a tenth."""
    cost = seen(workflow(*whole_job(again=False))).cost

    assert cost["cpuSeconds"] == pytest.approx(9 * 2 + 3 * 2 + 3 * 0.1 + 3 * 0.5)
    assert PLAN["audio"]
