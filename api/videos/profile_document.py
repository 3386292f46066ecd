"""The fields of an encoding profile, as PUT /profiles/NAME takes them: those of the workers' own record."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from api.videos.options import (
    BITRATE_BPS_MAX,
    BITRATE_BPS_MIN,
    CHUNK_SECONDS_MAX,
    CHUNK_SECONDS_MIN,
    CRF_MAX,
    CRF_MIN,
    HEIGHT_MAX,
    HEIGHT_MIN,
    LOUDNESS_LUFS_MAX,
    LOUDNESS_LUFS_MIN,
    RENDITIONS_MAX,
    TEXT_CHARS_MAX,
    AudioCodec,
    Codec,
    HdrMode,
)
from api.videos.requests import Request

Rate = Annotated[int, Field(ge=BITRATE_BPS_MIN, le=BITRATE_BPS_MAX)]


class Rung(Request):
    """One wanted size; `height` is the short side in lines. What exceeds the source is dropped."""

    height: Annotated[int, Field(ge=HEIGHT_MIN, le=HEIGHT_MAX)]
    codec: Codec | None = None
    crf: Annotated[float, Field(ge=CRF_MIN, le=CRF_MAX)] | None = None
    max_bitrate_bps: Rate | None = None


class ProfileDocument(Request):
    """A profile of the operator's own; a field left out has its usual value."""

    description: Annotated[str, Field(max_length=TEXT_CHARS_MAX)] = ""
    codecs: Annotated[list[Codec], Field(min_length=1)] | None = None
    rungs: Annotated[list[Rung], Field(max_length=RENDITIONS_MAX)] | None = None
    hdr: HdrMode | None = None
    audio_codecs: Annotated[list[AudioCodec], Field(min_length=1)] | None = None
    loudness_lufs: Annotated[float, Field(ge=LOUDNESS_LUFS_MIN, le=LOUDNESS_LUFS_MAX)] | None = None
    chunk_seconds: Annotated[int, Field(ge=CHUNK_SECONDS_MIN, le=CHUNK_SECONDS_MAX)] | None = None

    def stored(self) -> dict[str, Any]:
        """The fields that were given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
