"""Argument lists that turn a title's text tracks into WebVTT."""

from typing import Any

import ffmpeg

from media_workers.media.guards import CLEAN, GUARDS, PROGRESS, SOURCE_DEMUXERS, compiled
from media_workers.media.text_plan import TextPlan

INVALID_CHARSET = "Invalid UTF-8 in decoded subtitles text"
"""What FFmpeg says when a track's text is in another encoding than it should be."""


CAPTIONED_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video"})
"""Pictures that captions may lie in."""

CAPTIONS_FOUND = "ATSC A53 Part 4 Closed Captions"
"""What ffprobe calls captions in a frame."""

# Captioned pictures carry caption data in every frame, empty where nobody speaks.
CAPTIONS_LOOKED_FOR_SECONDS = 2


def captions_args(ffprobe: str, source: str, stream_index: int) -> list[str]:
    """Kinds of data in the first frames of the picture on stdout: `CAPTIONS_FOUND` is among them, or not."""
    guards = [word for name, value in GUARDS.items() for word in (f"-{name}", str(value))]
    shown = ["-of", "json=compact=1", "-show_entries", "frame_side_data=side_data_type"]
    looked_at = ["-select_streams", str(stream_index), "-read_intervals", f"%+{CAPTIONS_LOOKED_FOR_SECONDS}"]
    return [ffprobe, "-hide_banner", "-loglevel", "error", *guards, *looked_at, *shown, "-i", source]


def text_args(
    ffmpeg_path: str, track: TextPlan, *, source: str, target: str, charset: str | None = None
) -> list[str]:
    """Write a track as WebVTT at `target`; progress lines on stdout.

    Its times are on the source's own clock: the title begins at `zero_seconds` of it.

    Args:
        ffmpeg_path: the binary.
        track: from the plan.
        source: path of the source.
        target: path of the new file.
        charset: encoding of the text, where it is not the UTF-8 that it should be.
    """
    options: dict[str, Any] = {}
    if track.stream_index is None:
        stream = ffmpeg.input(_caption_graph(source), f="lavfi")["s:0"]
    else:
        if track.codec == "dvb_teletext":
            options = {"txt_format": "text", "txt_page": "subtitle"}
        if charset is not None:
            options["sub_charenc:s"] = charset
        # Some formats know when a text appears and not when it goes: until the next one.
        ending = {"fix_sub_duration": None} if track.codec == "dvb_teletext" else {}
        stream = ffmpeg.input(source, **GUARDS, **options, **ending)[str(track.stream_index)]
    output = ffmpeg.output(stream, target, **{"c:s": "webvtt", "format": "webvtt", **CLEAN})
    # A cue that cannot be read is left out; how many there are decides nothing.
    return compiled(ffmpeg_path, output, "warning", *PROGRESS, "-copyts", "-max_error_rate", "1")


def text_bytes_args(ffmpeg_path: str, track: TextPlan, *, source: str, target: str) -> list[str]:
    """Write a stream's text as it lies in the source, to find its encoding."""
    stream = ffmpeg.input(source, **GUARDS)[str(track.stream_index)]
    output = ffmpeg.output(stream, target, **{"c:s": "copy", "format": "data", **CLEAN})
    return compiled(ffmpeg_path, output, "error")


def _caption_graph(source: str) -> str:
    """A source filter that also gives the captions (CEA-608) found in the picture.

    The path is ours; it is quoted all the same, twice: for the graph and for the filter's options.
    """
    guards = f"protocol_whitelist=file:format_whitelist={SOURCE_DEMUXERS}"
    return f"movie=filename={_quoted(source)}:format_opts={_quoted(guards)}[out0+subcc]"


def _quoted(text: str) -> str:
    option = "".join(f"\\{char}" if char in "\\':" else char for char in text)
    return "".join(f"\\{char}" if char in "\\'[],;" else char for char in option)
