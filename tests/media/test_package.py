"""Packaging: the packager's argument list, what it makes of it, and what is corrected afterwards."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from media_workers.media.dash import read_mpd
from media_workers.media.hls import RenditionLine, read_master
from media_workers.media.mp4 import init_facts, segment_facts
from media_workers.media.package import content_type, kept_out_of_hls, packager_args, publish_order
from media_workers.media.plan import Plan
from media_workers.media.verdicts import judge, rejection
from media_workers.procs.binaries import Binaries
from tests.media.conftest import RECIPES
from tests.media.packages import SOURCE, VIDEO_ID, Studio, Title

pytestmark = pytest.mark.media

TWO_GERMAN = SOURCE.replace("language=eng", "language=deu").replace("language=fra", "language=und")
HDR = f"-f lavfi -i testsrc2=s=320x180:r=25:d=1 {RECIPES['hdr10.mp4'].split('d=1 ')[1]}"
SOUND_ALONE = "-f lavfi -i sine=d=4.6:r=48000 -c:a aac"


@pytest.fixture(scope="module")
def studio(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(tmp_path_factory.mktemp("packaged"), tools)
    yield made
    made.close()


@pytest.fixture(scope="module")
def rich(studio: Studio) -> Title:
    """Three codecs, sound in two, subtitles."""
    overrides = {"renditions": ["144p"], "codecs": ["h264", "hevc", "av1"], "audioCodecs": ["aac", "opus"]}
    return studio.title(overrides=overrides)


@pytest.fixture(scope="module")
def folder(rich: Title) -> Path:
    return rich.publish(rich.package(), "rich")


def lines_of(folder: Path, kind: str) -> list[RenditionLine]:
    master = read_master("master.m3u8", (folder / "master.m3u8").read_text())
    return [line for line in master.renditions if line.kind == kind]


def test_one_set_of_segments(folder: Path) -> None:
    """HLS and DASH list the same segments, each codec and track once."""
    manifest = read_mpd((folder / "manifest.mpd").read_text())
    media = {stream.segments[0].ref.path for stream in manifest.streams if stream.kind != "text"}
    playlists = {path.parent.relative_to(folder).as_posix() for path in folder.glob("[av]*/*/playlist.m3u8")}

    assert {path.rpartition("/")[0] for path in media} == playlists
    assert playlists >= {"video/144p", "video/144p_hevc", "video/144p_av1"}
    assert len(list(folder.glob("video/*/iframes.m3u8"))) == 3


def test_codecs_have_sets_of_their_own(folder: Path) -> None:
    """Each codec is an adaptation set of its own, and HEVC is marked as Apple's players want it."""
    text = (folder / "manifest.mpd").read_text()
    video_sets = [part for part in text.split("<AdaptationSet ")[1:] if 'contentType="video"' in part]

    assert len(video_sets) == 3
    assert (folder / "video/144p_hevc/init.mp4").read_bytes().count(b"hvc1") >= 1


def test_a_group_of_sound_for_each_codec(folder: Path) -> None:
    """Each codec of the sound is a group that every picture can be heard with; each has one default."""
    master = read_master("master.m3u8", (folder / "master.m3u8").read_text())
    lines = lines_of(folder, "AUDIO")
    groups = {line.group for line in lines}

    assert groups == {"audio_aac", "audio_opus"}
    assert {(variant.path, variant.audio) for variant in master.variants} == {
        (f"video/{name}/playlist.m3u8", group)
        for name in ("144p", "144p_hevc", "144p_av1")
        for group in groups
    }
    for group in groups:
        assert [line.default for line in lines if line.group == group] == [True, False]
        assert {line.language for line in lines if line.group == group} == {"en", "fr"}


