"""Argument lists for sound: measured once, mixed by written weights, encoded whole and exactly as long."""

from typing import Any

import ffmpeg

from media_workers.media.audio_plan import AudioPlan
from media_workers.media.downmix import KNOWN_LAYOUTS, pan_filter
from media_workers.media.guards import CLEAN, FASTSTART, GUARDS, PROGRESS, compiled
from media_workers.media.loudness import TRUE_PEAK_DBTP, Levelling, Loudness, levelling, measuring_options

# Left to the ceiling of a rebuilt peak: a lossy codec's own overshoot stays below full scale.
PEAK_LIMIT = 0.89
# Four samples for one: between two samples of 48 kHz a peak may rise above both (ITU-R BS.1770, annex 2).
PEAK_SAMPLE_RATE = 192_000

# What ffmpeg-python calls the output of a chain's third filter, where the two graphs meet.
_SEAM = "s2"

_ENCODERS: dict[str, dict[str, Any]] = {
    "aac": {"c:a": "aac"},
    "opus": {"c:a": "libopus", "application": "audio", "vbr": "on"},
    # -31 is "as loud as it is": decoders leave the level alone, which is the loudness target's own affair.
    "ac3": {"c:a": "ac3", "dialnorm": -31},
    "eac3": {"c:a": "eac3", "dialnorm": -31},
}


def loudness_args(ffmpeg_path: str, track: AudioPlan, *, source: str) -> list[str]:
    """Measure a track's loudness; the result is the JSON at the end of stderr (`parse_loudness`).

    The list depends on the track's channels, not on codec or target: one measurement serves all codecs.
    """
    sound = _sound(source, track).filter("loudnorm", **measuring_options())
    stream = ffmpeg.output(sound, "-", format="null")
    return _chained(compiled(ffmpeg_path, stream, "info", *PROGRESS))


def output_loudness_args(ffmpeg_path: str, *, media: str) -> list[str]:
    """Measure a finished track likewise: what listeners get is what is told."""
    sound = ffmpeg.input(media, **GUARDS)["a:0"].filter("loudnorm", **measuring_options())
    return compiled(ffmpeg_path, ffmpeg.output(sound, "-", format="null"), "info", *PROGRESS)


def audio_args(
    ffmpeg_path: str,
    track: AudioPlan,
    *,
    source: str,
    target: str,
    measured: Loudness | None,
    correction_db: float = 0.0,
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
        correction_db: what an earlier attempt fell short of the target (`loudness.correction`).
    """
    sound = _sound(source, track)
    if measured is not None and track.loudness_lufs is not None:
        level = levelling(track.loudness_lufs, measured, correction_db=correction_db)
        sound = _levelled(sound, level, track.sample_rate)
    else:
        sound = _limited(sound, PEAK_LIMIT)
    # A filter that resamples may leave gaps in the timestamps, which the encoder would fill: from here on
    # samples alone count.
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
    return _chained(compiled(ffmpeg_path, stream, "warning", *PROGRESS))


def _levelled(sound: Any, level: Levelling, sample_rate: int) -> Any:
    if not level.limited:
        return sound.filter("volume", f"{level.gain_db}dB")
    sound = sound.filter("aresample", PEAK_SAMPLE_RATE).filter("volume", f"{level.gain_db}dB")
    ceiling = round(10 ** (TRUE_PEAK_DBTP / 20), 4)
    return _limited(sound, ceiling).filter("aresample", sample_rate)


def _limited(sound: Any, ceiling: float) -> Any:
    # "latency": the look-ahead must not make the sound late.
    return sound.filter("alimiter", limit=ceiling, level=0, latency=1)


def _steady(track: AudioPlan) -> dict[str, Any]:
    """Options of the filter that gives the rest one kind of sound, whatever the decoder changes to."""
    # The sum of several channels passes full scale: whole numbers would be cut there.
    options = {"sample_fmts": "fltp", "sample_rates": track.sample_rate}
    named = track.mapping != "first_pair" and track.source_layout in KNOWN_LAYOUTS
    return options | ({"channel_layouts": track.source_layout} if named else {})


def _chained(argv: list[str]) -> list[str]:
    """The same work in two filter graphs: the steady one, and all others fed by it.

    A broadcast goes from stereo to 5.1 and back, and AC-3 may say at any time how it is to be mixed down. At
    each such change FFmpeg builds the graph that the decoder feeds anew, and with it clocks and counters.
    """
    place = argv.index("-filter_complex") + 1
    first, _, rest = argv[place].partition(f"[{_SEAM}];")
    return [*argv[:place], f"{first}[{_SEAM}]", "-filter_complex", rest, *argv[place + 1 :]]


def _sound(source: str, track: AudioPlan) -> Any:
    """The track on the title's clock, exactly as long: gaps filled, channels mixed, what lies outside cut."""
    sound = ffmpeg.input(source, **GUARDS)[str(track.stream_index)].filter("aformat", **_steady(track))
    # What a frame says of its mixing would make the second graph anew as well.
    sound = sound.filter("asidedata", mode="delete")
    # A graph does not hear of the end of the one that feeds it (FFmpeg 9.0): `atrim` is its end.
    sound = sound.filter("apad")
    if track.offset_seconds:
        sound = sound.filter("asetpts", f"PTS-{track.offset_seconds!r}/TB")
    sound = sound.filter("aresample", track.sample_rate, **{"async": 1, "first_pts": 0})
    sound = sound.filter("atrim", end_sample=track.samples_total)
    name, options = pan_filter(track.source_channels, track.source_layout, track.layout)
    return sound.filter(name, **options)
