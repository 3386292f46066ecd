"""The quality gate: what a rendition must reach, and what happens when it does not. Nothing here measures.

A rung is judged against the source scaled to the rung's own size: did the encoder do its job. The thresholds
are in VMAF (v0.6.1 up to 1440 lines, its 4K model above), of the frames in `QualityPlan.windows`:

- the mean is harmonic, so that a bad moment weighs more than a good one makes up for;
- p5 is the score that 95 % of the frames reach.

A rung that runs into its bitrate cap wherever it falls short cannot be helped by a lower CRF: the cap was
chosen for the viewers' lines. Down to `CAPPED_SHORTFALL_MAX` below its target it passes with the warning
`capped`; further down the picture is spoiled, and the gate says so like for any other rung.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import msgspec

from media_workers.media.windows import Window, sample_windows

if TYPE_CHECKING:
    from media_workers.media.ladder import Rendition

Outcome = Literal["passed", "capped", "redo", "failed", "misaligned"]

SUBSAMPLE = 5
"""VMAF looks at every fifth frame of a window."""
# A lower CRF by one raises VMAF by about so much.
VMAF_PER_CRF = 1.5
# VP9 and AV1 count to 63, in whole numbers, where H.264 and HEVC count to 51.
_CRF_SCALE = {"vp9": 63 / 51, "av1": 63 / 51}
# Below these, bits buy nothing that can be seen or measured.
_CRF_FLOOR = {"h264": 14.0, "hevc": 16.0, "vp9": 18.0, "av1": 18.0}
# A window that spends this share of the cap has no bits left to ask for.
CAP_SHARE_SPENT = 0.85
CAPPED_SHORTFALL_MAX = 15.0
# Shifts this near to each other tell nothing: the picture stands still, is flat, or lags a little because the
# encoder leaves out what hardly moves. A frame too early or late is many decibels off wherever things move.
TIE_DB = 0.5


class QualityTargets(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a profile asks for, in VMAF: the mean of every rung, and mean and p5 of each codec's largest.

    The defaults catch what went wrong, not what is hard: at the ladders' own CRFs and medium speed real clips
    had 88 to 97 in H.264, 88 to 95 in HEVC, 90 to 97 in VP9 and 86 to 95 in AV1, breaking waves the lowest.
    A profile that promises more than "as set" should ask for more.
    """

    rung_mean: float = 82.0
    top_mean: float = 84.0
    top_p5: float = 74.0


