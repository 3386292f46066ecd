"""Argument lists for sound and stills; the rest re-exported until every caller names its own module."""

from fractions import Fraction
from typing import Any

import ffmpeg

from media_workers.media.colour import ColourPlan
from media_workers.media.downmix import stereo_filter
from media_workers.media.guards import (
    CLEAN,
    FASTSTART,
    FRAME_PX_MAX,
    GUARDS,
    HLS_DEMUXERS,
    PROGRESS,
    SOURCE_DEMUXERS,
    compiled,
    decode_args,
    packets_args,
    probe_args,
)
from media_workers.media.loudness import Loudness, loudnorm_options
from media_workers.media.picture import deinterlaced, on_grid, open_picture, picture_plan, to_delivery
from media_workers.media.plan import AudioPlan, Plan, StillsPlan
from media_workers.media.video import video_args

__all__ = [
    "FRAME_PX_MAX",
    "HLS_DEMUXERS",
    "SOURCE_DEMUXERS",
    "audio_args",
    "choose_poster",
    "decode_args",
    "loudness_args",
    "packets_args",
    "poster_args",
    "probe_args",
    "storyboard_args",
    "video_args",
]

JPEG_QUALITY = 4
POSTER_QUALITY = 3
# The pictures of one second, from which the most typical is chosen.
POSTER_CANDIDATES = 24
# Left to the ceiling of a rebuilt peak: AAC's own overshoot stays below full scale.
PEAK_LIMIT = 0.89


def loudness_args(ffmpeg_path: str, track: AudioPlan, *, source: str) -> list[str]:
    """Measure a track's loudness; the result is the JSON at the end of stderr (`parse_loudness`).

    Raises:
        ValueError: the track has no loudness target.
    """
    if track.loudness_lufs is None:
        raise ValueError(f"{track.name}: has no loudness target, so there is nothing to measure for")
    sound = _sound(source, track).filter("loudnorm", **loudnorm_options(track.loudness_lufs, None))
    stream = ffmpeg.output(sound, "-", format="null")
    return compiled(ffmpeg_path, stream, "info", *PROGRESS)


def audio_args(
    ffmpeg_path: str, track: AudioPlan, *, source: str, target: str, measured: Loudness | None
) -> list[str]:
    """Encode one track into an MP4 at `target`, exactly `samples_total` long; progress lines on stdout.

    Args:
        ffmpeg_path: the binary.
        track: from the plan.
        source: path of the source.
        target: path of the new file.
        measured: from the measuring pass; None leaves the loudness alone (a silent track, or no target).
    """
    sound = _sound(source, track)
    if measured is not None and track.loudness_lufs is not None:
        sound = sound.filter("loudnorm", **loudnorm_options(track.loudness_lufs, measured))
        # loudnorm works at 192 kHz.
        sound = sound.filter("aresample", track.sample_rate)
    else:
        sound = sound.filter("alimiter", limit=PEAK_LIMIT, level=0)
    # loudnorm leaves timestamps with gaps, which the encoder would fill: from here on samples alone count.
    sound = sound.filter("asetpts", "N/SR/TB")
    sound = sound.filter("apad", whole_len=track.samples_total)
    sound = sound.filter("atrim", end_sample=track.samples_total).filter("asetpts", "N/SR/TB")
    stream = ffmpeg.output(
        sound,
        target,
        **{
            "c:a": "aac",
            "b:a": track.bitrate_bps,
            "ar": track.sample_rate,
            "ac": track.channels,
            "movflags": FASTSTART,
            "format": "mp4",
            **CLEAN,
        },
    )
    return compiled(ffmpeg_path, stream, "warning", *PROGRESS)


def poster_args(ffmpeg_path: str, plan: Plan, *, source: str, target: str, at_seconds: float) -> list[str]:
    """One JPEG near `at_seconds` (from the title's start): the most typical picture of what follows.

    Raises:
        ValueError: the plan has no picture.
    """
    video, stills = picture_plan(plan), _stills_plan(plan)
    wanted = max(0.0, at_seconds + video.offset_seconds)
    # A seek may land between keyframes: start so early that a whole group lies before the wanted picture.
    seek = max(0.0, wanted - stills.preroll_seconds)
    picture = deinterlaced(open_picture(source, video, seek_seconds=seek), video)
    # On a grid and with its end drawn out, a picture that stands for long is there at any moment.
    picture = picture.filter("fps", fps=plan.frame_rate, eof_action="pass")
    picture = picture.filter("tpad", stop=video.pad_frames_max, stop_mode="clone")
    picture = picture.filter("trim", start=round(wanted - seek, 6))
    picture = to_delivery(picture, video, stills.poster_width, stills.poster_height)
    picture = picture.filter("thumbnail", n=POSTER_CANDIDATES)
    stream = ffmpeg.output(
        _to_jpeg(picture, video.colour),
        target,
        **{
            "frames:v": 1,
            "c:v": "mjpeg",
            "q:v": POSTER_QUALITY,
            "color_range": "pc",
            "format": "image2",
            "update": 1,
            **CLEAN,
        },
    )
    return compiled(ffmpeg_path, stream, "warning")


def storyboard_args(ffmpeg_path: str, plan: Plan, *, source: str, pattern: str) -> list[str]:
    """The storyboard's sheets; `pattern` holds one `%03d` and counts from 1. Progress lines on stdout.

    Raises:
        ValueError: the plan has no picture.
    """
    video, stills = picture_plan(plan), _stills_plan(plan)
    picture = open_picture(source, video, keyframes_only=stills.keyframes_only)
    rate = 1 / Fraction(stills.interval_seconds).limit_denominator(1000)
    # Every tile may be a copy of the last picture: a sheet with a hole is worse than one that stands still.
    picture = on_grid(picture, video, rate, stills.tiles, stills.tiles)
    picture = to_delivery(picture, video, stills.tile_width, stills.tile_height)
    picture = picture.filter("tile", f"{stills.columns}x{stills.rows}")
    stream = ffmpeg.output(
        _to_jpeg(picture, video.colour),
        pattern,
        **{
            "c:v": "mjpeg",
            "q:v": JPEG_QUALITY,
            "color_range": "pc",
            "format": "image2",
            "fps_mode": "passthrough",
            **CLEAN,
        },
    )
    return compiled(ffmpeg_path, stream, "warning", *PROGRESS)


def choose_poster(sizes_bytes: list[int]) -> int:
    """Index of the candidate with the most detail: at one size and quality, the largest JPEG."""
    return max(range(len(sizes_bytes)), key=lambda position: sizes_bytes[position])


def _stills_plan(plan: Plan) -> StillsPlan:
    if plan.stills is None:
        raise ValueError("plan: has no stills")
    return plan.stills


def _to_jpeg(picture: Any, colour: ColourPlan) -> Any:
    """JPEG is full range and BT.601 whatever the film was."""
    return picture.filter(
        "scale", in_color_matrix=colour.output.matrix, out_color_matrix="bt601", in_range="tv", out_range="pc"
    ).filter("format", "yuv420p")


def _sound(source: str, track: AudioPlan) -> Any:
    """The track on the title's clock: gaps filled, what comes before the first frame cut, mixed to stereo."""
    sound = ffmpeg.input(source, **GUARDS)[str(track.stream_index)]
    if track.offset_seconds:
        sound = sound.filter("asetpts", f"PTS-{track.offset_seconds!r}/TB")
    sound = sound.filter("aresample", track.sample_rate, **{"async": 1, "first_pts": 0})
    name, options = stereo_filter(track.source_channels, track.source_layout)
    return sound.filter(name, **options)
