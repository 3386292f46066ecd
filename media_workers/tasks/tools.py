"""Runs the media tools for a task: bounded, cancellable, with progress, and failures as one sentence."""

import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from media_workers.media.progress import Progress, ProgressParser
from media_workers.procs import binaries, runner
from media_workers.procs.binaries import Binaries
from media_workers.procs.errors import CancelledError, DiskFullError, LimitError, ProcFailedError
from media_workers.procs.runner import ProcLimits, ProcResult
from media_workers.sdk import TaskCancelled, TaskContext, TaskFailed

MIB = 1 << 20
GIB = 1 << 30

# What a stopped tool leaves is thrown away, so it needs no time to finish its file nicely.
GRACE_SECONDS = 1.0

# Reading a file's tables and packets: seconds even for a long title. A hostile file must not hold a slot.
PROBE_LIMITS = ProcLimits(
    wall_seconds=600,
    cpu_seconds=600,
    memory_bytes=2 * GIB,
    output_bytes=16 * MIB,
    grace_seconds=GRACE_SECONDS,
)
# One decode without encoding.
MEASURE_LIMITS = ProcLimits(wall_seconds=6 * 3600, memory_bytes=8 * GIB, grace_seconds=GRACE_SECONDS)
# The packager opens our own files alone, and may have to ask a key server.
PACKAGE_LIMITS = ProcLimits(
    wall_seconds=3600, memory_bytes=8 * GIB, grace_seconds=GRACE_SECONDS, network=True
)
ENCODE_SECONDS_MIN = 900
# How much slower than predicted an encode may be before it counts as stuck.
ENCODE_SECONDS_FACTOR = 20
STDERR_NOTE_CHARS_MAX = 4000


def encode_limits(predicted_seconds: float, file_bytes: int) -> ProcLimits:
    """Bounds of an encode that should take so long and write so much."""
    return ProcLimits(
        wall_seconds=ENCODE_SECONDS_MIN + ENCODE_SECONDS_FACTOR * predicted_seconds,
        memory_bytes=8 * GIB,
        file_bytes=file_bytes,
        idle_seconds=600,
        grace_seconds=GRACE_SECONDS,
    )


def run_tool(
    ctx: TaskContext,
    argv: Sequence[str],
    *,
    what: str,
    limits: ProcLimits,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> ProcResult:
    """Run a tool to a successful end.

    Args:
        ctx: cancels it.
        argv: from the media package.
        what: names the work in sentences, as in "encoding 720p".
        limits: its bounds.
        cwd: working folder.
        on_line: takes each line of its output.

    Raises:
        TaskCancelled: the run was cancelled.
        TaskFailed: `disk_full`, `limit_exceeded` or `tool_failed`; its last words are in the task's log.
    """
    return checked(ctx, run_tool_unchecked(ctx, argv, limits=limits, cwd=cwd, on_line=on_line), what)


def checked(ctx: TaskContext, result: ProcResult, what: str) -> ProcResult:
    """Give the result back when the tool succeeded; `what` names the work in the sentence.

    Raises:
        TaskCancelled, TaskFailed: as `run_tool`.
    """
    try:
        return result.check(what)
    except CancelledError as error:
        raise TaskCancelled(str(error)) from error
    except ProcFailedError as error:
        ctx.note(
            f"{what} failed (exit {result.exit_code}, {result.killed or 'by itself'}): "
            f"{shlex.join(result.argv)}"
        )
        ctx.note(result.stderr_tail[-STDERR_NOTE_CHARS_MAX:] or "the tool said nothing")
        raise TaskFailed(_code(error), str(error)) from error


def run_tool_unchecked(
    ctx: TaskContext,
    argv: Sequence[str],
    *,
    limits: ProcLimits,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
) -> ProcResult:
    """As `run_tool`, for tools whose failure is an answer; only a cancelled run raises."""
    result = runner.run(
        argv, limits=limits, cwd=cwd, on_line=on_line, on_stderr=on_stderr, cancel=ctx.cancelled
    )
    if result.killed == "cancelled":
        raise TaskCancelled("the run was cancelled")
    return result


def frame_progress(
    ctx: TaskContext, *, frames_total: int, message: str, start: float = 0.0, end: float = 1.0
) -> Callable[[str], None]:
    """A line handler that turns FFmpeg's progress, counted in frames, into the task's.

    Args:
        ctx: takes the progress.
        frames_total: of the work.
        message: names it.
        start: fraction of the task that is done before.
        end: fraction that is done after.
    """

    def tell(report: Progress) -> None:
        left = max(frames_total - report.frame, 0)
        ctx.progress(
            start + (end - start) * report.fraction(frames_total),
            fps=round(report.fps, 2),
            speed=round(report.speed, 3),
            eta_seconds=round(left / report.fps, 1) if report.fps > 0 else None,
            message=message,
        )

    return _reports(tell)


def time_progress(
    ctx: TaskContext, *, seconds_total: float, message: str, start: float = 0.0
) -> Callable[[str], None]:
    """As `frame_progress`, counted in media seconds, for the part of a task from fraction `start` on."""

    def tell(report: Progress) -> None:
        done = min(report.out_time_seconds / seconds_total, 1.0) if seconds_total > 0 else 0.0
        ctx.progress(start + (1 - start) * done, speed=round(report.speed, 3), message=message)

    return _reports(tell)


@functools.lru_cache(maxsize=8)
def tool_versions(tools: Binaries) -> dict[str, str]:
    """Version lines by tool name, asked once a process."""
    return binaries.versions(tools)


def _reports(tell: Callable[[Progress], None]) -> Callable[[str], None]:
    parser = ProgressParser()

    def on_line(line: str) -> None:
        report = parser.feed(line)
        if report is not None:
            tell(report)

    return on_line


def _code(error: ProcFailedError) -> str:
    match error:
        case DiskFullError():
            return "disk_full"
        case LimitError():
            return "limit_exceeded"
        case _:
            return "tool_failed"
