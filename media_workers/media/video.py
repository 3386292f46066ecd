"""Argument lists that encode renditions."""

from collections.abc import Sequence
from typing import Any

import ffmpeg

from media_workers.media.chunks import Chunk
from media_workers.media.colour import delivered
from media_workers.media.encoders import TWO_PASS, Job, encoder_options, pixel_format
from media_workers.media.guards import CLEAN, FASTSTART, PROGRESS, compiled
from media_workers.media.picture import clock_of, overlays, picture_plan, planned_frames, to_rendition
from media_workers.media.plan import Plan, Rendition

_VAAPI = ("-init_hw_device", "vaapi=card", "-filter_hw_device", "card")


def video_args(
    ffmpeg_path: str,
    plan: Plan,
    renditions: Sequence[Rendition],
    *,
    source: str,
    targets: Sequence[str],
    chunk: Chunk | None = None,
    pass_log: str | None = None,
    pass_number: int | None = None,
    overlay: str | None = None,
) -> list[str]:
    """Encode renditions of a chunk, or of the whole title, in one process; progress lines on stdout.

    The source is decoded once for all of them. What comes out for a rendition does not depend on which others
    are made with it.

    Args:
        ffmpeg_path: the binary.
        plan: the title's plan.
        renditions: of the plan.
        source: path of the source.
        targets: paths of the new MP4 files, in the order of the renditions.
        chunk: of the plan; None for the whole title.
        pass_log: for encoders of `TWO_PASS`: start of the path of the log between the passes.
        pass_number: likewise; 1 writes the log and no target, 2 the target.
        overlay: path of the watermark's file, when the plan has one.

    Raises:
        ValueError: the plan has no picture, or these renditions do not go together.
    """
    if not renditions or len(renditions) != len(targets):
        raise ValueError("renditions and targets must be as many, and at least one")
    if len(renditions) > 1 and any(rendition.encoder in TWO_PASS for rendition in renditions):
        raise ValueError("a rendition that takes two passes is encoded by itself")
    video = picture_plan(plan)
    frames = planned_frames(plan, source, chunk)
    marks = overlays(video, overlay, len(renditions))
    copies = frames.split() if len(renditions) > 1 else None
    outputs = []
    for number, (rendition, target) in enumerate(zip(renditions, targets, strict=True)):
        picture = to_rendition(copies[number] if copies else frames, video, rendition, overlay=marks[number])
        if rendition.encoder.endswith("_vaapi"):
            picture = picture.filter("hwupload")
        job = Job(
            gop_frames=plan.gop_frames,
            colour=delivered(video.colour, rendition.dynamic_range),
            mastering=video.colour.mastering if rendition.dynamic_range == "pq" else None,
            pass_number=pass_number,
            pass_log=pass_log,
        )
        outputs.append(_output(picture, plan, rendition, job, target))
    card = _VAAPI if any(rendition.encoder.endswith("_vaapi") for rendition in renditions) else ()
    stream = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    return compiled(ffmpeg_path, stream, "warning", *PROGRESS, *clock_of(plan, chunk), *card)


def _output(picture: Any, plan: Plan, rendition: Rendition, job: Job, target: str) -> Any:
    options = encoder_options(rendition, job)
    if not rendition.encoder.endswith("_vaapi"):
        options["pix_fmt"] = pixel_format(rendition)
    options["fps_mode"] = "passthrough"
    if job.pass_number == 1:
        return ffmpeg.output(picture, "-", **options, format="null")
    return ffmpeg.output(
        picture,
        target,
        **options,
        video_track_timescale=plan.timescale,
        movflags=FASTSTART,
        format="mp4",
        **CLEAN,
    )
