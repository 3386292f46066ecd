"""media_validate: what the source is, and whether it can be processed at all."""

from typing import Any

from media_workers.media.facts import SourceFacts
from media_workers.media.profiles import PlanError, Profile, resolve_profile
from media_workers.media.verdicts import Verdict
from media_workers.sdk import Record, TaskContext, TaskRejected, worker
from media_workers.storage import sha256_of
from media_workers.tasks.probing import inspect_source
from media_workers.tasks.source import Source, SourceInput, find_source, source_path


class ValidateInput(SourceInput, frozen=True, kw_only=True):
    """Input of media_validate; `profile` is a name, or an operator's own profile as a document."""

    profile: str | dict[str, Any] | None = None
    overrides: dict[str, Any] | None = None


class ValidateOutput(Record, frozen=True, kw_only=True):
    """Output of media_validate: facts and verdicts of an accepted source, and the hash of its content.

    `trial_encodes` says whether the profile wants trial encodes before the plan.
    """

    video_id: str
    source_key: str
    source_sha256: str
    source_size: int
    facts: SourceFacts
    verdicts: tuple[Verdict, ...]
    trial_encodes: bool = False


@worker("media_validate")
def validate(job: ValidateInput, ctx: TaskContext) -> ValidateOutput:
    """Probe the source and judge it; a source that cannot be processed ends the workflow with the verdict."""
    profile = profile_for(job.profile, job.overrides)
    return validate_source(ctx, find_source(ctx, job), profile)


def validate_source(ctx: TaskContext, source: Source, profile: Profile) -> ValidateOutput:
    """Probe and judge a source for a profile.

    Raises:
        TaskRejected: the verdict that speaks against it.
    """
    path = source_path(ctx, source.key)
    ctx.progress(0.0, message="looking into the source")
    found = inspect_source(ctx, path, audio_only_allowed=profile.audio_only_allowed)
    ctx.progress(0.5, message="hashing the source")
    return ValidateOutput(
        video_id=source.video_id,
        source_key=source.key,
        source_sha256=sha256_of(path),
        source_size=path.stat().st_size,
        facts=found.facts,
        verdicts=found.verdicts,
        trial_encodes=profile.per_title,
    )


def profile_for(name: str | dict[str, Any] | None, overrides: dict[str, Any] | None) -> Profile:
    """The profile of a request.

    Raises:
        TaskRejected: `invalid_options`, naming the field and what it may hold.
    """
    try:
        return resolve_profile(name, overrides)
    except PlanError as error:
        raise TaskRejected("invalid_options", str(error)) from error
