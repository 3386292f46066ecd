"""media_plan: from facts to everything the encode will be, and the branches that do it."""

from typing import Any

import msgspec

from media_workers.media.facts import SourceFacts
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import PlanError, Profile
from media_workers.sdk import Record, TaskContext, TaskRejected, WorkflowTask, worker
from media_workers.tasks.validate import profile_for


class PlanInput(Record, frozen=True, kw_only=True):
    """Input of media_plan: the request's options and what validation found."""

    video_id: str
    source_key: str
    source_sha256: str
    facts: SourceFacts
    profile: str | None = None
    overrides: dict[str, Any] | None = None


class BranchInput(Record, frozen=True, kw_only=True):
    """Input every branch shares; `rendition` or `track` names its part of the plan."""

    video_id: str
    source_key: str
    source_sha256: str
    plan: Plan
    rendition: str | None = None
    track: str | None = None


class PlanOutput(Record, frozen=True, kw_only=True):
    """Output of media_plan: the plan, the fork's branches, and their inputs by reference name."""

    plan: Plan
    fork_tasks: list[WorkflowTask]
    fork_inputs: dict[str, BranchInput]


@worker("media_plan")
def plan(job: PlanInput, ctx: TaskContext) -> PlanOutput:
    """Plan the title; the same facts and options give the same plan."""
    planned = plan_title(job.facts, profile_for(job.profile, job.overrides))
    base = BranchInput(
        video_id=job.video_id, source_key=job.source_key, source_sha256=job.source_sha256, plan=planned
    )
    branches = {
        f"encode_{rendition.name}": ("media_encode", msgspec.structs.replace(base, rendition=rendition.name))
        for rendition in planned.renditions
    }
    branches |= {
        track.name: ("media_audio", msgspec.structs.replace(base, track=track.name))
        for track in planned.audio
    }
    if planned.stills is not None:
        branches["stills"] = ("media_stills", base)
    ctx.note(
        f"planned {len(planned.renditions)} renditions, {len(planned.audio)} sound tracks, "
        f"{planned.frames_total} frames at {planned.frame_rate}"
    )
    return PlanOutput(
        plan=planned,
        fork_tasks=[WorkflowTask(name=kind, task_reference_name=ref) for ref, (kind, _) in branches.items()],
        fork_inputs={ref: given for ref, (_, given) in branches.items()},
    )


def plan_title(facts: SourceFacts, profile: Profile) -> Plan:
    """Plan a title.

    Raises:
        TaskRejected: `invalid_options`: the profile encodes nothing of this source.
    """
    try:
        return make_plan(facts, profile)
    except PlanError as error:
        raise TaskRejected("invalid_options", str(error)) from error
