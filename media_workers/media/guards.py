"""What every call of FFmpeg and ffprobe has in common: whitelists, bounds, quiet, progress, a clean output.

Nothing here runs anything: argument lists are values. Sources are opened with whitelists of protocols and
formats, a pixel bound and no standard input; paths are ours, never the uploader's names.
"""

from typing import Any

import ffmpeg

_DEMUXERS = (
    *("mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "avi", "flv", "ogg", "asf", "mxf", "gxf", "dv"),
    *("ivf", "nut", "wav", "w64", "mp3", "aac", "flac", "aiff", "caf", "ac3", "eac3", "amr"),
)
SOURCE_DEMUXERS = ",".join(_DEMUXERS)
"""Containers that hold media of their own. Playlists, concat lists and image sequences are not among them."""

# 8192x4320: what the ingest limits accept, so that a larger picture cannot be decoded even when a probe lied.
FRAME_PX_MAX = 8192 * 4320
HLS_DEMUXERS = "hls,mov,mp4,mpegts,webvtt"
FASTSTART = "+faststart"

GUARDS = {"protocol_whitelist": "file", "format_whitelist": SOURCE_DEMUXERS, "max_pixels": FRAME_PX_MAX}
"""Input options of every source."""

QUIET = ("-hide_banner", "-nostdin", "-nostats")
PROGRESS = ("-progress", "pipe:1", "-stats_period", "0.5")
"""Global options that print progress lines on stdout."""

# No tag, chapter or timestamp of the source or the build leaves with the output: equal inputs, equal bytes.
CLEAN: dict[str, Any] = {"map_metadata": -1, "map_chapters": -1, "fflags": "+bitexact", "flags": "+bitexact"}
"""Output options of every file."""


def compiled(binary: str, stream: Any, level: str, *more: str) -> list[str]:
    """Argument list of an FFmpeg graph.

    Args:
        binary: the binary.
        stream: what `ffmpeg.output` or `ffmpeg.merge_outputs` gave.
        level: log level.
        more: global options, such as `PROGRESS`.
    """
    return [binary, *QUIET, "-loglevel", level, *more, "-y", *ffmpeg.get_args(stream)]


def probe_args(ffprobe: str, source: str, *, hashes: bool = False) -> list[str]:
    """Streams and format of a file as one JSON document on stdout; the hash of its headers on request."""
    shown = ["-show_streams", "-show_format", *(["-show_data_hash", "md5"] if hashes else [])]
    return [*_probe(ffprobe, "warning"), "-of", "json", *shown, "-i", source]


def packets_args(ffprobe: str, source: str, *, sizes: bool = False) -> list[str]:
    """Every packet's timestamps on stdout, one compact JSON object a line: feed each to `PacketScan`."""
    fields = "stream_index,pts,dts,duration,flags" + (",size" if sizes else "")
    entries = f"packet={fields}:packet_side_data=side_data_type"
    return [*_probe(ffprobe, "error"), "-of", "json=compact=1", "-show_entries", entries, "-i", source]


def first_frame_args(ffprobe: str, source: str, stream_index: int) -> list[str]:
    """The first picture with its side data as one JSON document on stdout: for `read_mastering`."""
    first = ["-select_streams", str(stream_index), "-read_intervals", "%+#1", "-show_frames"]
    return [*_probe(ffprobe, "error"), *first, "-of", "json", "-i", source]


def decode_args(ffmpeg_path: str, media: str) -> list[str]:
    """Decode everything of a file of ours (or a local HLS playlist) and throw it away; errors on stderr."""
    guards = {"protocol_whitelist": "file", "format_whitelist": HLS_DEMUXERS, "max_pixels": FRAME_PX_MAX}
    stream = ffmpeg.output(ffmpeg.input(media, **guards), "-", map=0, format="null")
    return compiled(ffmpeg_path, stream, "error", "-xerror")


def _probe(ffprobe: str, level: str) -> list[str]:
    guards = [word for name, value in GUARDS.items() for word in (f"-{name}", str(value))]
    return [ffprobe, "-hide_banner", "-loglevel", level, *guards]
