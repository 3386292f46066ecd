"""What the kernel lets us take away from the tools, found out by asking a tool."""

import sys
from pathlib import Path

import msgspec

from media_workers.procs.runner import ProcLimits, run

_LIMITS = ProcLimits(wall_seconds=20)
_NETWORK = Path("/proc/self/ns/net")
_ASK = (
    "import os; print(os.readlink('/proc/self/ns/net')); "
    "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('NoNewPrivs')))"
)


class Sandbox(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How tools are held. `network_closed`: they have none; `privileges_fixed`: they can gain none."""

    network_closed: bool
    privileges_fixed: bool

    @property
    def sentence(self) -> str:
        """What there is, and what to do about what there is not."""
        if self.network_closed and self.privileges_fixed:
            return "tools run without network and cannot gain privileges"
        if self.network_closed:
            return "tools run without network"
        return (
            "this kernel or container lets nobody make a network namespace, so tools are kept off the "
            "network by FFmpeg's whitelist of protocols alone; allow unprivileged user namespaces to close it"
        )


def check_sandbox() -> Sandbox:
    """Start a tool as every tool is started, and look at what it has."""
    if sys.platform != "linux":
        return Sandbox(network_closed=False, privileges_fixed=False)
    result = run([sys.executable, "-I", "-S", "-c", _ASK], limits=_LIMITS)
    network, _, fixed = result.stdout.decode("utf-8", "replace").strip().partition("\n")
    return Sandbox(
        network_closed=result.ok and network != str(_NETWORK.readlink()),
        privileges_fixed=fixed.strip() == "1",
    )
