"""Every task function for real, on a two-second clip, from the source to the published package."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.guards import decode_args
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcLimits, run
from media_workers.sdk import (
    TaskCancelled,
    TaskContext,
    TaskFailed,
    TaskRejected,
)
from media_workers.tasks.registry import WORKERS
from tests.workers.conftest import Desk, make_clip

pytestmark = pytest.mark.media

Json = dict[str, Any]


def call(name: str, given: Json, ctx: TaskContext) -> Json:
    """Run a task as the wire would: JSON in, JSON out."""
    output = WORKERS[name].run(msgspec.json.encode(given), ctx)
    return msgspec.json.decode(msgspec.json.encode(output), type=Json)


class Title:
    """A whole title in three chunks, processed once for all tests that only look at it."""

    OPTIONS: Json = {
        "profile": "fast",
        "overrides": {"chunkSeconds": 2, "qualityGate": True},
    }

    def __init__(self, desk: Desk, clip: Path) -> None:
        self.desk = desk
        desk.upload(clip)
        self.validated = self._call("media_validate", {"videoId": "vid_1", **self.OPTIONS})
        self.planned = self._call("media_plan", {**self.validated, **self.OPTIONS})
        self.plan: Json = self.planned["plan"]
        self.source = {key: self.validated[key] for key in ("videoId", "sourceKey", "sourceSha256")}
        self.source["planKey"] = self.planned["planKey"]
        self.early = self.fork("preview")
        self.previewed = self.preview(self.early)
        self.branches = self.fork("fork")
        self.stitched = self.stitch()
        self.packaged = self.package()
        self.published = self.publish("1")

    def fork(self, name: str) -> dict[str, Json]:
        inputs = self.planned[f"{name}Inputs"]
        return {
            task["taskReferenceName"]: self._call(task["name"], inputs[task["taskReferenceName"]])
            for task in self.planned[f"{name}Tasks"]
        }

    def preview(self, branches: dict[str, Json]) -> Json:
        return self._call("media_preview", {**self.source, "version": "1", "branches": branches})

    def stitch(self, branches: dict[str, Json] | None = None, redone: dict[str, Json] | None = None) -> Json:
        given = {"preview": self.early, "branches": branches or self.branches, "redone": redone}
        return self._call("media_stitch", {**self.source, **given})

    def package(self) -> Json:
        given = {key: self.stitched[key] for key in ("renditions", "audio", "text", "stills")}
        return self._call("media_package", {**self.source, **given})

    def publish(self, version: str) -> Json:
        given = {"package": self.packaged["artefact"], "stills": self.stitched["stills"]}
        return self._call("media_publish", {"videoId": "vid_1", "version": version, **given})

    def _call(self, name: str, given: Json) -> Json:
        return call(name, given, self.desk.context())

    @property
    def folder(self) -> Path:
        return self.desk.media / str(self.published["prefix"])


def streams(folder: Path) -> dict[str, Path]:
    """The media playlists of a published folder's pictures, by rendition."""
    found = {}
    for path in folder.rglob("*.m3u8"):
        name = path.relative_to(folder).as_posix()
        if "#EXT-X-I-FRAMES-ONLY" not in path.read_text() and "#EXTINF" in path.read_text():
            found[name.split("/")[-2]] = path
    return found


@pytest.fixture(scope="module")
def title(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Title]:
    folder = tmp_path_factory.mktemp("title")
    clip = make_clip(tools, folder / "clip.mp4", seconds=5)
    with contextlib.closing(Desk(folder, tools)) as desk:
        yield Title(desk, clip)


