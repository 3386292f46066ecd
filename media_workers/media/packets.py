"""Packet timestamps of a file, folded line by line so that a twelve-hour source fits in memory."""

from array import array
from fractions import Fraction

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the timestamps of one stream say; times in seconds on the file's own clock."""

    count: int
    start_seconds: float
    end_seconds: float
    duration_seconds: float
    rate: str | None
    mean_rate: str | None
    variable: bool
    frame_seconds_median: float
    frame_seconds_min: float
    frame_seconds_max: float
    last_frame_seconds: float
    keyframe_gap_seconds_max: float
    missing: int
    jumps: int


class StreamPackets:
    """Timestamps of one stream in file order; `pts` and `durations` in ticks of `time_base`."""

    def __init__(self) -> None:
        self.pts: array[int] = array("q")
        self.dts: array[int] = array("q")
        self.durations: array[int] = array("q")
        self.key = bytearray()
        self.missing = 0
        self.encrypted = 0


class PacketScan:
    """Collects the lines that `commands.packets_args` makes ffprobe print: feed each, then ask per stream."""

    def __init__(self) -> None:
        self.streams: dict[int, StreamPackets] = {}

    def feed(self, line: str) -> None:
        """Take one line of ffprobe's compact JSON; lines that are no packet are ignored."""
        raise NotImplementedError

    def timing(self, index: int, time_base: Fraction) -> Timing | None:
        """Summarise one stream; None when it has no packet with a timestamp."""
        raise NotImplementedError

    def keyframes(self, index: int) -> list[int]:
        """Positions of the keyframes in presentation order, counted from 0."""
        raise NotImplementedError
