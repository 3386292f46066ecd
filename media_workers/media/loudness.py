"""Loudness (EBU R 128): what the measuring pass printed, and when to leave a track alone."""

import json
import math
from typing import Any

import msgspec

# Below the gate of EBU R 128 there is nothing to measure.
SILENT_LUFS = -70.0
TRUE_PEAK_DBTP = -1.5
RANGE_LU = 11
# The filter's own bounds: a range of nothing, as a short or steady track has, it takes for a missing value.
RANGE_LU_MIN, RANGE_LU_MAX = 0.1, 50
# More gain than this raises the noise of a room, not a voice.
GAIN_DB_MAX = 20.0
# How far a finished track may be from its target.
TOLERANCE_LU = 1.0


class Loudness(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Result of the measuring pass, in LUFS, dBTP and LU; all finite."""

    input_i: float
    input_tp: float
    input_lra: float
    input_thresh: float
    target_offset: float


def parse_loudness(stderr: str) -> Loudness | None:
    """Read the JSON that loudnorm printed last; None for a silent track, which must not be normalised.

    Raises:
        ValueError: there is no measurement in the text.
    """
    start, end = stderr.rfind("{"), stderr.rfind("}")
    try:
        printed = json.loads(stderr[start : end + 1])
        values = {name: float(printed[name]) for name in Loudness.__struct_fields__}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "loudness: FFmpeg printed no measurement; see the log of the measuring pass"
        ) from error
    if not all(math.isfinite(value) for value in values.values()) or values["input_i"] < SILENT_LUFS:
        return None
    return Loudness(**values)


def reachable_lufs(target_lufs: float, measured: Loudness) -> float:
    """The target, or less for a very quiet track: it is raised by `GAIN_DB_MAX` and no more."""
    return round(min(target_lufs, measured.input_i + GAIN_DB_MAX), 2)


def measuring_options(target_lufs: float) -> dict[str, Any]:
    """Options of the loudnorm filter for the measuring pass; the target decides the printed offset alone."""
    return {"I": target_lufs, "TP": TRUE_PEAK_DBTP, "LRA": RANGE_LU, "print_format": "json"}


def loudnorm_options(target_lufs: float, measured: Loudness) -> dict[str, Any]:
    """Options of the loudnorm filter for the second pass.

    The range is the track's own: a wide one alone is no reason to compress. The filter works on peaks only
    where the gain would lift them above the ceiling.
    """
    return {
        "I": reachable_lufs(target_lufs, measured),
        "TP": TRUE_PEAK_DBTP,
        "LRA": round(min(max(measured.input_lra, RANGE_LU), RANGE_LU_MAX), 2),
        "measured_I": measured.input_i,
        "measured_TP": measured.input_tp,
        "measured_LRA": max(measured.input_lra, RANGE_LU_MIN),
        "measured_thresh": measured.input_thresh,
        "offset": measured.target_offset,
        "linear": "true",
    }
