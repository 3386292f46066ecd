"""Argument lists for ffprobe and FFmpeg, as values: nothing here runs anything.

Every list starts with the binary. Sources are opened with protocol and format whitelists, a pixel bound
and no standard input; paths are ours, never the uploader's names.
"""

from fractions import Fraction
from typing import Any

import ffmpeg

from media_workers.media.colour import ColourPlan
from media_workers.media.downmix import stereo_filter
from media_workers.media.ladder import Rendition
from media_workers.media.loudness import Loudness, loudnorm_options
from media_workers.media.plan import AudioPlan, Plan, StillsPlan, VideoPlan
from media_workers.media.rates import rate_text

_DEMUXERS = (
    *("mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "avi", "flv", "ogg", "asf", "mxf", "gxf", "dv"),
    *("ivf", "nut", "wav", "w64", "mp3", "aac", "flac", "aiff", "caf", "ac3", "eac3", "amr"),
)
SOURCE_DEMUXERS = ",".join(_DEMUXERS)
"""Containers that hold media of their own. Playlists, concat lists and image sequences are not among them."""

# 8192x4320: what the ingest limits accept, so that a larger picture cannot be decoded even when a probe lied.
FRAME_PX_MAX = 8192 * 4320
FASTSTART = "+faststart"
JPEG_QUALITY = 4
POSTER_QUALITY = 3
# The pictures of one second, from which the most typical is chosen.
POSTER_CANDIDATES = 24
LOOKAHEAD_FRAMES_MAX = 50
# Left to the ceiling of a rebuilt peak: AAC's own overshoot stays below full scale.
PEAK_LIMIT = 0.89
HLS_DEMUXERS = "hls,mov,mp4,mpegts,webvtt"

_GUARDS = {"protocol_whitelist": "file", "format_whitelist": SOURCE_DEMUXERS, "max_pixels": FRAME_PX_MAX}
_QUIET = ("-hide_banner", "-nostdin", "-nostats")
_PROGRESS = ("-progress", "pipe:1", "-stats_period", "0.5")


def probe_args(ffprobe: str, source: str) -> list[str]:
    """Streams and format of a file as one JSON document on stdout."""
    return [*_probe(ffprobe, "warning"), "-of", "json", "-show_streams", "-show_format", "-i", source]


def packets_args(ffprobe: str, source: str) -> list[str]:
    """Every packet's timestamps on stdout, one compact JSON object a line: feed each to `PacketScan`."""
    entries = "packet=stream_index,pts,dts,duration,flags:packet_side_data=side_data_type"
    return [*_probe(ffprobe, "error"), "-of", "json=compact=1", "-show_entries", entries, "-i", source]


def video_args(ffmpeg_path: str, plan: Plan, rendition: Rendition, *, source: str, target: str) -> list[str]:
    """Encode one rendition, whole title, into an MP4 at `target`; progress lines on stdout.

    Raises:
        ValueError: the plan has no picture.
    """
    video = _picture_plan(plan)
    picture = _on_grid(_picture(source, video), video, plan.rate, plan.frames_total, video.pad_frames_max)
    picture = _to_delivery(picture, video, rendition.width, rendition.height)
    tags = video.colour.output
    stream = ffmpeg.output(
        picture,
        target,
        **{
            "c:v": "libx264",
            "preset": rendition.preset,
            "profile:v": rendition.h264_profile,
            "level:v": rendition.level,
            "crf": f"{rendition.crf:g}",
            "maxrate": rendition.maxrate_bps,
            "bufsize": rendition.bufsize_bits,
            "x264-params": _x264_params(plan.gop_frames, rendition.threads),
            "pix_fmt": "yuv420p",
            "color_primaries": tags.primaries,
            "color_trc": tags.transfer,
            "colorspace": tags.matrix,
            "color_range": tags.range,
            "fps_mode": "passthrough",
            "video_track_timescale": plan.timescale,
            "movflags": FASTSTART,
            "format": "mp4",
            **_CLEAN,
        },
    )
    return _compiled(ffmpeg_path, stream, "warning", *_PROGRESS)


def loudness_args(ffmpeg_path: str, track: AudioPlan, *, source: str) -> list[str]:
    """Measure a track's loudness; the result is the JSON at the end of stderr (`parse_loudness`).

    Raises:
        ValueError: the track has no loudness target.
    """
    if track.loudness_lufs is None:
        raise ValueError(f"{track.name}: has no loudness target, so there is nothing to measure for")
    sound = _sound(source, track).filter("loudnorm", **loudnorm_options(track.loudness_lufs, None))
    stream = ffmpeg.output(sound, "-", format="null")
    return _compiled(ffmpeg_path, stream, "info", *_PROGRESS)


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
            **_CLEAN,
        },
    )
    return _compiled(ffmpeg_path, stream, "warning", *_PROGRESS)


