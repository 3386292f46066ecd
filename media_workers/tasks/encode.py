"""media_encode: renditions of one chunk, decoded once, each proved against the plan and stored by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from media_workers.media.calibration import Measured
from media_workers.media.chunks import Chunk
from media_workers.media.encoders import TWO_PASS
from media_workers.media.estimate import predicted_seconds
from media_workers.media.plan import Plan, Rendition
from media_workers.media.verify import Finding, check_rendition, header_hash
from media_workers.media.video import video_args
from media_workers.procs.runner import ProcResult
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.storage import Artefact, artefact_key, facts_of
from media_workers.tasks.calibration import learn, load_calibration
from media_workers.tasks.overlay import overlay_path, overlay_recipe
from media_workers.tasks.plan import EncodeInput, plan_of
from media_workers.tasks.probing import measure
from media_workers.tasks.records import EncodedChunk, Provenance, file_ref
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import MIB, encode_limits, frame_progress, run_tool, tool_versions

VIDEO_NAME = "video.mp4"
# A capped encode may pass its cap for a while; beyond this it is broken, not generous.
CAP_FACTOR = 2
SCRATCH_BYTES_MIN = 64 * MIB
PASSES_NAME = "passes"
# The first of two passes only looks; it is about this share of the whole.
FIRST_PASS_SHARE = 0.3


class EncodeOutput(Record, frozen=True, kw_only=True):
    """Output of media_encode: one entry for each rendition, in the order they were asked for."""

    chunks: tuple[EncodedChunk, ...]


class ChunkFacts(Record, frozen=True, kw_only=True):
    """What the artefact of a chunk keeps beside its file."""

    rendition: str
    chunk: int
    frames: int
    header_hash: str
    crf: float
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class _Work:
    """One chunk of one title, and who works on it; `overlay` stands for the watermark in recipes."""

    ctx: TaskContext
    job: EncodeInput
    plan: Plan
    chunk: Chunk
    overlay: str | None

    @property
    def version(self) -> str:
        return tool_versions(self.ctx.resources.binaries).get("ffmpeg", "")

    def key(self, rendition: Rendition) -> str:
        # The version belongs to the key: another encoder makes other pictures from the same arguments.
        recipe = recipe_of(self.plan, rendition, self.chunk, overlay=self.overlay)
        return artefact_key("chunk", self.job.source_sha256, recipe, rendition.name, self.chunk, self.version)


@worker("media_encode")
def encode(job: EncodeInput, ctx: TaskContext) -> EncodeOutput:
    """Encode renditions of a chunk. Safe to repeat: what an earlier run has made is found, not done again."""
    plan = plan_of(ctx, job)
    if not 0 <= job.chunk < len(plan.chunks):
        raise TaskRejected("invalid_input", f"input field chunk: the plan has no chunk {job.chunk}")
    by_name = {item.name: item for item in plan.renditions}
    unknown = next((name for name in job.renditions if name not in by_name), None)
    if unknown is not None or not job.renditions:
        raise TaskRejected("invalid_input", f"input field renditions: the plan has no rendition {unknown!r}")
    wanted = [
        msgspec.structs.replace(by_name[name], crf=job.crf.get(name, by_name[name].crf))
        for name in job.renditions
    ]
    return EncodeOutput(chunks=encode_chunk(ctx, job, plan, wanted, plan.chunks[job.chunk]))


def encode_chunk(
    ctx: TaskContext, job: EncodeInput, plan: Plan, wanted: Sequence[Rendition], chunk: Chunk
) -> tuple[EncodedChunk, ...]:
    """Encode the renditions that are not there yet, in one process; check and store each."""
    work = _Work(ctx, job, plan, chunk, overlay_recipe(ctx, plan))
    done: dict[str, EncodedChunk] = {}
    for rendition in wanted:
        found = ctx.resources.artefacts.find(job.video_id, work.key(rendition))
        if found is not None:
            done[rendition.name] = _made(found, job.attempt, reused=True)
    missing = [rendition for rendition in wanted if rendition.name not in done]
    if missing:
        done |= _encode_missing(work, missing)
    return tuple(done[rendition.name] for rendition in wanted)


def recipe_of(
    plan: Plan, rendition: Rendition, chunk: Chunk, *, overlay: str | None = None
) -> list[list[str]]:
    """The commands that make one rendition of a chunk alone, without a path; what the result depends on.

    Args:
        plan: of the title.
        rendition: which one.
        chunk: which part.
        overlay: from `overlay_recipe`.
    """
    files = _Files(source="SOURCE", targets=("TARGET",), log="PASSES", overlay=overlay)
    return _commands("ffmpeg", plan, [rendition], chunk, files)


def rendition_findings(
    ctx: TaskContext, plan: Plan, rendition: Rendition, path: Path, *, chunk: Chunk | None = None
) -> tuple[Finding, ...]:
    """Measure an encoded file against the plan."""
    probe, packets = measure(ctx, path)
    return check_rendition(plan, rendition, probe, packets, chunk=chunk)


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


def _encode_missing(work: _Work, missing: Sequence[Rendition]) -> dict[str, EncodedChunk]:
    ctx, job, chunk = work.ctx, work.job, work.chunk
    source = source_path(ctx, job.source_key)
    seconds = float(chunk.frames / work.plan.rate)
    rooms = [SCRATCH_BYTES_MIN + int(CAP_FACTOR * item.maxrate_bps * seconds / 8) for item in missing]
    # Several encoders share one process; each gets the part of its time that was predicted.
    predicted = predicted_seconds(load_calibration(ctx), missing, chunk.frames)
    with ctx.scratch(sum(rooms)) as folder:
        results = _run(work, missing, source, folder, predicted=sum(predicted.values()), room=max(rooms))
        cpu_seconds = sum(result.cpu_seconds for result in results)
        own = {name: cpu_seconds * share / sum(predicted.values()) for name, share in predicted.items()}
        argv = _argv(work, missing)
        done = {}
        for rendition in missing:
            facts = ChunkFacts(
                rendition=rendition.name,
                chunk=chunk.number,
                frames=chunk.frames,
                header_hash=_proved(work, rendition, folder / rendition.name / VIDEO_NAME),
                crf=rendition.crf,
                provenance=Provenance(
                    argv=argv,
                    tools={"ffmpeg": work.version},
                    worker=ctx.worker_id,
                    inputs=(job.source_sha256,),
                    cpu_seconds=round(own[rendition.name], 3),
                    wall_seconds=round(sum(result.wall_seconds for result in results), 3),
                ),
            )
            ctx.check_cancelled()
            artefact, reused = ctx.resources.artefacts.commit(
                job.video_id, work.key(rendition), folder / rendition.name, kind="chunk", facts=facts
            )
            done[rendition.name] = _made(artefact, job.attempt, reused=reused)
    learn(ctx, [_measured(work, rendition, own[rendition.name]) for rendition in missing])
    return done


def _run(
    work: _Work,
    renditions: Sequence[Rendition],
    source: Path,
    folder: Path,
    *,
    predicted: float,
    room: int,
) -> list[ProcResult]:
    what = f"encoding {', '.join(item.name for item in renditions)}"
    if len(work.plan.chunks) > 1:
        what += f", chunk {work.chunk.number + 1} of {len(work.plan.chunks)}"
    for item in renditions:
        (folder / item.name).mkdir()
    files = _Files(
        source=str(source),
        targets=tuple(str(folder / item.name / VIDEO_NAME) for item in renditions),
        log=str(folder / PASSES_NAME),
        overlay=overlay_path(work.ctx, work.plan, folder),
    )
    commands = _commands(work.ctx.resources.binaries.ffmpeg, work.plan, renditions, work.chunk, files)
    return [
        run_tool(
            work.ctx,
            command,
            what=what,
            limits=encode_limits(predicted, room),
            on_line=frame_progress(
                work.ctx, frames_total=work.chunk.frames, message=what, start=start, end=end
            ),
        )
        for command, (start, end) in zip(commands, _spans(len(commands)), strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Files:
    """Paths of a command, or what stands for them in a recipe."""

    source: str
    targets: tuple[str, ...]
    log: str
    overlay: str | None


def _commands(
    ffmpeg: str, plan: Plan, renditions: Sequence[Rendition], chunk: Chunk, files: _Files
) -> list[list[str]]:
    """One command, or the two passes that some encoders take."""
    two_passes = any(item.encoder in TWO_PASS for item in renditions)
    return [
        video_args(
            ffmpeg,
            plan,
            renditions,
            source=files.source,
            targets=files.targets,
            chunk=chunk,
            pass_log=files.log if two_passes else None,
            pass_number=number,
            overlay=files.overlay,
        )
        for number in ((1, 2) if two_passes else (None,))
    ]


def _spans(count: int) -> list[tuple[float, float]]:
    return [(0.0, 1.0)] if count == 1 else [(0.0, FIRST_PASS_SHARE), (FIRST_PASS_SHARE, 1.0)]


def _argv(work: _Work, renditions: Sequence[Rendition]) -> tuple[str, ...]:
    """What was run, with names in the place of our paths; a second pass follows the first."""
    files = _Files(
        source="SOURCE",
        targets=tuple(f"TARGET/{item.name}/{VIDEO_NAME}" for item in renditions),
        log=f"TARGET/{PASSES_NAME}",
        overlay=work.overlay,
    )
    commands = _commands("ffmpeg", work.plan, renditions, work.chunk, files)
    return tuple(word for command in commands for word in command)


def _proved(work: _Work, rendition: Rendition, path: Path) -> str:
    """Measure an encoded file; the hash of its headers.

    Raises:
        TaskFailed: `encode_mismatch`: it is not what the plan says.
    """
    probe, packets = measure(work.ctx, path)
    findings = check_rendition(work.plan, rendition, probe, packets, chunk=work.chunk)
    refuse_broken(findings, code="encode_mismatch")
    return header_hash(probe)


def _measured(work: _Work, rendition: Rendition, cpu_seconds: float) -> Measured:
    return Measured(
        encoder=rendition.encoder,
        preset=rendition.preset,
        width=rendition.width,
        height=rendition.height,
        frames=work.chunk.frames,
        cpu_seconds=cpu_seconds,
    )


def _made(artefact: Artefact, attempt: int, *, reused: bool) -> EncodedChunk:
    facts = facts_of(artefact, ChunkFacts)
    return EncodedChunk(
        rendition=facts.rendition,
        chunk=facts.chunk,
        frames=facts.frames,
        file=file_ref(artefact, VIDEO_NAME),
        header_hash=facts.header_hash,
        # What has no keyframe first was refused before it was stored.
        first_key=True,
        crf=facts.crf,
        attempt=attempt,
        # Thousands of these travel together: the whole command stays in the artefact.
        provenance=msgspec.structs.replace(facts.provenance, argv=()),
        reused=reused,
    )
