"""Runs one tool at a time per call: bounded, observable, cancellable, and gone when we are gone."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

Killed = Literal["cancelled", "wall_time", "idle", "cpu_time", "file_size", "output"]


class ProcLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one run. None means unbounded.

    `output_bytes` bounds the captured stdout, `file_bytes` any file the tool writes, `memory_bytes` its address
    space, `idle_seconds` the time without a word on stdout or stderr.
    """

    wall_seconds: float
    cpu_seconds: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    output_bytes: int = 4 * 2**20
    idle_seconds: float | None = None
    stderr_bytes: int = 64 * 2**10
    grace_seconds: float = 5.0


class ProcResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. `exit_code` is negative for a signal; `killed` says why we (or a limit) ended it."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr_tail: str
    wall_seconds: float
    cpu_seconds: float
    killed: Killed | None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and self.killed is None

    def check(self, what: str) -> "ProcResult":
        """Give the result back when the tool succeeded.

        Args:
            what: names the work in the error's sentence, as in "encoding 720p".

        Raises:
            CancelledError, LimitError, DiskFullError, ProcFailedError: see errors.py.
        """
        raise NotImplementedError


def run(
    argv: Sequence[str],
    *,
    limits: ProcLimits,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
    env: Mapping[str, str] | None = None,
) -> ProcResult:
    """Run a tool to its end in the calling thread.

    It gets its own session, no standard input, an environment of `PATH`, `LC_ALL` and `env` alone, and dies
    with this process, even by SIGKILL. Stopping is SIGTERM to the group, then SIGKILL after `grace_seconds`.

    Args:
        argv: binary and arguments; never a shell.
        limits: bounds of this run.
        cwd: working directory; None keeps ours.
        on_line: called with each line of stdout, which is then not captured. An exception from it stops the tool and rises.
        on_stderr: called with each line of stderr as well as keeping the tail.
        cancel: set by any thread to stop the tool.
        env: more variables; nothing secret belongs here.

    Raises:
        MissingBinaryError: the binary does not exist or may not be executed.
    """
    raise NotImplementedError
