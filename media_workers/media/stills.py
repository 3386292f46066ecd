"""Argument lists for stills: the poster's candidates, its small copy, cover art, and the storyboard."""

import math
from fractions import Fraction
from typing import Any

import ffmpeg

from media_workers.media.chunks import Chunk
from media_workers.media.colour import ColourPlan
from media_workers.media.guards import CLEAN, GUARDS, PROGRESS, compiled
from media_workers.media.picture import (
    clock_of,
    deinterlaced,
    open_picture,
    picture_plan,
    planned_frames,
    seek_seconds,
    to_delivery,
)
from media_workers.media.plan import Plan, VideoPlan
from media_workers.media.rates import rate_text
from media_workers.media.stills_plan import StillsPlan

JPEG_QUALITY = 4
POSTER_QUALITY = 3
# The pictures of one second, from which the most typical is chosen.
POSTER_CANDIDATES = 24
# A picture is black when this share of it is darker than this (of 255); it is no candidate.
BLACK_SHARE_PERCENT = 98
BLACK_LUMA = 32
# A candidate is looked for in so many seconds, so that a fade from black does not lose it.
POSTER_WINDOW_SECONDS = 4

_JPEG: dict[str, Any] = {"c:v": "mjpeg", "color_range": "pc", "format": "image2", **CLEAN}
_ONE_JPEG: dict[str, Any] = {**_JPEG, "frames:v": 1, "q:v": POSTER_QUALITY, "update": 1}


def poster_args(
    ffmpeg_path: str, plan: Plan, *, source: str, target: str, at_seconds: float, black: bool = False
) -> list[str]:
    """One JPEG near `at_seconds` (from the title's start): the most typical picture of what follows.

    Args:
        ffmpeg_path: the binary.
        plan: the title's plan.
        source: path of the source.
        target: path of the new file; where every picture of the window is black there is none.
        at_seconds: the window's start, in the title's time.
        black: take a black picture as well, as for a title that has no others.

    Raises:
        ValueError: the plan has no picture.
    """
    video, stills = picture_plan(plan), _stills_plan(plan)
    window = _window(plan, at_seconds)
    picture = planned_frames(plan, source, window)
    picture = to_delivery(picture, video, stills.poster_width, stills.poster_height)
    if not black:
        picture = picture.filter("blackframe", amount=0, threshold=BLACK_LUMA).filter(
            "metadata",
            mode="select",
            key="lavfi.blackframe.pblack",
            value=BLACK_SHARE_PERCENT,
            function="less",
        )
    picture = picture.filter("thumbnail", n=POSTER_CANDIDATES)
    stream = ffmpeg.output(_to_jpeg(picture, video.colour), target, **_ONE_JPEG)
    return compiled(ffmpeg_path, stream, "warning", *clock_of(plan, window))


def cover_args(ffmpeg_path: str, stills: StillsPlan, *, source: str, target: str) -> list[str]:
    """The poster of a title that is sound alone: its cover art, within the planned size.

    Raises:
        ValueError: the plan names no art.
    """
    if stills.cover_index is None:
        raise ValueError("plan: its stills have no cover art")
    picture = ffmpeg.input(source, **GUARDS)[str(stills.cover_index)]
    stream = ffmpeg.output(_inside(picture, stills.poster_width, stills.poster_height), target, **_ONE_JPEG)
    return compiled(ffmpeg_path, stream, "warning")


def small_poster_args(ffmpeg_path: str, stills: StillsPlan, *, poster: str, target: str) -> list[str]:
    """The small copy of a finished poster."""
    guards = {"protocol_whitelist": "file", "format_whitelist": "image2,jpeg_pipe"}
    picture = ffmpeg.input(poster, **guards)["v:0"]
    small = _inside(picture, stills.poster_small_width, stills.poster_small_height)
    return compiled(ffmpeg_path, ffmpeg.output(small, target, **_ONE_JPEG), "warning")


def storyboard_args(ffmpeg_path: str, plan: Plan, *, source: str, pattern: str) -> list[str]:
    """The storyboard's sheets; `pattern` holds one `%03d` and counts from 1. Progress lines on stdout.

    Raises:
        ValueError: the plan has no picture.
    """
    video, stills = picture_plan(plan), _stills_plan(plan)
    picture = open_picture(
        source, video, keyframes_only=stills.keyframes_only, seek_seconds=seek_seconds(plan, 0)
    )
    picture = _tiles(deinterlaced(picture, video), video, stills)
    picture = to_delivery(picture, video, stills.tile_width, stills.tile_height)
    picture = picture.filter("tile", f"{stills.columns}x{stills.rows}")
    stream = ffmpeg.output(
        _to_jpeg(picture, video.colour),
        pattern,
        **{**_JPEG, "q:v": JPEG_QUALITY, "fps_mode": "passthrough"},
    )
    return compiled(ffmpeg_path, stream, "warning", *PROGRESS, *clock_of(plan))


def choose_poster(sizes_bytes: list[int]) -> int:
    """Index of the candidate with the most detail: at one size and quality, the largest JPEG."""
    return max(range(len(sizes_bytes)), key=lambda position: sizes_bytes[position])


def _stills_plan(plan: Plan) -> StillsPlan:
    if plan.stills is None:
        raise ValueError("plan: has no stills")
    return plan.stills


def _window(plan: Plan, at_seconds: float) -> Chunk:
    """The frames a candidate is chosen from; at least one, whatever is asked for."""
    first = min(max(0, math.floor(at_seconds * plan.rate)), plan.frames_total - 1)
    frames = min(math.ceil(POSTER_WINDOW_SECONDS * plan.rate), plan.frames_total - first)
    return Chunk(number=0, first_frame=first, frames=frames)


def _tiles(picture: Any, video: VideoPlan, stills: StillsPlan) -> Any:
    """One picture for each tile, out of the time that its cue names.

    Of all pictures the one in the middle of that time. Keyframes are rare: of them the last one in it, as the
    one nearest to its middle may lie before it.
    """
    rate = 1 / Fraction(stills.interval_seconds).limit_denominator(1000)
    if video.offset_seconds:
        picture = picture.filter("setpts", f"PTS-{video.offset_seconds!r}/TB")
    rounding = "down" if stills.keyframes_only else "near"
    picture = picture.filter("fps", fps=rate_text(rate), start_time=0, round=rounding, eof_action="pass")
    # Every tile may be a copy of the last picture: a sheet with a hole is worse than one that stands still.
    return picture.filter("tpad", stop=stills.tiles, stop_mode="clone").filter("trim", end_pts=stills.tiles)


def _inside(picture: Any, width: int, height: int) -> Any:
    """At most so large, never larger than it is, in its own shape; what is transparent lies on black."""
    return (
        picture.filter("format", "gbrap")
        .filter("premultiply", inplace=1)
        .filter("scale", w=f"min(iw,{width})", h=f"min(ih,{height})", force_original_aspect_ratio="decrease")
        .filter("scale", out_color_matrix="bt601", out_range="pc")
        .filter("format", "yuvj420p")
        .filter("setsar", 1)
    )


def _to_jpeg(picture: Any, colour: ColourPlan) -> Any:
    """JPEG is full range and BT.601 whatever the film was."""
    return picture.filter(
        "scale", in_color_matrix=colour.output.matrix, out_color_matrix="bt601", in_range="tv", out_range="pc"
    ).filter("format", "yuv420p")
