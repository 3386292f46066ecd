"""Measuring a rendition against its source: argument lists, and what the tools wrote.

One run of FFmpeg looks at one window. It decodes the rendition and the source once each, brings the source
through the very chain that the encoder saw (same grid, same size, same colour), and measures from those two:

- alignment: luma PSNR over one second, one frame early, in place and one frame late;
- XPSNR of every other frame;
- VMAF of every `subsample`-th frame.

High dynamic range is measured on both sides as it is coded, PQ or HLG in 10 bits. VMAF was not trained on
that: code values are spread over more light, so a difference counts for less and the score comes out higher
than a viewer's would. It is good for catching what went wrong, not for comparing with scores of SDR.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import ffmpeg
import msgspec

from media_workers.media.chunks import Chunk
from media_workers.media.gate import RungTarget, WindowScore
from media_workers.media.guards import FRAME_PX_MAX, compiled
from media_workers.media.ladder import Rendition
from media_workers.media.picture import clock_of, overlays, picture_plan, planned_frames, to_rendition
from media_workers.media.plan import Plan
from media_workers.media.windows import Window

VMAF_LOG = "vmaf.json"
XPSNR_LOG = "xpsnr.log"
SHIFT_LOGS = ("shift_early.log", "shift_none.log", "shift_late.log")
"""Files that a run writes into its working folder."""

SHIFT_SECONDS = 1
# Shorter than this there is no frame beside a frame.
SHIFT_FRAMES_MIN = 3
XPSNR_STEP = 2
# What a measure gives where nothing differs.
IDENTICAL_DB = 100.0
VMAF_THREADS = 2
LINES_4K_MIN = 1440
_RENDITION_DEMUXERS = "mov,mp4"


class Readings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was read of one window: VMAF by frame, weighted XPSNR, the three shifts (None: too short)."""

    vmaf: tuple[float, ...]
    xpsnr_db: float
    shift_psnr_db: tuple[float, float, float] | None


def vmaf_model(width: int, height: int) -> str:
    """The model of a picture size: the 4K one above 1440 lines of the short side."""
    return "vmaf_4k_v0.6.1" if min(width, height) > LINES_4K_MIN else "vmaf_v0.6.1"


def measure_args(
    ffmpeg_path: str,
    plan: Plan,
    rendition: Rendition,
    window: Window,
    *,
    source: str,
    encoded: str,
    subsample: int,
    overlay: str | None = None,
) -> list[str]:
    """Measure a rendition in one window; the results are files in the working folder (`read_window`).

    Args:
        ffmpeg_path: the binary.
        plan: of the title.
        rendition: which one.
        window: where.
        source: path of the source.
        encoded: path of the rendition, the whole title.
        subsample: VMAF looks at every so many frames.
        overlay: path of the watermark's file, when the plan has one.

    Raises:
        ValueError: the plan has no picture.
    """
    pixels = "yuv420p" if rendition.bit_depth == 8 else "yuv420p10le"
    made = _counted(_encoded(encoded, plan.rate, window), plan.rate, window.frames, pixels)
    reference = _counted(
        reference_picture(plan, rendition, window, source=source, overlay=overlay),
        plan.rate,
        window.frames,
        pixels,
    )
    shift_frames = min(window.frames, math.ceil(SHIFT_SECONDS * plan.rate))
    with_shifts = shift_frames >= SHIFT_FRAMES_MIN
    made_split, reference_split = made.split(), reference.split()
    results = [
        _vmaf(made_split[0], reference_split[0], vmaf_model(rendition.width, rendition.height), subsample),
        ffmpeg.filter(
            [_eight_bits(made_split[1]), _eight_bits(reference_split[1])],
            "xpsnr",
            stats_file=XPSNR_LOG,
        ),
    ]
    if with_shifts:
        for shift, log in enumerate(SHIFT_LOGS):
            here = _part(made_split[2 + shift], 1, shift_frames - 1)
            there = _part(reference_split[2 + shift], shift, shift_frames - 2 + shift)
            results.append(ffmpeg.filter([here, there], "psnr", stats_file=log))
    outputs = [ffmpeg.output(result, "-", format="null") for result in results]
    return compiled(ffmpeg_path, ffmpeg.merge_outputs(*outputs), "error", *clock_of(plan, _chunk(window)))


