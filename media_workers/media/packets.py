"""Packet timestamps of a file, folded line by line so that a twelve-hour source fits in memory."""

from array import array
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

import msgspec

from media_workers.media.rates import rate_text, tidy_rate

# In containers that may be spliced, FFmpeg takes a step of more than this for a new clock, not for a pause.
JUMP_SECONDS_MIN = 10
# A millisecond clock moves a 60 fps frame by 6 %: what is this near the median has the same rate.
STEADY_RELATIVE = Fraction(1, 5)
VARIABLE_RATIO = Fraction(3, 2)
VARIABLE_SHARE = Fraction(1, 50)
JUMPS_KEPT_MAX = 10_000


class Timing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the timestamps of one stream say; times in seconds on the file's own clock.

    `rate` is the rate of the median frame, tidied; None for a single frame. `end_seconds` is where the last
    frame ends, after taking `jumps` of the clock out. `ends_corrupt` when the last packet is incomplete, as
    in a file that was cut off.
    """

    count: int
    start_seconds: float
    end_seconds: float
    rate: str | None
    variable: bool
    frame_seconds_median: float
    frame_seconds_min: float
    frame_seconds_max: float
    last_frame_seconds: float
    keyframe_gap_seconds_max: float
    missing: int
    jumps: int
    encrypted: bool
    ends_corrupt: bool


class _Packet(msgspec.Struct):
    stream_index: int
    pts: int | None = None
    dts: int | None = None
    duration: int = 0
    size: str = "0"  # ffprobe prints this number as text
    flags: str = ""


class _StreamPackets:
    """Timestamps of one stream in file order, in ticks."""

    def __init__(self) -> None:
        self.pts: array[int] = array("q")
        self.dts: array[int] = array("q")
        self.durations: array[int] = array("q")
        self.sizes: array[int] = array("q")
        self.key = bytearray()
        self.all_shown = True
        self.starts_shown = False
        self.first_shown: int | None = None
        self.missing = 0
        self.encrypted = False
        self.ends_corrupt = False
        self.steps: list[tuple[int, int]] = []

    def add(self, packet: _Packet) -> None:
        self.ends_corrupt = "C" in packet.flags
        shown, decoded = packet.pts, packet.dts
        if shown is None and decoded is None:
            self.missing += 1
            return
        if not self.pts:
            self.starts_shown = shown is not None
        if shown is None:
            self.all_shown = False
        elif self.first_shown is None or shown < self.first_shown:
            self.first_shown = shown
        pts = shown if shown is not None else decoded
        dts = decoded if decoded is not None else shown
        if pts is None or dts is None:
            return
        if self.dts and len(self.steps) < JUMPS_KEPT_MAX:
            step, duration = dts - self.dts[-1], self.durations[-1]
            if step < 0 or step > duration * 2 > 0:
                self.steps.append((len(self.dts), step - duration))
        self.pts.append(pts)
        self.dts.append(dts)
        self.durations.append(packet.duration)
        self.sizes.append(int(packet.size))
        self.key.append("K" in packet.flags)

    def stamps(self, reorder_frames: int = 0) -> "array[int]":
        """Presentation times; where some packets have none, decode times counted from the first picture."""
        if self.all_shown or not self.dts:
            return self.pts
        if self.starts_shown and self.first_shown is not None:
            shift = self.first_shown - min(self.dts)
        else:
            # A decoder holds this many frames back, so the first picture is shown that much later.
            steps = [later - earlier for earlier, later in pairwise(self.dts) if later > earlier]
            shift = reorder_frames * median_low(steps) if steps else 0
        return array("q", (dts + shift for dts in self.dts))


class PacketScan:
    """Collects the lines that `commands.packets_args` makes ffprobe print: feed each, then ask per stream."""

    def __init__(self) -> None:
        self._streams: dict[int, _StreamPackets] = {}
        self._decoder = msgspec.json.Decoder(_Packet)
        self._last: _StreamPackets | None = None

    def feed(self, line: str) -> None:
        """Take one line of ffprobe's compact JSON; lines that are no packet are ignored."""
        text = line.strip().rstrip(",")
        if text.startswith('{ "stream_index"'):
            # A packet with side data goes on over the next lines; its own fields end here.
            packet = self._decoder.decode(text if text.endswith("}") else text + "}")
            self._last = self._streams.setdefault(packet.stream_index, _StreamPackets())
            # What an edit list cuts away is flagged for discarding and never becomes a frame.
            if "D" not in packet.flags:
                self._last.add(packet)
        elif "Encryption info" in text and self._last is not None:
            self._last.encrypted = True

    def count(self, index: int) -> int:
        """Packets of a stream, those without timestamps included."""
        stream = self._streams.get(index)
        return len(stream.pts) + stream.missing if stream else 0

    def peak_bitrate_bps(self, index: int, time_base: Fraction) -> int:
        """Bits of the heaviest second, counted in decoding order; 0 for a scan without sizes."""
        stream = self._streams.get(index)
        if stream is None or not stream.dts:
            return 0
        ticks = max(1, round(1 / time_base))
        heaviest = held = first = 0
        for position, decoded in enumerate(stream.dts):
            held += stream.sizes[position]
            while decoded - stream.dts[first] >= ticks:
                held -= stream.sizes[first]
                first += 1
            heaviest = max(heaviest, held)
        return heaviest * 8

    def keyframes(self, index: int) -> list[int]:
        """Positions of the keyframes in presentation order, counted from 0."""
        stream = self._streams.get(index)
        if stream is None:
            return []
        stamps = stream.stamps()
        order = sorted(range(len(stamps)), key=stamps.__getitem__)
        return [position for position, packet in enumerate(order) if stream.key[packet]]

    def timing(
        self, index: int, time_base: Fraction, *, spliced: bool = False, reorder_frames: int = 0
    ) -> Timing | None:
        """Summarise one stream; None when it has no packet with a timestamp.

        Args:
            index: the stream's number in the file.
            time_base: seconds a tick, as ffprobe states it.
            spliced: whether the container may be spliced (MPEG transport and program streams), so that
                a jump of the clock is no pause.
            reorder_frames: how many frames the decoder holds back (ffprobe's `has_b_frames`); needed only
                for containers that store decode times alone.
        """
        stream = self._streams.get(index)
        if stream is None or not stream.pts:
            return None
        jumps = _jumps(stream, time_base) if spliced else []
        stamps = _without_jumps(stream.stamps(reorder_frames), jumps)
        order = sorted(range(len(stamps)), key=stamps.__getitem__)
        steps = [stamps[later] - stamps[earlier] for earlier, later in pairwise(order)]
        near = _near_median(steps)
        steady = Fraction(sum(near), len(near)) if near else Fraction(0)
        first, last = order[0], order[-1]
        last_ticks = stream.durations[last] or round(steady)
        end = stamps[last] + last_ticks
        key_ticks = [stamps[packet] for packet in order if stream.key[packet]]
        gaps = [later - earlier for earlier, later in pairwise([*key_ticks, end])]
        return Timing(
            count=len(stamps) + stream.missing,
            start_seconds=float(stamps[first] * time_base),
            end_seconds=float(end * time_base),
            rate=rate_text(tidy_rate(1 / (steady * time_base))) if steady else None,
            variable=_is_variable(steps, near),
            frame_seconds_median=float(median_low(near) * time_base) if near else 0.0,
            frame_seconds_min=float(min(steps, default=0) * time_base),
            frame_seconds_max=float(max(steps, default=0) * time_base),
            last_frame_seconds=float(last_ticks * time_base),
            keyframe_gap_seconds_max=float(max(gaps, default=0) * time_base),
            missing=stream.missing,
            jumps=len(jumps),
            encrypted=stream.encrypted,
            ends_corrupt=stream.ends_corrupt,
        )


