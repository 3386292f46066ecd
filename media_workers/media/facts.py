"""What a source is: a value made from ffprobe's JSON and the packet timestamps, passed between tasks as JSON."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from media_workers.media.packets import PacketScan

Hdr = Literal["hdr10", "hlg", "dolby_vision"]


class Colour(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Colour tags in FFmpeg's words; "unknown" where the source carries none."""

    primaries: str = "unknown"
    transfer: str = "unknown"
    matrix: str = "unknown"
    range: str = "unknown"


class VideoFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The one picture stream that is encoded.

    `display_width` x `display_height` is what a viewer sees: after pixel aspect ratio and rotation, not yet even.
    `frame_rate` is the steady rate: one over the median frame duration, tidied. `frames` counts packets.
    `end_seconds` is the end of the last frame on the source's own clock (that of `start_seconds`).
    """

    index: int
    codec: str
    profile: str | None = None
    coded_width: int
    coded_height: int
    display_width: int
    display_height: int
    sar: str = "1:1"
    rotation: int = 0
    mirrored: bool = False
    frame_rate: str
    avg_frame_rate: str
    variable_frame_rate: bool = False
    frame_seconds_median: float = 0.0
    frame_seconds_min: float = 0.0
    frame_seconds_max: float = 0.0
    interlaced: bool = False
    field_order: str = "progressive"
    pix_fmt: str = "unknown"
    bit_depth: int = 8
    chroma: str = "420"
    alpha: bool = False
    colour: Colour = Colour()
    hdr: Hdr | None = None
    dolby_vision_profile: int | None = None
    frames: int = 0
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    duration_seconds: float = 0.0
    keyframe_gap_seconds_max: float = 0.0
    timestamps_missing: int = 0
    timestamp_jumps: int = 0
    language: str | None = None


class AudioFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One sound track; `track` numbers the tracks from 0, `index` is the stream's number in the file."""

    track: int
    index: int
    codec: str
    channels: int
    layout: str | None = None
    sample_rate: int
    language: str = "mis"
    title: str | None = None
    default: bool = False
    start_seconds: float = 0.0
    duration_seconds: float | None = None


class SubtitleFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    index: int
    codec: str
    language: str = "mis"
    title: str | None = None
    forced: bool = False
    default: bool = False
    hearing_impaired: bool = False


class OtherStream(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A stream that is not used: data, timecode, attachment, cover art, a second picture."""

    index: int
    kind: str
    codec: str


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole source. `duration_seconds` is the container's claim, None when it makes none.

    `start_seconds` is the container's start time, which FFmpeg takes as zero.
    """

    container: str
    size_bytes: int
    duration_seconds: float | None = None
    start_seconds: float = 0.0
    streams: int = 0
    video: VideoFacts | None = None
    audio: tuple[AudioFacts, ...] = ()
    subtitles: tuple[SubtitleFacts, ...] = ()
    cover_index: int | None = None
    extra_video: tuple[OtherStream, ...] = ()
    other: tuple[OtherStream, ...] = ()
    encrypted: bool = False
    external_reference: bool = False
    title: str | None = None
    metadata_sanitised: bool = False


def facts_from_probe(
    probe: Mapping[str, Any], *, size_bytes: int, packets: PacketScan | None = None
) -> SourceFacts:
    """Build the facts from ffprobe's answer.

    Args:
        probe: the JSON document that `commands.probe_args` prints (streams and format).
        size_bytes: the file's size, from the file system.
        packets: the scan of what `commands.packets_args` prints; without it the timing facts are the
            container's claims, good enough for the quick rejects and nothing else.

    Raises:
        ValueError: the document has no `streams` list.
    """
    raise NotImplementedError