def reference_picture(
    plan: Plan, rendition: Rendition, window: Window, *, source: str, overlay: str | None = None
) -> Any:
    """The source as the encoder of a rendition is given it, for the frames of a window."""
    picture = planned_frames(plan, source, _chunk(window))
    video = picture_plan(plan)
    return to_rendition(picture, video, rendition, overlay=overlays(video, overlay, 1)[0])


def bitrate_args(ffprobe: str, encoded: str, windows: Sequence[Window], rate: Fraction) -> list[str]:
    """Times and sizes of a rendition's packets in the windows, a line of JSON each: `window_bitrates`."""
    spans = ",".join(
        f"{window.start_seconds(rate):.6f}%+{float(window.frames / rate):.6f}" for window in windows
    )
    return [
        *(ffprobe, "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file"),
        *("-format_whitelist", _RENDITION_DEMUXERS, "-of", "json=compact=1"),
        *("-select_streams", "v:0", "-show_entries", "packet=pts_time,size"),
        *("-read_intervals", spans, "-i", encoded),
    ]


def window_bitrates(document: bytes, windows: Sequence[Window], rate: Fraction) -> tuple[int, ...]:
    """Bits a second of each window, from what `bitrate_args` printed.

    Raises:
        ValueError: it is no such document.
    """
    try:
        packets = msgspec.json.decode(document, type=_Packets).packets
    except msgspec.DecodeError as error:
        raise ValueError(f"ffprobe printed no packets: {error}") from error
    # The spans may overlap at a keyframe: a packet counts once, by its time.
    sizes = {packet.pts_time: int(packet.size) for packet in packets if packet.pts_time}
    result = []
    for window in windows:
        first = (window.first_frame - Fraction(1, 2)) / rate
        last = (window.first_frame + window.frames - Fraction(1, 2)) / rate
        total = sum(size for time, size in sizes.items() if first <= Fraction(time) < last)
        result.append(round(total * 8 * rate / window.frames))
    return tuple(result)


def parse_vmaf(document: bytes) -> tuple[float, ...]:
    """VMAF by measured frame.

    Raises:
        ValueError: it is no log of libvmaf, or an empty one.
    """
    try:
        frames = msgspec.json.decode(document, type=_VmafLog).frames
        scores = tuple(float(frame.metrics["vmaf"]) for frame in frames)
    except (msgspec.DecodeError, KeyError) as error:
        raise ValueError(f"libvmaf wrote no scores: {error}") from error
    if not scores:
        raise ValueError("libvmaf measured no frame")
    return scores


def parse_xpsnr(log: str) -> float:
    """Weighted (4Y+U+V)/6 of the averages in a log of xpsnr, in dB.

    Raises:
        ValueError: there are none.
    """
    line = next((line for line in reversed(log.splitlines()) if "average" in line), "")
    words = line.split()
    try:
        y, u, v = (_decibels(words[words.index(plane) + 1]) for plane in ("y:", "u:", "v:"))
    except (ValueError, IndexError) as error:
        raise ValueError("xpsnr wrote no averages") from error
    return round((4 * y + u + v) / 6, 3)


def parse_luma_psnr(log: str, *, bit_depth: int = 8) -> float:
    """Luma PSNR over all frames of a log of psnr, in dB.

    Args:
        log: what psnr wrote.
        bit_depth: of the pictures.

    Raises:
        ValueError: there is no frame in it.
    """
    errors = [
        float(word.removeprefix("mse_y:"))
        for line in log.splitlines()
        for word in line.split()
        if word.startswith("mse_y:")
    ]
    if not errors:
        raise ValueError("psnr measured no frame")
    mean, peak = sum(errors) / len(errors), float((1 << bit_depth) - 1) ** 2
    return IDENTICAL_DB if mean <= 0 else min(IDENTICAL_DB, round(10 * math.log10(peak / mean), 3))


