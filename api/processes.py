"""Child processes of the server and of the demo: own process group, gone when their parent is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

STOP_MS_MAX = 15_000
"""How long a child may take to stop before it is killed."""

# Asks the kernel to signal the child when its parent dies, even by SIGKILL, and then becomes the program. Not
# preexec_fn: running Python between fork and exec is not safe in a process with threads.
_BOUND = """
import ctypes, os, sys
parent, number = int(sys.argv[1]), int(sys.argv[2])
prctl = getattr(ctypes.CDLL(None), "prctl", None)
if prctl is not None:
    prctl(1, number, 0, 0, 0)
if os.getppid() != parent:
    sys.exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""


def bound_argv(argv: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """The arguments that run `argv` so that the death of this process sends it `death_signal`.

    Call it, and start the child, in the main thread: the kernel watches the thread that forks.
    """
    return [sys.executable, "-c", _BOUND, str(os.getpid()), str(int(death_signal)), *argv]


def worker_argv(*, server: str, data: Path, media: Path, extra: Sequence[str] = ()) -> list[str]:
    """The command of a worker process."""
    return [
        *(sys.executable, "-m", "media_workers", "run"),
        *("--server", server, "--data", str(data), "--media", str(media)),
        *extra,
    ]


class Child:
    """A child in its own process group.

    Args:
        argv: absolute program path and its arguments.
        death_signal: what it gets when we die.
        stop_signal: what `stop` sends first.
        env: its environment.
        stdout: where its output goes; a file object or one of subprocess's constants.
        stderr: the same for its errors.
        given: what it reads from its standard input; where secrets go that belong on no command line.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        death_signal: signal.Signals,
        stop_signal: signal.Signals,
        env: Mapping[str, str] | None = None,
        stdout: IO[Any] | int | None = None,
        stderr: IO[Any] | int | None = None,
        given: bytes | None = None,
    ) -> None:
        self._stop_signal = stop_signal
        self.process = subprocess.Popen(
            bound_argv(argv, death_signal),
            env=dict(env) if env is not None else None,
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        if given is not None and self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.process.stdin as pipe:
                pipe.write(given)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def ask(self) -> None:
        """Ask it to stop; does not wait."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(self._stop_signal)

    def stop(self, stop_ms_max: int = STOP_MS_MAX) -> int:
        """Stop it: ask, wait, then kill its group. Answers its exit code."""
        self.ask()
        try:
            self.process.wait(stop_ms_max / 1000)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
