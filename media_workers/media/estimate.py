"""What a title will take before anything runs: processor time, time to wait, bytes, money."""

import heapq
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from media_workers.media.calibration import Calibration, decode_seconds_per_frame, seconds_per_frame
from media_workers.media.chunks import Chunk, preroll_seconds
from media_workers.media.facts import VideoFacts
from media_workers.media.groups import Group
from media_workers.media.ladder import Rendition

# Measured on real clips: capped CRF spends less than half of its cap.
CAP_SHARE_USED = 0.45
# Media seconds of sound a CPU second measures and encodes.
AUDIO_SPEED = 60.0
# Reading, proving, joining and packaging, as a share of the encodes.
OVERHEAD_SHARE = 0.03
# The quality gate's sampled windows, likewise.
QUALITY_SHARE = 0.08


class Estimate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Predicted before the job runs.

    `wall_seconds` holds for `slots` encodes at once. `cost` is in the currency of the operator's core-hour
    price.
    """

    cpu_seconds: float
    wall_seconds: float
    output_bytes: int
    cost: float
    slots: int = 1


def predicted_seconds(
    calibration: Calibration, renditions: Sequence[Rendition], frames: int
) -> dict[str, float]:
    """CPU seconds to encode so many frames, by rendition name; the decoding is not in it."""
    return {
        item.name: frames * seconds_per_frame(calibration, item.encoder, item.preset, item.width, item.height)
        for item in renditions
    }


def estimate_title(
    video: VideoFacts | None,
    *,
    rate: Fraction,
    seconds: Fraction,
    chunks: Sequence[Chunk],
    groups: Sequence[Group],
    renditions: Sequence[Rendition],
    audio_bitrates_bps: Sequence[int],
    calibration: Calibration,
    slots: int,
    quality: bool,
) -> Estimate:
    """Add up what the plan's branches take.

    Args:
        video: the source's picture; its decoding is paid once for each chunk and group.
        rate: output frames a second.
        seconds: length of the title.
        chunks: of the plan.
        groups: of the plan.
        renditions: of the plan.
        audio_bitrates_bps: one for each sound track.
        calibration: measured speeds and the price.
        slots: how many encodes run at once.
        quality: whether the renditions are measured afterwards.
    """
    encode = predicted_seconds(calibration, renditions, 1)
    decode = decode_seconds_per_frame(video.coded_width, video.coded_height) if video else 0.0
    items = []
    for chunk in chunks:
        early = min(chunk.first_frame, preroll_seconds(0.0) * rate)
        for group in groups:
            own = chunk.frames * sum(encode[name] for name in group.renditions)
            items.append(own + float(chunk.frames + early) * decode)
    items += [float(seconds) / AUDIO_SPEED for _ in audio_bitrates_bps]
    share = 1 + OVERHEAD_SHARE + (QUALITY_SHARE if quality else 0)
    cpu = sum(items) * share
    bits = sum(rendition.maxrate_bps * CAP_SHARE_USED for rendition in renditions)
    bits += sum(audio_bitrates_bps)
    return Estimate(
        cpu_seconds=round(cpu, 1),
        wall_seconds=round(_wall(items, slots) * share / calibration.cores, 1),
        output_bytes=round(bits * float(seconds) / 8),
        cost=round(cpu / 3600 * calibration.core_hour_price, 6),
        slots=slots,
    )


def _wall(items: Sequence[float], slots: int) -> float:
    """When the last item ends, when each goes to the slot that is free first, in the given order."""
    ends = [0.0] * max(1, min(slots, len(items)))
    for item in items:
        heapq.heapreplace(ends, ends[0] + item)
    return max(ends, default=0.0)
