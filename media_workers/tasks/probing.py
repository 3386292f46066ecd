"""Looking into media files: facts and verdicts of a source, measurements of our own files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from media_workers.media.commands import packets_args, probe_args
from media_workers.media.facts import SourceFacts, facts_from_probe
from media_workers.media.packets import PacketScan
from media_workers.media.verdicts import Limits, Verdict, judge, judge_head, judge_unopened, rejection
from media_workers.sdk import TaskContext, TaskFailed, TaskRejected
from media_workers.tasks.tools import PROBE_LIMITS, run_tool, run_tool_unchecked

HEAD_BYTES = 4096


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted source: what it is, and what was found about it."""

    facts: SourceFacts
    verdicts: tuple[Verdict, ...]


def inspect_source(ctx: TaskContext, path: Path, *, audio_only_allowed: bool = False) -> Inspection:
    """Probe a source and judge it.

    Raises:
        TaskRejected: with the code and the sentence of the verdict that speaks against it.
        TaskCancelled: the run was cancelled.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    refused = judge_head(size_bytes, head)
    if refused is not None:
        raise _rejected(refused, (refused,), None)
    probe = _probe_source(ctx, path, size_bytes, head)
    limits = Limits()
    _accept(
        facts_from_probe(probe, size_bytes=size_bytes),
        limits,
        audio_only_allowed=audio_only_allowed,
        quick=True,
    )
    scan = PacketScan()
    # Its exit code says nothing: a damaged file is judged by the packets it still has.
    run_tool_unchecked(
        ctx, packets_args(ctx.resources.binaries.ffprobe, str(path)), limits=PROBE_LIMITS, on_line=scan.feed
    )
    facts = facts_from_probe(probe, size_bytes=size_bytes, packets=scan)
    return _accept(facts, limits, audio_only_allowed=audio_only_allowed)


def measure(ctx: TaskContext, path: Path) -> tuple[Mapping[str, Any], PacketScan]:
    """Probe one of our own files: what ffprobe says, and its packets.

    Raises:
        TaskFailed: it cannot be read.
    """
    ffprobe = ctx.resources.binaries.ffprobe
    probed = run_tool(
        ctx, probe_args(ffprobe, str(path), hashes=True), what=f"probing {path.name}", limits=PROBE_LIMITS
    )
    scan = PacketScan()
    run_tool(
        ctx,
        packets_args(ffprobe, str(path), sizes=True),
        what=f"reading the packets of {path.name}",
        limits=PROBE_LIMITS,
        on_line=scan.feed,
    )
    return _document(probed.stdout), scan


def _probe_source(ctx: TaskContext, path: Path, size_bytes: int, head: bytes) -> Mapping[str, Any]:
    argv = probe_args(ctx.resources.binaries.ffprobe, str(path))
    result = run_tool_unchecked(ctx, argv, limits=PROBE_LIMITS)
    if not result.ok:
        verdict = judge_unopened(size_bytes, head, result.stderr_tail)
        ctx.note(f"ffprobe refused the source (exit {result.exit_code}): {result.stderr_tail[-1000:]}")
        raise _rejected(verdict, (verdict,), None)
    return _document(result.stdout)


def _document(text: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise TaskFailed("tool_failed", f"ffprobe printed no JSON document: {error}") from error


# Without the packets the facts about time are the container's claims; only these are sure already.
_QUICK_CODES = frozenset({"too_large_frame", "too_many_streams", "encrypted_source", "external_reference"})


def _accept(
    facts: SourceFacts, limits: Limits, *, audio_only_allowed: bool, quick: bool = False
) -> Inspection:
    verdicts = judge(facts, limits, audio_only_allowed=audio_only_allowed)
    refused = rejection(verdicts)
    if refused is not None and not (quick and refused.code not in _QUICK_CODES):
        raise _rejected(refused, verdicts, facts)
    return Inspection(facts=facts, verdicts=verdicts)


def _rejected(refused: Verdict, verdicts: tuple[Verdict, ...], facts: SourceFacts | None) -> TaskRejected:
    output: dict[str, object] = {"verdicts": verdicts}
    if facts is not None:
        output["facts"] = facts
    return TaskRejected(refused.code, refused.message, output)
