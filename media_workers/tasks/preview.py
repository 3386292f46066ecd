"""media_preview: the smallest H.264 rendition with its sound, playable while the rest is still encoded.

It is published in the clear and before the quality gate has judged it, as a version of its own. A title that
will be protected therefore has no preview: what was once public in the clear cannot be called back.
"""

import msgspec

from media_workers.media.plan import Plan
from media_workers.procs.errors import ProcError
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.storage import StorageError
from media_workers.tasks.package import PackageInput, package
from media_workers.tasks.plan import BranchInput, plan_of
from media_workers.tasks.publish import Playback, PublishInput, publish
from media_workers.tasks.records import AudioFile, Branch
from media_workers.tasks.stitch import stitch_rendition

VERSION_SUFFIX = "-preview"


class PreviewInput(BranchInput, frozen=True, kw_only=True):
    """Input of media_preview: what the preview's branches answered, and the title's version."""

    branches: dict[str, Branch] | None = None
    version: str | int | None = None


class PreviewOutput(Record, frozen=True, kw_only=True):
    """Output of media_preview: what can be played already. Without a preview `note` says why."""

    version: str | None = None
    prefix: str | None = None
    playback: Playback | None = None
    rendition: str | None = None
    note: str | None = None


@worker("media_preview")
def preview(job: PreviewInput, ctx: TaskContext) -> PreviewOutput:
    """Publish the preview. The title does not depend on it: a failure is a note, not an error."""
    plan = plan_of(ctx, job)
    if plan.preview is None:
        return PreviewOutput(note="this title has no preview: it is protected, or has nothing to wait for")
    try:
        return _publish(ctx, job, plan, plan.preview)
    except (TaskFailed, TaskRejected, StorageError, ProcError) as error:
        note = f"there is no preview: {error}"
        ctx.note(note)
        return PreviewOutput(note=note)


def _publish(ctx: TaskContext, job: PreviewInput, plan: Plan, name: str) -> PreviewOutput:
    branches = list((job.branches or {}).values())
    chunks = [chunk for branch in branches for chunk in branch.chunks]
    rendition = next(item for item in plan.renditions if item.name == name)
    video = stitch_rendition(ctx, job, plan, rendition, chunks)
    sound = [
        AudioFile(audio=branch.audio, file=branch.file)
        for branch in branches
        if branch.audio is not None and branch.file is not None
    ]
    tracks = {item.audio.track for item in sound}
    small = msgspec.structs.replace(
        plan,
        renditions=(rendition,),
        audio=tuple(track for track in plan.audio if track.name in tracks),
        text=(),
        quality=None,
    )
    packaged = package(
        PackageInput(video_id=job.video_id, plan=small, renditions=(video,), audio=tuple(sound)), ctx
    )
    version = f"{job.version if job.version not in (None, '') else 1}{VERSION_SUFFIX}"
    published = publish(PublishInput(video_id=job.video_id, package=packaged.artefact, version=version), ctx)
    return PreviewOutput(
        version=published.version,
        prefix=published.prefix,
        playback=published.playback,
        rendition=name,
    )
