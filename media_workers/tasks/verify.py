"""media_verify: every branch's result is what the plan says, whatever its encoder claimed."""

from pathlib import Path
from typing import TypeVar

from media_workers.media.plan import Plan
from media_workers.media.verify import Finding
from media_workers.sdk import Record, TaskContext, TaskFailed, worker
from media_workers.storage import MissingKeyError
from media_workers.tasks.audio import track_findings
from media_workers.tasks.encode import refuse_broken, rendition_findings
from media_workers.tasks.records import AudioFile, Branch, FileRef, VideoFile

_T = TypeVar("_T")


class VerifyInput(Record, frozen=True, kw_only=True):
    """Input of media_verify: the plan, and the join's output by reference name."""

    video_id: str
    plan: Plan
    branches: dict[str, Branch]


class VerifyOutput(Record, frozen=True, kw_only=True):
    """Output of media_verify: what may be packaged, largest rendition first."""

    renditions: tuple[VideoFile, ...]
    audio: tuple[AudioFile, ...]
    stills: str | None
    findings: tuple[Finding, ...]


@worker("media_verify")
def verify(job: VerifyInput, ctx: TaskContext) -> VerifyOutput:
    """Check each planned rendition and track: frames, keyframe grid, duration, shape."""
    branches = list(job.branches.values())
    videos = {
        b.video.rendition: VideoFile(video=b.video, file=b.file, reused=b.reused)
        for b in branches
        if b.video is not None and b.file is not None
    }
    tracks = {
        b.audio.track: AudioFile(audio=b.audio, file=b.file, reused=b.reused)
        for b in branches
        if b.audio is not None and b.file is not None
    }
    total = len(job.plan.renditions) + len(job.plan.audio)
    findings: list[Finding] = []
    renditions, audio = [], []
    for number, rendition in enumerate(job.plan.renditions):
        ctx.progress(number / total, message=f"verifying {rendition.name}")
        made = _present(videos.get(rendition.name), rendition.name)
        renditions.append(made)
        path = _local(ctx, made.file, rendition.name)
        findings += rendition_findings(ctx, job.plan, rendition, path)
    for number, track in enumerate(job.plan.audio, start=len(job.plan.renditions)):
        ctx.progress(number / total, message=f"verifying {track.name}")
        sound = _present(tracks.get(track.name), track.name)
        audio.append(sound)
        findings += track_findings(ctx, track, _local(ctx, sound.file, track.name))
    refuse_broken(tuple(findings), code="verify_failed")
    return VerifyOutput(
        renditions=tuple(renditions),
        audio=tuple(audio),
        stills=next((b.artefact for b in branches if b.stills is not None), None),
        findings=tuple(findings),
    )


def _present(made: _T | None, name: str) -> _T:
    if made is None:
        raise TaskFailed("verify_failed", f"{name}: it is in the plan, but no branch has made it")
    return made


def _local(ctx: TaskContext, file: FileRef, name: str) -> Path:
    try:
        path = ctx.resources.storage.local_path(file.key)
    except MissingKeyError as error:
        raise TaskFailed("artefact_missing", f"{name}: its file has been removed; start again") from error
    size = path.stat().st_size
    if size != file.size:
        raise TaskFailed("artefact_missing", f"{name}: its file has {size} bytes instead of {file.size}")
    return path
