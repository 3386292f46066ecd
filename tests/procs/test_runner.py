"""The process runner: bounded, observable, cancellable, and nothing outlives it."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media_workers.procs.binaries import find_binaries, versions
from media_workers.procs.errors import (
    CancelledError,
    DiskFullError,
    LimitError,
    MissingBinaryError,
    ProcFailedError,
)
from media_workers.procs.runner import ProcLimits, run

LIMITS = ProcLimits(wall_seconds=20)
# Says its pid, then lives on; `wait` needs no CPU.
FOREVER = "import os, signal; print(os.getpid(), flush=True); signal.pause()"


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def is_gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends within a bound: waits on the process itself."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([handle], [], [], seconds)
        return bool(ready)
    finally:
        os.close(handle)


@pytest.fixture
def strays() -> Iterator[list[int]]:
    """Pids that a failing test must not leave behind."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_success_is_reported() -> None:
    """Exit code, output, times: all there."""
    result = run(python("import sys; print('out'); print('err', file=sys.stderr)"), limits=LIMITS)

    assert result.ok
    assert (result.exit_code, result.stdout, result.stderr_tail, result.killed) == (
        0,
        b"out\n",
        "err\n",
        None,
    )
    assert result.wall_seconds > 0
    assert result.cpu_seconds > 0
    assert result.check("printing") is result


def test_failure_has_a_sentence() -> None:
    """A failing tool's last words stand in the error, and its name for the work."""
    result = run(python("import sys; print('no such filter', file=sys.stderr); sys.exit(3)"), limits=LIMITS)

    with pytest.raises(
        ProcFailedError, match=r"encoding 720p failed \(exit code 3\): no such filter"
    ) as caught:
        result.check("encoding 720p")
    assert caught.value.exit_code == 3


def test_signal_is_named() -> None:
    """A tool that dies of a signal says which."""
    result = run(python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), limits=LIMITS)

    with pytest.raises(ProcFailedError, match="SIGSEGV"):
        result.check("decoding")


def test_lines_arrive_while_it_runs() -> None:
    """Each line is told when it comes, carriage returns end lines, and a last line needs no end."""
    lines: list[str] = []
    said: list[str] = []

    run(
        python("import sys; print('a\\rb'); print('c', end=''); print('e', file=sys.stderr)"),
        limits=LIMITS,
        on_line=lines.append,
        on_stderr=said.append,
    )

    assert (lines, said) == (["a", "b", "c"], ["e"])


def test_endless_line_is_cut() -> None:
    """A line without an end does not fill the memory."""
    lines: list[str] = []

    run(python("import sys; sys.stdout.write('x' * 5_000_000)"), limits=LIMITS, on_line=lines.append)

    assert sum(map(len, lines)) <= 64 * 1024


def test_tail_is_bounded() -> None:
    """Of a talkative tool the end is kept."""
    limits = ProcLimits(wall_seconds=20, stderr_bytes=1000)

    result = run(python("import sys; sys.stderr.write('x' * 1_000_000 + 'end')"), limits=limits)

    assert len(result.stderr_tail) == 1000
    assert result.stderr_tail.endswith("xend")


def test_output_limit() -> None:
    """A tool that prints without end is stopped."""
    limits = ProcLimits(wall_seconds=20, output_bytes=10_000)

    result = run(python("while True: print('x' * 1000)"), limits=limits)

    assert result.killed == "output"
    assert len(result.stdout) < 10_000 + 64 * 1024 + 1
    with pytest.raises(LimitError, match="printed more"):
        result.check("probing")


def test_wall_limit() -> None:
    """A tool that takes too long is stopped."""
    result = run(python(FOREVER), limits=ProcLimits(wall_seconds=0.3))

    assert (result.killed, result.exit_code) == ("wall_time", -signal.SIGTERM)


def test_idle_limit() -> None:
    """A tool that says nothing for too long is stopped."""
    result = run(python(FOREVER), limits=ProcLimits(wall_seconds=20, idle_seconds=0.3))

    assert result.killed == "idle"


