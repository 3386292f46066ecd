"""media_scan: the whole source decoded once, and judged by what really came out of it."""

from collections.abc import Callable
from typing import Any

import msgspec

from media_workers.media.facts import SourceFacts
from media_workers.media.scan import ScanFacts, merged_facts
from media_workers.media.scan_log import ScanParser, scan_args
from media_workers.media.verdicts import Verdict, judge, rejection
from media_workers.procs.runner import ProcLimits
from media_workers.sdk import Record, TaskContext, TaskRejected, worker
from media_workers.storage import Artefact, artefact_key, facts_of
from media_workers.tasks.encode import provenance
from media_workers.tasks.probing import checked_source
from media_workers.tasks.records import Provenance
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import (
    GIB,
    GRACE_SECONDS,
    MIB,
    checked,
    frame_progress,
    run_tool_unchecked,
    time_progress,
    tool_versions,
)
from media_workers.tasks.validate import profile_for

SCAN_NAME = "scan.json"
SCRATCH_BYTES = 16 * MIB
MESSAGE = "looking at every frame"
# A second of 2160p60 takes a slow core some twenty seconds; a file that needs more is built to.
SECONDS_MIN = 900
CPU_SECONDS_FACTOR = 60
WALL_SECONDS_FACTOR = 60
IDLE_SECONDS = 600
# It writes to nothing but its two pipes.
FILE_BYTES = 1 * MIB


class ScanInput(Record, frozen=True, kw_only=True):
    """Input of media_scan: what validation found, and the request's options as media_validate takes them."""

    video_id: str
    source_key: str
    source_sha256: str
    facts: SourceFacts
    profile: str | dict[str, Any] | None = None
    overrides: dict[str, Any] | None = None


class Scanned(Record, frozen=True, kw_only=True):
    """What is kept of a scan, so that a repeated task need not look again."""

    scan: ScanFacts
    provenance: Provenance


class ScanOutput(Record, frozen=True, kw_only=True):
    """Output of media_scan.

    Attributes:
        facts: the source's, with what was seen in place of what was claimed.
        scan: everything the detectors said.
        verdicts: all of them, worst first; they take the place of validation's.
        artefact: where the scan is stored.
        reused: an earlier run had looked already.
    """

    facts: SourceFacts
    scan: ScanFacts
    verdicts: tuple[Verdict, ...]
    artefact: str
    reused: bool


@worker("media_scan")
def scan(job: ScanInput, ctx: TaskContext) -> ScanOutput:
    """Decode the source and judge it; one that cannot be processed ends the workflow with the verdict."""
    profile = profile_for(job.profile, job.overrides)
    found, reused = _looked_at(job, ctx)
    seen = facts_of(found, Scanned).scan
    facts = merged_facts(job.facts, seen)
    verdicts = judge(facts, audio_only_allowed=profile.audio_only_allowed, scan=seen)
    refused = rejection(verdicts)
    if refused is not None:
        raise TaskRejected(
            refused.code, refused.message, {"verdicts": verdicts, "facts": facts, "scan": seen}
        )
    return ScanOutput(facts=facts, scan=seen, verdicts=verdicts, artefact=found.prefix, reused=reused)


def scan_source(ctx: TaskContext, facts: SourceFacts, source: str) -> tuple[ScanFacts, Provenance]:
    """Decode a source through every detector.

    Args:
        ctx: cancels it and takes its progress.
        facts: of the source, from its packets.
        source: path of the file.

    Raises:
        TaskCancelled: the run was cancelled.
        TaskFailed: it took more than its limits.
    """
    parser = ScanParser()
    result = run_tool_unchecked(
        ctx,
        scan_args(ctx.resources.binaries.ffmpeg, facts, source=source),
        limits=_limits(facts),
        on_line=_progress(ctx, facts),
        on_stderr=parser.feed,
    )
    # Its exit code says nothing about the file; that it was stopped does.
    if result.killed is not None:
        checked(ctx, result, "looking at the source")
    if not result.ok:
        ctx.note(f"the scan did not come to the end (exit {result.exit_code}): {result.last_words[:500]}")
    recipe = scan_args("ffmpeg", facts, source="SOURCE")
    return parser.facts(complete=result.ok), provenance(ctx, recipe, "ffmpeg", result, inputs=())


def _looked_at(job: ScanInput, ctx: TaskContext) -> tuple[Artefact, bool]:
    recipe = scan_args("ffmpeg", job.facts, source="SOURCE")
    version = tool_versions(ctx.resources.binaries).get("ffmpeg", "")
    key = artefact_key("scan", job.source_sha256, recipe, version)
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return found, True
    path = source_path(ctx, job.source_key)
    checked_source(path)
    seen, made = scan_source(ctx, job.facts, str(path))
    with ctx.scratch(SCRATCH_BYTES) as folder:
        (folder / SCAN_NAME).write_bytes(msgspec.json.encode(seen))
        made = msgspec.structs.replace(made, inputs=(job.source_sha256,))
        ctx.check_cancelled()
        return ctx.resources.artefacts.commit(
            job.video_id, key, folder, kind="scan", facts=Scanned(scan=seen, provenance=made)
        )


def _limits(facts: SourceFacts) -> ProcLimits:
    seconds = max(facts.duration_seconds or 0.0, facts.video.duration_seconds if facts.video else 0.0)
    return ProcLimits(
        wall_seconds=SECONDS_MIN + WALL_SECONDS_FACTOR * seconds,
        cpu_seconds=round(SECONDS_MIN + CPU_SECONDS_FACTOR * seconds),
        memory_bytes=8 * GIB,
        file_bytes=FILE_BYTES,
        idle_seconds=IDLE_SECONDS,
        grace_seconds=GRACE_SECONDS,
    )


def _progress(ctx: TaskContext, facts: SourceFacts) -> Callable[[str], None]:
    if facts.video is not None:
        return frame_progress(ctx, frames_total=facts.video.frames, message=MESSAGE)
    return time_progress(ctx, seconds_total=facts.duration_seconds or 0.0, message=MESSAGE)
