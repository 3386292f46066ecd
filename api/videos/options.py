"""What can be asked for when a video or a plan is made.

The accepted names are those of the media workers, which the API never imports: they are repeated here, and a
test holds the two equal.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from api.videos.requests import PROFILE_NAME, Request

METADATA_KEYS_MAX = 50
TEXT_CHARS_MAX = 500
HEIGHT_MIN, HEIGHT_MAX = 64, 4320
CRF_MIN, CRF_MAX, CRF_MAX_LONG = 10, 51, 63
"""H.264 and HEVC count to 51, VP9 and AV1 to 63."""
LONG_CRF_CODECS = frozenset({"vp9", "av1"})
BITRATE_BPS_MIN, BITRATE_BPS_MAX = 50_000, 100_000_000
LOUDNESS_LUFS_MIN, LOUDNESS_LUFS_MAX = -40.0, -5.0
CHUNK_SECONDS_MIN, CHUNK_SECONDS_MAX = 2, 600
CLEAR_LEAD_SECONDS_MAX = 600
RENDITIONS_MAX = 32
CLIP_SECONDS_MIN = 0.1
CLIP_SECONDS_MAX = 24 * 3600.0
CROP_SIDE_MIN, CROP_SIDE_MAX = 16, 8192
WATERMARK_TEXT_CHARS_MAX = 80
WATERMARK_KEY_CHARS_MAX = 400
WATERMARK_SCALE_MIN, WATERMARK_SCALE_MAX = 0.02, 0.5

MEANT_NULLS = frozenset({"loudness", "chunkSeconds", "clip", "crop", "watermark"})
"""Overrides that null takes away; elsewhere it says that nothing differs."""

Codec = Literal["h264", "hevc", "vp9", "av1"]
AudioCodec = Literal["aac", "opus", "ac3", "eac3"]
HdrMode = Literal["auto", "keep", "sdr"]
Position = Literal["top-left", "top-right", "bottom-left", "bottom-right", "centre"]
DrmScheme = Literal["cbcs", "cenc", "dual"]
DrmSystem = Literal["widevine", "playready", "fairplay"]
KeySource = Literal["internal", "raw", "speke", "widevine"]

RENDITION_NAMES = ("2160p", "1440p", "1080p", "720p", "480p", "360p", "240p", "180p", "144p")
"""The usual names; any other number of lines from `HEIGHT_MIN` to `HEIGHT_MAX` is taken too."""

ProfileName = Annotated[str, Field(pattern=PROFILE_NAME)]
RenditionName = Annotated[str, Field(pattern=r"^[1-9]\d{1,3}p$", examples=list(RENDITION_NAMES))]


class RenditionWish(Request):
    """One wanted rendition; `height` is the short side in lines, `maxBitrate` in bits per second."""

    height: Annotated[int, Field(ge=HEIGHT_MIN, le=HEIGHT_MAX)]
    codec: Codec | None = Field(None, description="Every codec of the profile unless named.")
    crf: Annotated[float, Field(ge=CRF_MIN, le=CRF_MAX_LONG)] | None = None
    max_bitrate: Annotated[int, Field(ge=BITRATE_BPS_MIN, le=BITRATE_BPS_MAX)] | None = None

    @model_validator(mode="after")
    def _crf_of_codec(self) -> RenditionWish:
        if self.crf is not None and self.crf > CRF_MAX and self.codec not in LONG_CRF_CODECS:
            raise ValueError(f"crf goes up to {CRF_MAX}; only vp9 and av1 count to {CRF_MAX_LONG}")
        return self


def _by_shape(value: object) -> str:
    return "<object>" if isinstance(value, dict | RenditionWish | Drm) else "<word>"


Rendition = Annotated[
    Annotated[RenditionName, Tag("<word>")] | Annotated[RenditionWish, Tag("<object>")],
    Discriminator(_by_shape),
]


class Clip(Request):
    """A part of the source, in seconds from its first picture; without `end` until its end."""

    start: Annotated[float, Field(ge=0, le=CLIP_SECONDS_MAX)] = 0.0
    end: Annotated[float, Field(ge=0, le=CLIP_SECONDS_MAX)] | None = None

    @model_validator(mode="after")
    def _forwards(self) -> Clip:
        if self.end is not None and self.end - self.start < CLIP_SECONDS_MIN:
            raise ValueError(f"end must be at least {CLIP_SECONDS_MIN:g} seconds after start")
        return self


class Crop(Request):
    """A part of the picture, in pixels as a viewer sees it: upright, with square pixels."""

    x: Annotated[int, Field(ge=0, le=CROP_SIDE_MAX)] = 0
    y: Annotated[int, Field(ge=0, le=CROP_SIDE_MAX)] = 0
    width: Annotated[int, Field(ge=CROP_SIDE_MIN, le=CROP_SIDE_MAX)]
    height: Annotated[int, Field(ge=CROP_SIDE_MIN, le=CROP_SIDE_MAX)]


class Watermark(Request):
    """A text, or a picture by its key in the media store; `scale` is its height in parts of the picture's."""

    text: Annotated[str, Field(min_length=1, max_length=WATERMARK_TEXT_CHARS_MAX)] | None = None
    image: Annotated[str, Field(min_length=1, max_length=WATERMARK_KEY_CHARS_MAX)] | None = None
    position: Position = "bottom-right"
    opacity: Annotated[float, Field(ge=0.05, le=1)] = 0.7
    scale: Annotated[float, Field(ge=WATERMARK_SCALE_MIN, le=WATERMARK_SCALE_MAX)] = 0.06

    @model_validator(mode="after")
    def _one_of_both(self) -> Watermark:
        if (self.text is None) == (self.image is None):
            raise ValueError("needs either a text or an image")
        return self


