"""media_text: one subtitle or caption track as clean WebVTT."""

from pathlib import Path

from media_workers.media.subtitles import (
    FILE_BYTES_MAX,
    CleanText,
    charset_of,
    clean_cues,
    decode_text,
    read_webvtt,
    write_webvtt,
)
from media_workers.media.text import INVALID_CHARSET, text_args, text_bytes_args
from media_workers.media.text_plan import TextPlan
from media_workers.sdk import Record, TaskContext, TaskRejected, worker
from media_workers.storage import Artefact, artefact_key, facts_of
from media_workers.tasks.plan import BranchInput, plan_of
from media_workers.tasks.records import EncodedText, FileRef, file_ref
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import MEASURE_LIMITS, MIB, run_tool, time_progress, tool_versions

TEXT_NAME = "text.vtt"
RAW_NAME = "raw.vtt"
BYTES_NAME = "bytes.bin"
SCRATCH_BYTES = 4 * FILE_BYTES_MAX
# Enough to tell the encoding of a track.
CHARSET_BYTES = MIB
# Raised when cleaning changes, so that what an older version cleaned is not found any more.
CLEANING_VERSION = 1


class TextFacts(Record, frozen=True, kw_only=True):
    """What is kept with a text track's file."""

    cues: int
    warnings: tuple[str, ...]


class TextOutput(Record, frozen=True, kw_only=True):
    """Output of media_text; `reused` when an earlier run had already made it."""

    text: EncodedText
    file: FileRef
    reused: bool


@worker("media_text")
def text(job: BranchInput, ctx: TaskContext) -> TextOutput:
    """Write one text track of the plan as WebVTT. Safe to repeat: the same work is found, not done again."""
    planned = plan_of(ctx, job)
    track = next((item for item in planned.text if item.index == job.text), None)
    if track is None:
        raise TaskRejected("invalid_input", f"input field text: the plan has no text track {job.text}")
    version = tool_versions(ctx.resources.binaries).get("ffmpeg", "")
    recipe = text_args("ffmpeg", track, source="SOURCE", target="TARGET")
    duration = planned.duration_seconds
    key = artefact_key(
        "text", job.source_sha256, recipe, track.zero_seconds, duration, CLEANING_VERSION, version
    )
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return _output(found, track, reused=True)
    source = source_path(ctx, job.source_key)
    with ctx.scratch(SCRATCH_BYTES) as folder:
        raw = _raw_text(ctx, track, source, folder, duration)
        clean = clean_cues(read_webvtt(raw), shift_seconds=track.zero_seconds, duration_seconds=duration)
        _tell(ctx, track, clean)
        finished = folder / "finished"
        finished.mkdir()
        (finished / TEXT_NAME).write_text(write_webvtt(clean.cues), encoding="utf-8")
        ctx.check_cancelled()
        artefact, reused = ctx.resources.artefacts.commit(
            job.video_id,
            key,
            finished,
            kind="text",
            facts=TextFacts(cues=len(clean.cues), warnings=clean.warnings),
        )
    return _output(artefact, track, reused=reused)


def _raw_text(ctx: TaskContext, track: TextPlan, source: Path, folder: Path, duration: float) -> str:
    """The track as FFmpeg writes it; read again with another encoding where it is not UTF-8."""
    target = folder / RAW_NAME
    ffmpeg = ctx.resources.binaries.ffmpeg
    what = f"reading {track.name}"
    progress = time_progress(ctx, seconds_total=duration, message=what)
    args = text_args(ffmpeg, track, source=str(source), target=str(target))
    result = run_tool(ctx, args, what=what, limits=MEASURE_LIMITS, on_line=progress)
    if INVALID_CHARSET in result.stderr_tail and track.stream_index is not None:
        sample = folder / BYTES_NAME
        copy = text_bytes_args(ffmpeg, track, source=str(source), target=str(sample))
        run_tool(ctx, copy, what=what, limits=MEASURE_LIMITS)
        with sample.open("rb") as file:
            charset = charset_of(file.read(CHARSET_BYTES))
        ctx.note(f"{track.name}: the text is no UTF-8 and is read as {charset}")
        args = text_args(ffmpeg, track, source=str(source), target=str(target), charset=charset)
        run_tool(ctx, args, what=what, limits=MEASURE_LIMITS, on_line=progress)
    with target.open("rb") as file:
        return decode_text(file.read(FILE_BYTES_MAX))


def _tell(ctx: TaskContext, track: TextPlan, clean: CleanText) -> None:
    for warning in clean.warnings:
        ctx.note(f"{track.name}: {warning}")


def _output(artefact: Artefact, track: TextPlan, *, reused: bool) -> TextOutput:
    facts, file = facts_of(artefact, TextFacts), file_ref(artefact, TEXT_NAME)
    return TextOutput(
        text=EncodedText(
            index=track.index,
            language=track.language,
            label=track.label,
            kind=track.kind,
            default=track.default,
            forced=track.forced,
            sdh=track.sdh,
            cues=facts.cues,
            file=file,
            warnings=facts.warnings,
        ),
        file=file,
        reused=reused,
    )
