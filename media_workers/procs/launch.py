"""Becomes another program under limits, tied to the life of the process that started it.

Run as a script by an isolated interpreter, before any thread exists: code between fork and exec in a
threaded process could deadlock. It imports nothing of ours and reads no environment.

Arguments: parent's pid, address space bytes, CPU seconds, file bytes (0 for no limit), whether it may use the
network (0 or 1), then the program and its arguments.

Without the network it lives in an empty network namespace, where not even the loopback is up. Some kernels
and containers allow nobody to make one: then the program runs all the same, held by FFmpeg's own whitelist of
protocols, and `sandbox.check_sandbox` says so.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
EXIT_CANNOT_EXECUTE = 126
# Time for the program to end by itself after the kernel's first warning.
CPU_GRACE_SECONDS = 5


def main() -> None:
    parent, memory_bytes, cpu_seconds, file_bytes, network = (int(word) for word in sys.argv[1:6])
    argv = sys.argv[6:]
    if sys.platform == "linux":
        _confine(network=bool(network))
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


def _confine(*, network: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not network and libc.unshare(CLONE_NEWNET) != 0:
        # Without privileges of its own, a process may make a network only inside a world of its own users.
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)
    # After the namespaces: a change of credentials takes the wish to die with the parent back.
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(kind: int, soft: int, hard: int) -> None:
    _, ceiling = resource.getrlimit(kind)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))


if __name__ == "__main__":
    main()
