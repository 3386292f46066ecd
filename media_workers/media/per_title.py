"""A ladder for one title: fewer and cheaper rungs where the title needs no more, found by trial encodes.

The trials are x264 at its `PROBE_PRESET`, of a few windows, at every size of the title's H.264 ladder and at
every CRF of `PROBE_CRFS`; their quality is VMAF against the source at its full size, as a viewer sees it on
one screen. From the curves the ladder is walked down from `VMAF_TOP`, above which nothing is seen. A rung
moves to the CRF that its place in the ladder needs, never to one that costs more bits than the profile's own;
one that adds nothing goes. Other codecs follow by the same shift of CRF and the same share of the cap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from media_workers.media.hull import Curve, Probe, fit_curves
from media_workers.media.windows import Window

if TYPE_CHECKING:
    from media_workers.media.ladder import Rendition

PROBE_CRFS = (20, 26, 32, 38)
PROBE_PRESET = "veryfast"
PROBE_SUBSAMPLE = 5
SIZES_MAX = 5
# More is not seen.
VMAF_TOP = 95.0
# Two rungs nearer than this are one too many.
VMAF_STEP_MIN = 4.0
# A rung costs this many times less than the one above it, at least.
BITRATE_STEP_MIN = 1.3
# A cap leaves a hard scene this many times the bits that the windows took on average.
CAP_HEADROOM = 2.5
CAP_STEP_BPS = 1000
CRF_MAX = 40.0
# VP9 and AV1 count to 63, in whole numbers, where H.264 and HEVC count to 51.
_CRF_SCALE = {"vp9": 63 / 51, "av1": 63 / 51}


class PerTitleRung(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One chosen H.264 rung, with what the probes promise of it.

    `crf_shift` and `cap_share` say how it differs from the profile's own rung of that size: for other codecs.
    """

    width: int
    height: int
    crf: float
    maxrate_bps: int
    bitrate_bps: int
    vmaf: float
    crf_shift: float
    cap_share: float


