"""Proof that an encode is what was planned; exit code 0 is not."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Literal

import msgspec

from media_workers.media.chunks import Chunk
from media_workers.media.colour import delivered
from media_workers.media.packets import PacketScan
from media_workers.media.plan import Plan, Rendition
from media_workers.media.rates import parse_rate

AAC_FRAME_SAMPLES = 1024
KEYFRAMES_SHOWN_MAX = 5


class Finding(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One broken promise, in numbers. `subject` names the rendition, track or file."""

    rule: str
    severity: Literal["warn", "error"]
    subject: str
    message: str


def error(rule: str, subject: str, message: str) -> Finding:
    """A finding that must stop the publication."""
    return Finding(rule=rule, severity="error", subject=subject, message=message)


def check_rendition(
    plan: Plan,
    rendition: Rendition,
    probe: Mapping[str, Any],
    packets: PacketScan,
    *,
    chunk: Chunk | None = None,
) -> tuple[Finding, ...]:
    """Check an encoded rendition: frames, keyframe grid, duration, size, square pixels, codec, rate.

    Args:
        plan: the title's plan.
        rendition: which of its renditions the file is.
        probe: what `probe_args` printed for the file.
        packets: scan of what `packets_args` printed for it.
        chunk: which part of the title the file is; None for all of it.

    Returns:
        nothing when the file is as planned.
    """
    stream = only_stream(probe, "video")
    if stream is None:
        return (error("streams", rendition.name, "expected one video stream and nothing else"),)
    return (
        *_rendition_picture(plan, rendition, stream),
        *_rendition_frames(
            plan, rendition, stream, packets, chunk.frames if chunk is not None else plan.frames_total
        ),
    )


def header_hash(probe: Mapping[str, Any]) -> str:
    """Hash of the stream's headers; what may be joined has the same. "" for a stream that has none."""
    streams = probe.get("streams", [])
    return str(streams[0].get("extradata_hash", "")) if streams else ""


def _rendition_picture(plan: Plan, rendition: Rendition, stream: Mapping[str, Any]) -> Iterator[Finding]:
    colour = delivered(plan.video.colour, rendition.dynamic_range) if plan.video else None
    wanted: dict[str, object] = {
        "codec_name": rendition.codec,
        "width": rendition.width,
        "height": rendition.height,
        "pix_fmt": "yuv420p10le" if rendition.bit_depth == 10 else "yuv420p",
    }
    if colour is not None:
        wanted |= {
            "color_primaries": colour.primaries,
            "color_transfer": colour.transfer,
            "color_space": colour.matrix,
            "color_range": colour.range,
        }
    for field, value in wanted.items():
        if stream.get(field) != value:
            yield error("format", rendition.name, f"{field} is {stream.get(field)}, planned is {value}")
    sar = stream.get("sample_aspect_ratio", "1:1")
    if sar != "1:1":
        yield error("square_pixels", rendition.name, f"the pixel aspect ratio is {sar}, planned is 1:1")


def _rendition_frames(
    plan: Plan, rendition: Rendition, stream: Mapping[str, Any], packets: PacketScan, frames_planned: int
) -> Iterator[Finding]:
    name, index = rendition.name, stream["index"]
    frames = packets.count(index)
    if frames != frames_planned:
        yield error("frames", name, f"{frames} frames, planned are {frames_planned}")
    found = packets.keyframes(index)
    grid = list(range(0, frames, plan.gop_frames))
    if not found or found[0] != 0:
        yield error("first_keyframe", name, "the first frame is no keyframe")
    if found != grid:
        shown = ", ".join(str(frame) for frame in found[:KEYFRAMES_SHOWN_MAX])
        yield error(
            "keyframes",
            name,
            f"{len(found)} keyframes (at {shown}, ...); "
            f"planned are {len(grid)}, one each {plan.gop_frames} frames",
        )
    time_base = parse_rate(stream.get("time_base")) or Fraction(1)
    timing = packets.timing(index, time_base)
    if timing is None:
        return
    if timing.variable:
        yield error("frame_rate", name, "the frames are not evenly spaced")
    seconds = timing.end_seconds - timing.start_seconds
    planned = float(frames_planned / plan.rate)
    if abs(seconds - planned) > float(time_base) + 1e-6:
        yield error("duration", name, f"{seconds:.6f} seconds, planned are {planned:.6f}")
    if abs(timing.start_seconds) > 1e-6:
        yield error("start", name, f"starts at {timing.start_seconds:.6f} seconds, planned is 0")


def only_stream(probe: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The one stream of a file of ours, None when there are others or it is of another kind."""
    streams = probe.get("streams", [])
    return streams[0] if len(streams) == 1 and streams[0].get("codec_type") == kind else None