def test_subtitles_and_captions(folder: Path) -> None:
    """Captions say what they describe, forced subtitles that they are; the text is as long as the film."""
    captions, forced = lines_of(folder, "SUBTITLES")

    assert "transcribes-spoken-dialog" in captions.characteristics
    assert not captions.forced
    assert forced.forced
    assert not captions.default
    assert len(list((folder / "text/text_0").glob("*.vtt"))) == 3
    manifest = read_mpd((folder / "manifest.mpd").read_text())
    roles = {stream.language: stream.roles for stream in manifest.streams if stream.kind == "text"}
    assert roles == {"en": ("caption",), "fr": ("forced-subtitle",)}


def test_the_storyboard_is_an_image_set(folder: Path, rich: Title) -> None:
    """DASH lists the storyboard's sheets as pictures of so many tiles."""
    assert rich.plan.stills is not None
    [image] = read_mpd((folder / "manifest.mpd").read_text()).images

    assert [segment.ref.path for segment in image.segments] == ["sprite-001.jpg"]
    tiles = f'value="{rich.plan.stills.columns}x{rich.plan.stills.rows}"'
    assert tiles in (folder / "manifest.mpd").read_text()


def test_the_plan_chooses_the_default(studio: Studio) -> None:
    """Where the default track is not the first, or has no language, it is the default all the same."""

    def second(plan: Plan) -> Plan:
        tracks = tuple(
            msgspec.structs.replace(track, default=number == 1) for number, track in enumerate(plan.audio)
        )
        return msgspec.structs.replace(plan, audio=tracks)

    title = studio.title(source=TWO_GERMAN, overrides={"renditions": ["144p"]}, change=second, texts=())
    lines = lines_of(title.publish(title.package(), "second"), "AUDIO")

    assert [line.default for line in lines] == [False, True]
    assert [line.language for line in lines] == ["de", "mis"]
    assert all(line.autoselect for line in lines if line.default)


def test_dynamic_ranges_are_said(studio: Studio) -> None:
    """HLS says of each picture whether it is HDR, also of VP9, which the packager takes for SDR."""
    overrides = {"renditions": ["144p"], "codecs": ["h264", "vp9"], "hdr": "auto"}
    title = studio.title(source=HDR, overrides=overrides, texts=())
    folder = title.publish(title.package(), "hdr")
    master = read_master("master.m3u8", (folder / "master.m3u8").read_text())

    expected = {"video/144p": "SDR", "video/144p_vp9_hdr": "PQ"}
    for listed in (master.variants, master.iframes):
        assert {item.path.rpartition("/")[0]: item.video_range for item in listed} == expected


def test_sound_alone_is_packaged(studio: Studio) -> None:
    """A title of sound alone is a package that keeps every rule."""
    title = studio.title(source=SOUND_ALONE, profile="audio", texts=())
    folder = title.publish(title.package(stills=None), "sound")

    assert {path.parent.name for path in folder.rglob("init.mp4")} == {
        track.name for track in title.plan.audio
    }


def test_two_copies_share_nothing(rich: Title) -> None:
    """`dual` is HLS and DASH over `cbcs` beside DASH over `cenc`, with other keys and the same pictures."""
    plan = rich.protect({"scheme": "dual"})
    folder = rich.publish(rich.package(plan), "dual")
    schemes = {
        name: {key.scheme for stream in streams for key in stream.keys}
        for name in ("manifest.mpd", "manifest_cbcs.mpd")
        if (streams := read_mpd((folder / name).read_text(), name).streams)
    }
    key_ids = {
        path.relative_to(folder).parts[0]: init_facts(path.read_bytes()).key_id
        for path in folder.glob("*/video/144p/init.mp4")
    }

    assert schemes == {"manifest.mpd": {"cenc"}, "manifest_cbcs.mpd": {"cbcs"}}
    assert all(line.path and line.path.startswith("cbcs/") for line in lines_of(folder, "AUDIO"))
    assert len(set(key_ids.values())) == 2


