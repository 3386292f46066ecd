"""What chunks cost, and what decoding once saves: the plan's own commands, by CPU seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.media.titles import NOTHING, TOOLS, Spent, plan_of, tool
from media_workers.media.chunks import Chunk
from media_workers.media.encoders import TWO_PASS
from media_workers.media.plan import Plan, Rendition
from media_workers.media.video import video_args

CODECS = ("hevc", "vp9", "av1")


def commands(
    plan: Plan, renditions: Sequence[Rendition], source: Path, folder: Path, chunk: Chunk | None
) -> list[list[str]]:
    """What media_encode runs for these renditions of a chunk, or of the whole title."""
    number = "whole" if chunk is None else f"{chunk.number:04d}"
    two = any(rendition.encoder in TWO_PASS for rendition in renditions)
    return [
        video_args(
            TOOLS.ffmpeg,
            plan,
            renditions,
            source=str(source),
            targets=[str(folder / f"{rendition.name}_{number}.mp4") for rendition in renditions],
            chunk=chunk,
            pass_log=str(folder / f"passes_{number}") if two else None,
            pass_number=passed,
        )
        for passed in ((1, 2) if two else (None,))
    ]


def groups(plan: Plan) -> list[list[Rendition]]:
    """The plan's groups, as renditions."""
    by_name = {rendition.name: rendition for rendition in plan.renditions}
    return [[by_name[name] for name in group.renditions] for group in plan.groups]


def spent_on(
    plan: Plan, members: Sequence[Sequence[Rendition]], source: Path, folder: Path, *, chunked: bool
) -> Spent:
    """Encode everything, in chunks or whole."""
    total = NOTHING
    for renditions in members:
        for chunk in plan.chunks if chunked else (None,):
            for command in commands(plan, renditions, source, folder, chunk):
                total += tool(command)
    return total


def chunk_efficiency(source: Path, other: Path, folder: Path, *, chunk_seconds: int) -> dict[str, Any]:
    """CPU in chunks over CPU whole: the H.264 ladder of a title, and one rung of each other codec.

    Args:
        source: the title.
        other: a shorter one for the codecs that take long.
        folder: where files may be left.
        chunk_seconds: the chunks' length; those of the shorter title as well.
    """
    plan = plan_of(source, chunkSeconds=chunk_seconds)
    rows = [_efficiency("h264 ladder", plan, groups(plan), source, folder)]
    for codec in CODECS:
        plan = plan_of(
            other, codecs=[codec], renditions=[{"height": 480, "codec": codec}], chunkSeconds=chunk_seconds
        )
        rows.append(_efficiency(f"{codec} 480p", plan, [[plan.renditions[0]]], other, folder))
    return {"ratio": rows[0]["ratio"], "bound": 1.18, "rows": rows}


def _efficiency(
    what: str, plan: Plan, members: Sequence[Sequence[Rendition]], source: Path, folder: Path
) -> dict[str, Any]:
    whole = spent_on(plan, members, source, folder, chunked=False)
    chunks = spent_on(plan, members, source, folder, chunked=True)
    return {
        "what": what,
        "chunks": len(plan.chunks),
        "cpu_whole_s": round(whole.cpu, 2),
        "cpu_chunks_s": round(chunks.cpu, 2),
        "ratio": round(chunks.cpu / whole.cpu, 4),
    }


def decode_once(source: Path, folder: Path) -> dict[str, Any]:
    """CPU of the H.264 rungs below the largest, in one process and in one each, for one chunk of a title."""
    plan = plan_of(source)
    chunk = plan.chunks[0]
    cheap = list(plan.renditions[1:]) or list(plan.renditions)
    together = _all(commands(plan, cheap, source, folder, chunk))
    alone = NOTHING
    for rendition in cheap:
        alone += _all(commands(plan, [rendition], source, folder, chunk))
    return {
        "rungs": [rendition.name for rendition in cheap],
        "cpu_one_process_s": round(together.cpu, 2),
        "cpu_process_a_rung_s": round(alone.cpu, 2),
        "saved": round(1 - together.cpu / alone.cpu, 4),
        "bound": 0.12,
    }


def _all(lines: list[list[str]]) -> Spent:
    total = NOTHING
    for line in lines:
        total += tool(line)
    return total
