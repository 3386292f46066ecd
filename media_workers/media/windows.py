"""Short windows of a title that stand for the whole of it, on the keyframe grid."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import chain

import msgspec

WINDOW_SECONDS = 4
WINDOWS_AIM = 3
WINDOW_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
# Looking at more than this part of a title would cost a fair part of its encode again.
SAMPLED_SHARE_MAX = Fraction(1, 10)
# Of a window this much may be black before another place is looked for.
BLACK_SHARE_MAX = 0.25
# Which windows trials are made of, most telling first: by rank of complexity, None is the title's first.
_PROBE_RANKS = (0.75, 0.95, 0.5, None)
_SHARES_BY_COUNT = {
    1: (0.5,),
    2: (0.3, 0.7),
    3: (0.1, 0.5, 0.9),
    4: (0.1, 0.3, 0.7, 0.9),
    5: WINDOW_SHARES,
}


class Window(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A range of output frames; the first lies on the keyframe grid."""

    first_frame: int
    frames: int

    def start_seconds(self, rate: Fraction) -> float:
        """Where it starts in the title."""
        return float(self.first_frame / rate)


def sample_windows(
    frames_total: int, gop_frames: int, rate: Fraction, *, black: Sequence[tuple[float, float]] = ()
) -> tuple[Window, ...]:
    """Choose windows spread over a title, for measuring its quality.

    Args:
        frames_total: of the title; 0 gives no window.
        gop_frames: the keyframe grid.
        rate: output frames a second.
        black: black stretches as (start, end) in seconds; places in them are avoided where others exist.

    Returns:
        one to five windows in order, none overlapping another. They are four seconds long; a short title has
        fewer and shorter ones, so that a tenth of it is looked at, but never less than one group.
    """
    if frames_total <= 0:
        return ()
    groups = max(1, frames_total // gop_frames)
    budget = max(1, round(frames_total * SAMPLED_SHARE_MAX / gop_frames))
    # Several short looks say more about a title than one long one.
    length = min(max(1, round(WINDOW_SECONDS * rate / gop_frames)), max(1, budget // WINDOWS_AIM))
    count = max(1, min(len(WINDOW_SHARES), budget // length))

    def is_black(first_frame: int) -> bool:
        return _black_share(first_frame, length * gop_frames, rate, black) > BLACK_SHARE_MAX

    starts: list[int] = []
    for share in _SHARES_BY_COUNT[count]:
        wanted = min(math.floor(groups * share), groups - length)
        start = _free_start(wanted, length, groups, starts, lambda group: is_black(group * gop_frames))
        if start is not None:
            starts.append(start)
    return tuple(
        Window(
            first_frame=start * gop_frames,
            frames=min(length * gop_frames, frames_total - start * gop_frames),
        )
        for start in sorted(starts)
    )


def complex_windows(
    complexity: Sequence[float],
    frames_total: int,
    gop_frames: int,
    rate: Fraction,
    *,
    black: Sequence[tuple[float, float]] = (),
) -> tuple[Window, ...]:
    """Choose windows that are typical and hard, for trying settings on.

    Args:
        complexity: one figure for each second of the title, higher is harder; empty when nobody looked.
        frames_total: of the title.
        gop_frames: the keyframe grid.
        rate: output frames a second.
        black: black stretches as (start, end) in seconds.

    Returns:
        the windows at the 75th and 95th percentile of complexity, the median one, and the first that is not
        black; fewer of these, in that order, for a short title. Without complexity, spread evenly.
    """
    even = sample_windows(frames_total, gop_frames, rate, black=black)
    length = max(1, round(WINDOW_SECONDS * rate / gop_frames)) * gop_frames
    count = min(len(_PROBE_RANKS), math.floor(frames_total * SAMPLED_SHARE_MAX / length))
    if not complexity or not count:
        return even[: len(_PROBE_RANKS)]
    seconds = math.ceil(length / rate)
    starts = range(0, frames_total - length + 1, length)
    usable = [start for start in starts if _black_share(start, length, rate, black) <= BLACK_SHARE_MAX]

    def hardness(start: int) -> float:
        second = int(start / rate)
        part = complexity[second : second + seconds]
        return sum(part) / len(part) if part else 0.0

    ranked = sorted(usable or starts, key=hardness)
    chosen = {
        min(usable or starts) if rank is None else ranked[round(rank * (len(ranked) - 1))]
        for rank in _PROBE_RANKS[:count]
    }
    return tuple(Window(first_frame=start, frames=length) for start in sorted(chosen))


def _free_start(
    wanted: int, length: int, groups: int, taken: Sequence[int], is_black: Callable[[int], bool]
) -> int | None:
    """The group nearest to `wanted` where a window fits beside the others; a black one when all are."""
    last = groups - length
    places = chain.from_iterable((wanted + step, wanted - step) for step in range(groups))
    fallback = None
    for group in places:
        if not 0 <= group <= last or any(abs(group - other) < length for other in taken):
            continue
        if not is_black(group):
            return group
        fallback = group if fallback is None else fallback
    return fallback


def _black_share(
    first_frame: int, frames: int, rate: Fraction, black: Sequence[tuple[float, float]]
) -> float:
    start, end = float(first_frame / rate), float((first_frame + frames) / rate)
    covered = sum(max(0.0, min(end, stop) - max(start, begin)) for begin, stop in black)
    return covered / (end - start)
