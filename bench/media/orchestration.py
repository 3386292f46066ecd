"""A server and a worker beside a shell loop; and one whole title: its first rendition, its quality gate."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from bench.media.encoding import commands, groups
from bench.media.titles import plan_of
from media_workers.media.plan import Plan

# A worker that has just started is given time to announce itself.
SETTLE_S = 2.0
RUN_S_MAX = 7200.0
LOOK_S = 0.02
VIDEO_ID = "bench_title"
WORKFLOW = "bench_encode"


class Place:
    """A server and a worker of the product, with a folder of their own."""

    def __init__(self, folder: Path, slots: int) -> None:
        self.media = folder / "data" / "media"
        self._folder = folder
        self._slots = slots
        self._processes: list[subprocess.Popen[str]] = []
        self.http = httpx.Client(timeout=60)

    def start(self) -> None:
        serve = [sys.executable, "-m", "api.cli", "serve", "--json", "--port", "0"]
        server = self._start([*serve, "--data", str(self._folder / "data")], "server.log", subprocess.PIPE)
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            raise SystemExit(f"the server did not start: {(self._folder / 'server.log').read_text()[-1000:]}")
        url = json.loads(line)["url"]
        self.http.base_url = url
        work = [sys.executable, "-m", "media_workers", "run", "--server", url]
        work += ["--data", str(self._folder / "data"), "--concurrency", str(self._slots)]
        self._start(work, "worker.log", subprocess.DEVNULL)

    def stop(self) -> None:
        self.http.close()
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        answer.raise_for_status()
        return answer.json()

    def until(self, path: str, ended: tuple[str, ...]) -> dict[str, Any]:
        """What the path answers once its `status` is one of these."""
        deadline = time.monotonic() + RUN_S_MAX
        while True:
            found = dict(self.get(path))
            if found["status"] in ended:
                return found
            if time.monotonic() > deadline:
                raise SystemExit(f"{path} did not end within {RUN_S_MAX:g} s")
            time.sleep(LOOK_S)

    def _start(self, argv: list[str], log: str, out: int) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOWRUNNER_")}
        with (self._folder / log).open("ab") as file:
            process = subprocess.Popen(argv, stdout=out, stderr=file, env=kept, text=True)
        self._processes.append(process)
        return process


@contextlib.contextmanager
def place(folder: Path, slots: int) -> Iterator[Place]:
    """A running server and worker."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = Place(folder, slots)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def overhead(source: Path, folder: Path, *, chunk_seconds: int, repeat: int) -> dict[str, Any]:
    """Wall time of a title's encodes as a workflow, over a shell loop of the same FFmpeg commands.

    One encode at a time in both; they take turns, and the best of each counts.
    """
    plan = plan_of(source, chunkSeconds=chunk_seconds)
    loops, flows = [], []
    for number in range(repeat):
        loops.append(_shell_loop(plan, source, folder / "loop"))
        flows.append(_workflow(plan, source, folder / f"place-{number}"))
    loop, flow = min(loops), min(flows)
    return {
        "title_s": plan.duration_seconds,
        "encodes": len(plan.groups) * len(plan.chunks),
        "shell_loop_s": [round(value, 2) for value in loops],
        "workflow_s": [round(value, 2) for value in flows],
        "added": round(flow / loop - 1, 4),
        "bound": 0.03,
    }


def _shell_loop(plan: Plan, source: Path, folder: Path) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = [
        shlex.join(command)
        for chunk in plan.chunks
        for group in groups(plan)
        for command in commands(plan, group, source, folder, chunk)
    ]
    script = folder / "loop.sh"
    script.write_text("set -e\n" + "".join(f"{line} >/dev/null\n" for line in lines))
    started = time.monotonic()
    subprocess.run(["sh", str(script)], check=True, stdin=subprocess.DEVNULL)
    wall = time.monotonic() - started
    shutil.rmtree(folder)
    return wall


