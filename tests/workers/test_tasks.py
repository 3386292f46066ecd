"""Every task function for real, on a two-second clip, from the source to the published package."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.commands import decode_args
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcLimits, run
from media_workers.sdk import (
    TaskCancelled,
    TaskContext,
    TaskFailed,
    TaskRejected,
)
from media_workers.tasks.registry import WORKERS
from tests.workers.conftest import Desk

pytestmark = pytest.mark.media

Json = dict[str, Any]


def call(name: str, given: Json, ctx: TaskContext) -> Json:
    """Run a task as the wire would: JSON in, JSON out."""
    output = WORKERS[name].run(msgspec.json.encode(given), ctx)
    return msgspec.json.decode(msgspec.json.encode(output), type=Json)


class Title:
    """A whole title, processed once for all tests that only look at it."""

    def __init__(self, desk: Desk, clip: Path) -> None:
        self.desk = desk
        desk.upload(clip)
        self.validated = self._call("media_validate", {"videoId": "vid_1", "profile": "fast"})
        self.planned = self._call("media_plan", {**self.validated, "profile": "fast"})
        self.plan: Json = self.planned["plan"]
        self.branches = self.run_branches()
        self.verified = self._call(
            "media_verify", {"videoId": "vid_1", "plan": self.plan, "branches": self.branches}
        )
        self.packaged = self.package()
        self.published = self.publish("1")

    def run_branches(self) -> dict[str, Json]:
        inputs = self.planned["forkInputs"]
        return {
            task["taskReferenceName"]: self._call(task["name"], inputs[task["taskReferenceName"]])
            for task in self.planned["forkTasks"]
        }

    def package(self) -> Json:
        given = {key: self.verified[key] for key in ("renditions", "audio")}
        return self._call("media_package", {"videoId": "vid_1", "plan": self.plan, **given})

    def publish(self, version: str) -> Json:
        given = {"package": self.packaged["artefact"], "stills": self.verified["stills"]}
        return self._call("media_publish", {"videoId": "vid_1", "version": version, **given})

    def _call(self, name: str, given: Json) -> Json:
        return call(name, given, self.desk.context())

    @property
    def folder(self) -> Path:
        return self.desk.media / str(self.published["prefix"])


@pytest.fixture(scope="module")
def title(tools: Binaries, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Title]:
    desk = Desk(tmp_path_factory.mktemp("title"), tools)
    yield Title(desk, clip)
    desk.close()


def test_plan_has_a_branch_for_each_part(title: Title) -> None:
    """Each rendition, the sound and the stills are branches with inputs of their own."""
    refs = {task["taskReferenceName"]: task["name"] for task in title.planned["forkTasks"]}

    assert refs == {
        "encode_240p": "media_encode",
        "encode_180p": "media_encode",
        "encode_144p": "media_encode",
        "audio_0": "media_audio",
        "stills": "media_stills",
    }
    assert set(title.planned["forkInputs"]) == set(refs)
    assert title.planned["forkInputs"]["encode_180p"]["rendition"] == "180p"


def test_published_streams_decode_to_the_planned_frames(title: Title, tools: Binaries) -> None:
    """Each published rendition plays from its own playlist without an error, frame for frame."""
    for name in ("240p", "180p", "144p"):
        playlists = [path for path in title.folder.rglob("*.m3u8") if f"/{name}/" in path.as_posix()]
        playable = [path for path in playlists if "#EXT-X-I-FRAMES-ONLY" not in path.read_text()]
        assert len(playable) == 1
        result = run(decode_args(tools.ffmpeg, str(playable[0])), limits=ProcLimits(wall_seconds=60))
        assert result.ok
        assert result.stderr_tail.strip() == ""
    assert [item["video"]["frames"] for item in title.verified["renditions"]] == [60, 60, 60]


def test_manifest_lists_every_file(title: Title) -> None:
    """The publish manifest has every published file with its size, hash and type, and no other."""
    manifest = json.loads((title.folder / "manifest.json").read_bytes())
    listed = {item["path"]: item for item in manifest["files"]}
    there = {path.relative_to(title.folder).as_posix() for path in title.folder.rglob("*") if path.is_file()}

    assert set(listed) == there - {"manifest.json"}
    for path, item in listed.items():
        content = (title.folder / path).read_bytes()
        assert item["size"] == len(content)
        assert item["sha256"] == hashlib.sha256(content).hexdigest()
    assert listed["master.m3u8"]["contentType"] == "application/vnd.apple.mpegurl"
    assert manifest["files"][-1]["path"] == "master.m3u8"
    assert title.published["playback"] == {
        "hls": "master.m3u8",
        "dash": "manifest.mpd",
        "poster": "poster.jpg",
        "storyboard": "storyboard.vtt",
    }


def test_nothing_unfinished_is_left(title: Title) -> None:
    """After the whole title no scratch folder and no half-written file exists."""
    assert title.desk.leftovers() == []


def test_repeated_tasks_reuse_their_results(title: Title) -> None:
    """Running every task again finds the finished work and publishes the same version."""
    again = title.run_branches()

    assert all(branch["reused"] for branch in again.values())
    assert {ref: branch.get("file") for ref, branch in again.items()} == {
        ref: branch.get("file") for ref, branch in title.branches.items()
    }
    assert title.package()["reused"]
    assert title.publish("1") == {**title.published, "reused": True}


def test_another_setting_is_another_artefact(title: Title) -> None:
    """A rendition with other settings never takes the first one's result."""
    given = json.loads(json.dumps(title.planned["forkInputs"]["encode_144p"]))
    for rendition in given["plan"]["renditions"]:
        rendition["crf"] += 5

    other = call("media_encode", given, title.desk.context())

    assert not other["reused"]
    assert other["file"]["key"] != title.branches["encode_144p"]["file"]["key"]


