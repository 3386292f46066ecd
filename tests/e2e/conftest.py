"""A whole installation in processes of its own: a server, a worker, a folder that both work on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.footage import CITY, FootageError, cache_folder, real_clip
from media_workers.procs.binaries import Binaries, find_binaries
from media_workers.procs.runner import ProcLimits, run

BOUND_S = 60.0
LIMITS = ProcLimits(wall_seconds=BOUND_S, output_bytes=64 * 2**20)


def eventually(check: Callable[[], Any], what: str, within_s: float = BOUND_S) -> Any:
    """The first true answer of `check`; fails after the bound."""
    pause, deadline = threading.Event(), time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        pause.wait(0.05)
    return found


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of the developer's own settings, and an empty cache in the test's folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOWRUNNER_")}
    return {**kept, "XDG_CACHE_HOME": str(folder / "cache"), "SHOWRUNNER_LONG_POLL_MS": "1000", **more}


def processes_naming(folder: Path) -> list[list[str]]:
    """Command lines of the living processes that name something in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode("utf-8", "replace").split("\0")
            if any(str(folder) in word for word in words):
                found.append(words)
    return found


class Installation:
    """Starts and kills; every process is gone after `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.media = self.data / "media"
        self.port = 0
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(timeout=BOUND_S)

    def start_server(self, **env: str) -> None:
        """Start it, at the port it had before if it ran before."""
        argv = [sys.executable, "-m", "api.cli", "serve", "--json", "--port", str(self.port)]
        self.server = self._start([*argv, "--data", str(self.data)], "server.log", env, subprocess.PIPE)
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, self.log("server.log")
        self.port = int(json.loads(line)["url"].rsplit(":", 1)[1])
        self.http.base_url = f"http://127.0.0.1:{self.port}"

    def start_worker(self, *, wrapper: str = "", **env: str) -> None:
        """Start it; `wrapper` is a shell line ending in `exec "$@"`, run in its own mount namespace."""
        argv = [sys.executable, "-m", "media_workers", "run", "--server", str(self.http.base_url)]
        argv += ["--data", str(self.data)]
        if wrapper:
            argv = ["unshare", "--map-root-user", "--mount", "sh", "-c", wrapper, "sh", *argv]
        self.worker = self._start(argv, "worker.log", env, subprocess.DEVNULL)

    def _start(self, argv: list[str], log: str, env: dict[str, str], out: int) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as file:
            return subprocess.Popen(
                argv,
                cwd=self.folder,
                env=environment(self.folder, **env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=file,
                start_new_session=True,
            )

    @staticmethod
    def kill(process: subprocess.Popen[bytes] | None, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to this one process alone, and wait for its end."""
        assert process is not None
        process.send_signal(number)
        process.wait(BOUND_S)
        if process.stdout is not None:
            process.stdout.close()
        return process.returncode

    def close(self) -> None:
        for process in (self.worker, self.server):
            if process is not None and process.poll() is None:
                self.kill(process)
        self.http.close()

    def log(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def upload(self, file: Path, options: dict[str, Any] | None = None) -> httpx.Response:
        with file.open("rb") as opened:
            return self.http.post(
                "/api/v1/videos",
                data={"options": json.dumps(options or {})},
                files={"file": (file.name, opened)},
            )

    def uploaded(self, file: Path, **options: Any) -> str:
        answer = self.upload(file, options)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def video(self, video_id: str) -> dict[str, Any]:
        return dict(self.get(f"/api/v1/videos/{video_id}"))

    def ended(self, video_id: str, within_s: float = BOUND_S) -> dict[str, Any]:
        """The video once nothing more will happen to it."""

        def end() -> dict[str, Any] | None:
            video = self.video(video_id)
            return video if video["status"] in {"ready", "failed", "cancelled"} else None

        return dict(eventually(end, f"{video_id} ends", within_s))

    def ready(self, video_id: str, within_s: float = BOUND_S) -> dict[str, Any]:
        video = self.ended(video_id, within_s)
        assert video["status"] == "ready", (video.get("error"), self.log("worker.log")[-2000:])
        return video

    def unfinished(self) -> list[str]:
        """Everything temporary in the data folder; the lock of a living worker is none."""
        parts = self.media.glob("sources/*/*.part")
        asides = [*self.media.glob(".incoming/*/*"), *(self.data / "scratch").glob("*/*")]
        return sorted(str(path.relative_to(self.data)) for path in (*parts, *asides) if path.name != ".alive")


@pytest.fixture(scope="session")
def tools() -> Binaries:
    return find_binaries()


@pytest.fixture(scope="session")
def city() -> Path:
    """Real footage of odd height; without a package index a failure in CI, a skip on a laptop."""
    try:
        return real_clip(cache_folder(), CITY).path
    except FootageError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        # Without a package index there is no such clip on a laptop; in CI that failed above.
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def make(tools: Binaries) -> Callable[[Path, str], Path]:
    """Write a clip by FFmpeg's arguments."""

    def write(path: Path, arguments: str) -> Path:
        argv = [tools.ffmpeg, "-loglevel", "error", "-y", *arguments.split(" "), str(path)]
        run(argv, limits=LIMITS).check(path.name)
        return path

    return write


@pytest.fixture(scope="session")
def tiny(make: Callable[[Path, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good clip of one second."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.mp4"
    return make(path, "-f lavfi -i testsrc2=s=192x108:r=25:d=1 -c:v libx264 -preset ultrafast")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """One of the test's own, nothing started yet."""
    made = Installation(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for all tests that only use it: a server and a worker, both still alive at the end."""
    made = Installation(tmp_path_factory.mktemp("running"))
    try:
        made.start_server()
        made.start_worker()
        yield made
        for process in (made.worker, made.server):
            assert process is not None
            assert process.poll() is None
            assert made.kill(process, signal.SIGTERM) == 0
    finally:
        made.close()
