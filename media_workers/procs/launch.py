"""Becomes another program under limits, tied to the life of the process that started it.

Run as a script by an isolated interpreter, before any thread exists: code between fork and exec in a
threaded process could deadlock. It imports nothing of ours and reads no environment.

Arguments: parent's pid, address space bytes, CPU seconds, file bytes (0 for no limit), then the program and
its arguments.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_CANNOT_EXECUTE = 126
# Time for the program to end by itself after the kernel's first warning.
CPU_GRACE_SECONDS = 5


def main() -> None:
    parent, memory_bytes, cpu_seconds, file_bytes = (int(word) for word in sys.argv[1:5])
    argv = sys.argv[5:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the request was made.
    if os.getppid() != parent:
        os._exit(EXIT_CANNOT_EXECUTE)
    # Python ignores these two; the program must die of them.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0, 0)
    if cpu_seconds:
        _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + CPU_GRACE_SECONDS)
    if file_bytes:
        _limit(resource.RLIMIT_FSIZE, file_bytes, file_bytes)
    if memory_bytes:
        _limit(resource.RLIMIT_AS, memory_bytes, memory_bytes)
    try:
        os.execv(argv[0], argv)  # noqa: S606 # an argument list, checked by the caller
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(EXIT_CANNOT_EXECUTE)


def _limit(kind: int, soft: int, hard: int) -> None:
    _, ceiling = resource.getrlimit(kind)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))


if __name__ == "__main__":
    main()