def harmonic_mean(scores: Sequence[float]) -> float:
    """As libvmaf pools: a low score weighs more, and 0 is allowed."""
    return len(scores) / sum(1 / (max(score, 0.0) + 1) for score in scores) - 1


def percentile(scores: Sequence[float], share: float) -> float:
    """The score that all but `share` of the frames reach, between neighbours by distance."""
    ranked = sorted(scores)
    place = share * (len(ranked) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (ranked[above] - ranked[below]) * (place - below)


def vmaf_frames(frames: int, subsample: int) -> int:
    """How many frames of a window have a score: the first and every `subsample`-th from there."""
    return -(-frames // subsample)


def window_score(window: Window, rate: Fraction, vmaf: Sequence[float], bitrate_bps: int) -> WindowScore:
    """What is kept of a window for the gate."""
    return WindowScore(
        start=round(window.start_seconds(rate), 3),
        mean=round(harmonic_mean(vmaf), 2),
        minimum=round(min(vmaf), 2),
        bitrate_bps=bitrate_bps,
    )


def reaches(target: RungTarget, mean: float, p5: float) -> bool:
    """Whether scores are what was asked for."""
    return mean >= target.mean and p5 >= target.p5


class _Packet(msgspec.Struct):
    size: str = "0"
    pts_time: str | None = None


class _Packets(msgspec.Struct):
    packets: list[_Packet] = []


class _VmafFrame(msgspec.Struct):
    metrics: dict[str, float]


class _VmafLog(msgspec.Struct):
    frames: list[_VmafFrame] = []


def _chunk(window: Window) -> Chunk:
    return Chunk(number=0, first_frame=window.first_frame, frames=window.frames)


def _encoded(path: str, rate: Fraction, window: Window) -> Any:
    """A rendition's pictures from a window's first on; half a frame of room forgives rounded timestamps."""
    options: dict[str, Any] = {
        "protocol_whitelist": "file",
        "format_whitelist": _RENDITION_DEMUXERS,
        "max_pixels": FRAME_PX_MAX,
    }
    if window.first_frame:
        options["ss"] = round(float((window.first_frame - Fraction(1, 2)) / rate), 6)
    return _part(ffmpeg.input(path, **options)["v:0"], 0, window.frames)


def _counted(picture: Any, rate: Fraction, frames: int, pixels: str) -> Any:
    """Pictures numbered from 0 on a clock of whole frames: two such streams pair by number alone."""
    picture = picture.filter("settb", f"{rate.denominator}/{rate.numerator}").filter("setpts", "N")
    return picture.filter("trim", end_frame=frames).filter("format", pixels)


def _part(picture: Any, first: int, end: int) -> Any:
    return picture.filter("trim", start_frame=first, end_frame=end).filter("setpts", "PTS-STARTPTS")


def _eight_bits(picture: Any) -> Any:
    """Every other frame, for xpsnr, which mistakes the lines of deeper pictures unless 64 divides them."""
    return picture.filter("framestep", XPSNR_STEP).filter("format", "yuv420p")


def _vmaf(made: Any, reference: Any, model: str, subsample: int) -> Any:
    return ffmpeg.filter(
        [made, reference],
        "libvmaf",
        model=f"version={model}",
        n_threads=VMAF_THREADS,
        n_subsample=subsample,
        log_fmt="json",
        log_path=VMAF_LOG,
        shortest=1,
    )


def _decibels(word: str) -> float:
    value = float(word)
    return IDENTICAL_DB if math.isinf(value) or math.isnan(value) else min(value, IDENTICAL_DB)