def test_provenance_names_no_paths(title: Title) -> None:
    """The recorded command has no path of this machine in it."""
    for branch in title.branches.values():
        made = branch.get("video") or branch.get("audio")
        if made is not None:
            argv = made["provenance"]["argv"]
            assert "SOURCE" in " ".join(argv)
            assert str(title.desk.media) not in " ".join(argv)


def test_verify_names_the_wrong_rendition(title: Title) -> None:
    """A file that is not what the plan says fails in a sentence with the rendition and both numbers."""
    branches = json.loads(json.dumps(title.branches))
    branches["encode_240p"]["file"] = branches["encode_144p"]["file"]

    with pytest.raises(TaskFailed, match=r"^240p: .*\d+.*\d+") as caught:
        call(
            "media_verify",
            {"videoId": "vid_1", "plan": title.plan, "branches": branches},
            title.desk.context(),
        )

    assert caught.value.code == "verify_failed"


def test_verify_misses_an_absent_branch(title: Title) -> None:
    """A planned rendition that no branch made is not overlooked."""
    branches = {ref: branch for ref, branch in title.branches.items() if ref != "encode_180p"}

    with pytest.raises(TaskFailed, match="180p"):
        call(
            "media_verify",
            {"videoId": "vid_1", "plan": title.plan, "branches": branches},
            title.desk.context(),
        )


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"hello, I am text" * 100, "not_media"),
        (b"#EXTM3U\n/etc/passwd\n", "forbidden_container"),
    ],
)
def test_bad_sources_are_rejected(desk: Desk, tmp_path: Path, content: bytes, code: str) -> None:
    """A source that is no video ends with the verdict's code and a sentence for the uploader."""
    bad = tmp_path / "bad.bin"
    bad.write_bytes(content)
    desk.upload(bad)

    with pytest.raises(TaskRejected) as caught:
        call("media_validate", {"videoId": "vid_1"}, desk.context())

    assert caught.value.code == code
    assert caught.value.message.endswith(".")
    assert "verdicts" in caught.value.output


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"videoId": "../../etc"}, "invalid_input"),
        ({"videoId": "a/b"}, "invalid_input"),
        ({"videoId": "v", "source": {"key": "../x"}}, "invalid_input"),
        ({"videoId": "v", "source": {"url": "http://127.0.0.1/x.mp4"}}, "invalid_input"),
        ({"videoId": "v", "sourceUrl": "file:///etc/passwd"}, "invalid_input"),
        ({"videoId": "nobody"}, "source_missing"),
        ({"videoId": "v", "profile": "nope"}, "invalid_options"),
    ],
)
def test_sources_stay_inside_the_storage(desk: Desk, given: Json, code: str) -> None:
    """A source that is not a stored file is refused, whatever the input calls it."""
    with pytest.raises(TaskRejected) as caught:
        call("media_validate", given, desk.context())

    assert caught.value.code == code


def test_cancelled_encode_leaves_nothing(title: Title, desk: Desk, clip: Path) -> None:
    """A run cancelled while it encodes stores nothing and cleans up."""
    desk.upload(clip)
    desk.cancel_on_progress = True

    with pytest.raises(TaskCancelled):
        call("media_encode", title.planned["forkInputs"]["encode_240p"], desk.context())

    assert list(desk.storage.list("artefacts/vid_1")) == []
    assert desk.leftovers() == []


def test_full_disk_is_a_sentence(desk: Desk) -> None:
    """Work that cannot fit is refused before it starts, with what to do."""
    with pytest.raises(TaskFailed, match="free some") as caught, desk.context().scratch(1 << 60):
        pass

    assert caught.value.code == "disk_full"


def test_encode_reports_progress(title: Title, desk: Desk, clip: Path) -> None:
    """An encode tells how many frames a second it makes and how far it is."""
    desk.upload(clip)

    call("media_encode", title.planned["forkInputs"]["encode_240p"], desk.context())

    assert desk.progress[-1].fraction == 1.0
    assert desk.progress[-1].fps is not None
    assert "240p" in str(desk.progress[-1].message)


def test_new_content_replaces_a_version(title: Title) -> None:
    """Publishing other files under a published version replaces it whole."""
    given = {"videoId": "vid_1", "version": "9", "package": title.packaged["artefact"]}
    first = call("media_publish", {**given, "stills": title.verified["stills"]}, title.desk.context())
    second = call("media_publish", given, title.desk.context())

    assert not second["reused"]
    assert second["files"] < first["files"]
    assert not (title.desk.media / second["prefix"] / "poster.jpg").exists()


def test_cleanup_drops_only_what_is_asked(title: Title, desk: Desk, clip: Path) -> None:
    """Without a wish nothing is dropped, so that a retry finds its artefacts."""
    desk.upload(clip)
    shutil.copytree(title.desk.media / "artefacts", desk.media / "artefacts")

    kept = call("media_cleanup", {"videoId": "vid_1", "dropArtefacts": None, "reason": "x"}, desk.context())
    assert kept == {"removed": [], "reason": "x"}
    assert list(desk.storage.list("artefacts/vid_1"))
    gone = call("media_cleanup", {"videoId": "vid_1", "dropArtefacts": True}, desk.context())

    assert gone["removed"] == ["artefacts/vid_1"]
    assert list(desk.storage.list("artefacts/vid_1")) == []
