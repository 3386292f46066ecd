"""A small reader of ISO base media boxes: bytes in, values out."""

import struct
from collections.abc import Iterator

import msgspec

# Bit of a sample's flags that says it depends on others.
NON_SYNC = 0x0001_0000

_TFHD_BASE_OFFSET, _TFHD_DESCRIPTION, _TFHD_DURATION, _TFHD_SIZE, _TFHD_FLAGS = 0x1, 0x2, 0x8, 0x10, 0x20
_TRUN_OFFSET, _TRUN_FIRST_FLAGS = 0x1, 0x4
_TRUN_DURATION, _TRUN_SIZE, _TRUN_FLAGS, _TRUN_SHIFT = 0x100, 0x200, 0x400, 0x800


class SegmentFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One media segment; times in ticks of its track's timescale. `first_is_key` is None when not said."""

    decode_ticks: int
    duration_ticks: int
    samples: int
    first_is_key: bool | None


class InitFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One init segment: the track's timescale, sample entry ("avc1") and its defaults for samples."""

    timescale: int
    sample_entry: str
    default_sample_ticks: int
    default_sample_flags: int


def init_facts(data: bytes) -> InitFacts:
    """Read an init segment.

    Raises:
        ValueError: the bytes hold no movie box with one track.
    """
    try:
        movie = _child(data, b"moov")
        media = _child(_child(movie, b"trak"), b"mdia")
        header = _child(media, b"mdhd")
        # Version 1 has 64-bit times before the timescale.
        (timescale,) = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)
        description = _child(_child(_child(media, b"minf"), b"stbl"), b"stsd")
        entry = description[12:16].decode("ascii")
        _, ticks, _, flags = struct.unpack_from(">IIII", _child(_child(movie, b"mvex"), b"trex"), 8)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("init segment: a box in it is cut off or malformed") from error
    return InitFacts(
        timescale=timescale,
        sample_entry=entry,
        default_sample_ticks=ticks,
        default_sample_flags=flags,
    )


def segment_facts(head: bytes, init: InitFacts) -> SegmentFacts:
    """Read a media segment; its beginning up to the end of the last `moof` is enough.

    Raises:
        ValueError: the bytes hold no complete `moof`.
    """
    try:
        runs = [
            _fragment(_child(body, b"traf"), init)
            for kind, body in _boxes(head, partial=True)
            if kind == b"moof"
        ]
    except (struct.error, IndexError) as error:
        raise ValueError("media segment: a box in it is cut off or malformed") from error
    if not runs:
        raise ValueError("media segment: there is no moof box at its beginning")
    return SegmentFacts(
        decode_ticks=runs[0].decode_ticks,
        duration_ticks=sum(run.duration_ticks for run in runs),
        samples=sum(run.samples for run in runs),
        first_is_key=runs[0].first_is_key,
    )


def _fragment(body: bytes, init: InitFacts) -> SegmentFacts:
    ticks, flags = _fragment_defaults(_child(body, b"tfhd"), init)
    time = _child(body, b"tfdt")
    (decode_ticks,) = struct.unpack_from(">Q" if time[0] == 1 else ">I", time, 4)
    samples = duration = 0
    first_flags: int | None = None
    for kind, run in _boxes(body):
        if kind != b"trun":
            continue
        for sample_ticks, sample_flags in _samples(run, ticks, flags):
            first_flags = sample_flags if first_flags is None else first_flags
            samples += 1
            duration += sample_ticks
    return SegmentFacts(
        decode_ticks=decode_ticks,
        duration_ticks=duration,
        samples=samples,
        first_is_key=None if first_flags is None else not first_flags & NON_SYNC,
    )


def _fragment_defaults(header: bytes, init: InitFacts) -> tuple[int, int]:
    """Sample duration and flags that hold where a run says nothing."""
    (word,) = struct.unpack_from(">I", header)
    offset = 8 + 8 * bool(word & _TFHD_BASE_OFFSET) + 4 * bool(word & _TFHD_DESCRIPTION)
    ticks, flags = init.default_sample_ticks, init.default_sample_flags
    if word & _TFHD_DURATION:
        (ticks,) = struct.unpack_from(">I", header, offset)
        offset += 4
    offset += 4 * bool(word & _TFHD_SIZE)
    if word & _TFHD_FLAGS:
        (flags,) = struct.unpack_from(">I", header, offset)
    return ticks, flags


def _samples(run: bytes, ticks: int, flags: int) -> Iterator[tuple[int, int]]:
    word, count = struct.unpack_from(">II", run)
    offset = 8 + 4 * bool(word & _TRUN_OFFSET)
    first_flags: int | None = None
    if word & _TRUN_FIRST_FLAGS:
        (first_flags,) = struct.unpack_from(">I", run, offset)
        offset += 4
    for number in range(count):
        sample_ticks, sample_flags = ticks, flags
        if word & _TRUN_DURATION:
            (sample_ticks,) = struct.unpack_from(">I", run, offset)
            offset += 4
        offset += 4 * bool(word & _TRUN_SIZE)
        if word & _TRUN_FLAGS:
            (sample_flags,) = struct.unpack_from(">I", run, offset)
            offset += 4
        elif number == 0 and first_flags is not None:
            sample_flags = first_flags
        offset += 4 * bool(word & _TRUN_SHIFT)
        yield sample_ticks, sample_flags


def _child(data: bytes, wanted: bytes) -> bytes:
    found = next((body for kind, body in _boxes(data) if kind == wanted), None)
    if found is None:
        raise ValueError(f"{wanted.decode()}: the box is missing")
    return found


def _boxes(data: bytes, *, partial: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of each box in a row; a box that goes on beyond the bytes ends a `partial` reading."""
    offset = 0
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, offset + 8)
            header = 16
        elif size == 0:
            size = len(data) - offset
        if size < header:
            raise ValueError("box: its size is smaller than its header")
        if offset + size > len(data) and (partial or kind == b"mdat"):
            return
        yield kind, data[offset + header : offset + size]
        offset += size
