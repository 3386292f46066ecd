"""The product API's documents. Requests refuse unknown fields; answers may gain fields in later versions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from api.videos.options import (
    METADATA_KEYS_MAX,
    RENDITIONS_MAX,
    TEXT_CHARS_MAX,
    Overrides,
    ProfileName,
    Protection,
    Rendition,
    VideoOptions,
)
from api.videos.requests import Request


class VideoStatus(StrEnum):
    AWAITING_UPLOAD = "awaitingUpload"
    QUEUED = "queued"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = VideoStatus

VIDEO_MOVES: dict[VideoStatus, frozenset[VideoStatus]] = {
    _S.AWAITING_UPLOAD: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.PROCESSING, _S.READY, _S.FAILED, _S.CANCELLED}),
    _S.PROCESSING: frozenset({_S.READY, _S.FAILED, _S.CANCELLED}),
    _S.READY: frozenset(),
    # A retry leads back; so does a retry of the workflow itself, through its own interface.
    _S.FAILED: frozenset({_S.QUEUED, _S.PROCESSING, _S.READY, _S.CANCELLED}),
    _S.CANCELLED: frozenset({_S.QUEUED, _S.PROCESSING, _S.READY, _S.FAILED}),
}
"""The moves a video may make; anything else changes nothing."""

OPEN_STATUSES = frozenset({_S.QUEUED, _S.PROCESSING})

Phase = Literal["upload", "validate", "plan", "encode", "measure", "package", "publish"]


class Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, validate_by_name=True)


class FieldError(Answer):
    """One field at fault: `path` as in overrides.renditions.0, `accepted` when the values can be listed.

    `code` is the verdict's, when it is the file that is at fault.
    """

    path: str
    message: str
    accepted: list[str] | None = None
    code: str | None = None


class Problem(Answer):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    retryable: bool
    errors: list[FieldError] = []


# ------------------------------------------------------------------------------------------------ requests
class S3Location(Request):
    bucket: str
    key: str


class SourceLocation(Request):
    url: str | None = None
    s3: S3Location | None = None


class UploadAnnouncement(Request):
    filename: str
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class CreateVideo(VideoOptions):
    """The JSON form of POST /videos. Not available in this version: answers 501."""

    source: SourceLocation | None = None
    upload: UploadAnnouncement | None = None


class PlanVideo(Request):
    """The JSON form of POST /plans: what would be made of a video that is here already."""

    video_id: str
    profile: ProfileName = "default"
    overrides: Overrides | None = None
    drm: Protection | None = None


class Reprocess(Request):
    """What differs from the last run; a field left out stays. `renditions` is short for the override."""

    profile: ProfileName | None = None
    overrides: Overrides | None = None
    renditions: Annotated[list[Rendition], Field(min_length=1, max_length=RENDITIONS_MAX)] | None = None
    drm: Protection | None = None


class EditVideo(Request):
    """What can be changed afterwards; a field left out stays."""

    title: Annotated[str, Field(max_length=TEXT_CHARS_MAX)] | None = None
    metadata: Annotated[dict[str, Any], Field(max_length=METADATA_KEYS_MAX)] | None = None


# ------------------------------------------------------------------------------------------------- answers
class ProgressView(Answer):
    """Weighted over the whole job; `fraction` is 0 to 1 and never falls while one run lasts."""

    fraction: float = 0.0
    phase: Phase = "upload"
    eta_seconds: float | None = None
    message: str = ""


class VerdictView(Answer):
    code: str
    severity: Literal["info", "normalise", "warn", "reject"]
    action: Literal["accept", "normalise", "reject"] = Field(
        default="accept", description="What is done about it: nothing, it is made right, the file is refused."
    )
    message: str
    remedy: str | None = Field(default=None, description="What the uploader may do.")


class RenditionView(Answer):
    """One size of the picture. `progress` is 0 to 1; `fps` and `speed` (x real time) only while it runs."""

    name: str
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: str | None = None
    dynamic_range: Literal["sdr", "pq", "hlg"] | None = None
    average_bitrate: int | None = None
    peak_bitrate: int | None = None
    size: int | None = None
    frames: int | None = None
    crf: float | None = None
    attempt: int | None = Field(None, description="2 when the quality gate had it encoded again.")
    quality: dict[str, dict[str, float]] | None = Field(
        None,
        description="By metric, once measured: mean, and p5, which 95 % of the frames reach.",
        examples=[{"vmaf": {"mean": 94.1, "p5": 89.7}}],
    )
    status: Literal["waiting", "running", "ready", "failed", "cancelled"] = "waiting"
    progress: float = 0.0
    fps: float | None = None
    speed: float | None = None
    eta_seconds: float | None = None
    encode_seconds: float | None = None
    reused: bool | None = None
    worker: str | None = None


class DrmView(Answer):
    """How a published video is encrypted; the ids of its keys by what they are for, never a key."""

    scheme: Literal["cbcs", "cenc", "dual"]
    systems: list[str]
    key_ids: dict[str, str] = Field(examples=[{"audio": "0" * 32, "sd": "1" * 32}])
    cenc_key_ids: dict[str, str] | None = Field(None, description="Of the second copy, with scheme dual.")


class PlaybackView(Answer):
    """Absolute addresses of what was published.

    With `preview`, they are those of one rendition that plays while the others are still made.
    """

    preview: bool | None = None
    hls: str | None = None
    dash: str | None = None
    poster: str | None = None
    storyboard: str | None = None
    player: str | None = None
    drm: DrmView | None = None


class ErrorView(Answer):
    """Why a video failed: a code of GET /api/v1/problems, one sentence, and the reference of the task.

    `details` has the figures behind the sentence: for `quality_failed`, what was measured.
    """

    code: str
    message: str
    task: str | None = None
    retryable: bool = False
    details: dict[str, Any] | None = None


class Video(Answer):
    """One uploaded title and what became of it."""

    id: str
    status: VideoStatus
    title: str
    profile: str
    created_at: str
    updated_at: str
    ready_at: str | None = None
    workflow_id: str | None = None
    progress: ProgressView
    source: dict[str, Any]
    verdicts: list[VerdictView] = []
    renditions: list[RenditionView] = []
    audio: list[dict[str, Any]] = []
    subtitles: list[dict[str, Any]] = []
    playback: PlaybackView | None = None
    version: str
    cost: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    passthrough: str | None = None
    error: ErrorView | None = None


class VideoPage(Answer):
    """`nextCursor` is missing on the last page."""

    items: list[Video]
    next_cursor: str | None = None


class PublishedFile(Answer):
    """A published file; `path` is relative to the version's folder."""

    path: str
    size: int
    sha256: str | None = None
    content_type: str
    url: str