class RungTarget(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one rendition must reach, in VMAF; a p5 of 0 asks for nothing."""

    rendition: str
    mean: float
    p5: float = 0.0


class QualityPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where to look, how closely (every `subsample`-th frame), and what to find."""

    windows: tuple[Window, ...]
    targets: tuple[RungTarget, ...]
    subsample: int = SUBSAMPLE

    def target(self, rendition: str) -> RungTarget | None:
        """What a rendition must reach; None when it is not judged."""
        return next((target for target in self.targets if target.rendition == rendition), None)


class WindowScore(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One window: where it starts in seconds, its harmonic mean and lowest VMAF, its bits a second."""

    start: float
    mean: float
    minimum: float = msgspec.field(name="min")
    bitrate_bps: int = 0


class Measured(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was measured of one rendition, and what it should have been.

    `xpsnr_db` is weighted (4Y+U+V)/6, 100 where nothing differs. `shift_psnr_db` is the luma PSNR one frame
    early, in place and one frame late, of the window where it tells most; `aligned` when in place is best.
    """

    rendition: str
    mean: float
    p5: float
    minimum: float = msgspec.field(name="min")
    xpsnr_db: float
    aligned: bool
    windows: tuple[WindowScore, ...]
    cpu_seconds: float
    target_mean: float
    target_p5: float
    passed: bool
    metric: str = "vmaf"
    model: str = ""
    shift_psnr_db: tuple[float, float, float] | None = None

    @property
    def shortfall(self) -> float:
        """By how much it misses the target it misses most; 0 or less when it reaches both."""
        return max(self.target_mean - self.mean, self.target_p5 - self.p5)


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of a rendition. `second` and `crf_after` are there once it has been encoded again."""

    rendition: str
    outcome: Outcome
    message: str
    first: Measured
    crf_before: float
    second: Measured | None = None
    crf_after: float | None = None


def quality_plan(
    renditions: Sequence[Rendition],
    targets: QualityTargets,
    *,
    frames_total: int,
    gop_frames: int,
    rate: Fraction,
    black: Sequence[tuple[float, float]] = (),
) -> QualityPlan | None:
    """Plan the measuring of a title; None when there is nothing to measure.

    Args:
        renditions: of the plan.
        targets: from the profile.
        frames_total: of the title.
        gop_frames: the keyframe grid.
        rate: output frames a second.
        black: black stretches as (start, end) in seconds, from the scan.
    """
    windows = sample_windows(frames_total, gop_frames, rate, black=black)
    if not windows or not renditions:
        return None
    largest: dict[tuple[str, str], Rendition] = {}
    for rendition in renditions:
        kind = (rendition.codec, rendition.dynamic_range)
        best = largest.get(kind)
        if best is None or rendition.width * rendition.height > best.width * best.height:
            largest[kind] = rendition
    tops = {rendition.name for rendition in largest.values()}
    return QualityPlan(
        windows=windows,
        targets=tuple(
            RungTarget(rendition=rendition.name, mean=targets.top_mean, p5=targets.top_p5)
            if rendition.name in tops
            else RungTarget(rendition=rendition.name, mean=targets.rung_mean)
            for rendition in renditions
        ),
    )


def is_aligned(shift_psnr_db: tuple[float, float, float]) -> bool:
    """Whether no shift by a frame fits better than none; a picture that stands still fits anywhere."""
    early, in_place, late = shift_psnr_db
    return in_place >= max(early, late) - TIE_DB


def is_capped(measured: Measured, maxrate_bps: int) -> bool:
    """Whether every window that falls short spends its cap."""
    worst = min(measured.windows, key=lambda window: window.mean, default=None)
    if worst is None:
        return False
    short = [window for window in measured.windows if window.mean < measured.target_mean] or [worst]
    return all(window.bitrate_bps >= CAP_SHARE_SPENT * maxrate_bps for window in short)


def lower_crf(codec: str, crf: float, shortfall: float) -> float:
    """The CRF of the second attempt: by `VMAF_PER_CRF`, at least 1 lower, not below what can be seen."""
    step = max(1, round(shortfall / VMAF_PER_CRF)) * _CRF_SCALE.get(codec, 1.0)
    floor = _CRF_FLOOR.get(codec, 1.0)
    after = max(crf - step, min(floor, crf - 1))
    return float(math.floor(after)) if codec in _CRF_SCALE else round(after, 1)


def judge(
    measured: Measured,
    *,
    codec: str,
    crf: float,
    maxrate_bps: int,
    first: Measured | None = None,
    crf_before: float | None = None,
) -> Verdict:
    """Decide about a measured rendition.

    Args:
        measured: of its latest attempt.
        codec: its codec.
        crf: what it was encoded with.
        maxrate_bps: its cap.
        first: what its first attempt had measured; None when this is the first.
        crf_before: what the first attempt was encoded with.
    """
    before = crf if crf_before is None else crf_before
    second, after = (None, None) if first is None else (measured, crf)
    outcome, message = _outcome(measured, codec, crf, maxrate_bps, first=first, crf_before=before)
    if outcome == "redo":
        after = lower_crf(codec, crf, measured.shortfall)
    return Verdict(
        rendition=measured.rendition,
        outcome=outcome,
        message=message,
        first=first or measured,
        crf_before=before,
        second=second,
        crf_after=after,
    )


def _outcome(
    measured: Measured,
    codec: str,
    crf: float,
    maxrate_bps: int,
    *,
    first: Measured | None,
    crf_before: float,
) -> tuple[Outcome, str]:
    name = measured.rendition
    if not measured.aligned:
        early, in_place, late = measured.shift_psnr_db or (0.0, 0.0, 0.0)
        return "misaligned", (
            f"{name}: its frames are not the source's: PSNR {in_place:.1f} dB in place, {early:.1f} dB one "
            f"frame early and {late:.1f} dB one frame late"
        )
    if measured.passed:
        return "passed", f"{name}: {_scores(measured)}"
    if is_capped(measured, maxrate_bps) and measured.shortfall <= CAPPED_SHORTFALL_MAX:
        return "capped", (
            f"{name}: {_scores(measured)}, but it spends its cap of {maxrate_bps // 1000} kb/s where it "
            "falls short; allow more bits to raise it"
        )
    if first is None:
        return "redo", (
            f"{name}: {_scores(measured)} at CRF {crf:g}; it is encoded again at CRF "
            f"{lower_crf(codec, crf, measured.shortfall):g}"
        )
    return "failed", (
        f"{name}: {_scores(first)} at CRF {crf_before:g}, and {_scores(measured)} encoded again at CRF "
        f"{crf:g}; allow more bits (maxBitrate), or turn the quality gate off for this title"
    )


def _scores(measured: Measured) -> str:
    text = f"VMAF {measured.mean:.1f} of {measured.target_mean:g} wanted"
    if measured.target_p5:
        text += f" (p5 {measured.p5:.1f} of {measured.target_p5:g})"
    return text
