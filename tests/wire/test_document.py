"""The architecture document's workflow and worker, taken from the document, against a real server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import imageio_ffmpeg
import pytest

from tests.cli.conftest import Serving
from tests.wire.conftest import WAIT_S_MAX, Wire, child
from tests.wire.document import MANIFEST_URL, Document

pytestmark = pytest.mark.server

FRAMES = 25
DOCUMENT_NAME = "video_processing_workflow"
TASK_NAMES = ["validate_input", "encode_1080p", "encode_720p", "package_hls"]


@pytest.fixture(scope="module")
def document_worker(
    server: Serving, seed: Document, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The document's worker class at work on every task name."""
    with child(tmp_path_factory.mktemp("document"), "-m", "tests.wire.document", server.url):
        yield


def test_the_workflow_registers_unchanged(wire: Wire, seed: Document) -> None:
    """The document's very bytes are accepted, also when they come twice, and are given back as they are."""
    headers = {"content-type": "application/json"}

    first = wire.http.post("/api/metadata/workflow", content=seed.workflow_json, headers=headers)
    second = wire.http.post("/api/metadata/workflow", content=seed.workflow_json, headers=headers)

    assert (first.status_code, first.content) == (200, b"")
    assert (second.status_code, second.content) == (200, b"")
    assert_holds(wire.get(f"/metadata/workflow/{DOCUMENT_NAME}", version=1), seed.workflow)


def test_a_changed_copy_is_a_conflict(wire: Wire, seed: Document) -> None:
    """The same name and version with other content is refused and changes nothing."""
    changed = seed.workflow | {"description": "something else"}

    answer = wire.http.post("/api/metadata/workflow", json=changed)

    assert answer.status_code == 409
    assert answer.json()["message"] == f"Workflow with {DOCUMENT_NAME}.1 already exists!"
    assert wire.get(f"/metadata/workflow/{DOCUMENT_NAME}")["description"] == seed.workflow["description"]


def test_a_definition_registered_anew_is_the_document(wire: Wire, seed: Document) -> None:
    """It needs nothing that the server brought along: taken away and registered, it is there again."""
    wire.http.delete(f"/api/metadata/workflow/{DOCUMENT_NAME}/1").raise_for_status()

    answer = wire.http.post("/api/metadata/workflow", content=seed.workflow_json)

    assert answer.status_code == 200
    assert_holds(wire.get(f"/metadata/workflow/{DOCUMENT_NAME}"), seed.workflow)


@pytest.mark.usefixtures("document_worker")
def test_the_worker_class_drives_it(wire: Wire) -> None:
    """ConductorWorker, as the document has it, brings the workflow to COMPLETED with `hlsUrl` set."""
    workflow = wire.ended(wire.start(DOCUMENT_NAME, {"videoId": "123"}))

    assert (workflow["status"], workflow["output"]) == ("COMPLETED", {"hlsUrl": MANIFEST_URL})
    tasks = {task["referenceTaskName"]: task for task in workflow["tasks"]}
    assert tasks["validate_input_ref"]["outputData"] == {"valid": True, "videoId": "123"}
    assert tasks["encode_1080p_ref"]["outputData"] == {"encodedUrl": "s3://bucket/123_1080p.mp4"}
    assert {task["workerId"] for ref, task in tasks.items() if task["taskType"] in TASK_NAMES} == {
        f"{name}-worker-1" for name in TASK_NAMES
    }
    assert [task["taskType"] for task in workflow["tasks"]] == [
        "validate_input",
        "FORK",
        "encode_1080p",
        "encode_720p",
        "JOIN",
        "package_hls",
    ]


@pytest.mark.usefixtures("document_worker")
def test_the_usage_example(wire: Wire) -> None:
    """The example's encode_video is given {videoId, profile} and answers {encodedUrl}."""
    name = define_encode_video(wire)

    workflow = wire.ended(wire.start(name, {"videoId": "7", "profile": "720p"}))

    assert workflow["status"] == "COMPLETED"
    assert workflow["tasks"][0]["inputData"] == {"videoId": "7", "profile": "720p"}
    assert workflow["tasks"][0]["outputData"] == {"encodedUrl": "s3://bucket/7_720p.mp4"}


