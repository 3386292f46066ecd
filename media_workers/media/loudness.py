"""Loudness: what the measuring pass printed, and when to leave a track alone."""

import msgspec


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
    raise NotImplementedError