class PerTitle(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The chosen rungs, largest first, and the evidence for them."""

    rungs: tuple[PerTitleRung, ...]
    probes: tuple[Probe, ...]
    hull: tuple[Probe, ...]
    windows: tuple[Window, ...]
    preset: str
    cpu_seconds: float


def probe_sizes(renditions: Sequence[Rendition]) -> tuple[tuple[int, int], ...]:
    """The sizes worth trying: those of the ladder's rungs, largest first, at most `SIZES_MAX`."""
    sizes = sorted({(item.width, item.height) for item in renditions}, key=lambda size: -size[0] * size[1])
    return tuple(sizes[:SIZES_MAX])


def choose_rungs(
    probes: Sequence[Probe], renditions: Sequence[Rendition], *, renditions_min: int
) -> tuple[PerTitleRung, ...]:
    """Choose a title's rungs.

    Args:
        probes: of every size of `probe_sizes`.
        renditions: the profile's own H.264 ladder in SDR, the bound of what may be chosen.
        renditions_min: rungs are dropped down to so many.

    Returns:
        largest first; quality, bitrate and cap fall from each to the next. None costs more than the rung of
        its size in `renditions`. A size that was not tried keeps its settings.
    """
    static = sorted(renditions, key=lambda item: -item.width * item.height)
    curves = {(curve.width, curve.height): curve for curve in fit_curves(probes)}
    known = [item for item in static if (item.width, item.height) in curves]
    worth = _worth_their_size(known, curves, drops_max=len(static) - renditions_min)
    left = len(static) - len(known) + len(worth)
    rungs: list[PerTitleRung] = []
    for position, rendition in enumerate(worth):
        above = rungs[-1] if rungs else None
        point = _place(rendition, curves[rendition.width, rendition.height], above)
        spare = len(rungs) + left - position > renditions_min
        if above and spare and above.vmaf - point.vmaf < VMAF_STEP_MIN:
            continue
        rungs.append(_rung(rendition, point, above.maxrate_bps if above else rendition.maxrate_bps))
    return tuple(rungs)


def apply_per_title(renditions: Sequence[Rendition], per_title: PerTitle | None) -> tuple[Rendition, ...]:
    """The profile's ladder narrowed to a title: rungs dropped, CRF and caps moved, no cap ever raised.

    Args:
        renditions: the profile's ladder, of any codecs.
        per_title: what trial encodes have found; None leaves the ladder alone.
    """
    if per_title is None or not per_title.rungs:
        return tuple(renditions)
    rungs = {(rung.width, rung.height): rung for rung in per_title.rungs}
    tried = {(probe.width, probe.height) for probe in per_title.probes}
    kept = []
    for rendition in renditions:
        size = (rendition.width, rendition.height)
        rung = rungs.get(size)
        if rung is not None:
            kept.append(_moved(rendition, rung))
        elif size not in tried:
            kept.append(rendition)
    return tuple(kept)


def own_point(curve: Curve, rendition: Rendition) -> Probe:
    """Where the profile's own rung lies on the curve of its size: by its CRF, or where its cap stops it."""
    ranked = sorted(curve.points, key=lambda point: point.crf)
    by_crf = ranked[0]
    for better, worse in pairwise(ranked):
        if better.crf <= rendition.crf <= worse.crf:
            share = (rendition.crf - better.crf) / (worse.crf - better.crf)
            by_crf = curve.at_bitrate(better.bitrate_bps * (worse.bitrate_bps / better.bitrate_bps) ** share)
    if rendition.crf > ranked[-1].crf:
        by_crf = ranked[-1]
    return by_crf if by_crf.bitrate_bps <= rendition.maxrate_bps else curve.at_bitrate(rendition.maxrate_bps)


def _worth_their_size(
    renditions: Sequence[Rendition], curves: Mapping[tuple[int, int], Curve], *, drops_max: int
) -> list[Rendition]:
    """Without the rungs that a smaller one beats for fewer bits: their cap starves them in this title."""
    kept: list[Rendition] = []
    best: Probe | None = None
    drops = 0
    for rendition in reversed(renditions):
        own = own_point(curves[rendition.width, rendition.height], rendition)
        if best is not None and own.vmaf <= best.vmaf and drops < drops_max:
            drops += 1
            continue
        kept.append(rendition)
        best = own if best is None or own.vmaf > best.vmaf else best
    return kept[::-1]


def _place(rendition: Rendition, curve: Curve, above: PerTitleRung | None) -> Probe:
    """Where a rung goes on the curve of its size: as the profile has it, or lower where that is enough."""
    candidates = [own_point(curve, rendition)]
    if above is None:
        candidates.append(curve.at_vmaf(VMAF_TOP))
    else:
        candidates += [curve.at_bitrate(above.bitrate_bps / BITRATE_STEP_MIN), curve.at_vmaf(above.vmaf)]
    return min(candidates, key=lambda point: (point.bitrate_bps, point.vmaf))


def _rung(rendition: Rendition, point: Probe, cap_max: int) -> PerTitleRung:
    headroom = round(point.bitrate_bps * CAP_HEADROOM / CAP_STEP_BPS) * CAP_STEP_BPS
    cap = min(rendition.maxrate_bps, cap_max, max(CAP_STEP_BPS, headroom))
    crf = max(rendition.crf, min(CRF_MAX, round(point.crf, 1)))
    return PerTitleRung(
        width=rendition.width,
        height=rendition.height,
        crf=crf,
        maxrate_bps=cap,
        bitrate_bps=point.bitrate_bps,
        vmaf=round(point.vmaf, 2),
        crf_shift=round(crf - rendition.crf, 1),
        cap_share=round(cap / rendition.maxrate_bps, 4),
    )


def _moved(rendition: Rendition, rung: PerTitleRung) -> Rendition:
    """A rendition of any codec at a rung's size, as far from the profile's as the H.264 one is."""
    maxrate = min(rendition.maxrate_bps, max(CAP_STEP_BPS, round(rendition.maxrate_bps * rung.cap_share)))
    share = maxrate / rendition.maxrate_bps
    whole = rendition.codec in _CRF_SCALE
    shift = rung.crf_shift * _CRF_SCALE.get(rendition.codec, 1.0)
    return msgspec.structs.replace(
        rendition,
        crf=float(round(rendition.crf + shift)) if whole else round(rendition.crf + shift, 1),
        maxrate_bps=maxrate,
        bufsize_bits=round(rendition.bufsize_bits * share),
    )
