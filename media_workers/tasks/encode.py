"""media_encode: one rendition of the whole title."""

from collections.abc import Sequence
from pathlib import Path

from media_workers.media.commands import video_args
from media_workers.media.plan import Plan, Rendition
from media_workers.media.verify import Finding, check_rendition
from media_workers.procs.runner import ProcResult
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.storage import Artefact, artefact_key, facts_of
from media_workers.tasks.plan import BranchInput
from media_workers.tasks.probing import measure
from media_workers.tasks.records import EncodedVideo, FileRef, Provenance, file_ref
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import MIB, encode_limits, frame_progress, run_tool, tool_versions

VIDEO_NAME = "video.mp4"
# A capped encode may pass its cap for a while; beyond this it is broken, not generous.
CAP_FACTOR = 2
SCRATCH_BYTES_MIN = 64 * MIB


class EncodeOutput(Record, frozen=True, kw_only=True):
    """Output of media_encode; `reused` when an earlier run had already made it."""

    video: EncodedVideo
    file: FileRef
    reused: bool


@worker("media_encode")
def encode(job: BranchInput, ctx: TaskContext) -> EncodeOutput:
    """Encode one rendition of the plan. Safe to repeat: the same work is found, not done again."""
    chosen = next((item for item in job.plan.renditions if item.name == job.rendition), None)
    if chosen is None:
        raise TaskRejected(
            "invalid_input", f"input field rendition: the plan has no rendition {job.rendition!r}"
        )
    return encode_rendition(ctx, job, chosen)


def encode_rendition(ctx: TaskContext, job: BranchInput, rendition: Rendition) -> EncodeOutput:
    """Encode one rendition, check it, store it."""
    tools = tool_versions(ctx.resources.binaries)
    recipe = video_args("ffmpeg", job.plan, rendition, source="SOURCE", target="TARGET")
    # The version belongs to the key: another encoder makes other pictures from the same arguments.
    key = artefact_key("rendition", job.source_sha256, recipe, tools.get("ffmpeg", ""))
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return _output(found, reused=True)
    source = source_path(ctx, job.source_key)
    room = SCRATCH_BYTES_MIN + int(CAP_FACTOR * rendition.maxrate_bps * job.plan.duration_seconds / 8)
    with ctx.scratch(room) as folder:
        target = folder / VIDEO_NAME
        result = run_tool(
            ctx,
            video_args(
                ctx.resources.binaries.ffmpeg, job.plan, rendition, source=str(source), target=str(target)
            ),
            what=f"encoding {rendition.name}",
            limits=encode_limits(job.plan.estimate.wall_seconds, room),
            on_line=frame_progress(
                ctx, frames_total=job.plan.frames_total, message=f"encoding {rendition.name}"
            ),
        )
        refuse_broken(rendition_findings(ctx, job.plan, rendition, target), code="encode_mismatch")
        video = EncodedVideo(
            rendition=rendition.name,
            codec=rendition.codec,
            width=rendition.width,
            height=rendition.height,
            frame_rate=job.plan.frame_rate,
            frames=job.plan.frames_total,
            duration_seconds=job.plan.duration_seconds,
            average_bitrate=bitrate_bps(target, job.plan.duration_seconds),
            encode_seconds=round(result.wall_seconds, 3),
            provenance=provenance(ctx, recipe, "ffmpeg", result, inputs=(job.source_sha256,)),
        )
        ctx.check_cancelled()
        artefact, reused = ctx.resources.artefacts.commit(
            job.video_id, key, folder, kind="rendition", facts=video
        )
    return _output(artefact, reused=reused)


def rendition_findings(ctx: TaskContext, plan: Plan, rendition: Rendition, path: Path) -> tuple[Finding, ...]:
    """Measure an encoded file against the plan."""
    probe, packets = measure(ctx, path)
    return check_rendition(plan, rendition, probe, packets)


def refuse_broken(findings: tuple[Finding, ...], *, code: str) -> None:
    """Let warnings pass.

    Raises:
        TaskFailed: there are errors; the sentence is the first one's, the output has them all.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        first = errors[0]
        raise TaskFailed(code, f"{first.subject}: {first.message}", {"findings": findings})


def bitrate_bps(path: Path, seconds: float) -> int:
    """Average bits per second of a file."""
    return round(path.stat().st_size * 8 / seconds) if seconds > 0 else 0


def provenance(
    ctx: TaskContext, recipe: Sequence[str], tool: str, result: ProcResult, *, inputs: tuple[str, ...]
) -> Provenance:
    """Write down how something was made."""
    return Provenance(
        argv=tuple(recipe),
        tools={tool: tool_versions(ctx.resources.binaries).get(tool, "")},
        worker=ctx.worker_id,
        inputs=inputs,
        cpu_seconds=round(result.cpu_seconds, 3),
        wall_seconds=round(result.wall_seconds, 3),
    )


def _output(artefact: Artefact, *, reused: bool) -> EncodeOutput:
    return EncodeOutput(
        video=facts_of(artefact, EncodedVideo), file=file_ref(artefact, VIDEO_NAME), reused=reused
    )
