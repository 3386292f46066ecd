"""Argument lists of trial encodes: a title's windows as one reference, encodes of it, and their scores."""

from collections.abc import Sequence
from typing import Any

import ffmpeg

from media_workers.media.chunks import Chunk
from media_workers.media.guards import CLEAN, FRAME_PX_MAX, compiled
from media_workers.media.per_title import PROBE_CRFS, PROBE_PRESET, PROBE_SUBSAMPLE
from media_workers.media.picture import CHUNK_CLOCK, picture_plan, planned_frames, to_rendition
from media_workers.media.plan import Plan
from media_workers.media.quality import VMAF_THREADS, vmaf_model
from media_workers.media.windows import Window

REFERENCE_NAME = "reference.mkv"
# Lossless needs less than a byte for each pixel of usual pictures; noise needs a little more than that.
REFERENCE_BYTES_A_PIXEL = 1.5
TRIAL_THREADS = 4
_OURS = {"protocol_whitelist": "file", "format_whitelist": "matroska,webm,h264", "max_pixels": FRAME_PX_MAX}


def trial_name(crf: float) -> str:
    """File of a trial encode, a bare H.264 stream: its size is its pictures'."""
    return f"crf_{crf:g}.h264"


def score_name(crf: float) -> str:
    """File of a trial's scores."""
    return f"crf_{crf:g}.json"


def reference_args(
    ffmpeg_path: str, plan: Plan, windows: Sequence[Window], *, source: str, target: str
) -> list[str]:
    """The windows one after the other, lossless, as the largest rendition of the plan shows them.

    Raises:
        ValueError: the plan has no picture, or there is no window.
    """
    if not windows or not plan.renditions:
        raise ValueError("windows: there must be one at least, and a rendition")
    video = picture_plan(plan)
    pictures = [
        to_rendition(
            planned_frames(
                plan, source, Chunk(number=number, first_frame=window.first_frame, frames=window.frames)
            ),
            video,
            plan.renditions[0],
        )
        for number, window in enumerate(windows)
    ]
    joined = ffmpeg.concat(*pictures, n=len(pictures)) if len(pictures) > 1 else pictures[0]
    stream = ffmpeg.output(
        _numbered(joined, plan),
        target,
        **{"c:v": "libx264", "preset": "ultrafast", "qp": 0, "g": plan.gop_frames},
        fps_mode="passthrough",
        format="matroska",
        **CLEAN,
    )
    return compiled(ffmpeg_path, stream, "error", *CHUNK_CLOCK)


def trial_args(ffmpeg_path: str, plan: Plan, size: tuple[int, int], *, reference: str) -> list[str]:
    """Encode the reference at one size and every CRF, in the working folder (`trial_name`)."""
    width, height = size
    picture = ffmpeg.input(reference, **_OURS)["v:0"].filter("scale", w=width, h=height, flags="lanczos")
    copies = picture.filter("setsar", 1).split()
    outputs = [
        ffmpeg.output(
            copies[number],
            trial_name(crf),
            **{
                "c:v": "libx264",
                "preset": PROBE_PRESET,
                "crf": crf,
                "x264-params": (
                    f"keyint={plan.gop_frames}:min-keyint={plan.gop_frames}:scenecut=0:open-gop=0:"
                    f"sync-lookahead=0:threads={TRIAL_THREADS}"
                ),
            },
            fps_mode="passthrough",
            format="h264",
            **CLEAN,
        )
        for number, crf in enumerate(PROBE_CRFS)
    ]
    return compiled(ffmpeg_path, ffmpeg.merge_outputs(*outputs), "error")


def score_args(ffmpeg_path: str, plan: Plan, *, reference: str) -> list[str]:
    """VMAF of every trial in the working folder against the reference, at its size (`score_name`)."""
    top = plan.renditions[0]
    copies = _numbered(ffmpeg.input(reference, **_OURS)["v:0"], plan).split()
    outputs = []
    for number, crf in enumerate(PROBE_CRFS):
        trial = ffmpeg.input(trial_name(crf), **_OURS)["v:0"]
        trial = trial.filter("scale", w=top.width, h=top.height, flags="bicubic").filter("format", "yuv420p")
        score = ffmpeg.filter(
            [_numbered(trial, plan), copies[number]],
            "libvmaf",
            model=f"version={vmaf_model(top.width, top.height)}",
            n_threads=VMAF_THREADS,
            n_subsample=PROBE_SUBSAMPLE,
            log_fmt="json",
            log_path=score_name(crf),
            shortest=1,
        )
        outputs.append(ffmpeg.output(score, "-", format="null"))
    return compiled(ffmpeg_path, ffmpeg.merge_outputs(*outputs), "error")


def _numbered(picture: Any, plan: Plan) -> Any:
    return picture.filter("settb", f"{plan.rate.denominator}/{plan.rate.numerator}").filter("setpts", "N")
