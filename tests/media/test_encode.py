"""Awkward sources, really encoded: exactly the planned frames, on the planned grid, and the right ones."""

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.facts import SourceFacts
from media_workers.media.packets import PacketScan
from media_workers.media.plan import Plan, Rendition, make_plan
from media_workers.media.profiles import Profile, resolve_profile
from media_workers.media.verify import check_rendition
from media_workers.media.video import video_args
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcResult

pytestmark = pytest.mark.media

Clip = Callable[[str], Path]
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Greys = Callable[[Path], list[int]]
Execute = Callable[..., ProcResult]
Encode = Callable[[str], tuple[Plan, Rendition, Path]]


@pytest.fixture
def profile() -> Profile:
    """Quick, and with a keyframe every half second so that short clips have a grid."""
    return msgspec.structs.replace(resolve_profile("fast"), gop_seconds=1, segment_gops=1)


@pytest.fixture
def encode(
    *, clip: Clip, probe: Probe, tools: Binaries, execute: Execute, profile: Profile, tmp_path: Path
) -> Encode:
    """Encode the smallest rendition of a clip; FFmpeg has nothing to complain about."""

    def run_encode(name: str) -> tuple[Plan, Rendition, Path]:
        plan = make_plan(probe(clip(name))[2], profile)
        rendition, target = plan.renditions[-1], tmp_path / "out.mp4"
        argv = video_args(tools.ffmpeg, plan, [rendition], source=str(clip(name)), targets=[str(target)])
        said = execute(argv).stderr_tail.splitlines()
        # swscale's remark on every full-range source.
        assert [line for line in said if "deprecated pixel format" not in line] == []
        return plan, rendition, target

    return run_encode


@pytest.mark.parametrize(
    ("name", "frames", "rate", "size"),
    [
        ("odd.mpg", 55, "25/1", (426, 240)),
        ("portrait.mp4", 50, "25/1", (144, 192)),
        ("mirrored.mp4", 50, "25/1", (192, 144)),
        ("ntsc.mp4", 75, "30000/1001", (256, 144)),
        ("ntsc.mkv", 75, "30000/1001", (256, 144)),
        ("vfr.mp4", 90, "30/1", (256, 144)),
        ("anamorphic.mp4", 25, "25/1", (320, 180)),
        ("interlaced.mpg", 50, "25/1", (226, 180)),
        ("start.ts", 50, "25/1", (256, 144)),
        ("hdr10.mp4", 24, "24/1", (160, 90)),
        ("hlg.mp4", 10, "25/1", (160, 90)),
        ("wide_gamut.mp4", 10, "25/1", (160, 90)),
        ("fast120.mp4", 60, "60/1", (160, 90)),
        ("high422.mov", 10, "25/1", (160, 90)),
        ("alpha.mov", 5, "25/1", (64, 64)),
        ("full_range.mp4", 10, "25/1", (160, 90)),
        ("late_sound.mp4", 50, "25/1", (160, 90)),
        ("one_frame.mp4", 1, "25/1", (160, 90)),
    ],
)
def test_exactly_as_planned(
    name: str, frames: int, rate: str, size: tuple[int, int], *, encode: Encode, probe: Probe
) -> None:
    """The planned frames, keyframes at every k*G, square pixels, planned tags: nothing found wrong."""
    plan, rendition, target = encode(name)

    document, scan, _ = probe(target)

    assert (plan.frames_total, plan.frame_rate, (rendition.width, rendition.height)) == (frames, rate, size)
    assert check_rendition(plan, rendition, document, scan) == ()
    assert scan.keyframes(0) == list(range(0, frames, plan.gop_frames))


@pytest.mark.parametrize(
    "name", ["grey.ts", "grey.mpg", "grey.mp4", "grey.mkv", "grey.avi", "grey_interlaced.mpg"]
)
def test_every_frame_in_its_place(name: str, clip: Clip, encode: Encode, greys: Greys) -> None:
    """Frame k of the output is frame k of the source: none lost, doubled or moved."""
    _, _, target = encode(name)

    source, output = greys(clip(name)), greys(target)

    wrong = [
        frame for frame, pair in enumerate(zip(source, output, strict=True)) if abs(pair[0] - pair[1]) > 6
    ]
    assert wrong == []