@pytest.mark.usefixtures("document_worker")
def test_a_failing_function(wire: Wire) -> None:
    """An exception in the worker's function fails the task with its text."""
    name = define_encode_video(wire, parameters=("videoId",))

    workflow = wire.ended(wire.start(name, {"videoId": "7"}))

    assert workflow["status"] == "FAILED"
    assert workflow["tasks"][0]["status"] == "FAILED"
    assert workflow["tasks"][0]["reasonForIncompletion"] == "'profile'"


# ------------------------------------------------------------------------------------------ our own workers
@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A server and our worker process on one media folder."""
    folder = tmp_path_factory.mktemp("studio")
    server = Serving(folder, "--port", "0", "--data", "data", SHOWRUNNER_DISK_FREE_BYTES_MIN="1")
    argv = ("-m", "media_workers", "run", "--server", server.url, "--data", "data", "--media", "data/media")
    try:
        with (
            child(folder, *argv),
            httpx.Client(base_url=server.url, timeout=WAIT_S_MAX) as client,
        ):
            yield Wire(client)
    finally:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def video_id(studio: Wire, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second of real video, uploaded as the product takes it."""
    clip = tmp_path_factory.mktemp("clip") / "clip.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate={FRAMES}:duration=1"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=1"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", str(clip)),
    )
    with clip.open("rb") as source:
        answer = studio.http.post("/api/v1/videos", files={"file": ("clip.mp4", source)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.media
def test_our_workers_encode_a_real_video(studio: Wire, seed: Document, video_id: str) -> None:
    """The document's JSON with our workers: COMPLETED, and `hlsUrl` plays from /media, every frame of it."""
    studio.http.post("/api/metadata/workflow", content=seed.workflow_json).raise_for_status()

    workflow = studio.ended(studio.start(DOCUMENT_NAME, {"videoId": video_id}))

    assert workflow["status"] == "COMPLETED", workflow.get("reasonForIncompletion")
    url = workflow["output"]["hlsUrl"]
    manifest = studio.http.get(url)
    assert manifest.status_code == 200
    assert manifest.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert decoded_frames(studio.url + url) == FRAMES


@pytest.mark.media
def test_our_encode_video(studio: Wire, video_id: str) -> None:
    """`encode_video` of the usage example: {videoId, profile} gives the `encodedUrl` of a real file."""
    name = define_encode_video(studio)

    workflow = studio.ended(studio.start(name, {"videoId": video_id, "profile": "720p"}))

    assert workflow["status"] == "COMPLETED", workflow.get("reasonForIncompletion")
    [task] = workflow["tasks"]
    assert task["outputData"]["encodedUrl"] == workflow["output"]["url"]
    assert task["outputData"]["file"]["size"] > 0
    assert task["outputData"]["video"]["frames"] == FRAMES


# ---------------------------------------------------------------------------------------------------- helpers
def define_encode_video(wire: Wire, parameters: tuple[str, ...] = ("videoId", "profile")) -> str:
    """A workflow of the usage example's one task."""
    name = wire.name("encode")
    task = {
        "name": "encode_video",
        "taskReferenceName": "encode",
        "type": "SIMPLE",
        "retryCount": 0,
        "inputParameters": {each: f"${{workflow.input.{each}}}" for each in parameters},
    }
    output = {"url": "${encode.output.encodedUrl}"}
    wire.post("/metadata/workflow", {"name": name, "tasks": [task], "outputParameters": output})
    return name


def assert_holds(found: Any, expected: Any, at: str = "$") -> None:
    """Everything that is expected is there, equal; defaults may have come to it."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), at
        for key, value in expected.items():
            assert key in found, f"{at}.{key} is missing"
            assert_holds(found[key], value, f"{at}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list), at
        assert len(found) == len(expected), at
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_holds(one, other, f"{at}[{index}]")
    else:
        assert json.dumps(found) == json.dumps(expected), at


def ffmpeg(*arguments: str) -> str:
    """Run FFmpeg; what it says about itself must be nothing but what was asked for."""
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=WAIT_S_MAX)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def decoded_frames(url: str) -> int:
    """Decode picture and sound of a stream; any error line fails the test."""
    told = ffmpeg("-i", url, "-map", "0:v:0", "-map", "0:a:0", "-progress", "-", "-f", "null", "-")
    return int([line for line in told.splitlines() if line.startswith("frame=")][-1].split("=")[1])
