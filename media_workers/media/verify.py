"""Proof that an encode is what was planned; exit code 0 is not."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from media_workers.media.packets import PacketScan
from media_workers.media.plan import AudioPlan, Plan, Rendition


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One broken promise, in numbers. `subject` names the rendition, track or file."""

    rule: str
    severity: Literal["warn", "error"]
    subject: str
    message: str


def check_rendition(
    plan: Plan, rendition: Rendition, probe: Mapping[str, Any], packets: PacketScan
) -> tuple[Finding, ...]:
    """Check an encoded rendition: frames, keyframe grid, duration, size, square pixels, codec.

    Args:
        plan: the title's plan.
        rendition: which of its renditions the file is.
        probe: what `probe_args` printed for the file.
        packets: scan of what `packets_args` printed for it.

    Returns:
        nothing when the file is as planned.
    """
    raise NotImplementedError


def check_audio(track: AudioPlan, probe: Mapping[str, Any], packets: PacketScan) -> tuple[Finding, ...]:
    """Check an encoded track: codec, channels, sample rate, length within two AAC frames."""
    raise NotImplementedError
