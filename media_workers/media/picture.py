"""The picture of a title: opened, deinterlaced, on the exact frame grid, in the planned size and colour."""

from fractions import Fraction
from typing import Any

import ffmpeg

from media_workers.media.guards import GUARDS
from media_workers.media.plan import Plan, VideoPlan
from media_workers.media.rates import rate_text


def picture_plan(plan: Plan) -> VideoPlan:
    """The plan's picture.

    Raises:
        ValueError: it has none.
    """
    if plan.video is None:
        raise ValueError("plan: has no picture")
    return plan.video


def open_picture(
    source: str, video: VideoPlan, *, seek_seconds: float = 0.0, keyframes_only: bool = False
) -> Any:
    """The source's picture on FFmpeg's clock (from the seek on, if any); FFmpeg has turned it upright."""
    options: dict[str, Any] = {**GUARDS, "reinit_filter": 0}
    if keyframes_only:
        options["skip_frame"] = "nokey"
    if seek_seconds:
        options["ss"] = round(seek_seconds, 6)
    return ffmpeg.input(source, **options)[str(video.stream_index)]


def deinterlaced(picture: Any, video: VideoPlan) -> Any:
    """Whole pictures of fields, where the source has fields."""
    return picture.filter("bwdif", mode="send_frame", deint="all") if video.deinterlace else picture


def on_grid(picture: Any, video: VideoPlan, rate: Fraction, frames: int, pad_frames_max: int) -> Any:
    """Exactly `frames` pictures at a constant rate, counted from the title's zero."""
    picture = deinterlaced(picture, video)
    if video.offset_seconds:
        picture = picture.filter("setpts", f"PTS-{video.offset_seconds!r}/TB")
    # "pass": the last picture is never rounded away; `trim` has the last word on the count.
    picture = picture.filter("fps", fps=rate_text(rate), start_time=0, eof_action="pass")
    picture = picture.filter("tpad", stop=pad_frames_max, stop_mode="clone")
    return picture.filter("trim", end_frame=frames)


def to_delivery(picture: Any, video: VideoPlan, width: int, height: int) -> Any:
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