def test_plan_has_a_branch_for_each_part(title: Title) -> None:
    """Each chunk of each group, the sound and the stills are branches; the preview has a fork of its own."""
    early, rest = (
        {task["taskReferenceName"]: task["name"] for task in title.planned[f"{name}Tasks"]}
        for name in ("preview", "fork")
    )

    assert early == {
        "encode_144p_c0000": "media_encode",
        "encode_144p_c0001": "media_encode",
        "encode_144p_c0002": "media_encode",
        "audio_0_aac": "media_audio",
    }
    assert set(rest.values()) == {"media_encode", "media_stills"}
    assert set(title.planned["forkInputs"]) == set(rest)
    work = [given for given in title.planned["forkInputs"].values() if "renditions" in given]
    assert sorted((name, given["chunk"]) for given in work for name in given["renditions"]) == [
        (name, chunk) for name in ("180p", "240p") for chunk in range(3)
    ]


def test_published_streams_decode_to_the_planned_frames(title: Title, tools: Binaries) -> None:
    """Each published rendition plays from its own playlist without an error, frame for frame."""
    playlists = streams(title.folder)
    for name in ("240p", "180p", "144p"):
        result = run(decode_args(tools.ffmpeg, str(playlists[name])), limits=ProcLimits(wall_seconds=60))
        assert result.ok
        assert result.stderr_tail.strip() == ""
    assert [item["video"]["frames"] for item in title.stitched["renditions"]] == [150, 150, 150]


def test_preview_plays(title: Title, tools: Binaries) -> None:
    """The smallest rendition is published as a version of its own, with sound and all frames."""
    folder = title.desk.media / str(title.previewed["prefix"])

    assert title.previewed["version"] == "1-preview"
    assert title.previewed["rendition"] == "144p"
    assert set(streams(folder)) >= {"144p"}
    assert not {"240p", "180p"} & set(streams(folder))
    result = run(decode_args(tools.ffmpeg, str(folder / "master.m3u8")), limits=ProcLimits(wall_seconds=60))
    assert result.ok
    assert result.stderr_tail.strip() == ""


def test_broken_preview_is_a_note(title: Title) -> None:
    """A preview that cannot be made says why and fails nothing."""
    without = {ref: branch for ref, branch in title.early.items() if ref != "encode_144p_c0001"}

    told = title.preview(without)

    assert told["version"] is None
    assert told["playback"] is None
    assert "144p: chunk 1 of 3" in told["note"]


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
        "dashCbcs": None,
        "poster": "poster.jpg",
        "storyboard": "storyboard.vtt",
    }


def test_nothing_unfinished_is_left(title: Title) -> None:
    """After the whole title no scratch folder and no half-written file exists."""
    assert title.desk.leftovers() == []


def reuses(branches: dict[str, Json]) -> set[bool]:
    return {made["reused"] for branch in branches.values() for made in (branch.get("chunks") or [branch])}


def test_repeated_tasks_reuse_their_results(title: Title) -> None:
    """Running every task again finds the finished work and publishes the same version."""
    again = {**title.fork("preview"), **title.fork("fork")}

    assert reuses(again) == {True}
    assert files_of(again) == files_of({**title.early, **title.branches})
    assert [item["file"] for item in title.stitch()["renditions"]] == [
        item["file"] for item in title.stitched["renditions"]
    ]
    assert title.package()["reused"]
    assert title.publish("1") == {**title.published, "reused": True}


def files_of(branches: dict[str, Json]) -> list[Json | None]:
    return [made.get("file") for branch in branches.values() for made in (branch.get("chunks") or [branch])]


def work_of(title: Title, rendition: str, chunk: int = 0) -> Json:
    """Input of the encode of one rendition alone."""
    return {**title.source, "renditions": [rendition], "chunk": chunk}


def test_another_setting_is_another_artefact(title: Title) -> None:
    """A chunk at another quality never takes the first one's result."""
    first = call("media_encode", work_of(title, "144p"), title.desk.context())["chunks"][0]
    given = {**work_of(title, "144p"), "crf": {"144p": first["crf"] + 5}, "attempt": 2}

    other = call("media_encode", given, title.desk.context())["chunks"][0]

    assert first["reused"]
    assert not other["reused"]
    assert (other["crf"], other["attempt"]) == (first["crf"] + 5, 2)
    assert other["file"]["key"] != first["file"]["key"]


