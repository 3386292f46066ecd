"""media_cleanup: drops what a failed video is asked to drop, and says in one place why it failed."""

from media_workers.sdk import Record, TaskContext, TaskRejected, worker
from media_workers.storage import KeyRefusedError, checked_key
from media_workers.tasks.keys import drop_keys


class CleanupInput(Record, frozen=True, kw_only=True):
    """Input of media_cleanup.

    Artefacts stay unless asked: a retry of the video finds them and does not make them again.
    """

    video_id: str | None = None
    drop_artefacts: bool | None = None
    drop_source: bool | None = None
    drop_version: str | None = None
    drop_keys: bool | None = None
    reason: str | None = None
    failed_workflow_id: str | None = None


class CleanupOutput(Record, frozen=True, kw_only=True):
    """Output of media_cleanup: the storage prefixes that are gone, and why the video failed."""

    removed: tuple[str, ...]
    reason: str | None


@worker("media_cleanup")
def cleanup(job: CleanupInput, ctx: TaskContext) -> CleanupOutput:
    """Drop what the input asks for. What is not there counts as dropped, so repeating is safe."""
    wanted = []
    if job.video_id:
        if job.drop_artefacts:
            wanted.append(f"artefacts/{job.video_id}")
        if job.drop_source:
            wanted.append(f"sources/{job.video_id}")
        if job.drop_version:
            wanted.append(f"published/{job.video_id}/{job.drop_version}")
    try:
        for prefix in wanted:
            checked_key(prefix)
    except KeyRefusedError as error:
        raise TaskRejected("invalid_input", f"input field videoId: {error}") from error
    for prefix in wanted:
        ctx.resources.storage.delete(prefix)
    if job.video_id and job.drop_keys:
        drop_keys(ctx, job.video_id)
    return CleanupOutput(removed=tuple(wanted), reason=job.reason)
