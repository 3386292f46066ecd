"""What is read out of real files."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.facts import SourceFacts, clean_text, facts_from_probe, language
from media_workers.media.packets import PacketScan
from media_workers.media.pixels import describe_pixels, orientation

Clip = Callable[[str], Path]
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]

EXPECTED: dict[str, dict[str, object]] = {
    "odd.mpg": {
        "display_width": 720,
        "display_height": 405,
        "frame_rate": "25/1",
        "frames": 55,
        "codec": "mpeg2video",
    },
    "ntsc.mp4": {"frame_rate": "30000/1001", "variable_frame_rate": False, "frames": 75},
    "ntsc.mkv": {"frame_rate": "30000/1001", "variable_frame_rate": False, "frames": 75},
    "vfr.mp4": {"frame_rate": "30/1", "variable_frame_rate": True},
    "portrait.mp4": {
        "display_width": 240,
        "display_height": 320,
        "coded_width": 320,
        "rotation": 270,
        "mirrored": False,
    },
    "mirrored.mp4": {"display_width": 320, "rotation": 0, "mirrored": True},
    "anamorphic.mp4": {"coded_width": 360, "display_width": 512, "display_height": 288, "sar": "64:45"},
    "interlaced.mpg": {"interlaced": True, "field_order": "tt", "frame_rate": "25/1"},
    "hdr10.mp4": {"hdr": "hdr10", "bit_depth": 10, "pix_fmt": "yuv420p10le"},
    "fast120.mp4": {"frame_rate": "120/1"},
    "high422.mov": {"bit_depth": 10, "chroma": "422", "codec": "prores"},
    "alpha.mov": {"alpha": True, "chroma": "rgb"},
    "one_frame.mp4": {"frames": 1, "frame_rate": "25/1"},
}


@pytest.mark.media
@pytest.mark.parametrize("name", EXPECTED)
def test_picture_of(name: str, clip: Clip, probe: Probe) -> None:
    """Size, shape, rate and colour of a picture are told as a viewer sees it."""
    _, _, facts = probe(clip(name))

    assert facts.video is not None
    found = {field: getattr(facts.video, field) for field in EXPECTED[name]}
    assert found == EXPECTED[name]


@pytest.mark.media
def test_clock_that_starts_late(clip: Clip, probe: Probe) -> None:
    """A transport stream's clock starts where it starts, and the picture's length is its own."""
    _, _, facts = probe(clip("start.ts"))

    assert facts.video is not None
    assert facts.start_seconds > 1
    assert facts.video.start_seconds >= facts.start_seconds
    assert facts.video.duration_seconds == pytest.approx(2.0)


@pytest.mark.media
def test_tracks(clip: Clip, probe: Probe) -> None:
    """Every sound track is listed with its language, and "und" never leaves as a language."""
    _, _, facts = probe(clip("two_tracks.mkv"))

    assert [(track.track, track.language, track.channels) for track in facts.audio] == [
        (0, "deu", 1),
        (1, "mis", 6),
    ]


@pytest.mark.media
def test_cover_art_is_no_picture(clip: Clip, probe: Probe) -> None:
    """Cover art makes no video of a song."""
    _, _, facts = probe(clip("cover.mp3"))

    assert facts.video is None
    assert facts.cover_index == 1


@pytest.mark.media
def test_facts_travel_as_json(clip: Clip, probe: Probe) -> None:
    """Facts written as JSON and read again are the same, with camelCase names."""
    _, _, facts = probe(clip("ntsc.mp4"))

    text = msgspec.json.encode(facts)

    assert b'"displayWidth":320' in text
    assert msgspec.json.decode(text, type=SourceFacts) == facts


def test_document_without_streams_is_refused() -> None:
    """A document that is not ffprobe's is named as such."""
    with pytest.raises(ValueError, match="streams"):
        facts_from_probe({}, size_bytes=1)


def test_packets_of_a_spliced_stream_are_joined() -> None:
    """A jump of a transport stream's clock is no pause: the parts follow each other."""
    scan = PacketScan()
    for base in (0, 90_000 * 1000):
        for frame in range(50):
            pts = base + frame * 3600
            scan.feed(
                f'{{ "stream_index": 0, "pts": {pts}, "dts": {pts}, "duration": 3600, "flags": "K__" }},'
            )

    timing = scan.timing(0, Fraction(1, 90_000), spliced=True)

    assert timing is not None
    assert (timing.jumps, timing.variable, timing.rate) == (1, False, "25/1")
    assert timing.end_seconds == pytest.approx(4.0)


def test_discarded_packets_are_no_frames() -> None:
    """What an edit list cuts away is not counted."""
    scan = PacketScan()
    for frame, flags in enumerate(("KD_", "_D_", "K__", "___")):
        scan.feed(
            f'{{ "stream_index": 0, "pts": {frame}, "dts": {frame}, "duration": 1, "flags": "{flags}" }}'
        )

    assert scan.count(0) == 2
    assert scan.keyframes(0) == [0]


def test_encrypted_packets_are_noticed() -> None:
    """Encryption shows in a packet's side data even when the codec looks ordinary."""
    scan = PacketScan()
    scan.feed('{ "stream_index": 0, "pts": 0, "dts": 0, "duration": 1, "flags": "K__",')
    scan.feed('{ "side_data_type": "Encryption info" }')

    timing = scan.timing(0, Fraction(1, 25))

    assert timing is not None
    assert timing.encrypted


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yuv420p", (8, "420", False)),
        ("yuvj422p", (8, "422", False)),
        ("yuv444p12le", (12, "444", False)),
        ("p010le", (10, "420", False)),
        ("gbrp10le", (10, "rgb", False)),
        ("rgb48be", (16, "rgb", False)),
        ("argb", (8, "rgb", True)),
        ("yuva444p10le", (10, "444", True)),
        ("gray", (8, "gray", False)),
        ("gray12le", (12, "gray", False)),
        ("nv12", (8, "420", False)),
    ],
)
def test_pixel_formats(name: str, expected: tuple[int, str, bool]) -> None:
    """A pixel format's name says depth, chroma and transparency."""
    pixels = describe_pixels(name)

    assert (pixels.bit_depth, pixels.chroma, pixels.alpha) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (((0, 65536), (-65536, 0)), (90, False)),
        (((-65536, 0), (0, -65536)), (180, False)),
        (((0, -65536), (65536, 0)), (270, False)),
        (((-65536, 0), (0, 65536)), (0, True)),
    ],
)
def test_display_matrices(rows: tuple[tuple[int, int], ...], expected: tuple[int, bool]) -> None:
    """A display matrix is clockwise degrees and a mirror."""
    text = "".join(f"\n0000000{number}: {a:11d} {b:11d} {0:11d}" for number, (a, b) in enumerate(rows))

    assert orientation(text) == expected


def test_hostile_tags_are_bounded() -> None:
    """Control characters and endless titles do not leave the probe."""
    assert clean_text("a\x00b\n" + "c" * 1000) == ("ab" + "c" * 198, True)


@pytest.mark.parametrize(
    ("tag", "code"), [("eng", "eng"), ("EN", "en"), ("und", "mis"), (None, "mis"), ("e,g", "mis")]
)
def test_languages(tag: str | None, code: str) -> None:
    """Only a well-formed language code is passed on."""
    assert language(tag) == code