def test_a_package_is_found_again(rich: Title) -> None:
    """The same parts and keys are the same package; another key is another, without another encode."""
    plan = rich.protect({"scheme": "cbcs"})
    first, again = rich.package(plan), rich.package(plan)
    custody = rich.desk.resources.keys
    assert custody is not None
    custody.store.start_version(VIDEO_ID)
    renewed = rich.protect({"scheme": "cbcs"})

    assert again.reused
    assert first.artefact == again.artefact
    assert rich.package(renewed).artefact != first.artefact
    argv = " ".join(first.package.provenance.argv)
    assert not any(value.hex() in argv for value in rich.key_values(plan).values())


def test_apple_gets_no_h264_above_its_level(rich: Title) -> None:
    """H.264 above level 4.2 is for DASH alone in the profile `apple`, if there is H.264 below it."""
    small = msgspec.structs.replace(rich.plan.renditions[0], level="4.0")
    large = msgspec.structs.replace(small, name="2160p", level="5.1")
    plan = msgspec.structs.replace(rich.plan, profile="apple", renditions=(large, small))

    assert [kept_out_of_hls(plan, item) for item in plan.renditions] == [True, False]
    argv = packager_args(
        "packager",
        plan,
        videos={"2160p": "/a.mp4", small.name: "/b.mp4"},
        audios={track.name: "/c.mp4" for track in plan.audio},
    )
    assert "dash_only=1" in argv[1]
    assert "playlist_name" not in argv[1]
    assert not kept_out_of_hls(msgspec.structs.replace(plan, profile="default"), large)


@pytest.mark.parametrize("path", ["/media/a,b.mp4", "/media/a=b.mp4"])
def test_paths_that_the_packager_cannot_read(path: str, rich: Title) -> None:
    """A path that would mean something else to the packager is refused, as is a stream without a file."""
    videos = {item.name: "/a.mp4" for item in rich.plan.renditions}
    audios = {track.name: "/a.mp4" for track in rich.plan.audio}

    with pytest.raises(ValueError, match="cannot read"):
        packager_args("packager", rich.plan, videos={**videos, "144p": path}, audios=audios)
    with pytest.raises(ValueError, match="no file was given"):
        packager_args("packager", rich.plan, videos={}, audios=audios)


@pytest.mark.parametrize("cut", [0, 7, 40, 200])
def test_cut_boxes_are_refused(cut: int, folder: Path) -> None:
    """Boxes that break off are an error in words, never another exception."""
    data = (folder / "video/144p/00001.m4s").read_bytes()
    init = (folder / "video/144p/init.mp4").read_bytes()

    with pytest.raises(ValueError, match="box"):
        init_facts(init[:cut])
    with pytest.raises(ValueError, match="moof"):
        segment_facts(data[:cut], init_facts(init))


def test_encrypted_upload_is_refused(
    clip: Callable[[str], Path],
    probe: Callable[[Path], tuple[object, ...]],
    tools: Binaries,
    execute: Callable[..., object],
    tmp_path: Path,
) -> None:
    """An encrypted file, which ffprobe calls ordinary H.264, is refused as encrypted."""
    target = tmp_path / "encrypted.mp4"
    key = "label=SD:key_id=11111111111111111111111111111111:key=22222222222222222222222222222222"
    stream = f"in={clip('plain.mp4')},stream=video,output={target},drm_label=SD"
    execute(
        [tools.packager, stream, "--enable_raw_key_encryption", f"--keys={key}", "--clear_lead=0", "--quiet"]
    )

    found = rejection(judge(probe(target)[2]))  # type: ignore[arg-type] # the third is SourceFacts

    assert found is not None
    assert found.code == "encrypted_source"


def test_content_types() -> None:
    """Every published file has the type that players ask for."""
    types = {
        "master.m3u8": "application/vnd.apple.mpegurl",
        "manifest.mpd": "application/dash+xml",
        "video/720p/init.mp4": "video/mp4",
        "cbcs/audio/audio_0/init.mp4": "audio/mp4",
        "text/text_0/init.mp4": "application/mp4",
        "video/720p/00001.m4s": "video/iso.segment",
        "text/text_0/00001.vtt": "text/vtt; charset=utf-8",
        "strange": "application/octet-stream",
    }

    assert {path: content_type(path) for path in types} == types


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
