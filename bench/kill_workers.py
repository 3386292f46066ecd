"""Kills workers with SIGKILL in the middle of every kind of task, and compares what comes out.

    python bench/kill_workers.py [--kills 30] [--seed 1]

It starts a server and two workers of its own, processes a clip undisturbed, and then the same clip again and
again while it kills the worker that is at a randomly chosen kind of task, at a random moment of that task.
Every title must end ready with exactly the files of the undisturbed one, and nothing finished may be made
twice. The exit code is 0 when all of that holds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from media_workers.procs.binaries import find_binaries

ROOT = Path(__file__).parents[1]
WORKERS = 2
KILLS_PER_TITLE = 4
LEASE_S = 2
TITLE_S_MAX = 240.0
LOOK_S = 0.03
CLIP = "testsrc2=size=256x144:rate=25:duration={seconds},noise=alls=20:allf=t"
OPTIONS = {
    "profile": "fast",
    "overrides": {
        "renditions": ["144p", "108p"],
        "codecs": ["h264", "av1"],
        "chunkSeconds": 2,
        "qualityGate": True,
    },
}


class Outcome(msgspec.Struct, kw_only=True):
    """What became of the titles.

    Attributes:
        kills: kinds of tasks whose worker was killed, in order.
        titles: how many were disturbed.
        not_ready: what those that did not end ready said.
        different: paths of published files that are not the undisturbed title's, or missing, or more.
        made_again: references that completed more than once, and stored files that were written again.
        left: unfinished files and processes after the end.
    """

    kills: list[str]
    titles: int
    not_ready: list[str]
    different: list[str]
    made_again: list[str]
    left: list[str]

    @property
    def good(self) -> bool:
        return bool(self.kills) and not (self.not_ready or self.different or self.made_again or self.left)


class Farm:
    """A server and its workers in a folder; `close` ends what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.server = self._start(
            ["api.cli", "serve", "--json", "--port", "0", "--data", str(self.data)], "server", subprocess.PIPE
        )
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        if not line:
            raise RuntimeError((folder / "server.log").read_text(encoding="utf-8"))
        self.url = str(json.loads(line)["url"])
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def start_worker(self) -> None:
        argv = ["media_workers", "run", "--server", self.url, "--data", str(self.data), "--concurrency", "1"]
        worker = self._start(argv, "workers", subprocess.DEVNULL)
        self.workers[worker.pid] = worker

    def kill_worker(self, pid: int) -> bool:
        """Kill one and start another; False when there is no such worker any more."""
        worker = self.workers.pop(pid, None)
        if worker is None:
            return False
        worker.kill()
        worker.wait()
        self.start_worker()
        return True

    def shorten_leases(self) -> None:
        """What a killed worker held comes back after this long."""
        for each in self.get("/api/metadata/taskdefs"):
            changed = each | {"responseTimeoutSeconds": LEASE_S, "retryDelaySeconds": 0, "backoffJitterMs": 0}
            self.http.put("/api/metadata/taskdefs", json=changed).raise_for_status()

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def upload(self, clip: Path) -> str:
        with clip.open("rb") as file:
            answer = self.http.post(
                "/api/v1/videos", data={"options": json.dumps(OPTIONS)}, files={"file": (clip.name, file)}
            )
        return str(answer.raise_for_status().json()["id"])

    def tasks(self, video_id: str) -> list[dict[str, Any]]:
        workflow_id = self.get(f"/api/v1/videos/{video_id}").get("workflowId")
        if not workflow_id:
            return []
        return list(self.get(f"/api/workflow/{workflow_id}")["tasks"])

    def ended(self, video_id: str) -> str | None:
        """Its status once nothing more happens to it."""
        status = str(self.get(f"/api/v1/videos/{video_id}")["status"])
        return status if status in {"ready", "failed", "cancelled"} else None

    def published(self, video_id: str) -> dict[str, str]:
        """Hash by path of everything published, the preview included."""
        base = self.data / "media" / "published" / video_id
        return {
            f"{manifest.parent.name}/{item['path']}": item["sha256"]
            for manifest in base.glob("*/manifest.json")
            for item in json.loads(manifest.read_bytes())["files"]
        }

    def stored(self, video_id: str) -> dict[str, tuple[int, int]]:
        """Inode and time of the manifest of every finished artefact."""
        base = self.data / "media" / "artefacts" / video_id
        found = {}
        for path in base.glob("*/manifest.json"):
            with contextlib.suppress(FileNotFoundError):
                found[path.parent.name] = (path.stat().st_ino, path.stat().st_mtime_ns)
        return found

    def left(self) -> list[str]:
        """Unfinished files of any worker, and tools that outlived theirs."""
        asides = [*self.data.glob("media/.incoming/*/*"), *self.data.glob("scratch/*/*")]
        found = [str(path.relative_to(self.data)) for path in asides if path.name != ".alive"]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().decode("utf-8", "replace").split("\0")
                if any(str(self.data / "scratch") in word for word in words):
                    found.append(" ".join(words[:1]))
        return found

    def close(self) -> None:
        for process in (*self.workers.values(), self.server):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in (*self.workers.values(), self.server):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.server.stdout is not None:
            self.server.stdout.close()
        self.http.close()

    def _start(self, argv: list[str], log: str, out: int) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOWRUNNER_")}
        kept |= {"SHOWRUNNER_LONG_POLL_MS": "1000", "PYTHONPATH": str(ROOT)}
        with (self.folder / f"{log}.log").open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", *argv],
                cwd=self.folder,
                env=kept,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=file,
                start_new_session=True,
            )