def _near_median(steps: list[int]) -> list[int]:
    positive = [step for step in steps if step > 0]
    if not positive:
        return []
    median = median_low(positive)
    room = max(int(median * STEADY_RELATIVE), 1)
    return [step for step in positive if abs(step - median) <= room]


def _is_variable(steps: list[int], near: list[int]) -> bool:
    if len(steps) < 2 or not near:
        return False
    # One tick either way is the clock's rounding, not the camera's.
    if max(steps) - 1 > VARIABLE_RATIO * (min(steps) + 1):
        return True
    return len(steps) - len(near) > VARIABLE_SHARE * len(steps)


def _jumps(stream: _StreamPackets, time_base: Fraction) -> list[tuple[int, int]]:
    threshold = JUMP_SECONDS_MIN / time_base
    return [(position, step) for position, step in stream.steps if abs(step) > threshold]


def _without_jumps(stamps: "array[int]", jumps: list[tuple[int, int]]) -> "array[int]":
    if not jumps:
        return stamps
    joined = array("q", stamps)
    for number, (position, _) in enumerate(jumps):
        shift = sum(step for _, step in jumps[: number + 1])
        end = jumps[number + 1][0] if number + 1 < len(jumps) else len(stamps)
        for packet in range(position, end):
            joined[packet] = stamps[packet] - shift
    return joined
