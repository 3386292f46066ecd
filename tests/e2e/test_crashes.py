"""kill -9 in the middle of the work: nothing is lost, nothing finished is done again, nothing is left."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Installation, eventually, processes_naming

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.media]

# Three renditions, one after the other, of a second or more of work each.
RENDITIONS = ("360p", "240p", "144p")
NOISE = "-f lavfi -i testsrc2=s=640x360:r=25:d=6,noise=alls=30:allf=t -f lavfi -i sine=d=6:r=48000"
LEASE_S = 3
BEGUN_BYTES = 20_000


def encoding(installation: Installation) -> str | None:
    """The rendition that FFmpeg is in the middle of, if any."""
    for words in processes_naming(installation.data / "scratch"):
        target = next((Path(word) for word in words if word.endswith("video.mp4")), None)
        if "libx264" not in words or target is None or not target.exists():
            continue
        if target.stat().st_size > BEGUN_BYTES:
            return target.parent.name
    return None


def finished(installation: Installation, video_id: str) -> dict[Path, tuple[int, int]]:
    """Every stored picture: inode and time of its file."""
    files = (installation.media / "artefacts" / video_id).glob("*/video.mp4")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def attempts(installation: Installation, video_id: str) -> dict[str, list[str]]:
    """Status of every attempt, by rendition."""
    workflow_id = installation.video(video_id)["workflowId"]
    found: dict[str, list[str]] = {}
    for task in installation.get(f"/api/workflow/{workflow_id}")["tasks"]:
        if task["taskType"] == "media_encode":
            found.setdefault(task["inputData"]["renditions"][0], []).append(task["status"])
    return found


def encoded(installation: Installation, video: dict[str, Any]) -> list[str]:
    """The rendition of every encode that the report lists, once for each file."""
    made = installation.get(f"/api/v1/videos/{video['id']}/report")["artefacts"]
    return [each["rendition"] for each in made if each["kind"] == "encode"]


def completed(tried: dict[str, list[str]]) -> set[str]:
    return {name for name, each in tried.items() if each[-1] == "COMPLETED"}


@pytest.fixture
def started(installation: Installation, make: Callable[[Path, str], Path]) -> tuple[Installation, str]:
    """An installation with short leases that encodes a clip of three renditions, one at a time."""
    clip = make(
        installation.folder / "noise.mp4",
        f"{NOISE} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac",
    )
    installation.start_server()
    definition = installation.get("/api/metadata/taskdefs/media_encode")
    definition |= {"responseTimeoutSeconds": LEASE_S, "retryDelaySeconds": 1, "backoffJitterMs": 0}
    assert installation.http.put("/api/metadata/taskdefs", json=definition).status_code == 200
    installation.start_worker(SHOWRUNNER_CONCURRENCY="1")
    overrides = {
        "renditions": list(RENDITIONS),
        "codecs": ["h264"],
        "perTitle": False,
        "qualityGate": False,
    }
    return installation, installation.uploaded(clip, profile="premium", overrides=overrides)


def test_worker_then_server_killed(started: tuple[Installation, str]) -> None:
    """Both die while FFmpeg runs; started again they finish, and encode no rendition twice."""
    installation, video_id = started
    interrupted = eventually(
        lambda: finished(installation, video_id) and encoding(installation), "the second encode runs"
    )
    before = finished(installation, video_id)

    installation.kill(installation.worker)
    eventually(lambda: not processes_naming(installation.data / "scratch"), "no FFmpeg is left")
    installation.start_worker(SHOWRUNNER_CONCURRENCY="1")
    eventually(lambda: encoding(installation), "the new worker encodes")
    between, done = finished(installation, video_id), completed(attempts(installation, video_id))
    installation.kill(installation.server)
    installation.start_server()
    video = installation.ready(video_id)

    after, tried = finished(installation, video_id), attempts(installation, video_id)
    assert {path: after[path] for path in before | between} == before | between
    assert sorted(encoded(installation, video)) == sorted(RENDITIONS)
    assert tried[interrupted][:1] == ["TIMED_OUT"]
    assert {tuple(tried[name]) for name in done} == {("COMPLETED",)}
    assert completed(tried) == set(RENDITIONS)
    _nothing_left(installation)


def test_both_killed_at_once(started: tuple[Installation, str]) -> None:
    """The machine loses power: what had been finished is kept, what had begun is begun again."""
    installation, video_id = started
    eventually(lambda: finished(installation, video_id) and encoding(installation), "the second encode runs")
    before, done = finished(installation, video_id), completed(attempts(installation, video_id))

    installation.kill(installation.server)
    installation.kill(installation.worker)
    eventually(lambda: not processes_naming(installation.folder), "no process is left")
    installation.start_server()
    installation.start_worker(SHOWRUNNER_CONCURRENCY="1")
    video = installation.ready(video_id)

    after, tried = finished(installation, video_id), attempts(installation, video_id)
    assert {path: after[path] for path in before} == before
    assert sorted(encoded(installation, video)) == sorted(RENDITIONS)
    assert {tuple(tried[name]) for name in done} == {("COMPLETED",)}
    _nothing_left(installation)


def _nothing_left(installation: Installation) -> None:
    """No temporary file while the processes live, no process and no folder of theirs after them."""
    assert installation.unfinished() == []
    assert installation.kill(installation.worker, signal.SIGTERM) == 0
    assert list((installation.data / "scratch").iterdir()) == []
    assert list((installation.media / ".incoming").iterdir()) == []
    assert installation.kill(installation.server, signal.SIGTERM) == 0
    assert processes_naming(installation.folder) == []
    assert "Traceback" not in installation.log("server.log") + installation.log("worker.log")
