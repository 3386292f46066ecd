"""Looking into media files: facts and verdicts of a source, measurements of our own files."""

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from media_workers.media.catalogue import verdict
from media_workers.media.facts import SourceFacts, facts_from_probe
from media_workers.media.guards import first_frame_args, packets_args, probe_args
from media_workers.media.hdr import read_mastering
from media_workers.media.packets import PacketScan
from media_workers.media.text import CAPTIONED_CODECS, CAPTIONS_FOUND, captions_args
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
    size_bytes, head = checked_source(path)
    refused = judge_head(size_bytes, head)
    if refused is not None:
        _report(ctx, refused, head)
        raise _rejected(refused, (refused,), None)
    probe, said = _probe_source(ctx, path, size_bytes, head)
    limits = Limits()
    _accept(
        facts_from_probe(probe, size_bytes=size_bytes, stderr=said),
        limits,
        audio_only_allowed=audio_only_allowed,
        quick=True,
    )
    scan = PacketScan()
    # Its exit code says nothing: a damaged file is judged by the packets it still has.
    run_tool_unchecked(
        ctx, packets_args(ctx.resources.binaries.ffprobe, str(path)), limits=PROBE_LIMITS, on_line=scan.feed
    )
    facts = facts_from_probe(probe, size_bytes=size_bytes, packets=scan, stderr=said)
    facts = _with_mastering(ctx, path, _with_captions(ctx, path, facts))
    return _accept(facts, limits, audio_only_allowed=audio_only_allowed)


def _with_captions(ctx: TaskContext, path: Path, facts: SourceFacts) -> SourceFacts:
    """Say whether there are captions inside the picture, which shows in its decoded frames alone."""
    video = facts.video
    if video is None or video.closed_captions or video.codec not in CAPTIONED_CODECS:
        return facts
    args = captions_args(ctx.resources.binaries.ffprobe, str(path), video.index)
    result = run_tool_unchecked(ctx, args, limits=PROBE_LIMITS)
    found = CAPTIONS_FOUND in result.stdout.decode(errors="replace")
    return replace(facts, video=replace(video, closed_captions=found))


def _with_mastering(ctx: TaskContext, path: Path, facts: SourceFacts) -> SourceFacts:
    """Say what display a PQ title was graded on, which shows in its first decoded picture alone."""
    video = facts.video
    if video is None or video.hdr in (None, "hlg"):
        return facts
    args = first_frame_args(ctx.resources.binaries.ffprobe, str(path), video.index)
    result = run_tool_unchecked(ctx, args, limits=PROBE_LIMITS)
    if not result.ok:
        return facts
    return replace(facts, video=replace(video, mastering=read_mastering(_document(result.stdout))))


def checked_source(path: Path) -> tuple[int, bytes]:
    """Size and first bytes of a source, which must be a plain file and no link, pipe or device.

    Raises:
        TaskRejected: `not_regular_file`.
        OSError: it cannot be read.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENXIO}:
            raise
        refused = verdict("not_regular_file")
        raise _rejected(refused, (refused,), None) from error
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            refused = verdict("not_regular_file")
            raise _rejected(refused, (refused,), None)
        return found.st_size, file.read(HEAD_BYTES)


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


def _probe_source(
    ctx: TaskContext, path: Path, size_bytes: int, head: bytes
) -> tuple[Mapping[str, Any], str]:
    """What ffprobe printed, and what it said while it looked."""
    argv = probe_args(ctx.resources.binaries.ffprobe, str(path))
    result = run_tool_unchecked(ctx, argv, limits=PROBE_LIMITS)
    if not result.ok:
        refused = judge_unopened(size_bytes, head, result.stderr_tail)
        ctx.note(f"ffprobe refused the source (exit {result.exit_code}): {result.stderr_tail[-1000:]}")
        _report(ctx, refused, head)
        raise _rejected(refused, (refused,), None)
    return _document(result.stdout), result.stderr_tail


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


# A playlist that names what no upload has business with: files of the machine, its own network.
_REACHING = re.compile(
    rb"(?:file|https?|tcp|udp|rtsp|rtmp|ftp|gopher|data|subfile)://|(?<![\w.])/(?:etc|proc|sys|dev|root|home)/",
    re.IGNORECASE,
)


def _report(ctx: TaskContext, refused: Verdict, head: bytes) -> None:
    """Tell the operator of a file that was made to make tools open something else."""
    if refused.code != "forbidden_container":
        return
    reached = _REACHING.search(head)
    if reached is not None:
        ctx.note(
            "security event: the upload is a list that points at "
            f"{reached.group().decode('ascii', 'replace')}...; it was not opened"
        )
