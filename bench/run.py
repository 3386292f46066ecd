"""Measure a server of ours with the load script that measures any server of Conductor's protocol.

    make bench                              the figures of BENCH_SCENARIOS, three runs each, on SQLite
    python bench/run.py --quick             one short run each
    python bench/run.py linear inflight=200 seconds=5

The load script is not part of this repository: it lies beside it in ../shared/bench/load.py, or where --load
says. It needs orjson, httptools and uvloop, which the development environment has. Nothing else should run
meanwhile; the figures are of this machine and this hour and count only as ratios to others of that sitting.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
START_S_MAX = 30.0
SCENARIOS: list[tuple[str, dict[str, Any]]] = [
    ("linear", {"inflight": 50, "seconds": 6}),
    ("linear", {"inflight": 200, "seconds": 6}),
    ("linear", {"inflight": 1, "seconds": 5}),
    ("linear_open", {"rate": 20, "seconds": 6}),
    ("video", {"inflight": 30, "seconds": 6}),
    ("subworkflow", {"seconds": 5}),
    ("chain_join", {"workflows": 3}),
    ("fork_n", {"n": 1000}),
    ("fork_n", {"n": 5000, "limit": 120}),
    ("timeouts", {"n": 100}),
    ("bigpayload", {"kb": 100, "seconds": 5}),
    ("backlog", {"n": 5000}),
]
FIGURES = (
    "tasks_s",
    "wf_s",
    "dispatch.p50",
    "dispatch.p99",
    "cpu_server_ms_per_task",
    "fork_wall_s",
    "join_late_ms",
    "join_lost.p50",
    "late.p50",
    "late.p99",
    "drain_tasks_s",
    "rss_server_mb",
    "duplicates",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "scenario", nargs="*", help="one scenario of the load script with its NAME=VALUE parameters"
    )
    parser.add_argument(
        "--load", type=Path, default=ROOT.parent / "shared" / "bench" / "load.py", help="the load script"
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each scenario")
    parser.add_argument(
        "--quick", action="store_true", help="one run of two seconds each, no forks of thousands"
    )
    parser.add_argument("--out", type=Path, help="result file; default bench/results/DATE-sqlite.json")
    args = parser.parse_args()
    if not args.load.is_file():
        print(f"{args.load} is not there: name the load script with --load", file=sys.stderr)
        return 2
    scenarios, repeat = SCENARIOS, args.repeat
    if args.scenario:
        scenarios = [(args.scenario[0], dict(part.split("=", 1) for part in args.scenario[1:]))]
    elif args.quick:
        repeat = 1
        scenarios = [
            (name, {**p, "seconds": 2} if "seconds" in p else p)
            for name, p in SCENARIOS
            if p.get("n", 0) <= 1000
        ]
    results = [measure(args.load, name, parameters, repeat) for name, parameters in scenarios]
    report = {"machine": machine(), "store": "sqlite, synchronous=FULL", "runs": repeat, "results": results}
    out = args.out or RESULTS / f"{time.strftime('%Y-%m-%d')}-sqlite.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {out}")
    return 0


def measure(load: Path, name: str, parameters: dict[str, Any], repeat: int) -> dict[str, Any]:
    """Run one scenario against a fresh server and folder; the median of each figure."""
    folder = Path(tempfile.mkdtemp(prefix="showrunner-bench-"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = (folder / "server.log").open("wb")
    argv = [
        sys.executable,
        "-c",
        "from api.cli import main; main()",
        "serve",
        "--port",
        str(port),
        "--data",
        str(folder),
    ]
    server = subprocess.Popen(argv, stdout=log, stderr=log, cwd=ROOT)
    try:
        wait_ready(url, server)
        command = [sys.executable, str(load), name, *(f"{k}={v}" for k, v in parameters.items())]
        command += ["--url", url, "--server-pid", str(server.pid), "--repeat", str(repeat)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    finally:
        server.terminate()
        server.wait(30)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    runs = [flat(row) for row in rows if "summary_of" not in row]
    if not runs:
        raise SystemExit(f"{name}: the load script gave nothing: {done.stderr.strip()[-500:]}")
    figures = {
        f: statistics.median(r[f] for r in runs if f in r) for f in FIGURES if any(f in r for r in runs)
    }
    broken = {key: row[key] for row in rows for key in ("lost", "errors", "aborted") if row.get(key)}
    print(
        f"{name} {parameters}: "
        + "  ".join(f"{k} {v:g}" for k, v in figures.items())
        + (f"  {broken}" if broken else ""),
        flush=True,
    )
    return {
        "scenario": name,
        "parameters": parameters,
        "median": figures,
        **({"broken": broken} if broken else {}),
    }


def wait_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(f"{url}/healthz", timeout=1).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit(f"the server did not start within {START_S_MAX:g} s")


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
