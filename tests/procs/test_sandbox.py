"""Tools have no network, gain no privileges, and run all the same where the kernel refuses."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from media_workers.procs.runner import ProcLimits, run
from media_workers.procs.sandbox import Sandbox, check_sandbox

ROOT = Path(__file__).parents[2]
LIMITS = ProcLimits(wall_seconds=20)
OPEN = ProcLimits(wall_seconds=20, network=True)
CONNECT = (
    "import socket, sys; s = socket.socket(); s.settimeout(10); "
    "print(s.connect_ex(('127.0.0.1', int(sys.argv[1]))))"
)


def connecting(limits: ProcLimits) -> int:
    """What a tool gets that calls a server of ours: 0 for an answer, else the error's number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run([sys.executable, "-c", CONNECT, str(port)], limits=limits)
    return int(result.stdout)


# A container may forbid namespaces, CI's too; what happens then is the promise of the tests below.
@pytest.mark.skipif(not check_sandbox().network_closed, reason="this kernel makes no network namespaces")
def test_a_tool_has_no_network() -> None:
    """A tool cannot even reach a server on the same machine; one that was allowed to can."""
    assert connecting(LIMITS) != 0
    assert connecting(OPEN) == 0


def test_a_tool_gains_no_privileges() -> None:
    """The kernel is told that nothing this tool starts may have more rights than it."""
    status = run(["cat", "/proc/self/status"], limits=LIMITS).stdout.decode()

    assert "NoNewPrivs:\t1" in status


def test_a_tool_reads_and_writes_as_before(tmp_path: Path) -> None:
    """The files that a tool works on belong to the worker's user, with or without a namespace."""
    target = tmp_path / "copy"

    run(["cp", __file__, str(target)], limits=LIMITS).check("copying")

    assert target.read_bytes() == Path(__file__).read_bytes()
    assert target.stat().st_uid == os.getuid()


def refusing(*argv: str) -> list[str]:
    """A command inside a world of users whose kernel grants no network namespace to anybody."""
    none = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "sh", "-c", none, "sh", *argv]


def can_refuse() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(refusing("true"), capture_output=True, timeout=20, check=False).returncode == 0


# The refusal is made with a namespace of its own, which the machine itself may forbid.
@pytest.mark.skipif(not can_refuse(), reason="this kernel lets nobody forbid network namespaces")
def test_a_refusing_kernel_is_lived_with() -> None:
    """Where no namespace can be made, tools run all the same, and the worker knows."""
    code = (
        "from media_workers.procs.runner import ProcLimits, run\n"
        "from media_workers.procs.sandbox import check_sandbox\n"
        "limits = ProcLimits(wall_seconds=20)\n"
        "print(run(['echo', 'ran'], limits=limits).stdout.decode().strip(), check_sandbox().network_closed)\n"
    )

    done = subprocess.run(
        refusing(sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "ran False\n"


def test_the_doctor_is_told() -> None:
    """Each state of the sandbox has a sentence; the one that lacks something says what to do."""
    assert check_sandbox().privileges_fixed
    assert "without network" in Sandbox(network_closed=True, privileges_fixed=True).sentence
    assert "allow" in Sandbox(network_closed=False, privileges_fixed=True).sentence
