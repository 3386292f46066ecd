"""Runs one tool at a time per call: bounded, observable, cancellable, and gone when we are gone."""

import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from media_workers.procs.errors import (
    CancelledError,
    DiskFullError,
    LimitError,
    MissingBinaryError,
    ProcFailedError,
)

Killed = Literal["cancelled", "wall_time", "idle", "cpu_time", "file_size", "output"]

LAUNCHER = str(Path(__file__).with_name("launch.py"))
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
# How long a cancel or a deadline may go unnoticed while the tool says nothing.
TICK_SECONDS = 0.1
READ_BYTES = 64 * 1024
LINE_BYTES_MAX = 64 * 1024
# What a descendant may still write after its leader is gone.
DRAIN_SECONDS_MAX = 2.0

_SENTENCES: dict[Killed, str] = {
    "cancelled": "was cancelled",
    "wall_time": "took longer than allowed and was stopped",
    "idle": "stopped making progress and was stopped",
    "cpu_time": "used more processor time than allowed and was stopped",
    "file_size": "wrote a larger file than allowed and was stopped",
    "output": "printed more than allowed and was stopped",
}
_LIMIT_SIGNALS: dict[int, Killed] = {-signal.SIGXCPU: "cpu_time", -signal.SIGXFSZ: "file_size"}
_DISK_FULL = ("No space left on device", "Disk quota exceeded")


class ProcLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one run. None means unbounded.

    `output_bytes` bounds the captured stdout, `file_bytes` any file the tool writes, `memory_bytes` its
    address space, `idle_seconds` the time without a word on stdout or stderr. `stderr_bytes` of the end of
    stderr are kept. Without `network` (the rule, for strangers' files) the tool has none, as far as the
    kernel lets us.
    """

    wall_seconds: float
    cpu_seconds: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    output_bytes: int = 4 * 2**20
    idle_seconds: float | None = None
    stderr_bytes: int = 64 * 2**10
    grace_seconds: float = 5.0
    network: bool = False


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

    @property
    def last_words(self) -> str:
        """The last line of stderr that says anything; an empty string when there is none."""
        lines = (line.strip() for line in reversed(self.stderr_tail.splitlines()))
        return next((line for line in lines if line), "")

    def check(self, what: str) -> "ProcResult":
        """Give the result back when the tool succeeded.

        Args:
            what: names the work in the error's sentence, as in "encoding 720p".

        Raises:
            CancelledError: the caller stopped it.
            LimitError: a limit stopped it.
            DiskFullError: it found no space to write to.
            ProcFailedError: it ended without success for any other reason.
        """
        if self.ok:
            return self
        if self.killed is not None:
            kind: type[ProcFailedError] = CancelledError if self.killed == "cancelled" else LimitError
            sentence = f"{what} {_SENTENCES[self.killed]}"
        elif any(words in self.stderr_tail for words in _DISK_FULL):
            kind, sentence = DiskFullError, f"{what} stopped: the disk is full; free some space and retry"
        else:
            kind, sentence = ProcFailedError, f"{what} failed ({self._ending()}): {self.last_words[:300]}"
        raise kind(sentence, exit_code=self.exit_code, stderr_tail=self.stderr_tail)

    def _ending(self) -> str:
        if self.exit_code >= 0:
            return f"exit code {self.exit_code}"
        return f"killed by {signal.Signals(-self.exit_code).name}"


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
    with this process, even by SIGKILL (on Linux). Stopping is SIGTERM to the group, then SIGKILL after
    `grace_seconds`; what the tool leaves behind in its group dies with it.

    Args:
        argv: binary (a path, or a name on the system's path) and arguments; never a shell.
        limits: bounds of this run.
        cwd: working directory; None keeps ours.
        on_line: called with each line of stdout, which is then not captured. An exception from it stops the
            tool and rises.
        on_stderr: called with each line of stderr, whose tail is kept as well.
        cancel: set by any thread to stop the tool.
        env: more variables; nothing secret belongs here.

    Raises:
        MissingBinaryError: the binary does not exist or may not be executed.
    """
    command = [resolve_binary(argv[0]), *argv[1:]]
    if cancel is not None and cancel.is_set():
        return _never_started(command)
    return _Run(command, limits, on_line, on_stderr, cancel).to_end(cwd, dict(env or {}))


def resolve_binary(binary: str) -> str:
    """The absolute path of a tool.

    Raises:
        MissingBinaryError: it does not exist or may not be executed.
    """
    found = shutil.which(binary, path=SEARCH_PATH)
    if found is None:
        reason = "may not be executed" if Path(binary).exists() else "was not found"
        raise MissingBinaryError(f"{binary}: the tool {reason}; install it or set its path in the settings")
    return str(Path(found).absolute())


class _Run:
    """One running tool and what it has said so far."""

    def __init__(
        self,
        command: list[str],
        limits: ProcLimits,
        on_line: Callable[[str], None] | None,
        on_stderr: Callable[[str], None] | None,
        cancel: threading.Event | None,
    ) -> None:
        self.command = command
        self.limits = limits
        self.cancel = cancel
        self.killed: Killed | None = None
        self.stdout = bytearray()
        self.stderr_tail = bytearray()
        self.lines = _Lines(on_line) if on_line else None
        self.error_lines = _Lines(on_stderr) if on_stderr else None
        self.heard_at = 0.0
        self.term_at: float | None = None

    def to_end(self, cwd: Path | None, env: dict[str, str]) -> ProcResult:
        started = self.heard_at = time.monotonic()
        process = self._start(cwd, env)
        try:
            with selectors.DefaultSelector() as pipes:
                for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
                    if pipe is not None:
                        os.set_blocking(pipe.fileno(), False)
                        pipes.register(pipe, selectors.EVENT_READ, name)
                self._watch(process, pipes, started)
                # Whatever it started must not outlive it; its own pid stays reserved until it is reaped.
                _signal_group(process.pid, signal.SIGKILL)
                self._drain(pipes)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        for lines in (self.lines, self.error_lines):
            if lines is not None:
                lines.end()
        return ProcResult(
            argv=tuple(self.command),
            exit_code=process.returncode,
            stdout=bytes(self.stdout),
            stderr_tail=self.stderr_tail.decode("utf-8", "replace"),
            wall_seconds=time.monotonic() - started,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            killed=self.killed or _LIMIT_SIGNALS.get(process.returncode),
        )

    def _start(self, cwd: Path | None, env: dict[str, str]) -> "subprocess.Popen[bytes]":
        limits = self.limits
        bounds = (
            limits.memory_bytes or 0,
            limits.cpu_seconds or 0,
            limits.file_bytes or 0,
            int(limits.network),
        )
        launcher = [sys.executable, "-I", "-S", LAUNCHER, str(os.getpid()), *(str(bound) for bound in bounds)]
        return subprocess.Popen(
            [*launcher, *self.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", **env},
            start_new_session=True,
        )

    def _watch(
        self, process: "subprocess.Popen[bytes]", pipes: selectors.BaseSelector, started: float
    ) -> None:
        while not _has_ended(process.pid):
            if pipes.get_map():
                self._read_ready(pipes, TICK_SECONDS)
            else:
                # Both pipes are closed: the end is near, and nothing but a look at the process tells it.
                threading.Event().wait(TICK_SECONDS / 20)
            now = time.monotonic()
            if self.killed is None:
                self.killed = self._reason_to_stop(now, started)
            if self.killed is None:
                continue
            if self.term_at is None:
                self.term_at = now
                _signal_group(process.pid, signal.SIGTERM)
            elif now - self.term_at >= self.limits.grace_seconds:
                _signal_group(process.pid, signal.SIGKILL)

    def _reason_to_stop(self, now: float, started: float) -> Killed | None:
        if self.cancel is not None and self.cancel.is_set():
            return "cancelled"
        if len(self.stdout) > self.limits.output_bytes:
            return "output"
        if now - started > self.limits.wall_seconds:
            return "wall_time"
        if self.limits.idle_seconds is not None and now - self.heard_at > self.limits.idle_seconds:
            return "idle"
        return None

    def _drain(self, pipes: selectors.BaseSelector) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while pipes.get_map() and time.monotonic() < deadline:
            self._read_ready(pipes, TICK_SECONDS)

    def _read_ready(self, pipes: selectors.BaseSelector, timeout_seconds: float) -> None:
        for key, _ in pipes.select(timeout_seconds):
            data = os.read(key.fd, READ_BYTES)
            if not data:
                pipes.unregister(key.fileobj)
                continue
            self.heard_at = time.monotonic()
            if key.data == "stderr":
                self._take_stderr(data)
            else:
                self._take_stdout(data)

    def _take_stdout(self, data: bytes) -> None:
        if self.lines is not None:
            self.lines.feed(data)
        elif len(self.stdout) <= self.limits.output_bytes:
            self.stdout += data

    def _take_stderr(self, data: bytes) -> None:
        self.stderr_tail += data
        del self.stderr_tail[: -self.limits.stderr_bytes]
        if self.error_lines is not None:
            self.error_lines.feed(data)


class _Lines:
    """Cuts a byte stream into lines; one too long to be a line is cut where it exceeds the bound."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            self._tell(line[:LINE_BYTES_MAX].decode("utf-8", "replace"))
        self._rest = self._rest[:LINE_BYTES_MAX]

    def end(self) -> None:
        if self._rest:
            self._tell(self._rest.decode("utf-8", "replace"))


def _has_ended(pid: int) -> bool:
    """Whether a child has ended, without reaping it: until then its group cannot be anyone else's."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # Gone already, or (on some systems) nothing but a zombie left of it.
        return


def _never_started(command: list[str]) -> ProcResult:
    return ProcResult(
        argv=tuple(command),
        exit_code=-signal.SIGTERM,
        stdout=b"",
        stderr_tail="",
        wall_seconds=0.0,
        cpu_seconds=0.0,
        killed="cancelled",
    )
