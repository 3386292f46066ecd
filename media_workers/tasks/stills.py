"""media_stills: the poster, and the storyboard that players show above their time line."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from media_workers.media.stills import choose_poster, poster_args, storyboard_args
from media_workers.media.plan import StillsPlan
from media_workers.media.storyboard import storyboard_vtt
from media_workers.procs.runner import ProcResult
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.storage import Artefact, artefact_key, facts_of
from media_workers.tasks.encode import provenance
from media_workers.tasks.plan import BranchInput, plan_of
from media_workers.tasks.records import Stills
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import MEASURE_LIMITS, MIB, run_tool, tool_versions

POSTER_NAME = "poster.jpg"
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
    job = msgspec.structs.replace(job, plan=planned)
    wanted = planned.stills
    if wanted is None:
        raise TaskRejected("invalid_input", "input field plan: it has no stills")
    recipe = [
        *poster_args("ffmpeg", job.plan, source="SOURCE", target="TARGET", at_seconds=0.0),
        *storyboard_args("ffmpeg", job.plan, source="SOURCE", pattern="TARGET"),
    ]
    version = tool_versions(ctx.resources.binaries).get("ffmpeg", "")
    key = artefact_key("stills", job.source_sha256, recipe, wanted, job.plan.duration_seconds, version)
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return _output(found, reused=True)
    source = source_path(ctx, job.source_key)
    with ctx.scratch(SCRATCH_BYTES_MIN + wanted.sheets * SHEET_BYTES) as folder:
        finished = folder / "finished"
        finished.mkdir()
        _poster(ctx, job, wanted.poster_seconds, source, folder).rename(finished / POSTER_NAME)
        result = _storyboard(ctx, job, wanted, source, finished)
        sheets_recipe = storyboard_args("ffmpeg", job.plan, source="SOURCE", pattern="TARGET")
        facts = Stills(
            poster=POSTER_NAME,
            storyboard=STORYBOARD_NAME,
            sheets=_sheets(wanted),
            provenance=provenance(ctx, sheets_recipe, "ffmpeg", result, inputs=(job.source_sha256,)),
        )
        ctx.check_cancelled()
        artefact, reused = ctx.resources.artefacts.commit(
            job.video_id, key, finished, kind="stills", facts=facts
        )
    return _output(artefact, reused=reused)


def _poster(ctx: TaskContext, job: BranchInput, seconds: Sequence[float], source: Path, folder: Path) -> Path:
    candidates = []
    for number, at_seconds in enumerate(seconds):
        ctx.progress(POSTER_FRACTION * number / len(seconds), message="choosing a poster")
        candidate = folder / f"candidate-{number}.jpg"
        run_tool(
            ctx,
            poster_args(
                ctx.resources.binaries.ffmpeg,
                job.plan,
                source=str(source),
                target=str(candidate),
                at_seconds=at_seconds,
            ),
            what="making the poster",
            limits=MEASURE_LIMITS,
        )
        # A position past the last frame gives no picture, and that is no error.
        if candidate.is_file():
            candidates.append(candidate)
    if not candidates:
        raise TaskFailed("stills_missing", "no poster could be made from the source")
    return candidates[choose_poster([item.stat().st_size for item in candidates])]


def _storyboard(
    ctx: TaskContext, job: BranchInput, wanted: StillsPlan, source: Path, finished: Path
) -> ProcResult:
    ctx.progress(POSTER_FRACTION, message="making the storyboard")
    result = run_tool(
        ctx,
        storyboard_args(
            ctx.resources.binaries.ffmpeg, job.plan, source=str(source), pattern=str(finished / SHEET_PATTERN)
        ),
        what="making the storyboard",
        limits=MEASURE_LIMITS,
    )
    missing = [name for name in _sheets(wanted) if not (finished / name).is_file()]
    if missing:
        raise TaskFailed(
            "stills_missing", f"the storyboard has {wanted.sheets} sheets, but {missing[0]} was not made"
        )
    text = storyboard_vtt(wanted, duration_seconds=job.plan.duration_seconds, sheet_pattern=SHEET_PATTERN)
    (finished / STORYBOARD_NAME).write_text(text, encoding="utf-8")
    return result


def _sheets(wanted: StillsPlan) -> tuple[str, ...]:
    return tuple(SHEET_PATTERN % number for number in range(1, wanted.sheets + 1))


def _output(artefact: Artefact, *, reused: bool) -> StillsOutput:
    return StillsOutput(stills=facts_of(artefact, Stills), artefact=artefact.prefix, reused=reused)