def _workflow(plan: Plan, source: Path, folder: Path) -> float:
    with place(folder, slots=1) as running:
        stored = running.media / "sources" / VIDEO_ID / "input.bin"
        stored.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, stored)
        running.http.put("/api/metadata/workflow", json=[_definition()]).raise_for_status()
        given = _branches(plan)
        body = {
            "name": WORKFLOW,
            "version": 1,
            "input": {
                "tasks": [
                    {"name": "media_encode", "taskReferenceName": ref, "type": "SIMPLE"} for ref in given
                ],
                "inputs": given,
            },
        }
        time.sleep(SETTLE_S)
        started = time.monotonic()
        answer = running.http.post("/api/workflow", json=body)
        answer.raise_for_status()
        ended = running.until(f"/api/workflow/{answer.text}?includeTasks=false", ("COMPLETED", "FAILED"))
        wall = time.monotonic() - started
        if ended["status"] != "COMPLETED":
            raise SystemExit(f"the workflow failed: {ended.get('reasonForIncompletion')}")
        return wall


def _branches(plan: Plan) -> dict[str, Any]:
    document = msgspec.to_builtins(plan)
    return {
        f"encode_{group.name}_c{chunk.number:04d}": {
            "videoId": VIDEO_ID,
            "sourceKey": f"sources/{VIDEO_ID}/input.bin",
            "sourceSha256": "0" * 64,
            "plan": document,
            "renditions": group.renditions,
            "chunk": chunk.number,
        }
        for chunk in plan.chunks
        for group in plan.groups
    }


def _definition() -> dict[str, Any]:
    return {
        "name": WORKFLOW,
        "version": 1,
        "schemaVersion": 2,
        "ownerEmail": "bench@showrunner.example",
        "tasks": [
            {
                "name": "fork",
                "taskReferenceName": "fork",
                "type": "FORK_JOIN_DYNAMIC",
                "inputParameters": {
                    "tasks": "${workflow.input.tasks}",
                    "inputs": "${workflow.input.inputs}",
                },
                "dynamicForkTasksParam": "tasks",
                "dynamicForkTasksInputParamName": "inputs",
            },
            {"name": "join", "taskReferenceName": "join", "type": "JOIN"},
        ],
    }


def whole_title(source: Path, folder: Path, *, slots: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """One upload to `ready` with the default profile.

    Returns:
        the first playable rendition's figure, and the quality gate's.
    """
    with place(folder, slots) as running, source.open("rb") as file:
        answer = running.http.post("/api/v1/videos", files={"file": (source.name, file)})
        answer.raise_for_status()
        video_id = answer.json()["id"]
        video = running.until(f"/api/v1/videos/{video_id}", ("ready", "failed", "cancelled"))
        if video["status"] != "ready":
            raise SystemExit(f"the title failed: {video.get('error')}")
        flow = running.get(f"/api/workflow/{video['workflowId']}?includeTasks=true")
    return _first_playable(flow), _gate_cost(flow)


def _first_playable(flow: dict[str, Any]) -> dict[str, Any]:
    ended = next(
        (
            task["endTime"]
            for task in flow["tasks"]
            if task["taskType"] == "media_preview" and task["status"] == "COMPLETED"
        ),
        None,
    )
    total = flow["endTime"] - flow["createTime"]
    if ended is None:
        return {"share": None, "bound": 0.25, "total_s": round(total / 1000, 2)}
    first = ended - flow["createTime"]
    return {
        "first_s": round(first / 1000, 2),
        "total_s": round(total / 1000, 2),
        "share": round(first / total, 4),
        "bound": 0.25,
    }


def _gate_cost(flow: dict[str, Any]) -> dict[str, Any]:
    encode = measure = 0.0
    for task in flow["tasks"]:
        output = task.get("outputData") or {}
        if task["taskType"] == "media_encode":
            encode += sum(chunk["provenance"]["cpuSeconds"] for chunk in output.get("chunks", ()))
        elif task["taskType"] == "media_measure" and "measured" in output:
            measure += output["measured"]["cpuSeconds"]
    return {
        "cpu_encode_s": round(encode, 2),
        "cpu_gate_s": round(measure, 2),
        "share": round(measure / encode, 4) if encode else None,
        "bound": 0.10,
    }
