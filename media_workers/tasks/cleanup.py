"""media_cleanup: drops what a failed video is asked to drop, and says in one place why it failed."""

from media_workers.sdk import Record, TaskContext, TaskRejected, worker
from media_workers.storage import KeyRefusedError, checked_key
from media_workers.tasks.keys import drop_keys
from media_workers.tasks.preview import VERSION_SUFFIX

# As media_encode stores them.
CHUNK_KIND = "chunk"


class CleanupInput(Record, frozen=True, kw_only=True):
    """Input of media_cleanup.

    Artefacts stay unless asked: a retry of the video finds them and does not make them again. `drop_chunks`
    drops the chunks of the encodes, which the finished renditions hold as well; only of a video that has a
    published version, as until then a retry needs them.
    """

    video_id: str | None = None
    drop_artefacts: bool | None = None
    drop_chunks: bool | None = None
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
    wanted: list[str] = []
    if job.video_id:
        if job.drop_artefacts:
            wanted.append(f"artefacts/{job.video_id}")
        if job.drop_chunks:
            wanted += chunks_of(ctx, job.video_id)
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


def chunks_of(ctx: TaskContext, video_id: str) -> list[str]:
    """Storage prefixes of the chunks that nothing needs any more; none before something is published."""
    try:
        files = [file.key for file in ctx.resources.storage.list(f"published/{video_id}")]
        # A preview is published long before the title is.
        published = any(not key.split("/")[2].endswith(VERSION_SUFFIX) for key in files)
        found = ctx.resources.artefacts.of(video_id, CHUNK_KIND)
        return [artefact.prefix for artefact in found] if published else []
    except KeyRefusedError as error:
        raise TaskRejected("invalid_input", f"input field videoId: {error}") from error
