"""The product API's documents. Requests refuse unknown fields; answers may gain fields in later versions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

METADATA_KEYS_MAX = 50
TEXT_CHARS_MAX = 500


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


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, validate_by_name=True)


class FieldError(Answer):
    """One field at fault: `path` as in overrides.renditions.0, `accepted` when the values can be listed."""

    path: str
    message: str
    accepted: list[str] | None = None


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
RENDITION_NAMES = ("2160p", "1440p", "1080p", "720p", "480p", "360p", "240p", "180p", "144p")
"""The usual names; any other number of lines from 64 to 4320 is taken too."""

RenditionName = Annotated[str, Field(pattern=r"^[1-9]\d{1,3}p$", examples=list(RENDITION_NAMES))]


class RenditionWish(Request):
    """One wanted rendition; `height` is the short side in lines, `maxBitrate` in bits per second."""

    height: Annotated[int, Field(ge=64, le=4320)]
    codec: Literal["h264"] = "h264"
    crf: Annotated[float, Field(ge=10, le=45)] | None = None
    max_bitrate: Annotated[int, Field(ge=50_000, le=100_000_000)] | None = None


class Overrides(Request):
    """What differs from the profile. This version encodes H.264 and AAC only."""

    codecs: Annotated[list[Literal["h264"]], Field(min_length=1)] | None = None
    renditions: Annotated[list[RenditionName | RenditionWish], Field(min_length=1, max_length=12)] | None = (
        None
    )
    hdr: Literal["auto", "sdr"] | None = None
    audio_codecs: Annotated[list[Literal["aac"]], Field(min_length=1)] | None = None
    loudness: Annotated[float, Field(ge=-40, le=-5)] | None = Field(
        None, description="Target in LUFS; null leaves the loudness as it is."
    )
    chunk_seconds: Annotated[int, Field(ge=6, le=600)] | None = None
    per_title: Literal[False] | None = Field(None, description="Not available in this version.")
    quality_gate: Literal[False] | None = Field(None, description="Not available in this version.")
    clip: None = Field(None, description="Not available in this version.")
    watermark: None = Field(None, description="Not available in this version.")


ProfileName = Literal["default", "fast", "premium", "apple", "archive", "mobile", "audio"]


class VideoOptions(Request):
    """The same wherever a video or a plan is made."""

    title: Annotated[str, Field(max_length=TEXT_CHARS_MAX)] | None = None
    profile: ProfileName = "default"
    overrides: Overrides | None = None
    priority: Annotated[int, Field(ge=0, le=99)] = 0
    metadata: Annotated[dict[str, Any], Field(max_length=METADATA_KEYS_MAX)] = {}
    passthrough: Annotated[str, Field(max_length=TEXT_CHARS_MAX)] | None = None
    drm: bool | dict[str, Any] | None = Field(None, description="Not available in this version: answers 501.")
    callback_url: str | None = Field(None, description="Not available in this version: answers 501.")


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
    message: str
    remedy: str | None = None


class RenditionView(Answer):
    """One size of the picture. `progress` is 0 to 1; `fps` and `speed` (x real time) only while it runs."""

    name: str
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: str | None = None
    average_bitrate: int | None = None
    peak_bitrate: int | None = None
    size: int | None = None
    frames: int | None = None
    quality: dict[str, Any] | None = None
    status: Literal["waiting", "running", "ready", "failed", "cancelled"] = "waiting"
    progress: float = 0.0
    fps: float | None = None
    speed: float | None = None
    eta_seconds: float | None = None
    encode_seconds: float | None = None
    reused: bool | None = None
    worker: str | None = None


class PlaybackView(Answer):
    """Absolute addresses of what was published."""

    hls: str | None = None
    dash: str | None = None
    poster: str | None = None
    storyboard: str | None = None
    player: str | None = None


class ErrorView(Answer):
    """Why a video failed: a code of GET /api/v1/problems, one sentence, and the reference of the task."""

    code: str
    message: str
    task: str | None = None
    retryable: bool = False


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


class Report(Answer):
    """What is known about how the video was made; a part that has not run yet is empty."""

    source: dict[str, Any]
    verdicts: list[VerdictView] = []
    plan: dict[str, Any] | None = None
    artefacts: list[dict[str, Any]] = []
    quality: list[dict[str, Any]] = []
    validation: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []


class ProfileView(Answer):
    name: str
    description: str


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
