"""Titles to measure with: real clips joined to a length, and what the product plans for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.media.footage import Real
from media_workers.media.facts import SourceFacts, facts_from_probe
from media_workers.media.guards import packets_args, probe_args
from media_workers.media.packets import PacketScan
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.procs.binaries import Binaries, find_binaries
from media_workers.procs.runner import ProcLimits, run

LIMITS = ProcLimits(wall_seconds=3600)
PART_SECONDS_MAX = 20
SIZE = (1280, 720)
TOOLS: Binaries = find_binaries()


@dataclass(frozen=True, slots=True)
class Spent:
    """What something took, in seconds."""

    wall: float
    cpu: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


NOTHING = Spent(0.0, 0.0)


def tool(argv: list[str], cwd: Path | None = None) -> Spent:
    """Run a tool that must succeed."""
    result = run(argv, limits=LIMITS, cwd=cwd).check(Path(argv[0]).name)
    return Spent(result.wall_seconds, result.cpu_seconds)


def facts_of(path: Path) -> SourceFacts:
    """Facts of a file, as validation finds them."""
    probed = run(probe_args(TOOLS.ffprobe, str(path)), limits=LIMITS).check("probing")
    scan = PacketScan()
    run(packets_args(TOOLS.ffprobe, str(path)), limits=LIMITS, on_line=scan.feed).check("reading packets")
    return facts_from_probe(json.loads(probed.stdout), size_bytes=path.stat().st_size, packets=scan)


def plan_of(path: Path, profile: str = "default", **overrides: Any) -> Plan:
    """What the product plans for a file."""
    return make_plan(facts_of(path), resolve_profile(profile, overrides or None))


def joined(
    clips: list[tuple[Real, Path]], seconds: int, target: Path, *, size: tuple[int, int] = SIZE
) -> Path:
    """Real clips one after the other at 25 frames a second, again and again up to a length."""
    if target.exists():
        return target
    parts = []
    for clip, path in clips:
        part = target.with_name(f"part-{clip.name}.mkv")
        shape = f"fps=25,scale={size[0]}:{size[1]}:force_original_aspect_ratio=decrease:flags=lanczos"
        shape += f",pad={size[0]}:{size[1]}:-1:-1,setsar=1,format=yuv420p"
        argv = [TOOLS.ffmpeg, "-v", "error", "-y", "-i", str(path), "-t", str(PART_SECONDS_MAX), "-an"]
        argv += ["-vf", shape, "-c:v", "libx264", "-preset", "veryfast", "-crf", "12", str(part)]
        tool(argv)
        parts.append(part)
    once = sum(video.duration_seconds for part in parts if (video := facts_of(part).video))
    rounds = max(1, -(-seconds // max(1, int(once))))
    listing = target.with_suffix(".txt")
    listing.write_text("".join(f"file '{part.name}'\n" for _ in range(rounds) for part in parts))
    argv = [TOOLS.ffmpeg, "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", listing.name]
    argv += ["-t", str(seconds), "-c", "copy", "-video_track_timescale", "12800", target.name]
    tool(argv, cwd=target.parent)
    return target
