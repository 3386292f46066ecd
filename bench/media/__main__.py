"""Measures the media pipeline: `python -m bench.media`, or `make bench-media`.

    python -m bench.media                 everything, on a three-minute title and ten real clips
    python -m bench.media --quick         the same on seconds, to see that it works; its figures mean nothing
    python -m bench.media --only chunks   one part (repeatable)

Every figure is a ratio of two things done in the same run on the same machine, and stands beside its bound.
The title is real clips joined and brought to 1280x720, which enlarges most of them. Nothing else should run
meanwhile. Clips come from package archives by pip, npm and apt-get, and stay in the cache of footage.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.media.encoding import chunk_efficiency, decode_once
from bench.media.footage import fetch_all
from bench.media.ladders import per_title_saving
from bench.media.orchestration import overhead, whole_title
from bench.media.titles import SIZE, TOOLS, joined
from media_workers.procs.binaries import versions

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
PARTS = ("orchestration", "chunks", "decode", "title", "per-title")
TITLE_S, SHORT_S, CHUNK_S, CLIP_S, CLIPS = 180, 60, 30, 10, 10
QUICK_SIZE = (320, 180)
QUICK_TITLE_S, QUICK_SHORT_S, QUICK_CHUNK_S, QUICK_CLIP_S, QUICK_CLIPS = 14, 6, 6, 2, 2


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="one part (repeatable)")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes of footage")
    parser.add_argument("--slots", type=int, default=1, help="encodes at once in the whole title's run")
    parser.add_argument("--repeat", type=int, default=2, help="turns of the shell loop and the workflow")
    parser.add_argument("--out", type=Path, help="result file; default bench/results/DATE-media.json")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="showrunner-bench-media-"))
    try:
        report = measure(args, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out = args.out or RESULTS / f"{time.strftime('%Y-%m-%d')}-media.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    print(f"written: {out}")
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every part that was asked for."""
    quick = args.quick
    clips = fetch_all(QUICK_CLIPS if quick else CLIPS)
    size = QUICK_SIZE if quick else SIZE
    title = joined(clips, QUICK_TITLE_S if quick else TITLE_S, folder / "title.mp4", size=size)
    short = joined(clips, QUICK_SHORT_S if quick else SHORT_S, folder / "short.mp4", size=size)
    chunk = QUICK_CHUNK_S if quick else CHUNK_S
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "orchestration": lambda: {
            "orchestration": overhead(title, folder, chunk_seconds=chunk, repeat=1 if quick else args.repeat)
        },
        "chunks": lambda: {"chunks": chunk_efficiency(title, short, folder, chunk_seconds=chunk)},
        "decode": lambda: {"decode_once": decode_once(title, folder)},
        "title": lambda: dict(
            zip(
                ("first_playable", "quality_gate"),
                whole_title(title, folder / "whole", slots=args.slots),
                strict=True,
            )
        ),
        "per-title": lambda: {
            "per_title": per_title_saving(clips, folder, seconds=QUICK_CLIP_S if quick else CLIP_S)
        },
    }
    figures: dict[str, Any] = {}
    for name in args.only or PARTS:
        print(f"measuring: {name}", flush=True)
        figures |= parts[name]()
    return {
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "tools": versions(TOOLS),
        "clips": [{"name": clip.name, "about": clip.about} for clip, _ in clips],
        "quick": quick,
        "figures": figures,
    }


_LINES = (
    ("orchestration", "added", "orchestration over a shell loop", "at most"),
    ("chunks", "ratio", "CPU in chunks over CPU whole", "at most"),
    ("decode_once", "saved", "CPU saved by decoding once", "at least"),
    ("per_title", "saving", "per-title saving, median", "at least"),
    ("first_playable", "share", "first playable rendition, of the job", "at most"),
    ("quality_gate", "share", "quality gate, of the encodes' CPU", "at most"),
)


def table(report: dict[str, Any]) -> str:
    """The figures as a reader wants them."""
    lines = [f"{'figure':40} {'measured':>9}  bound"]
    figures = report["figures"]
    for part, field, name, sense in _LINES:
        if part in figures:
            value, bound = figures[part][field], figures[part]["bound"]
            shown = "none" if value is None else f"{value:.3f}"
            missed = value is None or (value > bound if sense == "at most" else value < bound)
            lines.append(f"{name:40} {shown:>9}  {sense} {bound:g}{'  MISSED' if missed else ''}")
    lines += [
        f"  {row['what']:38} {row['ratio']:9.3f}  {row['chunks']} chunks"
        for row in figures.get("chunks", {}).get("rows", ())
    ]
    if "per_title" in figures:
        lines.append(f"  {'clip':38} {'fixed':>9} {'fixed bd':>9} {'profile bd':>10}")
        for row in figures["per_title"]["rows"]:
            values = (row[name] for name in ("fixed", "fixed_bd", "profile_bd"))
            cells = ["none" if value is None else f"{value:.3f}" for value in values]
            lines.append(f"  {row['clip']:38} {cells[0]:>9} {cells[1]:>9} {cells[2]:>10}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
