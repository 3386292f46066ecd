"""The quality gate's decisions: windows, targets, caps, the second attempt, the sentences."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media_workers.media.facts import SourceFacts
from media_workers.media.gate import (
    Measured,
    QualityTargets,
    WindowScore,
    is_aligned,
    judge,
    lower_crf,
    quality_plan,
)
from media_workers.media.plan import make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.windows import SAMPLED_SHARE_MAX, complex_windows, sample_windows

RATE = Fraction(25)
GOP = 50
CAP = 1_000_000


def measured(**changes: Any) -> Measured:
    """A rendition that passes."""
    fine = Measured(
        rendition="720p",
        mean=95.0,
        p5=90.0,
        minimum=88.0,
        xpsnr_db=40.0,
        aligned=True,
        windows=(WindowScore(start=0.0, mean=95.0, minimum=88.0, bitrate_bps=CAP // 2),),
        cpu_seconds=1.0,
        target_mean=90.0,
        target_p5=80.0,
        passed=True,
        shift_psnr_db=(30.0, 40.0, 30.0),
    )
    return msgspec.structs.replace(fine, **changes)


def low(mean: float, *, bitrate_bps: int = CAP // 2) -> Measured:
    """One that does not, of which every window has the same score."""
    window = WindowScore(start=0.0, mean=mean, minimum=mean, bitrate_bps=bitrate_bps)
    return measured(mean=mean, p5=mean, minimum=mean, windows=(window,), passed=False)


@settings(deadline=None)
@given(
    frames=st.integers(1, 400_000),
    gop=st.integers(10, 120),
    rate=st.sampled_from([Fraction(24), RATE, Fraction(30000, 1001), Fraction(60)]),
    black=st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)).map(sorted).map(tuple), max_size=3),
)
def test_windows_lie_on_the_grid_inside_the_title_and_apart(
    frames: int, gop: int, rate: Fraction, black: list[tuple[float, float]]
) -> None:
    """Whatever the title: one to five windows of whole groups (the title's end may cut the last short)."""
    windows = sample_windows(frames, gop, rate, black=black)
    assert 1 <= len(windows) <= 5
    end = 0
    for window in windows:
        assert window.first_frame % gop == 0
        assert window.first_frame >= end
        end = window.first_frame + window.frames
        assert window.frames > 0
        assert end <= frames


@pytest.mark.parametrize(("seconds", "count"), [(2, 1), (30, 2), (60, 3), (240, 5), (7200, 5)])
def test_a_short_title_is_looked_at_less(seconds: int, count: int) -> None:
    """Five windows of four seconds at most, and about a tenth of a title that has more than a few groups."""
    windows = sample_windows(seconds * 25, GOP, RATE)
    looked_at = sum(window.frames for window in windows)
    assert len(windows) == count
    assert looked_at <= max(2 * GOP, int(seconds * 25 * SAMPLED_SHARE_MAX * 3 / 2))


def test_black_leaders_are_avoided() -> None:
    """A window that would lie in a black stretch moves to the nearest place that is not black."""
    windows = sample_windows(300 * 25, GOP, RATE, black=[(0.0, 40.0)])
    assert windows[0].start_seconds(RATE) == 40.0


def test_a_title_that_is_black_throughout_is_measured_all_the_same() -> None:
    """There is no other place, and a black picture must be right as well."""
    assert sample_windows(100, GOP, RATE, black=[(0.0, 4.0)])


def test_trials_are_made_of_hard_and_typical_windows() -> None:
    """The hard part of a title is among them, and the first window that is not black."""
    complexity = [1.0] * 300 + [5.0] * 40 + [1.0] * 60
    windows = complex_windows(complexity, 400 * 25, GOP, RATE, black=[(0.0, 8.0)])
    starts = [window.start_seconds(RATE) for window in windows]
    assert starts[0] == 8.0
    assert any(300 <= start < 340 for start in starts)


def test_only_the_largest_rung_of_a_codec_is_held_to_the_top_targets(
    source: Callable[..., SourceFacts],
) -> None:
    """The others are judged by their mean alone, at the rung's own target."""
    profile = resolve_profile("default")
    plan = make_plan(source(), profile)
    targets = QualityTargets(rung_mean=80.0, top_mean=90.0, top_p5=75.0)
    quality = quality_plan(plan.renditions, targets, frames_total=50, gop_frames=50, rate=RATE)
    assert quality is not None
    assert [(item.rendition, item.mean, item.p5) for item in quality.targets[:2]] == [
        ("1080p", 90.0, 75.0),
        ("720p", 80.0, 0.0),
    ]


def test_a_good_rendition_passes() -> None:
    verdict = judge(measured(), codec="h264", crf=23, maxrate_bps=CAP)
    assert (verdict.outcome, verdict.second, verdict.crf_after) == ("passed", None, None)


def test_one_that_falls_short_is_encoded_again_with_a_lower_crf() -> None:
    """By the shortfall over 1.5: 15 VMAF below is CRF 10 lower."""
    verdict = judge(low(75.0), codec="h264", crf=40, maxrate_bps=CAP)
    assert (verdict.outcome, verdict.crf_before, verdict.crf_after) == ("redo", 40, 30)


def test_the_second_failure_is_final_and_names_both_numbers() -> None:
    verdict = judge(low(82.5), codec="h264", crf=30, maxrate_bps=CAP, first=low(75.0), crf_before=40.0)
    assert verdict.outcome == "failed"
    assert verdict.second is not None
    assert "75.0 of 90" in verdict.message
    assert "82.5 of 90" in verdict.message
    assert "CRF 40" in verdict.message
    assert "CRF 30" in verdict.message


def test_a_second_attempt_that_is_good_passes() -> None:
    verdict = judge(measured(), codec="h264", crf=30, maxrate_bps=CAP, first=low(75.0), crf_before=40.0)
    assert (verdict.outcome, verdict.first.mean, verdict.crf_after) == ("passed", 75.0, 30)


def test_a_rung_at_its_cap_passes_with_a_warning() -> None:
    """A lower CRF could not help it, and the cap was chosen."""
    verdict = judge(low(80.0, bitrate_bps=CAP), codec="h264", crf=23, maxrate_bps=CAP)
    assert verdict.outcome == "capped"
    assert "1000 kb/s" in verdict.message


def test_a_rung_at_its_cap_that_is_spoiled_fails_in_the_end() -> None:
    """More than a little below its target the cap is no excuse."""
    first = low(60.0, bitrate_bps=CAP)
    assert judge(first, codec="h264", crf=23, maxrate_bps=CAP).outcome == "redo"
    again = judge(first, codec="h264", crf=14, maxrate_bps=CAP, first=first, crf_before=23.0)
    assert again.outcome == "failed"


def test_easy_windows_below_the_cap_do_not_hide_hard_ones_at_it() -> None:
    """Only where a rung falls short does it matter whether there were bits to spend."""
    easy = WindowScore(start=0.0, mean=96.0, minimum=95.0, bitrate_bps=CAP // 10)
    hard = WindowScore(start=9.0, mean=80.0, minimum=70.0, bitrate_bps=CAP)
    short = measured(mean=86.0, passed=False, windows=(easy, hard))
    assert judge(short, codec="h264", crf=23, maxrate_bps=CAP).outcome == "capped"
    waste = msgspec.structs.replace(hard, bitrate_bps=CAP // 10)
    short = measured(mean=86.0, passed=False, windows=(easy, waste))
    assert judge(short, codec="h264", crf=23, maxrate_bps=CAP).outcome == "redo"


def test_shifted_frames_are_never_excused_by_a_score() -> None:
    shifted = measured(aligned=False, passed=False, shift_psnr_db=(20.0, 21.0, 40.0))
    verdict = judge(shifted, codec="h264", crf=23, maxrate_bps=CAP)
    assert verdict.outcome == "misaligned"
    assert "40.0 dB one frame late" in verdict.message


@pytest.mark.parametrize(
    ("shifts", "aligned"),
    [((30.0, 40.0, 30.0), True), ((100.0, 100.0, 100.0), True), ((40.0, 30.0, 30.0), False)],
)
def test_a_picture_that_stands_still_is_aligned(shifts: tuple[float, float, float], aligned: bool) -> None:
    assert is_aligned(shifts) is aligned


@settings(deadline=None)
@given(
    codec=st.sampled_from(["h264", "hevc", "vp9", "av1"]),
    crf=st.floats(11, 45),
    shortfall=st.floats(0.01, 100),
)
def test_the_second_attempt_always_spends_more(codec: str, crf: float, shortfall: float) -> None:
    """Lower by one at least, however little is missing; never so low that an encoder refuses it."""
    after = lower_crf(codec, crf, shortfall)
    assert 1 <= after <= crf - 0.95
