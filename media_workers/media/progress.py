"""FFmpeg's progress lines as values."""

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One report: frames written so far, frames a second, times real time, and the position reached."""

    frame: int
    fps: float
    speed: float
    out_time_seconds: float
    ended: bool

    def fraction(self, frames_total: int) -> float:
        """Share of the work done, 0 to 1; 0 when the total is unknown."""
        return min(1.0, self.frame / frames_total) if frames_total > 0 else 0.0


class ProgressParser:
    """Gathers key=value lines of `-progress` into reports."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> Progress | None:
        """Take one line; a report each time a block is complete, else None."""
        raise NotImplementedError