def test_variable_rate_fills_its_holes(clip: Clip, encode: Encode, greys: Greys) -> None:
    """Made constant, a variable source repeats the frame before each hole and loses none."""
    _, _, target = encode("grey_vfr.mp4")

    source, output = iter(greys(clip("grey_vfr.mp4"))), greys(target)

    shown = 0
    for frame, grey in enumerate(output):
        shown = shown if frame % 7 == 3 else next(source)
        assert abs(grey - shown) <= 6, frame


def test_picture_that_changes_its_size(
    *, probe: Probe, tools: Binaries, execute: Execute, profile: Profile, tmp_path: Path
) -> None:
    """A stream that changes its size in the middle is scaled to one, without a frame more."""
    parts = []
    for number, size in enumerate(("160x90", "320x180")):
        part = tmp_path / f"part{number}.ts"
        lavfi = f"testsrc2=s={size}:r=25:d=1"
        arguments = [
            "-f",
            "lavfi",
            "-i",
            lavfi,
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-output_ts_offset",
        ]
        execute([tools.ffmpeg, "-loglevel", "error", "-y", *arguments, str(number), str(part)])
        parts.append(part.read_bytes())
    source = tmp_path / "input.bin"
    source.write_bytes(b"".join(parts))
    plan = make_plan(probe(source)[2], profile)
    target = tmp_path / "out.mp4"

    execute(video_args(tools.ffmpeg, plan, plan.renditions[-1:], source=str(source), targets=[str(target)]))

    document, scan, _ = probe(target)
    assert plan.frames_total == 50
    assert check_rendition(plan, plan.renditions[-1], document, scan) == ()


def test_same_input_same_bytes(clip: Clip, encode: Encode, tmp_path: Path) -> None:
    """A repeated encode makes the same bytes, though it runs with several threads."""
    digests = set()
    for _ in range(2):
        _, _, target = encode("ntsc.mp4")
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())

    assert len(digests) == 1


def test_tone_mapped_picture_is_not_washed_out(encode: Encode, probe: Probe) -> None:
    """An HDR source leaves as tagged BT.709, 8 bits."""
    _, _, target = encode("hdr10.mp4")

    video = probe(target)[2].video

    assert video is not None
    assert (video.hdr, video.bit_depth, video.colour.transfer) == (None, 8, "bt709")


def test_transparency_lies_on_black(encode: Encode, greys: Greys) -> None:
    """Half-transparent red becomes dark red, not red."""
    _, _, target = encode("alpha.mov")

    # Red has luma 63 in BT.709 video range; half of its light over black is near 39.
    assert all(30 <= grey <= 48 for grey in greys(target))


def test_full_range_is_brought_to_video_range(clip: Clip, encode: Encode, greys: Greys) -> None:
    """A full-range source looks the same after the conversion to video range."""
    _, _, target = encode("full_range.mp4")

    # The decoder's grey conversion undoes the range: equal pictures have equal greys.
    pairs = zip(greys(clip("full_range.mp4")), greys(target), strict=True)
    assert all(abs(source - output) <= 3 for source, output in pairs)


def test_shortage_is_found(encode: Encode, probe: Probe) -> None:
    """An encode with fewer frames than planned, or keyframes elsewhere, is found out, in numbers."""
    plan, rendition, target = encode("ntsc.mp4")
    document, scan, _ = probe(target)
    longer = msgspec.structs.replace(plan, frames_total=80, gop_frames=20)

    findings = {
        finding.rule: finding.message for finding in check_rendition(longer, rendition, document, scan)
    }

    assert findings["frames"] == "75 frames, planned are 80"
    assert {"keyframes", "duration"} <= set(findings)


def test_wrong_size_is_found(encode: Encode, probe: Probe) -> None:
    """An encode of another size or in other colours is found out."""
    plan, rendition, target = encode("ntsc.mp4")
    document, scan, _ = probe(target)
    larger = msgspec.structs.replace(rendition, width=640)

    findings = check_rendition(plan, larger, document, scan)

    assert [finding.message for finding in findings] == ["width is 256, planned is 640"]


def test_rate_is_kept_exactly(encode: Encode, probe: Probe) -> None:
    """29.97 stays 30000/1001 in the file's own clock."""
    plan, _, target = encode("ntsc.mp4")

    document, _, _ = probe(target)

    [stream] = document["streams"]
    assert Fraction(stream["avg_frame_rate"]) == plan.rate == Fraction(30000, 1001)
    assert stream["time_base"] == "1/30000"
