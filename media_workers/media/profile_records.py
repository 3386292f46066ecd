"""What a profile is: the record, and the names and bounds of its fields."""

from typing import Literal

import msgspec

from media_workers.media.gate import QualityTargets
from media_workers.media.watermark import Clip, Crop, Watermark

Codec = Literal["h264", "hevc", "vp9", "av1"]
HdrMode = Literal["auto", "keep", "sdr"]
Speed = Literal["veryfast", "fast", "medium", "slow"]

CODECS: tuple[Codec, ...] = ("h264", "hevc", "vp9", "av1")
DEEP_CODECS: tuple[Codec, ...] = ("hevc", "vp9", "av1")
"""Those that carry ten bits to every player, and so HDR."""
AUDIO_CODECS = ("aac", "opus", "ac3", "eac3")
HDR_MODES = ("auto", "keep", "sdr")
SPEEDS: tuple[Speed, ...] = ("veryfast", "fast", "medium", "slow")
RUNG_HEIGHTS = (2160, 1440, 1080, 720, 480, 360, 240)
# Below the ladder's foot: only to make a small source's set adaptive.
SMALL_HEIGHTS = (180, 144)
RUNG_NAMES = tuple(f"{height}p" for height in RUNG_HEIGHTS + SMALL_HEIGHTS)
HEIGHT_MIN, HEIGHT_MAX = 64, 4320
BITRATE_BPS_MIN, BITRATE_BPS_MAX = 50_000, 100_000_000
# H.264 above this costs more than it gives, and Apple's devices decode it up to level 4.2 only.
H264_LINES_MAX = 1080
SCHEMA_VERSION = 1


class RungWish(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One wanted rendition; `height` is its short side in lines.

    Without a `codec` it is wanted in every codec of the profile; None elsewhere takes the ladder's own value.
    """

    height: int
    codec: Codec | None = None
    crf: float | None = None
    max_bitrate_bps: int | None = msgspec.field(default=None, name="maxBitrate")


class Profile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a title is encoded. `rungs` are wishes: what exceeds the source is dropped, never upscaled.

    `keep_source_size` makes a source that lies between two rungs its own top rung. `crf_shift` moves the
    quality of every rung: negative is better. `renditions_min` is reached with smaller rungs where the source
    allows. `h264_lines_max` keeps H.264 out of sizes that other codecs are for. `hdr`: "auto" keeps a high
    dynamic range in the codecs that carry it and makes standard renditions beside them, "keep" makes no more
    of those than H.264's, "sdr" keeps none. `threads` are those of HEVC and VP9 encoders; H.264 and AV1 take
    one thread each, which makes the same bytes every time, and are in parallel by chunks and renditions.
    """

    name: str
    description: str = ""
    version: int = SCHEMA_VERSION
    codecs: tuple[Codec, ...] = ("h264",)
    rungs: tuple[RungWish, ...] = msgspec.field(default=(), name="renditions")
    speed: Speed = "medium"
    crf_shift: float = 0.0
    frame_rate_max: int = 60
    h264_lines_max: int = H264_LINES_MAX
    renditions_min: int = 3
    keep_source_size: bool = True
    threads: int = 4
    gop_seconds: int = 2
    segment_gops: int = 3
    hdr: HdrMode = "auto"
    audio_codecs: tuple[str, ...] = ("aac",)
    audio_bitrate_bps: int = msgspec.field(default=128_000, name="audioBitrate")
    loudness_lufs: float | None = msgspec.field(default=-16.0, name="loudness")
    chunk_seconds: int | None = None
    per_title: bool = False
    quality_gate: bool = True
    quality: QualityTargets = QualityTargets()
    clip: Clip | None = None
    crop: Crop | None = None
    watermark: Watermark | None = None
    video: bool = True
    audio_only_allowed: bool = False
