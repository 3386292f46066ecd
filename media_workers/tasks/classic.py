"""The task names of the classic pipeline, on the same functions: they find out by themselves what they need.

`validate_input`, `encode_1080p`, `encode_720p`, `encode_video`, `package_hls`. A task that is given no video
reads the input of its workflow, and `package_hls` reads what the workflow's encode tasks answered.
"""

from typing import Any

import msgspec

from media_workers.media.chunks import Chunk
from media_workers.media.facts import SourceFacts
from media_workers.media.plan import Plan, Rendition
from media_workers.media.verdicts import Verdict
from media_workers.sdk import Record, Task, TaskContext, TaskRejected, TaskStatus, worker
from media_workers.tasks.audio import encode_track
from media_workers.tasks.encode import encode_chunk
from media_workers.tasks.package import PackageInput, package
from media_workers.tasks.plan import BranchInput, EncodeInput, plan_title
from media_workers.tasks.publish import PublishInput, PublishOutput, publish
from media_workers.tasks.records import AudioFile, EncodedVideo, FileRef, VideoFile
from media_workers.tasks.source import Source, SourceInput, find_source
from media_workers.tasks.stills import stills
from media_workers.tasks.stitch import stitch_rendition
from media_workers.tasks.validate import ValidateOutput, profile_for, validate_source

_RUNG_DIGITS_MAX = 4


class ClassicInput(SourceInput, frozen=True, kw_only=True):
    """Input of the encode tasks: `profile` is a rendition's name such as "720p", or a profile's."""

    profile: str | None = None


class ValidatedInput(Record, frozen=True, kw_only=True):
    """Output of validate_input."""

    valid: bool
    video_id: str
    source_sha256: str
    facts: SourceFacts
    verdicts: tuple[Verdict, ...]


class ClassicEncode(Record, frozen=True, kw_only=True):
    """Output of the encode tasks; `encoded_url` is the storage key of the file.

    `plan` holds only what was encoded, so that packaging can put the pieces together. `note` says when the
    rendition is smaller than its name because the source is.
    """

    encoded_url: str
    video_id: str
    source_key: str
    source_sha256: str
    plan: Plan
    video: EncodedVideo
    file: FileRef
    reused: bool
    note: str | None = None


class PackagedHls(Record, frozen=True, kw_only=True):
    """Output of package_hls: paths on the server that plays the media."""

    manifest_url: str
    dash_url: str
    poster_url: str | None
    renditions: tuple[str, ...]
    published: PublishOutput


@worker("validate_input")
def validate_input(job: SourceInput, ctx: TaskContext) -> ValidatedInput:
    """Probe and judge the source."""
    found = validate_source(ctx, find_source(ctx, job), profile_for(None, None))
    return ValidatedInput(
        valid=True,
        video_id=found.video_id,
        source_sha256=found.source_sha256,
        facts=found.facts,
        verdicts=found.verdicts,
    )


@worker("encode_1080p")
def encode_1080p(job: ClassicInput, ctx: TaskContext) -> ClassicEncode:
    """Encode 1080 lines, or as many as the source has."""
    return _encode(ctx, find_source(ctx, job), "1080p")


@worker("encode_720p")
def encode_720p(job: ClassicInput, ctx: TaskContext) -> ClassicEncode:
    """Encode 720 lines, or as many as the source has."""
    return _encode(ctx, find_source(ctx, job), "720p")


@worker("encode_video")
def encode_video(job: ClassicInput, ctx: TaskContext) -> ClassicEncode:
    """Encode the rendition, or the largest one of the profile, that the input names."""
    return _encode(ctx, find_source(ctx, job), job.profile)