class Overrides(Request):
    """What differs from the profile."""

    codecs: Annotated[list[Codec], Field(min_length=1)] | None = None
    renditions: Annotated[list[Rendition], Field(min_length=1, max_length=RENDITIONS_MAX)] | None = None
    hdr: HdrMode | None = Field(
        None,
        description="auto: kept where a codec has it, tone-mapped for H.264; keep; sdr: all tone-mapped.",
    )
    audio_codecs: Annotated[list[AudioCodec], Field(min_length=1)] | None = None
    loudness: Annotated[float, Field(ge=LOUDNESS_LUFS_MIN, le=LOUDNESS_LUFS_MAX)] | None = Field(
        None, description="Target in LUFS; null leaves the loudness as it is."
    )
    per_title: bool | None = Field(None, description="Choose the ladder by probes of this title.")
    chunk_seconds: Annotated[int, Field(ge=CHUNK_SECONDS_MIN, le=CHUNK_SECONDS_MAX)] | None = None
    quality_gate: bool | None = Field(
        None, description="Measure every rendition; encode one that is too low again, once."
    )
    clip: Clip | None = None
    crop: Crop | None = None
    watermark: Watermark | None = None


class Drm(Request):
    """How the package is encrypted: distinct keys for sound, SD, HD and UHD."""

    scheme: DrmScheme = Field(
        "cbcs", description="cbcs for every current device; cenc for old ones; dual: both."
    )
    systems: Annotated[list[DrmSystem], Field(min_length=1)] | None = Field(
        None, description="All that the scheme allows unless named."
    )
    key_source: KeySource | None = Field(None, description="The operator's setting unless named.")
    clear_lead_seconds: Annotated[int, Field(ge=0, le=CLEAR_LEAD_SECONDS_MAX)] = 0

    @model_validator(mode="after")
    def _possible(self) -> Drm:
        if self.scheme == "cenc" and "fairplay" in (self.systems or []):
            raise ValueError("fairplay needs the scheme cbcs or dual")
        return self


Protection = Annotated[
    Annotated[bool, Tag("<word>")] | Annotated[Drm, Tag("<object>")], Discriminator(_by_shape)
]


class VideoOptions(Request):
    """The same wherever a video or a plan is made."""

    title: Annotated[str, Field(max_length=TEXT_CHARS_MAX)] | None = None
    profile: ProfileName = Field("default", description="A name of GET /api/v1/profiles.")
    overrides: Overrides | None = None
    drm: Protection | None = Field(None, description="true: cbcs for all three systems with keys of our own.")
    priority: Annotated[int, Field(ge=0, le=99)] = 0
    metadata: Annotated[dict[str, Any], Field(max_length=METADATA_KEYS_MAX)] = {}
    passthrough: Annotated[str, Field(max_length=TEXT_CHARS_MAX)] | None = None
    callback_url: str | None = Field(None, description="Not available in this version: answers 501.")


def drm_input(asked: object) -> dict[str, Any] | None:
    """The workflow's `drm` for what was asked: None for a clear title, else an object."""
    if asked is None or asked is False:
        return None
    wanted = Drm.model_validate(asked if isinstance(asked, dict) else {})
    return wanted.model_dump(by_alias=True, exclude_none=True)


def stored_options(asked: Request) -> dict[str, Any]:
    """What of a request is kept with its video and goes into the workflow, without idle nulls."""
    wanted = {"overrides", "drm", "priority", "passthrough"}
    kept = asked.model_dump(mode="json", by_alias=True, exclude_unset=True, include=wanted)
    if kept.get("overrides"):
        kept["overrides"] = {
            name: value
            for name, value in kept["overrides"].items()
            if value is not None or name in MEANT_NULLS
        }
    return kept
