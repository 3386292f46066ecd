"""A package, really made by the packager, and every way it can be wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from media_workers.media.dash import read_mpd
from media_workers.media.facts import SourceFacts
from media_workers.media.guards import decode_args
from media_workers.media.mp4 import InitFacts, SegmentFacts, init_facts, segment_facts
from media_workers.media.package import check_package, content_type, packager_args, publish_order
from media_workers.media.packets import PacketScan
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.sound import audio_args
from media_workers.media.verdicts import judge, rejection
from media_workers.media.verify import Finding
from media_workers.media.video import video_args
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcResult

pytestmark = pytest.mark.media

Clip = Callable[[str], Path]
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Execute = Callable[..., ProcResult]


class Package(NamedTuple):
    plan: Plan
    folder: Path
    sizes: dict[str, int]
    texts: dict[str, str]
    inits: dict[str, InitFacts]
    segments: dict[str, SegmentFacts]

    def check(self, **changes: Any) -> tuple[Finding, ...]:
        given = {"sizes": self.sizes, "texts": self.texts, "inits": self.inits, "segments": self.segments}
        given |= changes
        return check_package(given.pop("plan", self.plan), **given)  # type: ignore[arg-type] # by keyword

    def rules(self, **changes: Any) -> set[str]:
        return {finding.rule for finding in self.check(**changes)}


@pytest.fixture(scope="session")
def make_package(
    *, clip: Clip, probe: Probe, tools: Binaries, execute: Execute, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Package]:
    """Encode and package a clip."""

    def make(name: str, profile: str) -> Package:
        source = str(clip(name))
        plan = make_plan(probe(clip(name))[2], resolve_profile(profile))
        encoded, folder = tmp_path_factory.mktemp("encoded"), tmp_path_factory.mktemp("package")
        videos = {rendition.name: str(encoded / f"{rendition.name}.mp4") for rendition in plan.renditions}
        audios = {track.name: str(encoded / f"{track.name}.mp4") for track in plan.audio}
        for rendition in plan.renditions:
            execute(
                video_args(tools.ffmpeg, plan, [rendition], source=source, targets=[videos[rendition.name]])
            )
        for track in plan.audio:
            target = audios[track.name]
            execute(audio_args(tools.ffmpeg, track, source=source, target=target, measured=None))
        execute(packager_args(tools.packager, plan, videos=videos, audios=audios), cwd=folder)
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        inits = {
            name: init_facts(path.read_bytes()) for name, path in files.items() if path.name == "init.mp4"
        }
        segments = {
            name: segment_facts(path.read_bytes()[:65536], inits[f"{name.rpartition('/')[0]}/init.mp4"])
            for name, path in files.items()
            if path.suffix == ".m4s"
        }
        sizes = {name: path.stat().st_size for name, path in files.items()}
        texts = {name: path.read_text() for name, path in files.items() if path.suffix in {".m3u8", ".mpd"}}
        return Package(plan, folder, sizes, texts, inits, segments)

    return make


@pytest.fixture(scope="session")
def package(make_package: Callable[[str, str], Package]) -> Package:
    return make_package("long.mp4", "fast")


def test_package_is_sound(package: Package, tools: Binaries, execute: Execute) -> None:
    """A package of a 29.97 clip keeps every rule, and its HLS decodes without an error."""
    assert len(package.plan.renditions) >= 3
    assert package.check() == ()
    assert len(read_mpd(package.texts["manifest.mpd"]).representations) == len(package.plan.renditions) + 1
    execute(decode_args(tools.ffmpeg, str(package.folder / "master.m3u8")))


@pytest.mark.parametrize("name", ["odd.mpg", "two_tracks.mkv", "portrait.mp4"])
def test_other_packages_are_sound(name: str, make_package: Callable[[str, str], Package]) -> None:
    """No sound, two tracks (one without a language), portrait: every rule holds."""
    assert make_package(name, "fast").check() == ()


def test_sound_alone_is_packaged(make_package: Callable[[str, str], Package]) -> None:
    """A package of sound alone keeps every rule."""
    assert make_package("sound.m4a", "audio").check() == ()


def test_missing_manifest(package: Package) -> None:
    """A package without its master is no package."""
    texts = {path: text for path, text in package.texts.items() if path != "master.m3u8"}

    assert package.rules(texts=texts) == {"missing_file"}


@pytest.mark.parametrize("path", ["video/360p/00002.m4s", "audio/audio_0/init.mp4", "video/240p/init.mp4"])
def test_missing_segment(path: str, package: Package) -> None:
    """Every file that a manifest lists is there and has something in it."""
    gone = {name: size for name, size in package.sizes.items() if name != path}

    assert {finding.subject for finding in package.check(sizes=gone)} == {path}
    assert package.rules(sizes={**package.sizes, path: 0}) == {"missing_file"}


def test_missing_playlist(package: Package) -> None:
    """A playlist that the master lists is there."""
    texts = {path: text for path, text in package.texts.items() if path != "video/360p/playlist.m3u8"}

    assert "missing_file" in package.rules(texts=texts)


@pytest.mark.parametrize(
    ("path", "old", "new", "rule"),
    [
        ("video/360p/playlist.m3u8", "EXTINF:6.006", "EXTINF:5.500", "segment_grid"),
        ("video/360p/playlist.m3u8", "EXTINF:6.006", "EXTINF:5.500", "segment_duration"),
        ("video/360p/playlist.m3u8", "TARGETDURATION:7", "TARGETDURATION:5", "target_duration"),
        ("video/360p/playlist.m3u8", "#EXT-X-ENDLIST", "", "endlist"),
        ("video/360p/playlist.m3u8", '#EXT-X-MAP:URI="init.mp4"', "", "init_segment"),
        ("audio/audio_0/playlist.m3u8", "EXTINF:6.0", "EXTINF:8.0", "duration"),
        ("master.m3u8", "RESOLUTION=480x360", "RESOLUTION=480x362", "master_renditions"),
        ("master.m3u8", ',AUDIO="audio"', "", "master_audio"),
        ("master.m3u8", "DEFAULT=YES", "DEFAULT=NO", "default_audio"),
        ("manifest.mpd", 'd="180180"', 'd="90090"', "mpd"),
        ("manifest.mpd", 'type="static"', 'type="dynamic"', "mpd"),
        ("manifest.mpd", "</MPD>", "", "mpd"),
        ("manifest.mpd", "<MPD ", "<!DOCTYPE x><MPD ", "mpd"),
        ("manifest.mpd", "video/360p/$Number%05d$", "video/361p/$Number%05d$", "missing_file"),
    ],
)
def test_wrong_manifest(path: str, old: str, new: str, rule: str, package: Package) -> None:
    """A manifest that promises something else is found out by the rule it breaks."""
    assert old in package.texts[path]

    texts = {**package.texts, path: package.texts[path].replace(old, new)}

    assert rule in package.rules(texts=texts)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"first_is_key": False}, "segment_keyframe"),
        ({"decode_ticks": 1}, "continuity"),
        ({"samples": 3}, "frames"),
        ({"duration_ticks": 1}, "segment_duration"),
    ],
)
def test_wrong_segment(changes: dict[str, Any], rule: str, package: Package) -> None:
    """A segment that is not what the manifests say is found out."""
    path = "video/360p/00002.m4s"
    changed = msgspec.structs.replace(package.segments[path], **changes)

    assert rule in package.rules(segments={**package.segments, path: changed})


def test_unreadable_segment(package: Package) -> None:
    """A segment that could not be read is a finding."""
    segments = {path: facts for path, facts in package.segments.items() if path != "video/360p/00001.m4s"}

    assert package.rules(segments=segments) == {"media"}


def test_another_plan(package: Package) -> None:
    """A package of another plan does not pass for this one."""
    shorter = msgspec.structs.replace(package.plan, frames_total=100, duration_seconds=3.336667)

    assert {"frames", "duration", "segment_grid"} <= package.rules(plan=shorter)


@pytest.mark.parametrize("cut", [0, 7, 40, 200])
def test_cut_boxes_are_refused(cut: int, package: Package) -> None:
    """Boxes that break off are an error in words, never another exception."""
    path = "video/360p/00001.m4s"
    data = (package.folder / path).read_bytes()
    init = (package.folder / "video/360p/init.mp4").read_bytes()

    with pytest.raises(ValueError, match="box"):
        init_facts(init[:cut])
    with pytest.raises(ValueError, match="moof"):
        segment_facts(data[:cut], package.inits["video/360p/init.mp4"])


def test_encrypted_upload_is_refused(
    *, clip: Clip, probe: Probe, tools: Binaries, execute: Execute, tmp_path: Path
) -> None:
    """An encrypted file, which ffprobe calls ordinary H.264, is refused as encrypted."""
    target = tmp_path / "encrypted.mp4"
    key = "label=SD:key_id=11111111111111111111111111111111:key=22222222222222222222222222222222"
    execute(
        [
            tools.packager,
            f"in={clip('plain.mp4')},stream=video,output={target},drm_label=SD",
            "--enable_raw_key_encryption",
            f"--keys={key}",
            "--clear_lead=0",
            "--quiet",
        ]
    )

    found = rejection(judge(probe(target)[2]))

    assert found is not None
    assert found.code == "encrypted_source"


def test_content_types() -> None:
    """Every published file has the type that players ask for."""
    paths = (
        "master.m3u8",
        "manifest.mpd",
        "video/720p/init.mp4",
        "audio/audio_0/init.mp4",
        "video/720p/00001.m4s",
    )

    assert [content_type(path) for path in paths] == [
        "application/vnd.apple.mpegurl",
        "application/dash+xml",
        "video/mp4",
        "audio/mp4",
        "video/iso.segment",
    ]
    assert content_type("strange") == "application/octet-stream"


def test_masters_become_visible_last() -> None:
    """What names other files comes after them."""
    paths = ["master.m3u8", "manifest.mpd", "video/1/playlist.m3u8", "video/1/00001.m4s", "poster.jpg"]

    assert publish_order(paths) == [
        "poster.jpg",
        "video/1/00001.m4s",
        "video/1/playlist.m3u8",
        "manifest.mpd",
        "master.m3u8",
    ]
