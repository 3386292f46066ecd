"""Argument lists for ffprobe and FFmpeg, as values: nothing here runs anything.

Every list starts with the binary. Sources are opened with protocol and format whitelists, a pixel bound
and no standard input; paths are ours, never the uploader's names.
"""

from media_workers.media.loudness import Loudness
from media_workers.media.plan import AudioPlan, Plan, Rendition


def probe_args(ffprobe: str, source: str) -> list[str]:
    """Streams and format of a file as one JSON document on stdout."""
    raise NotImplementedError


def packets_args(ffprobe: str, source: str) -> list[str]:
    """Every packet's timestamps on stdout, one compact JSON object a line: feed each to `PacketScan`."""
    raise NotImplementedError


def video_args(ffmpeg: str, plan: Plan, rendition: Rendition, *, source: str, target: str) -> list[str]:
    """Encode one rendition, whole title, into an MP4 at `target`; progress lines on stdout."""
    raise NotImplementedError


def loudness_args(ffmpeg: str, track: AudioPlan, *, source: str) -> list[str]:
    """Measure a track's loudness; the result is the JSON at the end of stderr (`parse_loudness`)."""
    raise NotImplementedError


def audio_args(
    ffmpeg: str, track: AudioPlan, *, source: str, target: str, measured: Loudness | None
) -> list[str]:
    """Encode one track into an MP4 at `target`, exactly `samples_total` long; progress lines on stdout.

    Args:
        ffmpeg: the binary.
        track: from the plan.
        source: path of the source.
        target: path of the new file.
        measured: from the measuring pass; None leaves the loudness alone (silence, or a profile without a target).
    """
    raise NotImplementedError


def poster_args(ffmpeg: str, plan: Plan, *, source: str, target: str, at_seconds: float) -> list[str]:
    """One JPEG near `at_seconds` (from the title's start): the most typical picture of the next second."""
    raise NotImplementedError


def storyboard_args(ffmpeg: str, plan: Plan, *, source: str, pattern: str) -> list[str]:
    """The storyboard's sheets; `pattern` holds one `%03d` and counts from 1."""
    raise NotImplementedError


def decode_args(ffmpeg: str, media: str) -> list[str]:
    """Decode everything of a file of ours (or a local HLS playlist) and throw it away; errors on stderr."""
    raise NotImplementedError


def choose_poster(sizes_bytes: list[int]) -> int:
    """Index of the candidate with the most detail: at one size and quality, the largest JPEG."""
    return max(range(len(sizes_bytes)), key=lambda position: sizes_bytes[position])
