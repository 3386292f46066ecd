"""Argument lists for sound: measured once, mixed by written weights, encoded whole and exactly as long."""

from typing import Any

import ffmpeg

from media_workers.media.audio_plan import AudioPlan
from media_workers.media.downmix import pan_filter
from media_workers.media.guards import CLEAN, FASTSTART, GUARDS, PROGRESS, compiled
from media_workers.media.loudness import Loudness, loudnorm_options, measuring_options

# Left to the ceiling of a rebuilt peak: a lossy codec's own overshoot stays below full scale.
PEAK_LIMIT = 0.89

_ENCODERS: dict[str, dict[str, Any]] = {
    "aac": {"c:a": "aac"},
    "opus": {"c:a": "libopus", "application": "audio", "vbr": "on"},
    # -31 is "as loud as it is": decoders leave the level alone, which is the loudness target's own affair.
    "ac3": {"c:a": "ac3", "dialnorm": -31},
    "eac3": {"c:a": "eac3", "dialnorm": -31},
}


def loudness_args(ffmpeg_path: str, track: AudioPlan, *, source: str) -> list[str]:
    """Measure a track's loudness; the result is the JSON at the end of stderr (`parse_loudness`).

    The list depends on the track's channels and target, not on its codec: one measurement serves all codecs.

    Raises:
        ValueError: the track has no loudness target.
    """
    sound = _sound(source, track).filter("loudnorm", **measuring_options(_target(track)))
    stream = ffmpeg.output(sound, "-", format="null")
    return compiled(ffmpeg_path, stream, "info", *PROGRESS)


def output_loudness_args(ffmpeg_path: str, track: AudioPlan, *, media: str) -> list[str]:
    """Measure the finished track likewise: what listeners get is what is told.

    Raises:
        ValueError: the track has no loudness target.
    """
    sound = ffmpeg.input(media, **GUARDS)["a:0"].filter("loudnorm", **measuring_options(_target(track)))
    return compiled(ffmpeg_path, ffmpeg.output(sound, "-", format="null"), "info", *PROGRESS)


def audio_args(
    ffmpeg_path: str, track: AudioPlan, *, source: str, target: str, measured: Loudness | None
) -> list[str]:
    """Encode one track into an MP4 at `target`, exactly `samples_total` long; progress lines on stdout.

    What the encoder needs before its first sample (1,024 samples of AAC, 312 of Opus, 256 of AC-3) lies
    before the edit list, so that the first sample is heard with the first picture.

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
    # An AC-3 encoder would take another layout of six channels than the one that was mixed for it.
    sound = sound.filter("aformat", channel_layouts=track.layout)
    stream = ffmpeg.output(
        sound,
        target,
        **{
            **_ENCODERS[track.codec],
            "b:a": track.bitrate_bps,
            "ar": track.sample_rate,
            "movflags": FASTSTART,
            "format": "mp4",
            **CLEAN,
        },
    )
    return compiled(ffmpeg_path, stream, "warning", *PROGRESS)


def _target(track: AudioPlan) -> float:
    if track.loudness_lufs is None:
        raise ValueError(f"{track.name}: has no loudness target, so there is nothing to measure for")
    return track.loudness_lufs


def _sound(source: str, track: AudioPlan) -> Any:
    """The track on the title's clock: gaps filled, what comes before the first frame cut, channels mixed."""
    sound = ffmpeg.input(source, **GUARDS)[str(track.stream_index)]
    if track.offset_seconds:
        sound = sound.filter("asetpts", f"PTS-{track.offset_seconds!r}/TB")
    sound = sound.filter("aresample", track.sample_rate, **{"async": 1, "first_pts": 0})
    # The sum of several channels passes full scale: whole numbers would be cut there.
    sound = sound.filter("aformat", sample_fmts="fltp")
    name, options = pan_filter(track.source_channels, track.source_layout, track.layout)
    return sound.filter(name, **options)
