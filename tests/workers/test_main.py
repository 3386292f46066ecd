"""The worker process: its command line, its signals, its words."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from media_workers.settings import WorkerSettings
from tests.sdk.peer import Peer

pytestmark = pytest.mark.media


def cli(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [sys.executable, "-m", "media_workers", *args],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@contextmanager
def worker(peer: Peer, data: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "media_workers", "run", "--server", peer.url, "--data", str(data), *args]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
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
    assert result.returncode == (0 if report["ok"] else 1)


def test_doctor_misses_a_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing tool is a sentence and exit code 1."""
    monkeypatch.setenv("SHOWRUNNER_FFMPEG", "/nowhere/ffmpeg")

    result = cli("doctor", "--json", cwd=tmp_path)

    assert result.returncode == 1
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

    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_types_lists_all(tmp_path: Path) -> None:
    """`types` names every task type with its class."""
    listed = {item["type"]: item["class"] for item in json.loads(cli("types", "--json", cwd=tmp_path).stdout)}

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

        assert process.wait(15) == code
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert list((tmp_path / "data/scratch").iterdir()) == []


def test_settings_are_described() -> None:
    """Every setting says what it is for."""
    assert all(field.description for field in WorkerSettings.model_fields.values())
