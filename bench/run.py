"""Measure servers of Conductor's protocol with one load script, alternating, in one sitting.

    make bench                              ours on SQLite and PostgreSQL, three runs of every scenario
    make bench-upstream                     the same beside upstream Conductor on PostgreSQL, with ratios
    python -m bench.run --quick             one short run each
    python -m bench.run linear inflight=200 seconds=5 --server sqlite

The load script is not part of this repository: it lies beside it in ../shared/bench/load.py, or where --load
says. It needs orjson, httptools and uvloop, which the development environment has. Nothing else should run
meanwhile; the figures are of this machine and this hour and count only as ratios to others of that sitting.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.servers import ROOT, Server

RESULTS = ROOT / "bench" / "results"
WARM_UP_S = 180
"""How long upstream's virtual machine compiles under load before anything counts."""
RUN_S_MAX = 900

Scenario = tuple[str, dict[str, Any]]
SCENARIOS: list[Scenario] = [
    ("linear", {"inflight": 50, "seconds": 6}),
    ("linear", {"inflight": 200, "seconds": 6}),
    ("linear", {"inflight": 1, "seconds": 5}),
    ("linear_open", {"rate": 20, "seconds": 6}),
    ("video", {"inflight": 30, "seconds": 6}),
    ("subworkflow", {"seconds": 5}),
    ("chain_join", {"workflows": 3}),
    ("fork_n", {"n": 100}),
    ("fork_n", {"n": 1000}),
    ("fork_n", {"n": 5000, "limit": 300}),
    ("fork_n", {"n": 10000, "limit": 400}),
    ("system", {"n": 20}),
    ("timeouts", {"n": 100}),
    ("timeouts", {"n": 1000}),
    ("bigpayload", {"kb": 100, "seconds": 5}),
    ("backlog", {"n": 40}),
    ("backlog", {"n": 5000}),
    ("backlog", {"n": 20000, "start_limit": 200, "drain_limit": 120}),
]
ONCE_FOR_UPSTREAM = {5000}
"""Sizes that take upstream a minute: one run has to do."""
OURS_ALONE = {10000, 20000}
"""Sizes that take upstream many minutes, and whose figures are compared with our own at smaller ones."""
FIGURES = (
    "tasks_s",
    "wf_s",
    "dispatch.p50",
    "dispatch.p99",
    "cpu_server_ms_per_task",
    "cpu_store_ms_per_task",
    "fork_wall_s",
    "join_late_ms",
    "join_lost.p50",
    "late.p50",
    "late.p99",
    "drain_tasks_s",
    "poll_deep_count1.p99",
    "start.p50",
    "http.wf_total.p50",
    "wait_1s.late.p99",
    "inline_set_x20.wf_total.p50",
    "rss_server_mb",
    "duplicates",
)
RATIOS = ("tasks_s", "drain_tasks_s", "fork_wall_s", "dispatch.p50", "dispatch.p99", "cpu_ms_per_task")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "scenario", nargs="*", help="one scenario of the load script with its NAME=VALUE parameters"
    )
    parser.add_argument(
        "--server", action="append", choices=("sqlite", "postgres", "upstream"),
        help="what to measure (repeatable); sqlite and postgres unless told",
    )  # fmt: skip
    parser.add_argument("--processes", type=int, default=1, help="server processes of ours on PostgreSQL")
    parser.add_argument(
        "--load", type=Path, default=ROOT.parent / "shared" / "bench" / "load.py", help="the load script"
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each scenario")
    parser.add_argument(
        "--quick", action="store_true", help="one run of two seconds each, no forks of thousands"
    )
    parser.add_argument("--out", type=Path, help="result file; default bench/results/DATE-SERVERS.json")
    args = parser.parse_args()
    if not args.load.is_file():
        print(f"{args.load} is not there: name the load script with --load", file=sys.stderr)
        return 2
    kinds: list[str] = args.server or ["sqlite", "postgres"]
    report = {
        "machine": machine(),
        "stores": "SQLite synchronous=FULL; PostgreSQL with default settings (synchronous_commit=on)",
        "runs": 1 if args.quick else args.repeat,
        "results": list(sitting(args, kinds)),
    }
    out = args.out or RESULTS / f"{time.strftime('%Y-%m-%d')}-{'-'.join(kinds)}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {out}")
    return 0