def test_company_does_not_matter(title: Title, desk: Desk) -> None:
    """Renditions encoded in one process are byte for byte what each is alone, and are found by each."""
    desk.upload(title.desk.media / "sources/vid_1/input.bin")
    given = {**work_of(title, "180p"), "plan": title.plan, "planKey": None, "renditions": ["240p", "180p"]}

    together = call("media_encode", given, desk.context())["chunks"]
    alone = call("media_encode", {**given, "renditions": ["180p"]}, desk.context())["chunks"]

    assert alone[0]["reused"]
    apart = {
        made["rendition"]: made["file"]["sha256"]
        for branch in title.branches.values()
        for made in branch.get("chunks", [])
        if made["chunk"] == 0
    }
    assert {made["rendition"]: made["file"]["sha256"] for made in together} == apart


def test_provenance_is_whole_and_names_no_paths(title: Title) -> None:
    """Every chunk's command, tools, inputs and hash are kept, without a path of this machine."""
    for item in title.stitched["renditions"]:
        kept = (title.desk.media / item["video"]["sources"]).read_text()
        sources = json.loads(kept)
        assert [source["chunk"] for source in sources] == [0, 1, 2]
        for source in sources:
            assert "SOURCE" in source["provenance"]["argv"]
            assert source["provenance"]["inputs"] == [title.source["sourceSha256"]]
            assert "ffmpeg" in source["provenance"]["tools"]
            assert len(source["file"]["sha256"]) == 64
        assert str(title.desk.media.parent) not in kept
        joined = item["video"]["provenance"]
        assert joined["inputs"] == [source["file"]["sha256"] for source in sources]
        assert str(title.desk.media.parent) not in " ".join(joined["argv"])


def altered(title: Title, ref: str, **changes: Any) -> dict[str, Json]:
    branches: dict[str, Json] = json.loads(json.dumps(title.branches))
    for chunk in branches[ref]["chunks"]:
        chunk.update(changes)
    return branches


def test_stitch_refuses_other_headers(title: Title) -> None:
    """A chunk whose stream headers differ is never joined to the others; the sentence names both."""
    with pytest.raises(TaskFailed, match=r"^240p: its chunks have 2 different headers") as caught:
        title.stitch(altered(title, "encode_240p_c0001", headerHash="MD5:0"))

    assert caught.value.code == "chunk_mismatch"


def test_stitch_measures_the_whole(title: Title) -> None:
    """A file that is not what its record says is found in the joined rendition, in numbers."""
    short = title.branches["encode_240p_c0002"]["chunks"][0]["file"]

    with pytest.raises(TaskFailed, match=r"^240p: 120 frames, planned are 150") as caught:
        title.stitch(altered(title, "encode_240p_c0001", file=short))

    assert caught.value.code == "stitch_mismatch"


def test_stitch_misses_an_absent_chunk(title: Title) -> None:
    """A planned chunk that no branch made is not overlooked."""
    branches = {ref: branch for ref, branch in title.branches.items() if ref != "encode_180p_c0001"}

    with pytest.raises(TaskFailed, match=r"^180p: chunk 1 of 3") as caught:
        title.stitch(branches)

    assert caught.value.code == "chunk_missing"


def test_second_attempt_replaces_the_first(title: Title) -> None:
    """Chunks that the quality gate asked for take the place of the first ones, all or none."""
    given = {"crf": {"180p": 20}, "attempt": 2}
    redone = {
        f"redo_180p_c{chunk:04d}__1": call(
            "media_encode", {**work_of(title, "180p", chunk), **given}, title.desk.context()
        )
        for chunk in range(3)
    }

    second = title.stitch(redone=redone)

    attempts = {item["video"]["rendition"]: item["video"]["attempt"] for item in second["renditions"]}
    assert attempts == {"240p": 1, "180p": 2, "144p": 1}
    sizes = [
        next(item["file"]["size"] for item in each["renditions"] if item["video"]["rendition"] == "180p")
        for each in (title.stitched, second)
    ]
    assert sizes[1] > sizes[0]
    with pytest.raises(TaskFailed, match="different attempts"):
        title.stitch(redone={ref: made for ref, made in redone.items() if "c0001" not in ref})


