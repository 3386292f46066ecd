"""Every way a file can be refused or made right has its code, on the real kind of file where possible."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.facts import AudioFacts, OtherStream, SourceFacts
from media_workers.media.guards import probe_args
from media_workers.media.packets import PacketScan
from media_workers.media.verdicts import Limits, judge, judge_head, judge_unopened, rejection
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcLimits, run

Clip = Callable[[str], Path]
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Source = Callable[..., SourceFacts]

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
UNOPENED = {
    "empty": (b"", "empty_file"),
    "text": (b"hello world\n" * 500, "not_media"),
    "noise": (bytes((value * 7919 >> 3) % 256 for value in range(20_000)), "not_media"),
    "zeros": (bytes(20_000), "not_media"),
    "playlist": (PLAYLIST, "forbidden_container"),
    "playlist_with_mark": (b"\xef\xbb\xbf" + PLAYLIST, "forbidden_container"),
    "concat": (b"ffconcat version 1.0\nfile input.bin\n", "forbidden_container"),
    "dash": (
        b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        "forbidden_container",
    ),
    "sdp": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n", "forbidden_container"),
    "zip": (b"PK\x03\x04" + bytes(100), "not_media"),
    "pdf": (b"%PDF-1.7\n", "not_media"),
}


@pytest.mark.media
@pytest.mark.parametrize("kind", UNOPENED)
def test_what_cannot_be_opened(kind: str, tools: Binaries, tmp_path: Path) -> None:
    """What is no media file is refused by ffprobe too, and named by its code."""
    content, code = UNOPENED[kind]
    path = tmp_path / "input.bin"
    path.write_bytes(content)

    result = run(probe_args(tools.ffprobe, str(path)), limits=ProcLimits(wall_seconds=20))
    verdict = judge_unopened(len(content), content[:4096], result.stderr_tail)

    assert not result.ok
    assert (verdict.code, verdict.severity) == (code, "reject")
    assert verdict.message.endswith(".")


@pytest.mark.media
def test_file_cut_before_its_index(clip: Clip, tools: Binaries, tmp_path: Path) -> None:
    """An MP4 whose index stood at the end that is missing."""
    path = tmp_path / "input.bin"
    path.write_bytes(clip("plain.mp4").read_bytes()[:20_000])

    result = run(probe_args(tools.ffprobe, str(path)), limits=ProcLimits(wall_seconds=20))

    assert judge_unopened(20_000, path.read_bytes()[:4096], result.stderr_tail).code == "truncated_no_index"


@pytest.mark.media
@pytest.mark.parametrize("name", ["fast_start.mp4", "fragmented.mp4"])
def test_file_cut_after_its_index(name: str, clip: Clip, probe: Probe, tmp_path: Path) -> None:
    """An MP4 that opens and ends early is refused by its packets, not by an exit code."""
    whole = clip(name).read_bytes()
    path = tmp_path / "input.bin"
    path.write_bytes(whole[: len(whole) * 6 // 10])

    _, _, facts = probe(path)

    found = rejection(judge(facts))
    assert found is not None
    assert found.code == "truncated"


@pytest.mark.media
def test_frame_too_large_to_decode(clip: Clip, probe: Probe) -> None:
    """A small file with an enormous picture is refused without decoding it."""
    _, _, facts = probe(clip("huge.mov"))

    found = rejection(judge(facts))
    assert found is not None
    assert found.code == "too_large_frame"


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("odd.mpg", {"odd_dimensions", "no_audio", "start_time_shifted", "colour_assumed"}),
        ("vfr.mp4", {"variable_frame_rate"}),
        ("portrait.mp4", {"rotated"}),
        ("mirrored.mp4", {"mirrored"}),
        ("anamorphic.mp4", {"non_square_pixels"}),
        ("interlaced.mpg", {"interlaced"}),
        ("hdr10.mp4", {"hdr10", "high_bit_depth"}),
        ("fast120.mp4", {"unusual_frame_rate"}),
        ("high422.mov", {"chroma_converted", "high_bit_depth", "very_short"}),
        ("alpha.mov", {"alpha_flattened", "rgb_converted", "unusual_codec"}),
        ("start.ts", {"start_time_shifted"}),
        ("surround.mp4", {"audio_remapped"}),
        ("late_sound.mp4", {"av_offset", "av_length_mismatch"}),
    ],
)
def test_what_is_made_right(name: str, codes: set[str], clip: Clip, probe: Probe) -> None:
    """An awkward source is accepted, with a finding for each thing that is changed."""
    verdicts = judge(probe(clip(name))[2])

    assert rejection(verdicts) is None
    assert codes <= {verdict.code for verdict in verdicts}


@pytest.mark.media
def test_plain_source_is_accepted_in_silence(clip: Clip, probe: Probe) -> None:
    """An ordinary clip has nothing changed and no warning but for what it does not say."""
    verdicts = judge(probe(clip("ntsc.mp4"))[2])

    assert {verdict.code for verdict in verdicts} == {"colour_assumed"}


@pytest.mark.media
def test_sound_alone(clip: Clip, probe: Probe) -> None:
    """The profile decides whether sound alone is a source."""
    _, _, facts = probe(clip("sound.m4a"))

    refused = rejection(judge(facts))
    assert refused is not None
    assert refused.code == "no_video"
    assert [verdict.code for verdict in judge(facts, audio_only_allowed=True)] == ["audio_only"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"coded_width": 8200, "coded_height": 100}, "too_large_frame"),
        ({"coded_width": 8000, "coded_height": 8000}, "too_large_frame"),
        ({"coded_width": 0, "coded_height": 0, "display_width": 0, "display_height": 0}, "unsupported_codec"),
        ({"display_width": 8, "display_height": 8}, "too_small_frame"),
        ({"frames": 0}, "truncated"),
        ({"timestamps_missing": 50}, "no_timestamps"),
        ({"hdr": "dolby_vision", "dolby_vision_profile": 5}, "dolby_vision_unsupported"),
        ({"duration_seconds": 13 * 3600.0}, "over_limit"),
        ({"coded_width": 7680, "coded_height": 4320, "duration_seconds": 11 * 3600.0}, "over_budget"),
        ({"claimed_seconds": 3.0}, "truncated"),
    ],
)
def test_pictures_that_are_refused(changes: dict[str, Any], code: str, source: Source) -> None:
    """Each limit of the picture refuses with its own code."""
    found = rejection(judge(source(**changes)))

    assert found is not None
    assert found.code == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"encrypted": True}, "encrypted_source"),
        ({"external_reference": True}, "external_reference"),
        ({"streams": 65}, "too_many_streams"),
        ({"video": None}, "no_video"),
        ({"duration_seconds": 20.0}, "truncated"),
    ],
)
def test_files_that_are_refused(changes: dict[str, Any], code: str, source: Source) -> None:
    """Each rule of the whole file refuses with its own code."""
    found = rejection(judge(msgspec.structs.replace(source(), **changes)))

    assert found is not None
    assert found.code == code


def test_a_little_missing_is_a_warning(source: Source) -> None:
    """Less than two percent missing at the end is told and accepted."""
    facts = source(duration_seconds=100.0, end_seconds=100.0, claimed_seconds=101.0)

    verdicts = judge(facts)

    assert rejection(verdicts) is None
    assert ("truncated", "warn") in {(verdict.code, verdict.severity) for verdict in verdicts}


def test_rejects_come_first(source: Source) -> None:
    """The reason to refuse stands before everything else."""
    facts = source(rotation=90, coded_width=9000)

    assert [verdict.severity for verdict in judge(facts)][:1] == ["reject"]


def test_operator_may_raise_a_limit(source: Source) -> None:
    """Limits are a record that an operator fills."""
    assert rejection(judge(source(coded_width=9000), Limits(edge_px_max=10_000))) is None


def test_unknown_layout_is_told(source: Source) -> None:
    """A track with nameless channels is mixed by its first two, and said so."""
    track = AudioFacts(
        track=0, index=1, codec="pcm_s16le", channels=8, sample_rate=48_000, duration_seconds=2.0
    )

    codes = {verdict.code for verdict in judge(msgspec.structs.replace(source(), audio=(track,)))}

    assert "unknown_layout" in codes


def test_other_streams_are_told(source: Source) -> None:
    """Streams that are left out are named as left out."""
    other = OtherStream(index=1, kind="data", codec="tmcd")
    facts = msgspec.structs.replace(source(), other=(other,), extra_video=(other,))

    assert {"extra_streams_ignored", "extra_video_streams"} <= {verdict.code for verdict in judge(facts)}


def test_head_of_a_video_speaks_for_it() -> None:
    """The first bytes of a real container are no reason to refuse it."""
    assert judge_head(1000, b"\x00\x00\x00\x20ftypisom" + bytes(100)) is None
