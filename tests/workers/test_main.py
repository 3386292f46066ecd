"""The worker process: its command line, its signals, its words."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from media_workers.main import app
from media_workers.procs.binaries import Binaries
from media_workers.settings import WorkerSettings
from tests.sdk.peer import Peer
from tests.workers.conftest import make_clip

pytestmark = pytest.mark.media


def cli(*args: str, cwd: Path) -> Result:
    """Run a command in this process, in a folder."""
    with contextlib.chdir(cwd):
        result = CliRunner().invoke(app, args)
    structlog.reset_defaults()  # the command sent the log to the runner's stderr, which is gone now
    return result


@contextmanager
def worker(peer: Peer, data: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "media_workers", "run", "--server", peer.url, "--data", str(data), *args]
    environment = {**os.environ, "SHOWRUNNER_LONG_POLL_MS": "500"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def peer() -> Iterator[Peer]:
    server = Peer()
    yield server
    server.close()


def test_doctor_finds_the_tools(tmp_path: Path) -> None:
    """`doctor` names each tool with its version and ends with 0 when all is well."""
    result = cli("doctor", "--json", cwd=tmp_path)

    report = json.loads(result.stdout)
    checks = {item["check"]: item for item in report["checks"]}
    assert {"ffmpeg", "ffprobe", "packager", "encoder libx264", "encoder aac"} <= set(checks)
    assert result.exit_code == (0 if report["ok"] else 1)


def test_doctor_misses_a_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing tool is a sentence and exit code 1."""
    monkeypatch.setenv("SHOWRUNNER_FFMPEG", "/nowhere/ffmpeg")

    result = cli("doctor", "--json", cwd=tmp_path)

    assert result.exit_code == 1
    assert "/nowhere/ffmpeg" in result.stdout
    assert "Traceback" not in result.stderr


def test_plan_prints_the_ladder(clip: Path, tmp_path: Path) -> None:
    """`plan` shows what would be made, and makes nothing."""
    result = cli("plan", str(clip), "--profile", "fast", "--json", cwd=tmp_path)

    report = json.loads(result.stdout)
    assert [item["name"] for item in report["plan"]["renditions"]] == ["240p", "180p", "144p"]
    assert report["plan"]["framesTotal"] == 60
    assert list(tmp_path.glob("showrunner-data/media/*")) == []


@pytest.mark.parametrize(
    ("args", "said", "code"),
    [
        (["plan", "missing.mp4"], "there is no file missing.mp4", 2),
        (["plan", "text.mp4"], ".", 1),
        (["plan", "text.mp4", "--profile", "nope"], "nope", 1),
        (["plan", "text.mp4", "--overrides", "{"], "--overrides", 2),
        (["run", "--types", "nope"], "there is no task type 'nope'", 2),
        (["run", "--class", "gpu"], "there is no resource class 'gpu'", 2),
        (["run", "--concurrency", "0"], "concurrency", 2),
    ],
)
def test_errors_are_one_sentence(tmp_path: Path, args: list[str], said: str, code: int) -> None:
    """Bad input ends with one sentence and the right exit code."""
    (tmp_path / "text.mp4").write_text("I am no video." * 50)

    result = cli(*args, cwd=tmp_path)

    assert result.exit_code == code
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_types_lists_all() -> None:
    """`types` names every task type with its class."""
    result = cli("types", "--json", cwd=Path.cwd())
    listed = {item["type"]: item["class"] for item in json.loads(result.stdout)}

    assert listed["media_encode"] == "cpu-large"


def plan_input(clip: Path, tmp_path: Path) -> dict[str, Any]:
    report = json.loads(cli("plan", str(clip), "--json", cwd=tmp_path).stdout)
    return {"videoId": "v", "sourceKey": "k", "sourceSha256": "s", "facts": report["source"]}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_ends_an_idle_worker(
    peer: Peer, clip: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A worker does its task, ends on the signal, and leaves no folder of its own."""
    with worker(peer, tmp_path / "data", "--types", "media_plan") as process:
        task_id = peer.add("media_plan", plan_input(clip, tmp_path))
        assert peer.wait_status(task_id, "COMPLETED")["outputData"]["forkTasks"]

        process.send_signal(number)

        assert process.wait(60) == code
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert list((tmp_path / "data/scratch").iterdir()) == []


@pytest.fixture(scope="module")
def long_encode(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A media folder with a source, and the input of an encode that takes longer than any test waits."""
    data = tmp_path_factory.mktemp("slow")
    source = data / "media/sources/v/input.bin"
    source.parent.mkdir(parents=True)
    make_clip(tools, data / "clip.mp4", size="1280x720", seconds=20).rename(source)
    plan = json.loads(cli("plan", str(source), "--json", cwd=data).stdout)["plan"]
    for rendition in plan["renditions"]:
        rendition["preset"] = "placebo"
    given = {"videoId": "v", "sourceKey": "sources/v/input.bin", "sourceSha256": "s", "plan": plan}
    return data, {**given, "renditions": ["720p"], "chunk": 0}


def encoders_of(data: Path) -> list[int]:
    """Ids of the processes whose command names the folder."""
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes()
            if path.name.isdigit() and str(data).encode() in command and b"ffmpeg" in command:
                found.append(int(path.name))
    return found


def wait_until(met: Callable[[], object], seconds: float = 60) -> None:
    pause = threading.Event()
    deadline_s = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline_s, "the awaited state never came"
        pause.wait(0.02)


def unfinished(data: Path) -> list[Path]:
    # Globbed, not listed: a home may go between the two looks, and is then simply empty.
    found = [*data.glob("scratch/*/*"), *data.glob("media/.incoming/*/*")]
    return [path for path in found if path.name != ".alive"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_worker_leaves_no_encoder(
    peer: Peer, long_encode: tuple[Path, dict[str, Any]], number: signal.Signals
) -> None:
    """FFmpeg ends with its worker, even with one that is killed; the next worker drops what is left."""
    data, given = long_encode
    task_id = peer.add("media_encode", given)
    with worker(peer, data, "--types", "media_encode") as process:
        wait_until(lambda: encoders_of(data / "media") and unfinished(data))

        process.send_signal(number)

        process.wait(60)
        wait_until(lambda: not encoders_of(data / "media"))
    if number == signal.SIGINT:
        assert peer.tasks[task_id]["status"] == "SCHEDULED"
        assert "FAILED" not in {item["status"] for item in peer.updates}
    with peer.changed:
        peer.queue.clear()
    with worker(peer, data, "--types", "media_plan"):
        wait_until(lambda: not unfinished(data))


def test_drained_worker_finishes_its_task(peer: Peer, clip: Path, tmp_path: Path) -> None:
    """SIGTERM lets the running encode finish and report."""
    data = tmp_path / "data"
    source = data / "media/sources/v/input.bin"
    source.parent.mkdir(parents=True)
    shutil.copy(clip, source)
    plan = json.loads(cli("plan", str(source), "--json", cwd=tmp_path).stdout)["plan"]
    given = {"videoId": "v", "sourceKey": "sources/v/input.bin", "sourceSha256": "s", "plan": plan}
    task_id = peer.add("media_encode", {**given, "renditions": ["240p"], "chunk": 0})
    with worker(peer, data, "--types", "media_encode") as process:
        wait_until(lambda: unfinished(data) or peer.tasks[task_id]["status"] == "COMPLETED")

        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0
    assert peer.tasks[task_id]["status"] == "COMPLETED"


def test_settings_are_described() -> None:
    """Every setting says what it is for."""
    assert all(field.description for field in WorkerSettings.model_fields.values())
