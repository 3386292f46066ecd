"""Rate against quality: what each picture size gives for its bits, and which size is best where."""

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec


class Probe(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One trial encode: bits a second, and VMAF against the source at the source's size."""

    width: int
    height: int
    crf: float
    bitrate_bps: int
    vmaf: float


class Curve(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One size's quality over the logarithm of its bitrate: straight between points that only ever rise."""

    width: int
    height: int
    points: tuple[Probe, ...]

    @property
    def vmaf_max(self) -> float:
        """The best it was seen to reach."""
        return self.points[-1].vmaf

    @property
    def vmaf_min(self) -> float:
        """The worst it was seen at."""
        return self.points[0].vmaf

    def at_vmaf(self, vmaf: float) -> Probe:
        """The point of a quality; the nearest seen one beyond the ends."""
        return self._between(vmaf, [point.vmaf for point in self.points])

    def at_bitrate(self, bitrate_bps: float) -> Probe:
        """The point of a bitrate; the nearest seen one beyond the ends."""
        return self._between(math.log2(bitrate_bps), [math.log2(point.bitrate_bps) for point in self.points])

    def _between(self, wanted: float, scale: Sequence[float]) -> Probe:
        if wanted <= scale[0]:
            return self.points[0]
        for (low, high), (below, above) in zip(pairwise(self.points), pairwise(scale), strict=True):
            if wanted <= above:
                return _mix(low, high, (wanted - below) / (above - below))
        return self.points[-1]


def fit_curves(probes: Sequence[Probe]) -> tuple[Curve, ...]:
    """One curve a size, largest first. A probe that costs more and is no better than another is left out."""
    sizes = sorted({(probe.width, probe.height) for probe in probes}, key=lambda size: -size[0] * size[1])
    curves = []
    for width, height in sizes:
        ranked = sorted(
            (probe for probe in probes if (probe.width, probe.height) == (width, height)),
            key=lambda probe: (probe.bitrate_bps, -probe.vmaf),
        )
        rising: list[Probe] = []
        for probe in ranked:
            if not rising or (probe.vmaf > rising[-1].vmaf and probe.bitrate_bps > rising[-1].bitrate_bps):
                rising.append(probe)
        curves.append(Curve(width=width, height=height, points=tuple(rising)))
    return tuple(curves)


def upper_hull(probes: Sequence[Probe]) -> tuple[Probe, ...]:
    """The probes that no mixture of others beats, cheapest first: bitrate and quality both rise along it."""
    ranked = sorted(probes, key=lambda probe: (probe.bitrate_bps, -probe.vmaf))
    hull: list[Probe] = []
    for probe in ranked:
        if hull and probe.vmaf <= hull[-1].vmaf:
            continue
        while hull and (
            hull[-1].bitrate_bps == probe.bitrate_bps or (len(hull) > 1 and _sags(hull[-2], hull[-1], probe))
        ):
            hull.pop()
        hull.append(probe)
    return tuple(hull)


def _sags(first: Probe, middle: Probe, last: Probe) -> bool:
    """Whether the middle one lies on or below the straight line between the others."""
    start, end = math.log2(first.bitrate_bps), math.log2(last.bitrate_bps)
    share = (math.log2(middle.bitrate_bps) - start) / (end - start)
    return middle.vmaf <= first.vmaf + (last.vmaf - first.vmaf) * share


def _mix(low: Probe, high: Probe, share: float) -> Probe:
    low_bits, high_bits = math.log2(low.bitrate_bps), math.log2(high.bitrate_bps)
    return Probe(
        width=low.width,
        height=low.height,
        crf=round(low.crf + (high.crf - low.crf) * share, 2),
        bitrate_bps=round(2 ** (low_bits + (high_bits - low_bits) * share)),
        vmaf=low.vmaf + (high.vmaf - low.vmaf) * share,
    )