def poster_args(ffmpeg_path: str, plan: Plan, *, source: str, target: str, at_seconds: float) -> list[str]:
    """One JPEG near `at_seconds` (from the title's start): the most typical picture of what follows.

    Raises:
        ValueError: the plan has no picture.
    """
    video, stills = _picture_plan(plan), _stills_plan(plan)
    wanted = max(0.0, at_seconds + video.offset_seconds)
    # A seek may land between keyframes: start so early that a whole group lies before the wanted picture.
    seek = max(0.0, wanted - stills.preroll_seconds)
    picture = _deinterlaced(_picture(source, video, seek_seconds=seek), video)
    # On a grid and with its end drawn out, a picture that stands for long is there at any moment.
    picture = picture.filter("fps", fps=plan.frame_rate, eof_action="pass")
    picture = picture.filter("tpad", stop=video.pad_frames_max, stop_mode="clone")
    picture = picture.filter("trim", start=round(wanted - seek, 6))
    picture = _to_delivery(picture, video, stills.poster_width, stills.poster_height)
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
            **_CLEAN,
        },
    )
    return _compiled(ffmpeg_path, stream, "warning")


def storyboard_args(ffmpeg_path: str, plan: Plan, *, source: str, pattern: str) -> list[str]:
    """The storyboard's sheets; `pattern` holds one `%03d` and counts from 1. Progress lines on stdout.

    Raises:
        ValueError: the plan has no picture.
    """
    video, stills = _picture_plan(plan), _stills_plan(plan)
    picture = _picture(source, video, keyframes_only=stills.keyframes_only)
    rate = 1 / Fraction(stills.interval_seconds).limit_denominator(1000)
    # Every tile may be a copy of the last picture: a sheet with a hole is worse than one that stands still.
    picture = _on_grid(picture, video, rate, stills.tiles, stills.tiles)
    picture = _to_delivery(picture, video, stills.tile_width, stills.tile_height)
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
            **_CLEAN,
        },
    )
    return _compiled(ffmpeg_path, stream, "warning", *_PROGRESS)


def decode_args(ffmpeg_path: str, media: str) -> list[str]:
    """Decode everything of a file of ours (or a local HLS playlist) and throw it away; errors on stderr."""
    guards = {"protocol_whitelist": "file", "format_whitelist": HLS_DEMUXERS, "max_pixels": FRAME_PX_MAX}
    stream = ffmpeg.output(ffmpeg.input(media, **guards), "-", map=0, format="null")
    return _compiled(ffmpeg_path, stream, "error", "-xerror")


def choose_poster(sizes_bytes: list[int]) -> int:
    """Index of the candidate with the most detail: at one size and quality, the largest JPEG."""
    return max(range(len(sizes_bytes)), key=lambda position: sizes_bytes[position])


# No tag, chapter or timestamp of the source or the build leaves with the output: equal inputs, equal bytes.
_CLEAN: dict[str, Any] = {"map_metadata": -1, "map_chapters": -1, "fflags": "+bitexact", "flags": "+bitexact"}


def _probe(ffprobe: str, level: str) -> list[str]:
    guards = [word for name, value in _GUARDS.items() for word in (f"-{name}", str(value))]
    return [ffprobe, "-hide_banner", "-loglevel", level, *guards]


def _compiled(binary: str, stream: Any, level: str, *more: str) -> list[str]:
    return [binary, *_QUIET, "-loglevel", level, *more, "-y", *ffmpeg.get_args(stream)]


def _picture_plan(plan: Plan) -> VideoPlan:
    if plan.video is None:
        raise ValueError("plan: has no picture")
    return plan.video