def looks(seconds: float) -> Iterator[None]:
    """One look after the other until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(LOOK_S)


def pid_of(worker_id: str | None) -> int:
    """The process in a worker's name, HOST-PID-CHANCE; 0 for none."""
    parts = (worker_id or "").rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0


def finish(farm: Farm, video_id: str) -> str:
    for _ in looks(TITLE_S_MAX):
        status = farm.ended(video_id)
        if status is not None:
            return status
    return "not in time"


def kill_at(farm: Farm, video_id: str, kind: str, delay_s: float) -> bool:
    """Kill the worker that does a task of this kind; False when the title ended before there was one."""
    for _ in looks(TITLE_S_MAX):
        if farm.ended(video_id):
            return False
        for task in farm.tasks(video_id):
            if task["taskType"] == kind and task["status"] == "IN_PROGRESS" and task.get("workerId"):
                time.sleep(delay_s)
                return farm.kill_worker(pid_of(task["workerId"]))
    return False


def disturb(farm: Farm, clip: Path, phases: list[tuple[str, float]], outcome: Outcome) -> str:
    """Process the clip once and kill in each of the phases; the video's id."""
    video_id = farm.upload(clip)
    before: dict[str, tuple[int, int]] = {}
    for kind, delay_s in phases:
        if kill_at(farm, video_id, kind, delay_s):
            outcome.kills.append(kind)
            before |= {name: each for name, each in farm.stored(video_id).items() if name not in before}
    status = finish(farm, video_id)
    outcome.titles += 1
    if status != "ready":
        outcome.not_ready.append(
            f"{video_id}: {status} {farm.get(f'/api/v1/videos/{video_id}').get('error')}"
        )
    after = farm.stored(video_id)
    outcome.made_again += [f"{video_id}: {name}" for name, each in before.items() if after.get(name) != each]
    done = Counter(
        task["referenceTaskName"] for task in farm.tasks(video_id) if task["status"] == "COMPLETED"
    )
    outcome.made_again += [f"{video_id}: {ref}" for ref, count in done.items() if count > 1]
    return video_id


def run(*, kills: int, seed: int, data: Path, clip_seconds: int = 4) -> Outcome:
    """Kill so many workers.

    Args:
        kills: at least one.
        seed: of the kinds of tasks and the moments.
        data: an empty folder.
        clip_seconds: length of the clip.
    """
    chance = random.Random(seed)
    clip = make_clip(data / "clip.mp4", clip_seconds)
    outcome = Outcome(kills=[], titles=0, not_ready=[], different=[], made_again=[], left=[])
    farm = Farm(data)
    try:
        farm.shorten_leases()
        for _ in range(WORKERS):
            farm.start_worker()
        calm = farm.upload(clip)
        status = finish(farm, calm)
        if status != "ready":
            outcome.not_ready.append(
                f"undisturbed: {status} {farm.get(f'/api/v1/videos/{calm}').get('error')}"
            )
            return outcome
        expected = farm.published(calm)
        took = durations(farm.tasks(calm))
        while len(outcome.kills) < kills and outcome.titles < 2 * kills:
            count = min(KILLS_PER_TITLE, kills - len(outcome.kills))
            kinds = sorted(chance.sample(list(took), count), key=list(took).index)
            phases = [(kind, chance.uniform(0, took[kind])) for kind in kinds]
            found = farm.published(disturb(farm, clip, phases, outcome))
            outcome.different += sorted(
                path for path in {*found, *expected} if found.get(path) != expected.get(path)
            )
        for _ in looks(LEASE_S):
            outcome.left = farm.left()
            if not outcome.left:
                break
    finally:
        farm.close()
    return outcome


def durations(tasks: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds by kind of task, in the order in which the kinds were first worked on."""
    found: dict[str, float] = {}
    for task in sorted(tasks, key=lambda each: each["startTime"]):
        if task["taskType"].startswith("media_"):
            found.setdefault(task["taskType"], (task["endTime"] - task["startTime"]) / 1000)
    return found


def make_clip(path: Path, seconds: int) -> Path:
    subprocess.run(
        [
            *(find_binaries().ffmpeg, "-v", "error", "-y"),
            *("-f", "lavfi", "-i", CLIP.format(seconds=seconds)),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path)),
        ],
        check=True,
    )
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=30, help="how many workers are killed")
    parser.add_argument("--seed", type=int, default=1, help="of the kinds of tasks and the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(kills=options.kills, seed=options.seed, data=Path(folder))
    print(msgspec.json.format(msgspec.json.encode(outcome)).decode())
    print(f"{len(outcome.kills)} kills: {dict(Counter(outcome.kills))}")
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
