"""media_stitch: every chunk is there and fits, every rendition is whole, and all of it is as planned."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from media_workers.media.join import LIST_NAME, join_args, join_list, part_name
from media_workers.media.plan import Plan, Rendition
from media_workers.media.rates import parse_rate
from media_workers.media.verify import Finding, check_rendition, error
from media_workers.sdk import Record, TaskContext, TaskFailed, WorkflowTask, worker
from media_workers.storage import MissingKeyError, artefact_key, facts_of
from media_workers.tasks.audio import track_findings
from media_workers.tasks.encode import VIDEO_NAME, ChunkFacts, bitrate_bps, refuse_broken
from media_workers.tasks.measure import MeasureInput
from media_workers.tasks.plan import BranchInput, plan_of
from media_workers.tasks.probing import measure
from media_workers.tasks.records import (
    AudioFile,
    Branch,
    EncodedChunk,
    EncodedVideo,
    FileRef,
    Provenance,
    TextFile,
    VideoFile,
    file_ref,
)
from media_workers.tasks.tools import MEASURE_LIMITS, MIB, run_tool, tool_versions

SOURCES_NAME = "chunks.json"
SCRATCH_BYTES_MIN = 64 * MIB
# Headers of the joined file are a little larger than those of its parts.
SIZE_FACTOR = 1.05
HASHES_SHOWN_MAX = 3

_T = TypeVar("_T")


class StitchInput(BranchInput, frozen=True, kw_only=True):
    """Input of media_stitch: what the joins of the forks answered, by reference name.

    `preview` has the branches of the preview; `redone` those that the quality gate asked for, None before it
    has asked.
    """

    branches: dict[str, Branch] | None = None
    preview: dict[str, Branch] | None = None
    redone: dict[str, Branch] | None = None


class StitchOutput(Record, frozen=True, kw_only=True):
    """Output of media_stitch: what may be packaged, largest rendition first, and what is to be measured."""

    renditions: tuple[VideoFile, ...]
    audio: tuple[AudioFile, ...]
    text: tuple[TextFile, ...]
    stills: str | None
    findings: tuple[Finding, ...]
    measure_tasks: list[WorkflowTask]
    measure_inputs: dict[str, MeasureInput]


class ChunkSource(ChunkFacts, frozen=True, kw_only=True):
    """One entry of `chunks.json`: how a chunk of the rendition was made, and what it is."""

    file: FileRef


@worker("media_stitch")
def stitch(job: StitchInput, ctx: TaskContext) -> StitchOutput:
    """Join the chunks of every rendition, and prove renditions and tracks. Safe to repeat."""
    plan = plan_of(ctx, job)
    branches = [
        branch for fork in (job.preview, job.branches, job.redone) for branch in (fork or {}).values()
    ]
    chunks = [chunk for branch in branches for chunk in branch.chunks]
    total = max(1, len(plan.renditions) + len(plan.audio) + len(plan.text))
    renditions = []
    for number, rendition in enumerate(plan.renditions):
        ctx.progress(number / total, message=f"joining {rendition.name}")
        renditions.append(stitch_rendition(ctx, job, plan, rendition, chunks))
    ctx.progress(len(plan.renditions) / total, message="checking sound and text")
    audio = _audio(ctx, plan, branches)
    text = _text(ctx, plan, branches)
    tasks, inputs = _measuring(job, plan, renditions)
    return StitchOutput(
        renditions=tuple(renditions),
        audio=audio,
        text=text,
        stills=next((b.artefact for b in branches if b.stills is not None), None),
        findings=(),
        measure_tasks=tasks,
        measure_inputs=inputs,
    )


def stitch_rendition(
    ctx: TaskContext, job: BranchInput, plan: Plan, rendition: Rendition, made: Sequence[EncodedChunk]
) -> VideoFile:
    """Join one rendition's chunks and prove the whole; of a chunk made twice the later attempt counts.

    Raises:
        TaskFailed: `chunk_missing`, `chunk_mismatch`, `stitch_mismatch` or `artefact_missing`.
    """
    chunks = _latest(plan, rendition, made)
    refuse_broken(_chunk_findings(plan, rendition, chunks), code="chunk_mismatch")
    command = join_args("ffmpeg", plan, rendition, listed=LIST_NAME, target="TARGET")
    recipe = [] if len(chunks) == 1 else command
    version = tool_versions(ctx.resources.binaries).get("ffmpeg", "")
    hashes = [chunk.file.sha256 for chunk in chunks]
    key = artefact_key("rendition", job.source_sha256, rendition.name, recipe, hashes, version)
    found = ctx.resources.artefacts.find(job.video_id, key)
    reused = found is not None
    if found is None:
        parts = [_local(ctx, chunk.file, f"{rendition.name} chunk {chunk.chunk}") for chunk in chunks]
        size = sum(chunk.file.size for chunk in chunks)
        with ctx.scratch(SCRATCH_BYTES_MIN + int(SIZE_FACTOR * size)) as folder:
            finished = folder / "finished"
            finished.mkdir()
            cpu_seconds = _join(
                ctx, plan, rendition, parts=parts, folder=folder, target=finished / VIDEO_NAME
            )
            sources = _sources(ctx, chunks)
            (finished / SOURCES_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(sources)))
            video = _proved(
                ctx,
                plan,
                rendition,
                finished / VIDEO_NAME,
                sources=sources,
                join_cpu_seconds=cpu_seconds,
                recipe=recipe,
            )
            ctx.check_cancelled()
            found, reused = ctx.resources.artefacts.commit(
                job.video_id, key, finished, kind="rendition", facts=video
            )
    video = msgspec.structs.replace(
        facts_of(found, EncodedVideo), attempt=chunks[0].attempt, sources=found.key(SOURCES_NAME)
    )
    return VideoFile(
        video=video,
        file=file_ref(found, VIDEO_NAME),
        reused=reused and all(chunk.reused for chunk in chunks),
    )


def _latest(plan: Plan, rendition: Rendition, made: Sequence[EncodedChunk]) -> list[EncodedChunk]:
    """The rendition's chunks in order."""
    found: dict[int, EncodedChunk] = {}
    for chunk in made:
        if chunk.rendition == rendition.name:
            before = found.get(chunk.chunk)
            if before is None or chunk.attempt >= before.attempt:
                found[chunk.chunk] = chunk
    missing = next((chunk.number for chunk in plan.chunks if chunk.number not in found), None)
    if missing is not None:
        raise TaskFailed(
            "chunk_missing",
            f"{rendition.name}: chunk {missing} of {len(plan.chunks)} is in the plan, but no branch made it",
        )
    return [found[chunk.number] for chunk in plan.chunks]


