"""Runs the command line: short commands here, servers in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api import cli

BOUND_S = 60


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of the developer's own settings, and caches in the test's folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOWRUNNER_")}
    return {**kept, "XDG_CACHE_HOME": str(folder / "cache"), **more}


@pytest.fixture
def showrunner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run one command in the test's folder."""
    for name in os.environ:
        if name.startswith("SHOWRUNNER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **env: str) -> Done:
        capfd.readouterr()
        with monkeypatch.context() as patched:
            for name, value in env.items():
                patched.setenv(name, value)
            code = cli.run(arguments)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


class Serving:
    """A server process of the command line."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        argv = [sys.executable, "-m", "api.cli", "serve", "--json", *arguments]
        self.process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environment(folder, **env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=BOUND_S)[1]
        self.url = str(json.loads(line)["url"])

    def end(self, number: signal.Signals) -> Done:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=BOUND_S)
        return Done(self.process.returncode, out, err)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """Start servers in the test's folder; what still runs is killed at its end."""
    started: list[Serving] = []

    def start(*arguments: str, **env: str) -> Serving:
        server = Serving(tmp_path, "--port", "0", "--data", "data", *arguments, **env)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate(timeout=BOUND_S)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for a module."""
    folder = tmp_path_factory.mktemp("serving")
    server = Serving(folder, "--port", "0", "--data", "data", SHOWRUNNER_DISK_FREE_BYTES_MIN="1")
    yield server
    assert server.end(signal.SIGTERM).code == 0
