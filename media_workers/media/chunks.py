"""The cuts of a title: ranges of whole groups of pictures that are encoded apart and joined again."""

import math
from fractions import Fraction

import msgspec

CHUNK_SECONDS = 30
# More branches than this cost a fork more than shorter chunks gain; a longer title gets longer chunks.
CHUNKS_MAX = 600
# Decoding starts this much before a chunk, so that an open group of pictures is whole at its first frame.
PREROLL_SECONDS = 3.0
# A container without an index is searched by its bytes: a seek lands somewhat late.
SEEK_SLACK_SECONDS = 1.0


class Chunk(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One range of output frames. `number` counts from 0; `first_frame` lies on the keyframe grid."""

    number: int
    first_frame: int
    frames: int

    @property
    def end_frame(self) -> int:
        """The first frame behind the chunk."""
        return self.first_frame + self.frames


def plan_chunks(
    frames_total: int, gop_frames: int, rate: Fraction, *, chunk_seconds: float | None = None
) -> tuple[Chunk, ...]:
    """Cut a title into chunks of whole groups of pictures.

    Args:
        frames_total: of the title; 0 gives no chunk.
        gop_frames: the keyframe grid; every cut lies on it.
        rate: output frames a second.
        chunk_seconds: wanted length; None for `CHUNK_SECONDS`.

    Returns:
        chunks in order that cover every frame once. All have the same length but the last, which has from
        half of it to one and a half: no worker is woken for a handful of frames.
    """
    if frames_total <= 0:
        return ()
    wanted = Fraction(chunk_seconds or CHUNK_SECONDS) * rate / gop_frames
    groups = max(1, math.floor(wanted + Fraction(1, 2)), -(-frames_total // (gop_frames * CHUNKS_MAX)))
    length = groups * gop_frames
    whole, rest = divmod(frames_total, length)
    count = max(1, whole + (1 if 2 * rest >= length else 0))
    starts = [number * length for number in range(count)]
    return tuple(
        Chunk(number=number, first_frame=first, frames=end - first)
        for number, (first, end) in enumerate(zip(starts, [*starts[1:], frames_total], strict=True))
    )


def preroll_seconds(keyframe_gap_seconds_max: float) -> float:
    """How much before a chunk decoding starts: more than the longest distance between two keyframes."""
    return max(PREROLL_SECONDS, keyframe_gap_seconds_max + SEEK_SLACK_SECONDS)
