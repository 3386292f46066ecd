"""A small reader of ISO base media boxes: bytes in, values out."""

import msgspec


class SegmentFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One media segment; times in ticks of its track's timescale. `first_is_key` is None when not said."""

    decode_ticks: int
    duration_ticks: int
    samples: int
    first_is_key: bool | None


class InitFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One init segment: the track's timescale, sample entry ("avc1") and default sample duration in ticks."""

    timescale: int
    sample_entry: str
    default_sample_ticks: int
    default_sample_flags: int


def init_facts(data: bytes) -> InitFacts:
    """Read an init segment.

    Raises:
        ValueError: the bytes hold no movie box with one track.
    """
    raise NotImplementedError


def segment_facts(head: bytes, init: InitFacts) -> SegmentFacts:
    """Read a media segment; its beginning up to the end of the last `moof` is enough.

    Raises:
        ValueError: the bytes hold no complete `moof`.
    """
    raise NotImplementedError
