"""Ingest rules: each finding has a stable code, a severity and one sentence for the person who uploaded."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from media_workers.media.facts import SourceFacts

Severity = Literal["info", "normalise", "warn", "reject"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    code: str
    severity: Severity
    message: str
    remedy: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bounds of what is accepted; an operator may raise them."""

    edge_px_max: int = 8192
    frame_px_max: int = 8192 * 4320
    edge_px_min: int = 16
    duration_seconds_max: float = 12 * 3600.0
    streams_max: int = 64
    # A day of 720p30: a tiny file that would decode to more is a bomb or a mistake.
    pixels_total_max: float = 12 * 3600.0 * 60 * 1920 * 1080


def judge_head(size_bytes: int, head: bytes) -> Verdict | None:
    """Judge a file by its size and first bytes, before any tool opens it; None when nothing speaks against it."""
    raise NotImplementedError


def judge_unopened(size_bytes: int, head: bytes, stderr: str) -> Verdict:
    """Say why ffprobe could not open a file; always a reject.

    Args:
        size_bytes: the file's size.
        head: its first bytes (4 KiB are plenty).
        stderr: what ffprobe said.
    """
    raise NotImplementedError


def judge(
    facts: SourceFacts, limits: Limits = Limits(), *, audio_only_allowed: bool = False
) -> tuple[Verdict, ...]:
    """Apply every rule that needs no full decode, worst first; rejects are never left out."""
    raise NotImplementedError


def rejection(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first reject, which is the reason a video fails with; None when the source is accepted."""
    return next((verdict for verdict in verdicts if verdict.severity == "reject"), None)
