"""The fields of an encoding profile, as PUT /profiles/NAME takes them: those of the workers' own record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from api.videos.options import (
    CHUNK_SECONDS_MAX,
    CHUNK_SECONDS_MIN,
    HEIGHT_MAX,
    HEIGHT_MIN,
    LOUDNESS_LUFS_MAX,
    LOUDNESS_LUFS_MIN,
    RENDITIONS_MAX,
    TEXT_CHARS_MAX,
    AudioCodec,
    Clip,
    Codec,
    Crop,
    HdrMode,
    Rendition,
    Watermark,
)
from api.videos.requests import Request

SCHEMA_VERSION = 1
AUDIO_BPS_MIN, AUDIO_BPS_MAX = 32_000, 512_000
CRF_SHIFT_MAX = 10.0
FRAME_RATE_LOWEST, FRAME_RATE_HIGHEST = 5, 120
THREADS_MAX = 64
GOP_SECONDS_MAX = 10
SEGMENT_GOPS_MAX = 10
DEEP_CODECS = frozenset({"hevc", "vp9", "av1"})

Speed = Literal["veryfast", "fast", "medium", "slow"]
Score = Annotated[float, Field(ge=0, le=100)]


class QualityTargets(Request):
    """What the quality gate asks for, in VMAF: mean of every rung, mean and p5 of each codec's largest."""

    rung_mean: Score = 82.0
    top_mean: Score = 84.0
    top_p5: Score = Field(74.0, alias="topP5")


class ProfileDocument(Request):
    """A profile of the operator's own; a field left out is as in `default`, but for `renditions`."""

    name: str | None = Field(None, description="As in the address; it may be left out.")
    description: Annotated[str, Field(max_length=TEXT_CHARS_MAX)] = ""
    version: Literal[1] = Field(1, description="Of the document's format.")
    codecs: Annotated[list[Codec], Field(min_length=1)] = ["h264"]
    renditions: Annotated[list[Rendition], Field(max_length=RENDITIONS_MAX)] = []
    speed: Speed = "medium"
    crf_shift: Annotated[float, Field(ge=-CRF_SHIFT_MAX, le=CRF_SHIFT_MAX)] = Field(
        0.0, description="Moves the quality of every rendition: negative is better."
    )
    frame_rate_max: Annotated[int, Field(ge=FRAME_RATE_LOWEST, le=FRAME_RATE_HIGHEST)] = 60
    h264_lines_max: Annotated[int, Field(ge=HEIGHT_MIN, le=HEIGHT_MAX)] = Field(1080, alias="h264LinesMax")
    renditions_min: Annotated[int, Field(ge=1, le=RENDITIONS_MAX)] = 3
    keep_source_size: bool = True
    threads: Annotated[int, Field(ge=1, le=THREADS_MAX)] = 4
    gop_seconds: Annotated[int, Field(ge=1, le=GOP_SECONDS_MAX)] = 2
    segment_gops: Annotated[int, Field(ge=1, le=SEGMENT_GOPS_MAX)] = 3
    hdr: HdrMode = "auto"
    audio_codecs: Annotated[list[AudioCodec], Field(min_length=1)] = ["aac"]
    audio_bitrate: Annotated[int, Field(ge=AUDIO_BPS_MIN, le=AUDIO_BPS_MAX)] = 128_000
    loudness: Annotated[float, Field(ge=LOUDNESS_LUFS_MIN, le=LOUDNESS_LUFS_MAX)] | None = -16.0
    chunk_seconds: Annotated[int, Field(ge=CHUNK_SECONDS_MIN, le=CHUNK_SECONDS_MAX)] | None = None
    per_title: bool = False
    quality_gate: bool = True
    quality: QualityTargets = QualityTargets()
    clip: Clip | None = None
    crop: Crop | None = None
    watermark: Watermark | None = None
    video: bool = True
    audio_only_allowed: bool = False

    @model_validator(mode="after")
    def _possible(self) -> ProfileDocument:
        if self.video and not self.renditions:
            raise ValueError("renditions must name at least one, or video must be false")
        wished = {each.codec for each in self.renditions if not isinstance(each, str)}
        if self.video and self.hdr == "keep" and not {*self.codecs, *wished} & DEEP_CODECS:
            raise ValueError("hdr keep cannot be had with H.264 alone")
        return self

    def stored(self) -> dict[str, Any]:
        """The fields that were given, as the workers read them."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"name"})
