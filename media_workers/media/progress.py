"""FFmpeg's progress lines as values."""

import msgspec

# A line of the tool's, not of ours: what does not fit is no progress line.
LINE_CHARS_MAX = 200


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
        key, equals, value = line[:LINE_CHARS_MAX].partition("=")
        if not equals:
            return None
        key, value = key.strip(), value.strip()
        if key != "progress":
            if key in _KEYS:
                self._fields[key] = value
            return None
        fields, self._fields = self._fields, {}
        return Progress(
            frame=int(_number(fields.get("frame"))),
            fps=_number(fields.get("fps")),
            speed=_number(fields.get("speed", "").removesuffix("x")),
            # `out_time_ms` counts microseconds as well, in spite of its name.
            out_time_seconds=max(0.0, _number(fields.get("out_time_us")) / 1_000_000),
            ended=value == "end",
        )


_KEYS = frozenset({"frame", "fps", "speed", "out_time_us"})


def _number(text: str | None) -> float:
    """A number, or 0 for the "N/A" that stands before the first frame."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
