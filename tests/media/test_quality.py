"""Measuring: the reference is the very picture the encoder saw, and what the tools print is read right."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.gate import is_aligned
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.quality import (
    SHIFT_LOGS,
    VMAF_LOG,
    XPSNR_LOG,
    bitrate_args,
    harmonic_mean,
    measure_args,
    parse_luma_psnr,
    parse_vmaf,
    parse_xpsnr,
    percentile,
    vmaf_frames,
    vmaf_model,
    window_bitrates,
)
from media_workers.media.video import video_args
from media_workers.media.windows import Window
from media_workers.procs.binaries import Binaries
from tests.media.conftest import Probed

# In the middle of a group: whoever seeks wrongly is off by frames.
WINDOW = Window(first_frame=13, frames=10)
SUBSAMPLE = 3


@pytest.fixture
def measured(
    tools: Binaries,
    clip: Callable[[str], Path],
    probe: Callable[[Path], Probed],
    execute: Callable[..., Any],
    tmp_path: Path,
) -> Callable[..., tuple[Plan, Path]]:
    """Encode a clip's largest rendition and measure it; the readings lie in `tmp_path`."""

    def run(name: str, *, crf: float = 18.0, **overrides: Any) -> tuple[Plan, Path]:
        source = clip(name)
        plan = make_plan(probe(source)[2], resolve_profile("fast", overrides or None))
        top = msgspec.structs.replace(plan.renditions[0], crf=crf)
        encoded = tmp_path / "encoded.mp4"
        execute(video_args(tools.ffmpeg, plan, [top], source=str(source), targets=[str(encoded)]))
        argv = measure_args(
            tools.ffmpeg,
            plan,
            top,
            WINDOW,
            source=str(source),
            encoded=str(encoded),
            subsample=SUBSAMPLE,
        )
        execute(argv, cwd=tmp_path)
        return plan, encoded

    return run


def shifts(folder: Path) -> tuple[float, float, float]:
    first, second, third = (parse_luma_psnr((folder / name).read_text()) for name in SHIFT_LOGS)
    return first, second, third


@pytest.mark.media
@pytest.mark.parametrize("name", ["odd.mpg", "start.ts", "vfr.mp4", "interlaced.mpg", "ntsc.mkv"])
def test_messy_sources_are_compared_frame_by_frame(
    measured: Callable[..., tuple[Plan, Path]], tmp_path: Path, name: str
) -> None:
    """In the middle of an odd, late, variable or interlaced source each frame meets its own."""
    measured(name)
    early, in_place, late = shifts(tmp_path)
    assert is_aligned((early, in_place, late))
    assert in_place > max(early, late) + 1
    scores = parse_vmaf((tmp_path / VMAF_LOG).read_bytes())
    assert len(scores) == vmaf_frames(WINDOW.frames, SUBSAMPLE)
    assert min(scores) > 80


@pytest.mark.media
def test_a_high_dynamic_range_is_measured_as_it_is_coded(
    measured: Callable[..., tuple[Plan, Path]], tmp_path: Path
) -> None:
    """Ten bits on both sides; what is far too low is far below what is good."""
    scores = {}
    for crf in (18.0, 48.0):
        plan, _ = measured("hdr10.mp4", crf=crf, codecs=["hevc"], hdr="keep")
        assert plan.renditions[0].dynamic_range == "pq"
        scores[crf] = (
            harmonic_mean(parse_vmaf((tmp_path / VMAF_LOG).read_bytes())),
            parse_xpsnr((tmp_path / XPSNR_LOG).read_text()),
        )
    assert scores[18.0][0] > scores[48.0][0] + 20
    assert scores[18.0][1] > scores[48.0][1] + 5


@pytest.mark.media
def test_a_window_s_bits_are_those_of_its_packets(
    measured: Callable[..., tuple[Plan, Path]], tools: Binaries, execute: Callable[..., Any]
) -> None:
    """Windows that cover a whole rendition have its whole bitrate; the second starts at a keyframe."""
    plan, encoded = measured("long.mp4")
    gop = plan.gop_frames
    windows = [
        Window(first_frame=0, frames=gop),
        Window(first_frame=gop, frames=plan.frames_total - gop),
    ]
    printed = execute(bitrate_args(tools.ffprobe, str(encoded), windows, plan.rate)).stdout
    first, second = window_bitrates(printed, windows, plan.rate)
    total = (first * windows[0].frames + second * windows[1].frames) / plan.rate / 8
    size = encoded.stat().st_size
    assert 0.8 * size < total < size


def test_averages_of_xpsnr_are_weighted_and_nothing_different_is_a_hundred() -> None:
    """Luma counts for four of six; a grey clip's chroma is infinitely good."""
    log = "n:    1  XPSNR y: 30.0\nXPSNR average, 2 frames  y: 40.0000  u: inf  v: inf  (minimum: 40.0)\n"
    assert parse_xpsnr(log) == 60.0


def test_psnr_of_frames_is_that_of_their_mean_error() -> None:
    """Decibels are not averaged."""
    log = "n:1 mse_avg:1 mse_y:0.00 psnr_y:inf\nn:2 mse_avg:1 mse_y:130.05 psnr_y:27.0\n"
    assert parse_luma_psnr(log) == pytest.approx(30.0, abs=0.01)
    assert parse_luma_psnr("n:1 mse_y:0.00\n") == 100.0


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_xpsnr, ""),
        (parse_xpsnr, "XPSNR average, 0 frames"),
        (parse_luma_psnr, "n:1 psnr_y:30"),
        (lambda text: parse_vmaf(text.encode()), "{}"),
        (lambda text: parse_vmaf(text.encode()), '{"frames":[{"metrics":{}}]}'),
        (lambda text: parse_vmaf(text.encode()), "no JSON"),
        (lambda text: window_bitrates(text.encode(), [WINDOW], Fraction(25)), "no JSON"),
    ],
)
def test_a_tool_that_measured_nothing_is_an_error(parse: Callable[[str], object], text: str) -> None:
    """An empty log is never taken for a score."""
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


def test_a_bad_moment_weighs_more_than_a_good_one() -> None:
    assert harmonic_mean([100.0, 0.0]) == pytest.approx(0.980, abs=0.001)
    assert percentile([10.0, 20.0, 30.0], 0.05) == pytest.approx(11.0)


def test_large_pictures_are_judged_by_the_model_for_them() -> None:
    assert vmaf_model(1440, 2560) == "vmaf_v0.6.1"
    assert vmaf_model(3840, 2160) == "vmaf_4k_v0.6.1"