def _stills_plan(plan: Plan) -> StillsPlan:
    if plan.stills is None:
        raise ValueError("plan: has no stills")
    return plan.stills


def _picture(
    source: str, video: VideoPlan, *, seek_seconds: float = 0.0, keyframes_only: bool = False
) -> Any:
    """The source's picture on FFmpeg's clock (from the seek on, if any); FFmpeg has turned it upright."""
    options: dict[str, Any] = {**_GUARDS, "reinit_filter": 0}
    if keyframes_only:
        options["skip_frame"] = "nokey"
    if seek_seconds:
        options["ss"] = round(seek_seconds, 6)
    return ffmpeg.input(source, **options)[str(video.stream_index)]


def _deinterlaced(picture: Any, video: VideoPlan) -> Any:
    return picture.filter("bwdif", mode="send_frame", deint="all") if video.deinterlace else picture


def _on_grid(picture: Any, video: VideoPlan, rate: Fraction, frames: int, pad_frames_max: int) -> Any:
    """Exactly `frames` pictures at a constant rate, counted from the title's zero."""
    picture = _deinterlaced(picture, video)
    if video.offset_seconds:
        picture = picture.filter("setpts", f"PTS-{video.offset_seconds!r}/TB")
    # "pass": the last picture is never rounded away; `trim` has the last word on the count.
    picture = picture.filter("fps", fps=rate_text(rate), start_time=0, eof_action="pass")
    picture = picture.filter("tpad", stop=pad_frames_max, stop_mode="clone")
    return picture.filter("trim", end_frame=frames)


def _to_delivery(picture: Any, video: VideoPlan, width: int, height: int) -> Any:
    """Scale to square pixels and bring the colour to 8-bit SDR with the planned tags."""
    colour = video.colour
    source, output = colour.source, colour.output
    picture = picture.filter(
        "setparams",
        color_primaries=source.primaries,
        color_trc=source.transfer,
        colorspace=source.matrix,
        range=source.range,
    )
    if video.alpha:
        # Multiplied by its own alpha, a picture lies on black.
        picture = picture.filter("format", "gbrap").filter("premultiply", inplace=1)
    scale: dict[str, Any] = {"w": width, "h": height, "flags": "lanczos"}
    if colour.tone_map or colour.convert:
        picture = picture.filter("scale", **scale).filter("format", "yuv420p10le")
        picture = picture.filter("zscale", t="linear", npl=100).filter("format", "gbrpf32le")
        picture = picture.filter("zscale", p=output.primaries)
        if colour.tone_map:
            picture = picture.filter("tonemap", tonemap="hable", desat=0)
        picture = picture.filter("zscale", t=output.transfer, m=output.matrix, r=output.range)
    else:
        picture = picture.filter("scale", **scale, out_color_matrix=output.matrix, out_range=output.range)
    return picture.filter("format", "yuv420p").filter("setsar", 1)


def _to_jpeg(picture: Any, colour: ColourPlan) -> Any:
    """JPEG is full range and BT.601 whatever the film was."""
    return picture.filter(
        "scale", in_color_matrix=colour.output.matrix, out_color_matrix="bt601", in_range="tv", out_range="pc"
    ).filter("format", "yuv420p")


def _sound(source: str, track: AudioPlan) -> Any:
    """The track on the title's clock: gaps filled, what comes before the first frame cut, mixed to stereo."""
    sound = ffmpeg.input(source, **_GUARDS)[str(track.stream_index)]
    if track.offset_seconds:
        sound = sound.filter("asetpts", f"PTS-{track.offset_seconds!r}/TB")
    sound = sound.filter("aresample", track.sample_rate, **{"async": 1, "first_pts": 0})
    name, options = stereo_filter(track.source_channels, track.source_layout)
    return sound.filter(name, **options)


def _x264_params(gop_frames: int, threads: int) -> str:
    # Pinned threads without a look-ahead thread make the same bytes on every worker and every attempt.
    return ":".join(
        (
            f"keyint={gop_frames}",
            f"min-keyint={gop_frames}",
            "scenecut=0",
            "open-gop=0",
            f"rc-lookahead={min(gop_frames, LOOKAHEAD_FRAMES_MAX)}",
            "sync-lookahead=0",
            f"threads={threads}",
        )
    )