@worker("package_hls")
def package_hls(job: SourceInput, ctx: TaskContext) -> PackagedHls:
    """Package and publish what the workflow's encode tasks made, with sound and stills."""
    find_source(ctx, job)
    encoded = _encoded_here(ctx)
    if not encoded:
        raise TaskRejected(
            "nothing_to_package", "no task of this workflow has encoded a rendition that could be packaged"
        )
    plan = _joined_plan(encoded)
    first = encoded[0]
    branch = BranchInput(
        video_id=first.video_id, source_key=first.source_key, source_sha256=first.source_sha256, plan=plan
    )
    sound = [encode_track(ctx, branch, track) for track in plan.audio]
    pictures = stills(branch, ctx) if plan.stills is not None else None
    packaged = package(
        PackageInput(
            video_id=first.video_id,
            plan=plan,
            renditions=tuple(VideoFile(video=item.video, file=item.file) for item in encoded),
            audio=tuple(AudioFile(audio=item.audio, file=item.file) for item in sound),
        ),
        ctx,
    )
    published = publish(
        PublishInput(
            video_id=first.video_id,
            package=packaged.artefact,
            stills=None if pictures is None else pictures.artefact,
            # One version for each execution: repeating the task publishes the same again.
            version=ctx.task.workflow_instance_id,
        ),
        ctx,
    )
    base = f"/media/{first.video_id}/{published.version}"
    poster = published.playback.poster
    return PackagedHls(
        manifest_url=f"{base}/{published.playback.hls}",
        dash_url=f"{base}/{published.playback.dash}",
        poster_url=None if poster is None else f"{base}/{poster}",
        renditions=tuple(item.video.rendition for item in encoded),
        published=published,
    )


def _encode(ctx: TaskContext, source: Source, wanted: str | None) -> ClassicEncode:
    overrides: dict[str, Any] | None = None
    name = wanted
    if wanted and wanted[:-1].isdigit() and wanted.endswith("p") and len(wanted) <= _RUNG_DIGITS_MAX + 1:
        overrides, name = {"renditions": [wanted]}, None
    profile = profile_for(name, overrides)
    found = validate_source(ctx, source, profile)
    plan = plan_title(found.facts, profile)
    if not plan.renditions:
        raise TaskRejected("no_video", "the source has no picture to encode")
    rendition = plan.renditions[0]
    whole = Chunk(number=0, first_frame=0, frames=plan.frames_total)
    single = msgspec.structs.replace(
        plan, renditions=(rendition,), chunks=(whole,), groups=(), preview=None, quality=None
    )
    branch = _branch(found, single)
    work = EncodeInput(
        video_id=branch.video_id,
        source_key=branch.source_key,
        source_sha256=branch.source_sha256,
        renditions=(rendition.name,),
        chunk=whole.number,
    )
    made = stitch_rendition(
        ctx, branch, single, rendition, encode_chunk(ctx, work, single, (rendition,), whole)
    )
    note = None
    if overrides is not None and rendition.name != wanted:
        note = f"the source is smaller than {wanted} and is never enlarged: encoded as {rendition.name}"
        ctx.note(note)
    return ClassicEncode(
        encoded_url=made.file.key,
        video_id=found.video_id,
        source_key=found.source_key,
        source_sha256=found.source_sha256,
        plan=single,
        video=made.video,
        file=made.file,
        reused=made.reused,
        note=note,
    )


def _branch(found: ValidateOutput, plan: Plan) -> BranchInput:
    return BranchInput(
        video_id=found.video_id, source_key=found.source_key, source_sha256=found.source_sha256, plan=plan
    )


def _encoded_here(ctx: TaskContext) -> list[ClassicEncode]:
    """What the workflow's finished encode tasks made, largest first, each rendition once."""
    by_name: dict[str, ClassicEncode] = {}
    for task in ctx.workflow_tasks():
        made = _as_encode(task)
        if made is not None:
            by_name.setdefault(made.video.rendition, made)
    made_all = sorted(by_name.values(), key=lambda item: -item.video.width * item.video.height)
    return [item for item in made_all if item.source_sha256 == made_all[0].source_sha256]


def _as_encode(task: Task) -> ClassicEncode | None:
    if task.status is not TaskStatus.COMPLETED:
        return None
    try:
        return msgspec.json.decode(task.output_data, type=ClassicEncode)
    except msgspec.DecodeError:
        return None  # another kind of task, or somebody else's encoder


def _joined_plan(encoded: list[ClassicEncode]) -> Plan:
    renditions: tuple[Rendition, ...] = tuple(item.plan.renditions[0] for item in encoded)
    return msgspec.structs.replace(encoded[0].plan, renditions=renditions)