class FilePage(Answer):
    items: list[PublishedFile]
    next_cursor: str | None = None


class ArtefactView(Answer):
    """One thing that was made, with its provenance.

    `argv` has our paths and all keys redacted; `inputs` are hashes of what went in.
    """

    model_config = ConfigDict(extra="allow")

    path: str | None = None
    sha256: str | None = None
    size: int | None = None
    kind: str
    rendition: str | None = None
    chunk: int | None = None
    inputs: list[str] = []
    argv: list[str] = []
    tools: dict[str, str] = {}
    worker: str | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    attempt: int = 1
    reused: bool = False


class QualityWindow(Answer):
    """A measured part of the title; `start` in seconds."""

    start: float
    mean: float
    min: float | None = None


class QualityView(Answer):
    """What was measured of a rendition: over all its windows, then window by window."""

    rendition: str
    metric: str = "vmaf"
    mean: float | None = None
    p5: float | None = None
    min: float | None = None
    windows: list[QualityWindow] = []
    xpsnr_db: float | None = None
    aligned: bool | None = None
    target_mean: float | None = None
    target_p5: float | None = None
    passed: bool | None = None


class FindingView(Answer):
    """What the package's check found: the rule by its name, one sentence, and where."""

    rule: str
    severity: str
    message: str
    path: str | None = None


class Report(Answer):
    """What is known about how the video was made; a part that has not run yet is empty.

    Attributes:
        gate: renditions that were encoded again, with what was measured before and after.
        per_title: the probes that the ladder was chosen by.
        scan: marks of the decode scan: black and frozen parts, loudness, errors.
        timings: one entry for each attempt at a task, in seconds.
    """

    source: dict[str, Any]
    verdicts: list[VerdictView] = []
    plan: dict[str, Any] | None = None
    artefacts: list[ArtefactView] = []
    quality: list[QualityView] = []
    gate: list[dict[str, Any]] = []
    validation: list[FindingView] = []
    per_title: dict[str, Any] | None = None
    scan: dict[str, Any] | None = None
    timings: list[dict[str, Any]] = []


class EstimateView(Answer):
    """Predicted from the speeds of this installation; `cost` in the currency of its price of a core hour."""

    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    output_bytes: int | None = None
    cost: float | None = None


class PlanView(Answer):
    """What would be made of a source. Nothing was encoded.

    Attributes:
        ladder: the renditions, each with codec, size, quality and limits of its rate.
        chunks: ranges of frames that are encoded apart.
        groups: renditions of a chunk that share one process, with the predicted seconds of each chunk.
    """

    source: dict[str, Any]
    verdicts: list[VerdictView] = []
    profile: str | None = None
    frame_rate: str | None = None
    frames_total: int | None = None
    duration_seconds: float | None = None
    ladder: list[dict[str, Any]] = []
    chunks: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    audio: list[dict[str, Any]] = []
    subtitles: list[dict[str, Any]] = []
    estimate: EstimateView


class QueueView(Answer):
    """One task queue: how many tasks wait, how many workers hold one, and when somebody last asked."""

    name: str
    waiting: int
    running: int
    last_poll_at: str | None = None
    polled_by: int = 0


class WorkerView(Answer):
    id: str
    task_types: list[str]
    last_poll_at: str
    live: bool
