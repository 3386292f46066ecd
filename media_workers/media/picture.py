"""The picture of a title: opened, deinterlaced, on the exact frame grid, in a rendition's size and colour.

One frame of the title is the same picture whoever asks for it, and whether it is reached from the title's
start or by a seek: encodes of the whole, encodes of chunks, measurements and stills all come here.

A seek starts so early (`VideoPlan.preroll_seconds`) that an open group of pictures is whole at the first
wanted frame. Timestamps stay those of the source (`CHUNK_CLOCK`), so that the grid is the title's own; frames
are then counted by their places on it, never by how many have come.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import ffmpeg

from media_workers.media.chunks import Chunk
from media_workers.media.colour import ColourPlan, delivered
from media_workers.media.encoders import pixel_format
from media_workers.media.guards import FRAME_PX_MAX, GUARDS
from media_workers.media.ladder import DynamicRange, Rendition
from media_workers.media.plan import Plan, VideoPlan
from media_workers.media.rates import rate_text
from media_workers.media.watermark import Position, Watermark

CHUNK_CLOCK = ("-copyts", "-start_at_zero")
"""Global options of every command whose picture was opened with a seek."""

IMAGE_DEMUXERS = "image2,png_pipe,jpeg_pipe,webp_pipe"
# White of a text on an HDR picture, as a share of the signal: about 203 cd/m2 (ITU-R BT.2408).
_HDR_WHITE = {"pq": 0.58, "hlg": 0.75}
# Of the picture's height, between a watermark and the picture's edges.
_MARGIN_SHARE = 0.04


def picture_plan(plan: Plan) -> VideoPlan:
    """The plan's picture.

    Raises:
        ValueError: it has none.
    """
    if plan.video is None:
        raise ValueError("plan: has no picture")
    return plan.video


def seek_seconds(plan: Plan, first_frame: int) -> float:
    """Where on the source's clock decoding starts for a frame of the title; 0 for the source's start."""
    video = picture_plan(plan)
    wanted = Fraction(video.offset_seconds) + first_frame / plan.rate - Fraction(video.preroll_seconds)
    return max(0.0, round(float(wanted), 6))


def planned_frames(plan: Plan, source: str, chunk: Chunk | None = None) -> Any:
    """Exactly the frames of a chunk, or of the whole title, from time 0 and in the source's size and colour.

    A command that uses it for anything but the title's start needs `CHUNK_CLOCK` (see `clock_of`).

    Raises:
        ValueError: the plan has no picture.
    """
    video = picture_plan(plan)
    first, frames = (chunk.first_frame, chunk.frames) if chunk else (0, plan.frames_total)
    picture = open_picture(source, video, seek_seconds=seek_seconds(plan, first))
    return on_grid(picture, video, plan.rate, frames, video.pad_frames_max, first_frame=first)


def clock_of(plan: Plan, chunk: Chunk | None = None) -> tuple[str, ...]:
    """The global options that `planned_frames` of this chunk needs."""
    return CHUNK_CLOCK if seek_seconds(plan, chunk.first_frame if chunk else 0) else ()


def open_picture(
    source: str, video: VideoPlan, *, seek_seconds: float = 0.0, keyframes_only: bool = False
) -> Any:
    """The source's picture on FFmpeg's clock (from the seek on, if any); FFmpeg has turned it upright."""
    options: dict[str, Any] = {**GUARDS, "reinit_filter": 0}
    if keyframes_only:
        options["skip_frame"] = "nokey"
    if seek_seconds:
        options["ss"] = round(seek_seconds, 6)
        # A picture that stood before the seek may still stand at the first wanted frame.
        options["noaccurate_seek"] = None
    return ffmpeg.input(source, **options)[str(video.stream_index)]


def deinterlaced(picture: Any, video: VideoPlan) -> Any:
    """Whole pictures of fields, where the source has fields."""
    return picture.filter("bwdif", mode="send_frame", deint="all") if video.deinterlace else picture


def on_grid(
    picture: Any, video: VideoPlan, rate: Fraction, frames: int, pad_frames_max: int, *, first_frame: int = 0
) -> Any:
    """Exactly `frames` pictures at a constant rate, counted from the title's zero; the first has time 0."""
    picture = deinterlaced(picture, video)
    if video.offset_seconds:
        picture = picture.filter("setpts", f"PTS-{video.offset_seconds!r}/TB")
    start = round(float(first_frame / rate), 6) if first_frame else 0
    # "pass": the last picture is never rounded away; `trim` has the last word on the count.
    picture = picture.filter("fps", fps=rate_text(rate), start_time=start, eof_action="pass")
    picture = picture.filter("tpad", stop=pad_frames_max, stop_mode="clone")
    # On the grid a timestamp is a frame's number.
    picture = picture.filter("trim", end_pts=first_frame + frames)
    return picture.filter("setpts", f"PTS-{first_frame}") if first_frame else picture


def overlays(video: VideoPlan, path: str | None, count: int) -> list[Any]:
    """What `to_rendition` needs of the plan's watermark, for each of `count` renditions of one command.

    Args:
        video: the plan's picture.
        path: of the watermark's file: `watermark_text`, or the image. None when the plan has no watermark.
        count: how many.

    Raises:
        ValueError: the plan has a watermark and there is no file for it.
    """
    if video.watermark is None:
        return [None] * count
    if path is None:
        raise ValueError("plan: has a watermark, and its file is missing")
    if video.watermark.text is not None:
        return [path] * count
    guards = {"protocol_whitelist": "file", "format_whitelist": IMAGE_DEMUXERS, "max_pixels": FRAME_PX_MAX}
    image = ffmpeg.input(path, **guards)["v:0"].filter("format", "rgba")
    if count == 1:
        return [image]
    copies = image.split()
    return [copies[number] for number in range(count)]