def sitting(args: argparse.Namespace, kinds: list[str]) -> Iterable[dict[str, Any]]:
    """Every scenario on every server, run by run in turn; the others stand still meanwhile."""
    upstream = Server("upstream") if "upstream" in kinds else None
    if upstream is not None:
        upstream.start()
        print(f"upstream warms up for {WARM_UP_S} s", flush=True)
        load(args.load, upstream, ("linear", {"inflight": 50, "seconds": WARM_UP_S}))
        upstream.hold()
    try:
        for scenario in chosen(args):
            yield measure(args, kinds, scenario, upstream)
    finally:
        if upstream is not None:
            upstream.stop()


def chosen(args: argparse.Namespace) -> list[Scenario]:
    if args.scenario:
        return [(args.scenario[0], dict(part.split("=", 1) for part in args.scenario[1:]))]
    if args.quick:
        return [
            (name, {**p, "seconds": 2} if "seconds" in p else p)
            for name, p in SCENARIOS
            if p.get("n", 0) <= 1000
        ]
    return SCENARIOS


def measure(
    args: argparse.Namespace, kinds: list[str], scenario: Scenario, upstream: Server | None
) -> dict[str, Any]:
    """One scenario: a fresh server and store of ours each, upstream's the same throughout."""
    name, parameters = scenario
    servers: dict[str, Server] = {}
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    repeat = 1 if args.quick else args.repeat
    try:
        for kind in kinds:
            if kind == "upstream" and upstream is not None:
                servers[kind] = upstream
                continue
            servers[kind] = Server(kind, processes=args.processes if kind == "postgres" else 1)
            servers[kind].start()
            servers[kind].hold()
        for run in range(repeat):
            for kind, server in servers.items():
                size = parameters.get("n")
                if kind == "upstream" and (size in OURS_ALONE or (run and size in ONCE_FOR_UPSTREAM)):
                    continue
                server.go_on()
                rows[kind] += load(args.load, server, scenario)
                server.hold()
    finally:
        for kind, server in servers.items():
            if kind != "upstream":
                server.stop()
    found = {kind: summary(rows[kind]) for kind in kinds}
    result = {"scenario": name, "parameters": parameters, **found}
    if "upstream" in found:
        result["ratios"] = {
            kind: ratios(found[kind]["median"], found["upstream"]["median"])
            for kind in kinds
            if kind != "upstream"
        }
    say(result, kinds)
    return result


def load(script: Path, server: Server, scenario: Scenario) -> list[dict[str, Any]]:
    """One run of the load script against a running server: what it printed."""
    name, parameters = scenario
    command = [sys.executable, str(script), name, *(f"{k}={v}" for k, v in parameters.items())]
    command += ["--url", server.url, "--server-pid", ",".join(map(str, server.server_pids))]
    if server.store_pids:
        command += ["--store-pid", ",".join(map(str, server.store_pids))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_S_MAX)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not rows:
        print(f"{server.kind} {name}: nothing came of it: {done.stderr.strip()[-500:]}", file=sys.stderr)
    return [row for row in rows if "summary_of" not in row]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the runs, and whatever went wrong."""
    runs = [flat(row) for row in rows]
    median = {
        f: statistics.median(r[f] for r in runs if f in r) for f in FIGURES if any(f in r for r in runs)
    }
    parts = [median[f] for f in ("cpu_server_ms_per_task", "cpu_store_ms_per_task") if f in median]
    if parts:
        median["cpu_ms_per_task"] = sum(parts)
    broken = {key: row[key] for row in rows for key in ("lost", "errors", "aborted") if row.get(key)}
    return {"runs": len(rows), "median": median, **({"broken": broken} if broken else {})}


def ratios(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """Ours over upstream's, of the figures that both have."""
    return {f: round(ours[f] / theirs[f], 3) for f in RATIOS if ours.get(f) and theirs.get(f)}


def say(result: dict[str, Any], kinds: list[str]) -> None:
    print(f"{result['scenario']} {result['parameters']}", flush=True)
    for kind in kinds:
        figures = "  ".join(f"{k} {v:g}" for k, v in result[kind]["median"].items())
        print(f"  {kind:9} {figures} {result[kind].get('broken', '')}", flush=True)
    for kind, values in result.get("ratios", {}).items():
        print(f"  {kind} / upstream: " + "  ".join(f"{k} {v:g}" for k, v in values.items()), flush=True)


def flat(row: dict[str, Any], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + key] = float(value)
    return found


def machine() -> dict[str, Any]:
    memory_kb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(memory_kb / 2**20),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
