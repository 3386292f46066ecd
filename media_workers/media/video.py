"""Argument lists that encode renditions."""

import ffmpeg

from media_workers.media.guards import CLEAN, FASTSTART, PROGRESS, compiled
from media_workers.media.picture import on_grid, open_picture, picture_plan, to_delivery
from media_workers.media.plan import Plan, Rendition

LOOKAHEAD_FRAMES_MAX = 50


def video_args(ffmpeg_path: str, plan: Plan, rendition: Rendition, *, source: str, target: str) -> list[str]:
    """Encode one rendition, whole title, into an MP4 at `target`; progress lines on stdout.

    Raises:
        ValueError: the plan has no picture.
    """
    video = picture_plan(plan)
    picture = on_grid(open_picture(source, video), video, plan.rate, plan.frames_total, video.pad_frames_max)
    picture = to_delivery(picture, video, rendition.width, rendition.height)
    tags = video.colour.output
    stream = ffmpeg.output(
        picture,
        target,
        **{
            "c:v": "libx264",
            "preset": rendition.preset,
            "profile:v": rendition.profile,
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
            **CLEAN,
        },
    )
    return compiled(ffmpeg_path, stream, "warning", *PROGRESS)


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