def to_rendition(picture: Any, video: VideoPlan, rendition: Rendition, *, overlay: Any = None) -> Any:
    """The picture as the encoder of a rendition is given it.

    Args:
        picture: from `planned_frames`.
        video: the plan's picture.
        rendition: from the plan.
        overlay: from `overlays`; None draws no watermark.
    """
    picture = to_delivery(
        picture,
        video,
        rendition.width,
        rendition.height,
        kept=rendition.dynamic_range,
        pixels="yuv420p10le" if rendition.bit_depth == 10 else "yuv420p",
    )
    if video.watermark is not None and overlay is not None:
        picture = _marked(picture, video.watermark, rendition, overlay)
    wanted = pixel_format(rendition)
    return picture if wanted.startswith("yuv") else picture.filter("format", wanted)


def to_delivery(
    picture: Any,
    video: VideoPlan,
    width: int,
    height: int,
    *,
    kept: DynamicRange = "sdr",
    pixels: str = "yuv420p",
) -> Any:
    """Crop, scale to square pixels and bring the colour to what is delivered, with the planned tags."""
    colour = video.colour
    source, output = colour.source, delivered(colour, kept)
    picture = picture.filter(
        "setparams",
        color_primaries=source.primaries,
        color_trc=source.transfer,
        colorspace=source.matrix,
        range=source.range,
    )
    picture = _cropped(picture, video)
    if video.alpha:
        # Multiplied by its own alpha, a picture lies on black.
        picture = picture.filter("format", "gbrap").filter("premultiply", inplace=1)
    scale: dict[str, Any] = {"w": width, "h": height, "flags": "lanczos"}
    if kept != "sdr":
        picture = _kept_range(picture.filter("scale", **scale), colour, kept)
    elif colour.tone_map or colour.convert:
        picture = _to_sdr(picture.filter("scale", **scale), colour)
    else:
        picture = picture.filter("scale", **scale, out_color_matrix=output.matrix, out_range=output.range)
    return picture.filter("format", pixels).filter("setsar", 1)


def watermark_text(watermark: Watermark) -> bytes:
    """Content of the file a text watermark is read from; b"" for an image."""
    return (watermark.text or "").encode()


def _cropped(picture: Any, video: VideoPlan) -> Any:
    """The crop counts pixels of the display size; a source's own may have another shape."""
    crop = video.crop
    if crop is None:
        return picture
    wide, high = video.display_width, video.display_height
    return picture.filter(
        "crop",
        w=f"iw*{crop.width}/{wide}",
        h=f"ih*{crop.height}/{high}",
        x=f"iw*{crop.x}/{wide}",
        y=f"ih*{crop.y}/{high}",
    )


def _to_sdr(picture: Any, colour: ColourPlan) -> Any:
    output = colour.output
    picture = picture.filter("format", "yuv420p10le")
    picture = picture.filter("zscale", t="linear", npl=100).filter("format", "gbrpf32le")
    picture = picture.filter("zscale", p=output.primaries)
    if colour.tone_map:
        picture = picture.filter("tonemap", tonemap="hable", desat=0)
    picture = picture.filter("zscale", t=output.transfer, m=output.matrix, r=output.range)
    if colour.tone_map:
        # What is said of the display it was graded on is no longer true.
        for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
            picture = picture.filter("sidedata", mode="delete", type=kind)
    return picture


def _kept_range(picture: Any, colour: ColourPlan, kept: DynamicRange) -> Any:
    source, output = colour.source, delivered(colour, kept)
    picture = picture.filter("format", "yuv420p10le")
    if (source.primaries, source.matrix, source.range) == (output.primaries, output.matrix, output.range):
        return picture
    return picture.filter("zscale", p=output.primaries, t=output.transfer, m=output.matrix, r=output.range)


def _marked(picture: Any, watermark: Watermark, rendition: Rendition, overlay: Any) -> Any:
    margin = round(rendition.height * _MARGIN_SHARE)
    size = max(2, round(rendition.height * watermark.scale))
    white = _HDR_WHITE.get(rendition.dynamic_range, 1.0)
    if watermark.text is not None:
        grey = f"{round(255 * white):02x}"
        x, y = _place(watermark.position, margin, "w", "h", ("text_w", "text_h"))
        return picture.filter(
            "drawtext",
            textfile=overlay,
            expansion="none",
            fontsize=size,
            fontcolor=f"0x{grey * 3}@{watermark.opacity:g}",
            borderw=max(1, size // 16),
            bordercolor=f"black@{watermark.opacity / 2:g}",
            x=x,
            y=y,
        )
    image = overlay.filter("colorchannelmixer", rr=white, gg=white, bb=white, aa=watermark.opacity)
    image = image.filter("scale", w=-2, h=size - size % 2, out_color_matrix="bt709", out_range="tv")
    image = image.filter("format", "yuva420p")
    x, y = _place(watermark.position, margin, "W", "H", ("w", "h"))
    deep = "yuv420p10" if rendition.bit_depth == 10 else "yuv420"
    return ffmpeg.filter([picture, image], "overlay", x=x, y=y, format=deep)


def _place(position: Position, margin: int, wide: str, high: str, own: Sequence[str]) -> tuple[str, str]:
    """The filters' expressions of a place; `wide` and `high` are what they call the picture's sides."""
    if position == "centre":
        return f"({wide}-{own[0]})/2", f"({high}-{own[1]})/2"
    down, _, across = position.partition("-")
    x = str(margin) if across == "left" else f"{wide}-{own[0]}-{margin}"
    y = str(margin) if down == "top" else f"{high}-{own[1]}-{margin}"
    return x, y
