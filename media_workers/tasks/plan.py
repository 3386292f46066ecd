"""media_plan: from facts to everything the encode will be, and the branches that do it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from media_workers.media.calibration import Calibration
from media_workers.media.facts import SourceFacts
from media_workers.media.per_title import PerTitle
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profile_records import Codec
from media_workers.media.profiles import PlanError, Profile
from media_workers.media.scan import Interval
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, WorkflowTask, worker
from media_workers.storage import KeyRefusedError, MissingKeyError, artefact_key
from media_workers.tasks.calibration import load_calibration
from media_workers.tasks.tools import MIB
from media_workers.tasks.validate import profile_for

PLAN_NAME = "plan.json"
PLAN_BYTES_MAX = 8 * MIB


class PlanInput(Record, frozen=True, kw_only=True):
    """Input of media_plan: the request's options and what validation found.

    `slots` is how many encodes run at once, for the estimate. `drm` is the request's object: of a title that
    will be protected nothing is shown early. `per_title` is what trial encodes found, `black` the black
    stretches in seconds that the scan found.
    """

    video_id: str
    source_key: str
    source_sha256: str
    facts: SourceFacts
    profile: str | dict[str, Any] | None = None
    overrides: dict[str, Any] | None = None
    drm: dict[str, Any] | bool | None = None
    per_title: PerTitle | None = None
    black: tuple[Interval, ...] | None = None
    slots: int | None = None


class BranchInput(Record, frozen=True, kw_only=True):
    """Input of the branches that are no encodes: `track` names a sound track, `text` counts the text tracks.

    The plan is stored under `plan_key`; it stands here itself only where a task makes its own.
    """

    video_id: str
    source_key: str
    source_sha256: str
    plan_key: str | None = None
    plan: Plan | None = None
    track: str | None = None
    text: int | None = None


class EncodeInput(Record, frozen=True, kw_only=True):
    """Input of media_encode: renditions of one chunk, made in one process.

    `crf` replaces the plan's value by rendition name: so the quality gate asks for another `attempt`.
    """

    video_id: str
    source_key: str
    source_sha256: str
    plan_key: str | None = None
    plan: Plan | None = None
    renditions: tuple[str, ...]
    chunk: int
    crf: dict[str, float] = {}
    attempt: int = 1


class PlanOutput(Record, frozen=True, kw_only=True):
    """Output of media_plan: the plan, where it is stored, and the two forks: the preview's and the rest's.

    `protected` says whether the title is going to be encrypted.
    """

    plan: Plan
    plan_key: str
    protected: bool
    preview_tasks: list[WorkflowTask]
    preview_inputs: dict[str, BranchInput | EncodeInput]
    fork_tasks: list[WorkflowTask]
    fork_inputs: dict[str, BranchInput | EncodeInput]


@worker("media_plan")
def plan(job: PlanInput, ctx: TaskContext) -> PlanOutput:
    """Plan the title; the same facts and options give the same plan."""
    planned = plan_title(
        job.facts,
        profile_for(job.profile, job.overrides),
        calibration=_speeds(ctx),
        slots=job.slots or 1,
        protected=bool(job.drm),
        per_title=job.per_title,
        black=[(item.start_seconds, item.end_seconds) for item in job.black or ()],
        hardware=ctx.resources.hardware,
    )
    plan_key = store_plan(ctx, job.video_id, job.source_sha256, planned)
    early, rest = branches(job, planned, plan_key)
    ctx.note(
        f"planned {len(planned.renditions)} renditions in {len(planned.groups)} groups and "
        f"{len(planned.chunks)} chunks, {len(planned.audio)} sound tracks, {planned.frames_total} frames at "
        f"{planned.frame_rate}"
    )
    return PlanOutput(
        plan=planned,
        plan_key=plan_key,
        protected=bool(job.drm),
        preview_tasks=_tasks(early),
        preview_inputs={ref: given for ref, (_, given) in early.items()},
        fork_tasks=_tasks(rest),
        fork_inputs={ref: given for ref, (_, given) in rest.items()},
    )


def plan_title(
    facts: SourceFacts,
    profile: Profile,
    *,
    calibration: Calibration | None = None,
    slots: int = 1,
    protected: bool = False,
    per_title: PerTitle | None = None,
    black: Sequence[tuple[float, float]] = (),
    hardware: Mapping[Codec, str] | None = None,
) -> Plan:
    """Plan a title.

    Raises:
        TaskRejected: `invalid_options`: the profile encodes nothing of this source.
    """
    try:
        return make_plan(
            facts,
            profile,
            calibration,
            slots=slots,
            protected=protected,
            per_title=per_title,
            black=black,
            hardware=hardware,
        )
    except PlanError as error:
        raise TaskRejected("invalid_options", str(error)) from error


Work = dict[str, tuple[str, BranchInput | EncodeInput]]


def branches(job: PlanInput, planned: Plan, plan_key: str) -> tuple[Work, Work]:
    """The work of a plan: task type and input by reference name.

    Returns:
        what the preview is made of, and the rest. Without a preview everything is in the rest. Of the rest
        the groups that take longest come first, so that they do not end last.
    """
    base = BranchInput(
        video_id=job.video_id,
        source_key=job.source_key,
        source_sha256=job.source_sha256,
        plan_key=plan_key,
    )
    early: Work = {}
    rest: Work = {}
    width = max(4, math.ceil(math.log10(len(planned.chunks) + 1)))
    for group in sorted(planned.groups, key=lambda item: -item.predicted_seconds):
        place = early if planned.preview in group.renditions else rest
        for chunk in planned.chunks:
            given = EncodeInput(
                video_id=base.video_id,
                source_key=base.source_key,
                source_sha256=base.source_sha256,
                plan_key=plan_key,
                renditions=group.renditions,
                chunk=chunk.number,
            )
            place[f"encode_{group.name}_c{chunk.number:0{width}d}"] = ("media_encode", given)
    for track in planned.audio:
        place = early if planned.preview and track.default and track.group == "aac" else rest
        place[track.name] = ("media_audio", msgspec.structs.replace(base, track=track.name))
    for text in planned.text:
        rest[text.name] = ("media_text", msgspec.structs.replace(base, text=text.index))
    if planned.stills is not None:
        rest["stills"] = ("media_stills", base)
    return early, rest


def store_plan(ctx: TaskContext, video_id: str, source_sha256: str, planned: Plan) -> str:
    """Keep a plan where every task of the title can read it; its storage key."""
    document = msgspec.json.encode(planned)
    with ctx.scratch(MIB) as folder:
        (folder / PLAN_NAME).write_bytes(document)
        artefact, _ = ctx.resources.artefacts.commit(
            video_id, artefact_key("plan", source_sha256, planned), folder, kind="plan", facts=None
        )
    return artefact.key(PLAN_NAME)


def load_plan(ctx: TaskContext, plan_key: str) -> Plan:
    """Read a stored plan.

    Raises:
        TaskFailed: `artefact_missing`: it is gone, or it is another program's.
        TaskRejected: `invalid_input`: the key is none.
    """
    try:
        with ctx.resources.storage.open(plan_key) as file:
            return msgspec.json.decode(file.read(PLAN_BYTES_MAX), type=Plan)
    except KeyRefusedError as error:
        raise TaskRejected("invalid_input", f"input field planKey: {error}") from error
    except (MissingKeyError, msgspec.DecodeError) as error:
        raise TaskFailed("artefact_missing", "the plan of this video is gone; start again") from error


def plan_of(ctx: TaskContext, job: BranchInput | EncodeInput) -> Plan:
    """The plan that a branch works for.

    Raises:
        TaskFailed, TaskRejected: it cannot be had.
    """
    if job.plan is not None:
        return job.plan
    if job.plan_key is None:
        raise TaskRejected("invalid_input", "input field planKey is missing; it names the stored plan")
    return load_plan(ctx, job.plan_key)


def _speeds(ctx: TaskContext) -> Calibration:
    """What was learned, at the operator's price."""
    price = ctx.resources.core_hour_price
    known = load_calibration(ctx)
    return known if price is None else msgspec.structs.replace(known, core_hour_price=price)


def _tasks(work: Work) -> list[WorkflowTask]:
    return [WorkflowTask(name=kind, task_reference_name=ref) for ref, (kind, _) in work.items()]
