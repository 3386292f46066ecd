"""The classic task names: they find their video by themselves and never enlarge it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from media_workers.procs.binaries import Binaries
from media_workers.sdk import TaskRejected
from tests.workers.conftest import Desk
from tests.workers.test_tasks import Json, call

pytestmark = pytest.mark.media

WORKFLOW: Json = {"input": {"videoId": "123"}}


@pytest.fixture(scope="module")
def studio(tools: Binaries, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("classic"), tools)
    desk.upload(clip, "123")
    yield desk
    desk.close()


def test_validate_input(studio: Desk) -> None:
    """`validate_input` probes the source of the video it is given."""
    output = call("validate_input", {"videoId": "123"}, studio.context())

    assert output["valid"] is True
    assert output["facts"]["video"]["displayHeight"] == 240


def test_encode_without_input_reads_the_workflow(studio: Desk) -> None:
    """`encode_1080p` with no input finds the workflow's video, and never enlarges it."""
    output = call("encode_1080p", {}, studio.context(WORKFLOW))

    assert output["video"]["height"] == 240
    assert "never enlarged" in output["note"]
    assert studio.storage.size(output["encodedUrl"]) == output["file"]["size"]


@pytest.mark.parametrize("profile", ["720p", "fast", None])
def test_encode_video(studio: Desk, profile: str | None) -> None:
    """`encode_video` takes a rendition's name or a profile's and answers where the file is."""
    output = call("encode_video", {"videoId": "123", "profile": profile}, studio.context())

    assert studio.storage.size(output["encodedUrl"])


def test_package_hls_packages_what_was_encoded(studio: Desk) -> None:
    """`package_hls` takes the finished renditions of its workflow, adds the sound, and publishes."""
    large = call("encode_1080p", {}, studio.context(WORKFLOW))
    small = call("encode_video", {"videoId": "123", "profile": "144p"}, studio.context())
    tasks = [
        {
            "taskId": str(number),
            "taskType": "x",
            "workflowInstanceId": "wf-1",
            "status": "COMPLETED",
            "outputData": out,
        }
        for number, out in enumerate([{"joined": 1}, large, small, large])
    ]

    output = call("package_hls", {}, studio.context({**WORKFLOW, "tasks": tasks}))
    again = call("package_hls", {}, studio.context({**WORKFLOW, "tasks": tasks}))

    assert output["manifestUrl"] == "/media/123/wf-1/master.m3u8"
    assert output["renditions"] == ["240p", "144p"]
    assert (studio.media / "published/123/wf-1/master.m3u8").is_file()
    assert again["published"]["reused"] is True


def test_nothing_encoded_is_said(studio: Desk) -> None:
    """`package_hls` without anything to package says so instead of publishing nothing."""
    with pytest.raises(TaskRejected) as caught:
        call("package_hls", {}, studio.context(WORKFLOW))

    assert caught.value.code == "nothing_to_package"


def test_source_by_key_and_url(studio: Desk) -> None:
    """A workflow may name its source by storage key or by a file URL below the media folder."""
    key = "sources/123/input.bin"
    by_key = call("validate_input", {"source": key}, studio.context())
    by_url = call(
        "validate_input", {}, studio.context({"input": {"sourceUrl": f"file://{studio.media}/{key}"}})
    )

    assert by_key["sourceSha256"] == by_url["sourceSha256"]
    assert by_key["videoId"] == by_url["videoId"]
