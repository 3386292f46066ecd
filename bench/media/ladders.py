"""What a ladder of the title's own saves: against fixed bitrates, and against the profile's capped CRF.

Every rung is encoded for real with the profile's encoder and scored against the source at its full size.
Three figures a clip, each positive where the title's own ladder is cheaper:

- `fixed`: for each rung of a ladder of fixed bitrates, what the same VMAF costs in the title's own ladder,
  where 95 and more count as 95 (nobody sees the difference); the mean over the rungs whose quality it has;
- `fixed_bd`: the mean distance of the two curves where both have the same VMAF, without that ceiling;
- `profile_bd`: the same against the profile's own ladder, which is capped CRF and so follows the title
  already.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from math import log2
from pathlib import Path
from typing import Any

import msgspec

from bench.media.encoding import commands
from bench.media.footage import Real
from bench.media.titles import TOOLS, plan_of, tool
from media_workers.media.hull import Probe, upper_hull
from media_workers.media.ladder import Rendition
from media_workers.media.per_title import (
    PROBE_CRFS,
    PROBE_PRESET,
    VMAF_TOP,
    PerTitle,
    apply_per_title,
    choose_rungs,
    probe_sizes,
)
from media_workers.media.plan import Plan
from media_workers.media.quality import harmonic_mean, parse_vmaf, vmaf_model
from media_workers.media.trials import (
    REFERENCE_NAME,
    reference_args,
    score_args,
    score_name,
    trial_args,
    trial_name,
)
from media_workers.media.windows import Window, complex_windows

FIXED_KBPS = ((234, 145), (360, 365), (432, 1100), (540, 2000), (720, 4500), (1080, 7800))
"""Apple's HLS authoring specification, H.264: lines and kb/s of its upper variant at each size."""
RENDITIONS_MIN = 3
CURVE_POINTS = 40
# Two qualities this near to each other count as equal.
NEAR_VMAF = 1.0
SUBSAMPLE = 3
SCORE_LOG = "score.json"

Point = tuple[float, float]
"""Bits a second, and VMAF at the source's size."""


def per_title_saving(clips: Sequence[tuple[Real, Path]], folder: Path, *, seconds: int) -> dict[str, Any]:
    """The table, losers included, and the medians."""
    rows = []
    for clip, path in clips:
        print(f"per title: {clip.name}", flush=True)
        rows.append({"clip": clip.name, "about": clip.about, **_row(path, folder, seconds)})
    medians = {
        name: round(statistics.median(row[name] for row in rows if row[name] is not None), 4)
        for name in ("fixed", "fixed_bd", "profile_bd")
        if any(row[name] is not None for row in rows)
    }
    return {"saving": medians.get("fixed"), "bound": 0.20, "medians": medians, "rows": rows}


def _row(path: Path, folder: Path, seconds: int) -> dict[str, Any]:
    plan = plan_of(path)
    frames = min(plan.frames_total, int(seconds * plan.rate))
    plan = msgspec.structs.replace(plan, frames_total=frames)
    whole = (Window(first_frame=0, frames=frames),)
    reference = folder / "whole.mkv"
    tool(reference_args(TOOLS.ffmpeg, plan, whole, source=str(path), target=str(reference)))
    chosen = _trials(plan, path, folder)
    own = apply_per_title(plan.renditions, chosen)
    profile = [_encoded(plan, rendition, path, folder, reference) for rendition in plan.renditions]
    title = [
        profile[plan.renditions.index(rendition)]
        if rendition in plan.renditions
        else _encoded(plan, rendition, path, folder, reference)
        for rendition in own
    ]
    fixed = [_fixed(plan, rung, path, folder, reference) for rung in _fixed_rungs(plan)]
    reference.unlink()
    return {
        "fixed": _saving(fixed, title),
        "fixed_bd": _distance(fixed, title),
        "profile_bd": _distance(profile, title),
        "trials_cpu_s": chosen.cpu_seconds,
        "ladders": {"title": _shown(title), "profile": _shown(profile), "fixed": _shown(fixed)},
        "rungs": [f"{item.name} crf {item.crf:g} cap {item.maxrate_bps // 1000}k" for item in own],
    }


def _trials(plan: Plan, path: Path, folder: Path) -> PerTitle:
    """As media_probe_encodes, without a scan: windows spread evenly."""
    windows = complex_windows((), plan.frames_total, plan.gop_frames, plan.rate)
    frames = sum(window.frames for window in windows)
    reference = folder / REFERENCE_NAME
    spent = [tool(reference_args(TOOLS.ffmpeg, plan, windows, source=str(path), target=str(reference)))]
    probes = []
    for width, height in probe_sizes(plan.renditions):
        spent.append(tool(trial_args(TOOLS.ffmpeg, plan, (width, height), reference=str(reference)), folder))
        spent.append(tool(score_args(TOOLS.ffmpeg, plan, reference=str(reference)), folder))
        probes += [
            Probe(
                width=width,
                height=height,
                crf=crf,
                bitrate_bps=max(1, round((folder / trial_name(crf)).stat().st_size * 8 * plan.rate / frames)),
                vmaf=harmonic_mean(parse_vmaf((folder / score_name(crf)).read_bytes())),
            )
            for crf in PROBE_CRFS
        ]
    return PerTitle(
        rungs=choose_rungs(probes, plan.renditions, renditions_min=RENDITIONS_MIN),
        probes=tuple(probes),
        hull=upper_hull(probes),
        windows=windows,
        preset=PROBE_PRESET,
        cpu_seconds=round(sum(item.cpu for item in spent), 2),
    )


