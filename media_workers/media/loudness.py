"""Loudness (EBU R 128): what the measuring pass printed, and when to leave a track alone."""

import json
import math
from typing import Any

import msgspec

# Below the gate of EBU R 128 there is nothing to measure.
SILENT_LUFS = -70.0
TRUE_PEAK_DBTP = -1.5
# More gain than this raises the noise of a room, not a voice.
GAIN_DB_MAX = 20.0
# How far a finished track may be from its target.
TOLERANCE_LU = 1.0
CORRECTION_DB_MAX = 6.0
# Each is one more encode; what two do not bring near is a sound that the limiter holds back.
CORRECTIONS_MAX = 2


class Loudness(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Result of the measuring pass, in LUFS, dBTP and LU; all finite."""

    input_i: float
    input_tp: float
    input_lra: float
    input_thresh: float
    target_offset: float


class Levelling(msgspec.Struct, frozen=True, kw_only=True):
    """One gain for the whole track, and whether its peaks must be held below the ceiling.

    The track keeps its dynamics: nothing is compressed but peaks that would pass `TRUE_PEAK_DBTP`.
    """

    gain_db: float
    limited: bool


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


def measuring_options() -> dict[str, Any]:
    """Options of the loudnorm filter for measuring; what it makes of the sound is thrown away."""
    return {"print_format": "json"}


def levelling(target_lufs: float, measured: Loudness, *, correction_db: float = 0.0) -> Levelling:
    """How a track reaches its target.

    Args:
        target_lufs: the profile's.
        measured: of the source, mixed as planned.
        correction_db: what an earlier attempt fell short of the target.
    """
    gain_db = reachable_lufs(target_lufs, measured) - measured.input_i + correction_db
    return Levelling(gain_db=round(gain_db, 2), limited=measured.input_tp + gain_db > TRUE_PEAK_DBTP)


def correction(wanted_lufs: float, heard_lufs: float) -> float:
    """Decibels for one more attempt at a finished track; 0 where it is near enough.

    A limiter takes some loudness away, and so does a codec that leaves out what nobody hears.
    """
    missing = wanted_lufs - heard_lufs
    if abs(missing) <= TOLERANCE_LU / 2:
        return 0.0
    return round(max(-CORRECTION_DB_MAX, min(CORRECTION_DB_MAX, missing)), 2)