def test_cpu_limit() -> None:
    """A tool that burns too much is stopped by the kernel."""
    result = run(python("while True: pass"), limits=ProcLimits(wall_seconds=20, cpu_seconds=1))

    assert (result.killed, result.exit_code) == ("cpu_time", -signal.SIGXCPU)


def test_file_limit(tmp_path: Path) -> None:
    """A tool may not write a larger file than it was given."""
    limits = ProcLimits(wall_seconds=20, file_bytes=100_000)
    # Python itself ignores the signal that other tools die of.
    default = "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); "
    code = default + "open(sys.argv[1], 'wb').write(bytes(10**6))"

    result = run(python(code, str(tmp_path / "large")), limits=limits)

    assert result.killed == "file_size"
    assert (tmp_path / "large").stat().st_size <= 100_000


def test_memory_limit() -> None:
    """A tool may not take more memory than it was given."""
    limits = ProcLimits(wall_seconds=20, memory_bytes=300 * 2**20)

    result = run(python("bytearray(2**30)"), limits=limits)

    assert "MemoryError" in result.stderr_tail
    assert not result.ok


def test_full_disk_is_recognised() -> None:
    """No space left is an error of its own."""
    result = run(["cp", "/etc/passwd", "/dev/full"], limits=LIMITS)

    with pytest.raises(DiskFullError, match="disk is full"):
        result.check("publishing")


@pytest.mark.parametrize("binary", ["/nowhere/ffmpeg", "no-such-tool-anywhere", "/etc/passwd"])
def test_missing_binary(binary: str) -> None:
    """A tool that is not there, or is no program, is named with what to do."""
    with pytest.raises(MissingBinaryError, match=f"{binary}.*settings"):
        run([binary, "-version"], limits=LIMITS)


def test_environment_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of the worker's environment do not reach a tool."""
    monkeypatch.setenv("SHOWRUNNER_SECRET", "x")

    result = run(["env"], limits=LIMITS, env={"MORE": "1"})

    names = {line.partition("=")[0] for line in result.stdout.decode().splitlines()}
    assert names == {"PATH", "LC_ALL", "MORE"}


def test_no_standard_input_and_own_directory(tmp_path: Path) -> None:
    """A tool cannot read the worker's terminal, and works where it is told to."""
    result = run(
        python("import os, sys; print(sys.stdin.read() == '', os.getcwd())"), limits=LIMITS, cwd=tmp_path
    )

    assert result.stdout.decode() == f"True {tmp_path}\n"


def test_cancel_from_another_thread() -> None:
    """Cancelled by another thread, a tool ends at once and says why."""
    cancel = threading.Event()

    result = run(python(FOREVER), limits=LIMITS, on_line=lambda _: cancel.set(), cancel=cancel)

    assert result.killed == "cancelled"
    assert result.wall_seconds < 10
    with pytest.raises(CancelledError, match="was cancelled"):
        result.check("encoding 720p")


def test_cancelled_before_it_starts() -> None:
    """What is cancelled already is not started."""
    cancel = threading.Event()
    cancel.set()
    lines: list[str] = []

    result = run(python(FOREVER), limits=LIMITS, on_line=lines.append, cancel=cancel)

    assert (result.killed, lines) == ("cancelled", [])