def _encoded(plan: Plan, rendition: Rendition, path: Path, folder: Path, reference: Path) -> Point:
    for command in commands(plan, [rendition], path, folder, None):
        tool(command)
    return _point(plan, folder / f"{rendition.name}_whole.mp4", folder, reference)


def _fixed_rungs(plan: Plan) -> list[tuple[int, int, int]]:
    """Width, height and bits a second; a source between two rungs has its own by area."""
    top = plan.renditions[0]
    lines = min(top.width, top.height)
    rungs = [(height, kbps) for height, kbps in FIXED_KBPS if height <= lines]
    above = next(((height, kbps) for height, kbps in FIXED_KBPS if height > lines), None)
    if above is not None and (not rungs or rungs[-1][0] < lines):
        rungs.append((lines, round(above[1] * (lines / above[0]) ** 2)))
    found = []
    for height, kbps in rungs:
        share = height / lines
        wide, high = (2 * round(side * share / 2) for side in (top.width, top.height))
        found.append((wide, high, kbps * 1000))
    return found


def _fixed(plan: Plan, rung: tuple[int, int, int], path: Path, folder: Path, reference: Path) -> Point:
    """A rung of a fixed bitrate, by the same encoder at the same speed."""
    width, height, bits = rung
    like = msgspec.structs.replace(
        plan.renditions[0], name="fixed", width=width, height=height, maxrate_bps=bits * 3 // 2
    )
    like = msgspec.structs.replace(like, bufsize_bits=bits * 2, level="5.1")
    (command,) = commands(plan, [like], path, folder, None)
    place = command.index("-crf")
    command[place : place + 2] = ["-b:v", str(bits)]
    tool(command)
    return _point(plan, folder / "fixed_whole.mp4", folder, reference)


def _point(plan: Plan, encoded: Path, folder: Path, reference: Path) -> Point:
    top = plan.renditions[0]
    clock = f"settb={plan.rate.denominator}/{plan.rate.numerator},setpts=N"
    graph = (
        f"[0:v]{clock},scale={top.width}:{top.height}:flags=bicubic,format=yuv420p[made];[1:v]{clock}[whole];"
        f"[made][whole]libvmaf=model=version={vmaf_model(top.width, top.height)}:n_threads=2:"
        f"n_subsample={SUBSAMPLE}:log_fmt=json:log_path={SCORE_LOG}:shortest=1"
    )
    argv = [TOOLS.ffmpeg, "-v", "error", "-i", str(encoded), "-i", str(reference), "-lavfi", graph]
    tool([*argv, "-f", "null", "-"], folder)
    seconds = float(plan.frames_total / plan.rate)
    return encoded.stat().st_size * 8 / seconds, harmonic_mean(parse_vmaf((folder / SCORE_LOG).read_bytes()))


def _saving(fixed: Sequence[Point], title: Sequence[Point]) -> float | None:
    """Mean over the fixed rungs; those whose quality the title's ladder does not have are left out."""
    qualities = [vmaf for _, vmaf in title]
    shares = [
        1 - _bits_at(title, min(vmaf, VMAF_TOP)) / bits
        for bits, vmaf in fixed
        if min(qualities) - NEAR_VMAF <= min(vmaf, VMAF_TOP) <= max(qualities) + NEAR_VMAF
    ]
    return round(statistics.fmean(shares), 4) if shares else None


def _distance(other: Sequence[Point], title: Sequence[Point]) -> float | None:
    """One less the mean ratio of bits where both ladders have the same quality; None where they have none."""
    lowest = max(min(vmaf for _, vmaf in points) for points in (other, title))
    highest = min(max(vmaf for _, vmaf in points) for points in (other, title))
    if highest <= lowest:
        return None
    steps = [lowest + (highest - lowest) * step / CURVE_POINTS for step in range(CURVE_POINTS + 1)]
    mean = statistics.fmean(log2(_bits_at(title, vmaf) / _bits_at(other, vmaf)) for vmaf in steps)
    return round(1 - 2**mean, 4)


def _bits_at(points: Sequence[Point], vmaf: float) -> float:
    """Bits of a quality, between rungs by logarithm; the nearest rung's beyond the ends."""
    ranked = sorted(points, key=lambda point: point[1])
    if vmaf <= ranked[0][1]:
        return ranked[0][0]
    for (low_bits, low), (high_bits, high) in pairwise(ranked):
        if vmaf <= high:
            share = (vmaf - low) / (high - low) if high > low else 1.0
            return float(low_bits * (high_bits / low_bits) ** share)
    return ranked[-1][0]


def _shown(points: Sequence[Point]) -> list[str]:
    return [f"{bits / 1000:.0f} kb/s VMAF {vmaf:.1f}" for bits, vmaf in points]