def test_stitch_prepares_the_measuring(title: Title) -> None:
    """Each rendition of the quality plan is measured by a task of its own, on its stitched file."""
    refs = [task["taskReferenceName"] for task in title.stitched["measureTasks"]]

    assert refs == ["measure_240p", "measure_180p", "measure_144p"]
    files = [title.stitched["measureInputs"][ref]["file"] for ref in refs]
    assert files == [item["file"] for item in title.stitched["renditions"]]


def test_encodes_teach_the_calibration(title: Title) -> None:
    """What encodes have cost is kept, and the next plan predicts with it."""
    kept = json.loads((title.desk.media / "calibration/encoders.json").read_bytes())
    assert any(key.startswith("libx264/veryfast/") for key in kept["cells"])

    again = call("media_plan", {**title.validated, **title.OPTIONS}, title.desk.context())

    seconds = [group["predictedSeconds"] for group in again["plan"]["groups"]]
    assert seconds != [group["predictedSeconds"] for group in title.plan["groups"]]


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


def alone(title: Title) -> Json:
    """Input of an encode for a desk that does not have the stored plan."""
    return {**work_of(title, "240p"), "plan": title.plan, "planKey": None}


def test_cancelled_encode_leaves_nothing(title: Title, desk: Desk, clip: Path) -> None:
    """A run cancelled while it encodes stores nothing and cleans up."""
    desk.upload(clip)
    desk.cancel_on_progress = True

    with pytest.raises(TaskCancelled):
        call("media_encode", alone(title), desk.context())

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

    call("media_encode", alone(title), desk.context())

    assert desk.progress[-1].fraction == 1.0
    assert desk.progress[-1].fps is not None
    assert "240p" in str(desk.progress[-1].message)


def test_a_version_never_changes(title: Title) -> None:
    """Publishing other files under a published version is refused; what is there plays on."""
    given = {"videoId": "vid_1", "version": "9", "package": title.packaged["artefact"]}
    first = call("media_publish", {**given, "stills": title.stitched["stills"]}, title.desk.context())
    manifest = (title.desk.media / first["prefix"] / "manifest.json").read_bytes()

    with pytest.raises(TaskRejected, match="another version") as caught:
        call("media_publish", given, title.desk.context())

    assert caught.value.code == "version_taken"
    assert (title.desk.media / first["prefix"] / "manifest.json").read_bytes() == manifest
    assert (title.desk.media / first["prefix"] / "poster.jpg").exists()


def test_chunks_go_once_something_is_published(title: Title, desk: Desk) -> None:
    """Chunks are dropped when a version is published, and not before; finished renditions stay."""
    shutil.copytree(title.desk.media / "artefacts", desk.media / "artefacts")
    shutil.copytree(title.desk.media / "published/vid_1/1", desk.media / "published/vid_1/1-preview")
    chunks = [item.prefix for item in desk.resources.artefacts.of("vid_1", "chunk")]
    wish = {"videoId": "vid_1", "dropChunks": True}

    early = call("media_cleanup", wish, desk.context())
    (desk.media / "published/vid_1/1-preview").rename(desk.media / "published/vid_1/1")
    late = call("media_cleanup", wish, desk.context())

    assert chunks
    assert early["removed"] == []
    assert late["removed"] == chunks
    assert not list(desk.resources.artefacts.of("vid_1", "chunk"))
    assert list(desk.resources.artefacts.of("vid_1", "package"))


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