def _chunk_findings(plan: Plan, rendition: Rendition, chunks: Sequence[EncodedChunk]) -> tuple[Finding, ...]:
    """What keeps chunks from being joined: other frames than planned, other headers, another quality."""
    findings = [
        error("frames", rendition.name, f"chunk {made.chunk} has {made.frames} frames, not {planned.frames}")
        for made, planned in zip(chunks, plan.chunks, strict=True)
        if made.frames != planned.frames
    ]
    findings += [
        error("first_keyframe", rendition.name, f"chunk {made.chunk} does not begin with a keyframe")
        for made in chunks
        if not made.first_key
    ]
    qualities = sorted({(made.attempt, made.crf) for made in chunks})
    if len(qualities) > 1:
        findings.append(error("attempts", rendition.name, "its chunks are of different attempts"))
    headers = sorted({made.header_hash for made in chunks})
    if len(headers) > 1:
        shown = ", ".join(headers[:HASHES_SHOWN_MAX])
        findings.append(
            error("headers", rendition.name, f"its chunks have {len(headers)} different headers ({shown})")
        )
    return tuple(findings)


def _join(
    ctx: TaskContext,
    plan: Plan,
    rendition: Rendition,
    *,
    parts: Sequence[Path],
    folder: Path,
    target: Path,
) -> float:
    """Make one file of the parts; CPU seconds. A single part already is the whole."""
    if len(parts) == 1:
        try:
            target.hardlink_to(parts[0])
        except OSError:  # another file system
            shutil.copyfile(parts[0], target)
        return 0.0
    names = [part_name(number) for number in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        (folder / name).symlink_to(part)
    listed = folder / LIST_NAME
    listed.write_text(join_list(names), encoding="ascii")
    result = run_tool(
        ctx,
        join_args(ctx.resources.binaries.ffmpeg, plan, rendition, listed=str(listed), target=str(target)),
        what=f"joining {rendition.name}",
        limits=MEASURE_LIMITS,
    )
    return result.cpu_seconds


def _sources(ctx: TaskContext, chunks: Sequence[EncodedChunk]) -> list[ChunkSource]:
    """Each chunk with its whole provenance, from its own artefact."""
    sources = []
    for chunk in chunks:
        stored = ctx.resources.artefacts.at(chunk.file.key.rpartition("/")[0])
        whole = chunk.provenance if stored is None else facts_of(stored, ChunkFacts).provenance
        sources.append(
            ChunkSource(
                rendition=chunk.rendition,
                chunk=chunk.chunk,
                frames=chunk.frames,
                header_hash=chunk.header_hash,
                crf=chunk.crf,
                provenance=whole,
                file=chunk.file,
            )
        )
    return sources


def _proved(
    ctx: TaskContext,
    plan: Plan,
    rendition: Rendition,
    path: Path,
    *,
    sources: Sequence[ChunkSource],
    join_cpu_seconds: float,
    recipe: Sequence[str],
) -> EncodedVideo:
    """Measure the whole rendition against the plan and describe it.

    Raises:
        TaskFailed: `stitch_mismatch`.
    """
    probe, packets = measure(ctx, path)
    refuse_broken(check_rendition(plan, rendition, probe, packets), code="stitch_mismatch")
    stream = probe["streams"][0]
    time_base = parse_rate(stream.get("time_base")) or 1 / plan.rate
    made = [source.provenance for source in sources]
    wall = sum(item.wall_seconds for item in made)
    return EncodedVideo(
        rendition=rendition.name,
        codec=rendition.codec,
        width=rendition.width,
        height=rendition.height,
        frame_rate=plan.frame_rate,
        frames=plan.frames_total,
        duration_seconds=plan.duration_seconds,
        average_bitrate=bitrate_bps(path, plan.duration_seconds),
        peak_bitrate=packets.peak_bitrate_bps(stream["index"], time_base),
        encode_seconds=round(wall, 3),
        dynamic_range=rendition.dynamic_range,
        level=rendition.level,
        crf=sources[0].crf,
        provenance=Provenance(
            argv=made[0].argv if len(made) == 1 else tuple(recipe),
            tools=made[0].tools,
            worker=made[0].worker if len(made) == 1 else ctx.worker_id,
            inputs=made[0].inputs if len(made) == 1 else tuple(source.file.sha256 for source in sources),
            cpu_seconds=round(sum(item.cpu_seconds for item in made) + join_cpu_seconds, 3),
            wall_seconds=round(wall, 3),
        ),
    )


def _audio(ctx: TaskContext, plan: Plan, branches: Sequence[Branch]) -> tuple[AudioFile, ...]:
    tracks = {
        b.audio.track: AudioFile(audio=b.audio, file=b.file, reused=b.reused)
        for b in branches
        if b.audio is not None and b.file is not None
    }
    files = []
    for track in plan.audio:
        made = _present(tracks.get(track.name), track.name)
        refuse_broken(track_findings(ctx, track, _local(ctx, made.file, track.name)), code="stitch_mismatch")
        files.append(made)
    return tuple(files)


def _text(ctx: TaskContext, plan: Plan, branches: Sequence[Branch]) -> tuple[TextFile, ...]:
    found = {
        b.text.index: TextFile(text=b.text, file=b.text.file, reused=b.reused)
        for b in branches
        if b.text is not None
    }
    files = []
    for index in range(len(plan.text)):
        made = _present(found.get(index), f"text track {index}")
        _local(ctx, made.file, f"text track {index}")
        files.append(made)
    return tuple(files)


def _measuring(
    job: StitchInput, plan: Plan, renditions: Sequence[VideoFile]
) -> tuple[list[WorkflowTask], dict[str, MeasureInput]]:
    """A task for each rendition that the quality gate judges."""
    if plan.quality is None:
        return [], {}
    inputs = {
        f"measure_{item.video.rendition}": MeasureInput(
            video_id=job.video_id,
            source_key=job.source_key,
            source_sha256=job.source_sha256,
            plan_key=job.plan_key,
            plan=job.plan,
            rendition=item.video.rendition,
            file=item.file,
        )
        for item in renditions
        if plan.quality.target(item.video.rendition) is not None
    }
    return [WorkflowTask(name="media_measure", task_reference_name=ref) for ref in inputs], inputs


def _present(made: _T | None, name: str) -> _T:
    if made is None:
        raise TaskFailed("branch_missing", f"{name}: it is in the plan, but no branch has made it")
    return made


def _local(ctx: TaskContext, file: FileRef, name: str) -> Path:
    try:
        path = ctx.resources.storage.local_path(file.key)
    except MissingKeyError as error:
        raise TaskFailed("artefact_missing", f"{name}: its file has been removed; start again") from error
    size = path.stat().st_size
    if size != file.size:
        raise TaskFailed("artefact_missing", f"{name}: its file has {size} bytes instead of {file.size}")
    return path