def test_stubborn_tool_is_killed() -> None:
    """A tool that ignores SIGTERM is killed when its grace is over."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER
    cancel = threading.Event()
    limits = ProcLimits(wall_seconds=20, grace_seconds=0.3)

    result = run(python(code), limits=limits, on_line=lambda _: cancel.set(), cancel=cancel)

    assert (result.killed, result.exit_code) == ("cancelled", -signal.SIGKILL)


@pytest.mark.parametrize("cancelled", [True, False])
def test_whole_group_dies(cancelled: bool, strays: list[int]) -> None:
    """Children of a tool die with it, whether it is stopped or ends by itself."""
    wait = "child.wait()" if cancelled else "None"
    code = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {FOREVER!r}], stdout=subprocess.PIPE); "
        f"print(child.stdout.readline().decode(), end='', flush=True); {wait}"
    )
    cancel = threading.Event()

    def note(line: str) -> None:
        strays.append(int(line))
        if cancelled:
            cancel.set()

    run(python(code), limits=LIMITS, on_line=note, cancel=cancel)

    assert len(strays) == 1
    assert is_gone(strays[0])


def test_failing_listener_stops_the_tool(strays: list[int]) -> None:
    """An error in the caller's own code leaves no process behind."""

    def fail(line: str) -> None:
        strays.append(int(line))
        raise LookupError(line)

    with pytest.raises(LookupError):
        run(python(FOREVER), limits=LIMITS, on_line=fail)

    assert is_gone(strays[0])


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[list[str]], "subprocess.Popen[bytes]"]]:
    """Another process that runs a tool through the runner, in a thread, as workers do."""
    started: list[subprocess.Popen[bytes]] = []
    code = (
        "import sys, threading\n"
        "from media_workers.procs.runner import ProcLimits, run\n"
        "tell = lambda line: print(line, flush=True)\n"
        "job = lambda: run(sys.argv[1:], limits=ProcLimits(wall_seconds=60), on_line=tell)\n"
        "thread = threading.Thread(target=job); thread.start(); thread.join()\n"
    )

    def start(argv: list[str]) -> "subprocess.Popen[bytes]":
        root = Path(__file__).parents[2]
        process = subprocess.Popen([sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, cwd=root)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_killed_worker_takes_its_tool_along(
    worker: Callable[[list[str]], "subprocess.Popen[bytes]"], strays: list[int]
) -> None:
    """kill -9 of a worker leaves no tool running."""
    process = worker(python(FOREVER))
    assert process.stdout is not None
    strays.append(int(process.stdout.readline()))

    process.kill()

    assert is_gone(strays[0])


@pytest.mark.media
def test_killed_worker_takes_ffmpeg_along(
    worker: Callable[[list[str]], "subprocess.Popen[bytes]"], strays: list[int]
) -> None:
    """kill -9 of a worker in the middle of an encode leaves no FFmpeg running."""
    source = ["-re", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=5"]
    process = worker(
        [find_binaries().ffmpeg, "-loglevel", "error", *source, "-progress", "pipe:1", "-f", "null", "-"]
    )
    assert process.stdout is not None
    process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    strays += [int(pid) for task in children for pid in task.read_text().split()]

    process.kill()

    assert len(strays) == 1
    assert is_gone(strays[0])


@pytest.mark.media
def test_cancelled_ffmpeg_ends_in_order(tmp_path: Path) -> None:
    """FFmpeg stops at SIGTERM by itself, within its grace."""
    source = ["-re", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=5"]
    argv = [
        find_binaries().ffmpeg,
        "-nostdin",
        "-loglevel",
        "error",
        *source,
        "-progress",
        "pipe:1",
        "-f",
        "null",
        "-",
    ]
    cancel = threading.Event()

    result = run(argv, limits=LIMITS, on_line=lambda _: cancel.set(), cancel=cancel)

    assert result.killed == "cancelled"
    assert result.exit_code == 255


@pytest.mark.media
def test_bundled_tools_say_their_versions() -> None:
    """The pinned tools are there and run."""
    found = versions(find_binaries())

    assert found["ffmpeg"].startswith("n9")
    assert found["ffprobe"].startswith("n8")
    assert found["packager"].startswith("v3")


def test_named_tool_wins() -> None:
    """A path or a command from the settings is used instead of the bundled tool."""
    assert find_binaries(ffprobe="sh").ffprobe.endswith("/sh")
    with pytest.raises(MissingBinaryError, match=r"packager: /nowhere/packager"):
        find_binaries(packager="/nowhere/packager")


def test_tool_that_does_not_run_is_named() -> None:
    """A tool that fails to say its version is reported by name."""
    broken = find_binaries(packager="false")

    with pytest.raises(MissingBinaryError, match="packager"):
        versions(broken)
