"""media_gate: whether the measured renditions are good enough, and what is encoded again when not."""

import math

import msgspec

from media_workers.media.gate import Measured, Verdict, judge
from media_workers.media.plan import Plan, Rendition
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, WorkflowTask, worker
from media_workers.storage import artefact_key, facts_of
from media_workers.tasks.plan import EncodeInput, load_plan
from media_workers.tasks.records import VideoFile
from media_workers.tasks.tools import MIB

VERDICT_NAME = "verdict.json"


class MeasuredBranch(Record, frozen=True, kw_only=True):
    """What a branch of the measuring fork answered."""

    measured: Measured | None = None


class GateInput(Record, frozen=True, kw_only=True):
    """Input of media_gate: the plan, the stitched renditions, the measuring join's output by reference."""

    video_id: str
    source_key: str
    source_sha256: str
    plan_key: str | None = None
    plan: Plan | None = None
    renditions: tuple[VideoFile, ...]
    measured: dict[str, MeasuredBranch] | None = None


class GateOutput(Record, frozen=True, kw_only=True):
    """Output of media_gate: whether there is another round, its branches, what was measured and decided."""

    again: bool
    redo_tasks: list[WorkflowTask]
    redo_inputs: dict[str, EncodeInput]
    quality: tuple[Measured, ...]
    verdicts: tuple[Verdict, ...]


@worker("media_gate")
def gate(job: GateInput, ctx: TaskContext) -> GateOutput:
    """Judge each measured rendition: pass it, have it encoded again once, or fail the title.

    Raises:
        TaskRejected: `quality_failed`: a second attempt is not good enough either, or a rendition does not
            show the source's frames; the sentence has the numbers, the output the verdicts.
    """
    plan = job.plan or load_plan(ctx, job.plan_key or "")
    if plan.quality is None:
        return GateOutput(again=False, redo_tasks=[], redo_inputs={}, quality=(), verdicts=())
    measured = {
        branch.measured.rendition: branch.measured
        for branch in (job.measured or {}).values()
        if branch.measured is not None
    }
    files = {file.video.rendition: file for file in job.renditions}
    by_name = {rendition.name: rendition for rendition in plan.renditions}
    verdicts = []
    for target in plan.quality.targets:
        name = target.rendition
        if name not in measured or name not in files:
            raise TaskFailed("quality_missing", f"{name}: it is in the plan, but nobody has measured it")
        verdicts.append(_verdict(ctx, job, by_name[name], files[name], measured[name]))
    failed = [verdict for verdict in verdicts if verdict.outcome in ("failed", "misaligned")]
    for verdict in verdicts:
        ctx.note(verdict.message)
    if failed:
        raise TaskRejected(
            "quality_failed",
            "; ".join(verdict.message for verdict in failed),
            {"verdicts": verdicts, "quality": list(measured.values())},
        )
    inputs = redo_inputs(job, plan, [verdict for verdict in verdicts if verdict.outcome == "redo"])
    return GateOutput(
        again=bool(inputs),
        redo_tasks=[WorkflowTask(name="media_encode", task_reference_name=ref) for ref in inputs],
        redo_inputs=inputs,
        quality=tuple(measured[target.rendition] for target in plan.quality.targets),
        verdicts=tuple(verdicts),
    )


def redo_inputs(job: GateInput, plan: Plan, verdicts: list[Verdict]) -> dict[str, EncodeInput]:
    """Every chunk of the renditions that are encoded again, by reference name."""
    width = max(4, math.ceil(math.log10(len(plan.chunks) + 1)))
    return {
        f"redo_{verdict.rendition}_c{chunk.number:0{width}d}": EncodeInput(
            video_id=job.video_id,
            source_key=job.source_key,
            source_sha256=job.source_sha256,
            plan_key=job.plan_key,
            plan=job.plan,
            renditions=(verdict.rendition,),
            chunk=chunk.number,
            crf={verdict.rendition: verdict.crf_after},
            attempt=2,
        )
        for verdict in verdicts
        if verdict.crf_after is not None
        for chunk in plan.chunks
    }


def _verdict(
    ctx: TaskContext, job: GateInput, rendition: Rendition, file: VideoFile, measured: Measured
) -> Verdict:
    """Judge a rendition; what a first attempt had is remembered for the second."""
    key = artefact_key("verdict", job.source_sha256, rendition, measured.target_mean, measured.target_p5)
    if file.video.attempt == 1:
        verdict = judge(measured, codec=rendition.codec, crf=rendition.crf, maxrate_bps=rendition.maxrate_bps)
        if verdict.outcome == "redo":
            _remember(ctx, job.video_id, key, verdict)
        return verdict
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is None:
        raise TaskFailed(
            "artefact_missing", f"{rendition.name}: what its first attempt had is gone; start again"
        )
    first = facts_of(found, Verdict)
    return judge(
        measured,
        codec=rendition.codec,
        crf=file.video.crf,
        maxrate_bps=rendition.maxrate_bps,
        first=first.first,
        crf_before=first.crf_before,
    )


def _remember(ctx: TaskContext, video_id: str, key: str, verdict: Verdict) -> None:
    with ctx.scratch(MIB) as folder:
        (folder / VERDICT_NAME).write_bytes(msgspec.json.encode(verdict))
        ctx.resources.artefacts.commit(video_id, key, folder, kind="verdict", facts=verdict)
