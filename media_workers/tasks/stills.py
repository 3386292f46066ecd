"""media_stills: the poster, and the storyboard that players show above their time line."""

from pathlib import Path

from media_workers.media.plan import Plan
from media_workers.media.stills import (
    choose_poster,
    cover_args,
    poster_args,
    small_poster_args,
    storyboard_args,
)
from media_workers.media.stills_plan import StillsPlan
from media_workers.media.storyboard import storyboard_vtt
from media_workers.procs.runner import ProcResult
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.storage import Artefact, artefact_key, facts_of
from media_workers.tasks.encode import provenance
from media_workers.tasks.plan import BranchInput, plan_of
from media_workers.tasks.records import Stills
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import MEASURE_LIMITS, MIB, run_tool, run_tool_unchecked, tool_versions

POSTER_NAME = "poster.jpg"
POSTER_SMALL_NAME = "poster-small.jpg"
STORYBOARD_NAME = "storyboard.vtt"
SHEET_PATTERN = "sprite-%03d.jpg"
SCRATCH_BYTES_MIN = 64 * MIB
# A full sheet of 100 tiles of 160x90 at our quality is under this.
SHEET_BYTES = 4 * MIB
POSTER_FRACTION = 0.4


class StillsOutput(Record, frozen=True, kw_only=True):
    """Output of media_stills: names inside the artefact; `reused` when an earlier run had made it."""

    stills: Stills
    artefact: str
    reused: bool


@worker("media_stills")
def stills(job: BranchInput, ctx: TaskContext) -> StillsOutput:
    """Make the poster and the storyboard. Safe to repeat: the same work is found, not done again."""
    planned = plan_of(ctx, job)
    wanted = planned.stills
    if wanted is None:
        raise TaskRejected("invalid_input", "input field plan: it has no stills")
    recipe = _recipe(planned, wanted)
    version = tool_versions(ctx.resources.binaries).get("ffmpeg", "")
    key = artefact_key("stills", job.source_sha256, recipe, wanted, planned.duration_seconds, version)
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return _output(found, reused=True)
    source = source_path(ctx, job.source_key)
    with ctx.scratch(SCRATCH_BYTES_MIN + wanted.sheets * SHEET_BYTES) as folder:
        finished = folder / "finished"
        finished.mkdir()
        result = _make(ctx, planned, wanted, source, finished)
        facts = Stills(
            poster=POSTER_NAME,
            poster_small=POSTER_SMALL_NAME,
            storyboard=STORYBOARD_NAME if wanted.tiles else None,
            sheets=_sheets(wanted),
            provenance=provenance(ctx, recipe, "ffmpeg", result, inputs=(job.source_sha256,)),
        )
        ctx.check_cancelled()
        artefact, reused = ctx.resources.artefacts.commit(
            job.video_id, key, finished, kind="stills", facts=facts
        )
    return _output(artefact, reused=reused)


def _recipe(planned: Plan, wanted: StillsPlan) -> list[str]:
    small = small_poster_args("ffmpeg", wanted, poster="POSTER", target="SMALL")
    if wanted.cover_index is not None:
        return [*cover_args("ffmpeg", wanted, source="SOURCE", target="POSTER"), *small]
    return [
        *poster_args("ffmpeg", planned, source="SOURCE", target="POSTER", at_seconds=0.0),
        *small,
        *storyboard_args("ffmpeg", planned, source="SOURCE", pattern="TARGET"),
    ]


def _make(ctx: TaskContext, planned: Plan, wanted: StillsPlan, source: Path, finished: Path) -> ProcResult:
    """All pictures into `finished`; what the last of the tools took."""
    poster = finished / POSTER_NAME
    if wanted.cover_index is not None:
        _picture(ctx, cover_args(_ffmpeg(ctx), wanted, source=str(source), target=str(poster)))
        if not poster.is_file():
            raise TaskFailed("stills_missing", "no poster could be made from the cover art")
    else:
        _poster(ctx, planned, wanted, source, finished.parent).rename(poster)
    small = str(finished / POSTER_SMALL_NAME)
    result = _picture(ctx, small_poster_args(_ffmpeg(ctx), wanted, poster=str(poster), target=small))
    return _storyboard(ctx, planned, wanted, source, finished) if wanted.tiles else result


def _poster(ctx: TaskContext, planned: Plan, wanted: StillsPlan, source: Path, folder: Path) -> Path:
    """The candidate with the most detail; a black one only of a title that shows nothing else."""
    for black in (False, True):
        candidates = []
        for number, at_seconds in enumerate(wanted.poster_seconds):
            ctx.progress(POSTER_FRACTION * number / len(wanted.poster_seconds), message="choosing a poster")
            candidate = folder / f"candidate-{number}.jpg"
            args = poster_args(
                _ffmpeg(ctx),
                planned,
                source=str(source),
                target=str(candidate),
                at_seconds=at_seconds,
                black=black,
            )
            # Where everything is black there is no picture; FFmpeg takes that for a failure.
            result = run_tool_unchecked(ctx, args, limits=MEASURE_LIMITS)
            if result.ok and candidate.is_file():
                candidates.append(candidate)
        if candidates:
            return candidates[choose_poster([item.stat().st_size for item in candidates])]
    ctx.note(result.stderr_tail)
    raise TaskFailed("stills_missing", "no poster could be made from the source")


def _storyboard(
    ctx: TaskContext, planned: Plan, wanted: StillsPlan, source: Path, finished: Path
) -> ProcResult:
    ctx.progress(POSTER_FRACTION, message="making the storyboard")
    pattern = str(finished / SHEET_PATTERN)
    result = run_tool(
        ctx,
        storyboard_args(_ffmpeg(ctx), planned, source=str(source), pattern=pattern),
        what="making the storyboard",
        limits=MEASURE_LIMITS,
    )
    missing = [name for name in _sheets(wanted) if not (finished / name).is_file()]
    if missing:
        raise TaskFailed(
            "stills_missing", f"the storyboard has {wanted.sheets} sheets, but {missing[0]} was not made"
        )
    text = storyboard_vtt(wanted, duration_seconds=planned.duration_seconds, sheet_pattern=SHEET_PATTERN)
    (finished / STORYBOARD_NAME).write_text(text, encoding="utf-8")
    return result


def _picture(ctx: TaskContext, args: list[str]) -> ProcResult:
    return run_tool(ctx, args, what="making the poster", limits=MEASURE_LIMITS)


def _ffmpeg(ctx: TaskContext) -> str:
    return ctx.resources.binaries.ffmpeg


def _sheets(wanted: StillsPlan) -> tuple[str, ...]:
    return tuple(SHEET_PATTERN % number for number in range(1, wanted.sheets + 1))


def _output(artefact: Artefact, *, reused: bool) -> StillsOutput:
    return StillsOutput(stills=facts_of(artefact, Stills), artefact=artefact.prefix, reused=reused)
