"""A small reader of ISO base media boxes: bytes in, values out."""

import struct
from collections import Counter
from collections.abc import Iterator

import msgspec

from media_workers.media.codec_names import codec_string, video_range

# Bit of a sample's flags that says it depends on others.
NON_SYNC = 0x0001_0000

_TFHD_BASE_OFFSET, _TFHD_DESCRIPTION, _TFHD_DURATION, _TFHD_SIZE, _TFHD_FLAGS = 0x1, 0x2, 0x8, 0x10, 0x20
_TRUN_OFFSET, _TRUN_FIRST_FLAGS = 0x1, 0x4
_TRUN_DURATION, _TRUN_SIZE, _TRUN_FLAGS, _TRUN_SHIFT = 0x100, 0x200, 0x400, 0x800
# Fixed fields before the children of a sample entry, by the kind of track.
_ENTRY_FIELDS = {"vide": 78, "soun": 28}
_ENCRYPTED_ENTRIES = ("encv", "enca", "enct", "encs")
_INDEX_REFERENCES_MAX = 65_535


class SegmentFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One media segment; times in ticks of its track's timescale, places in bytes from its beginning.

    Attributes:
        first_is_key: None when not said.
        sample_ticks: the most frequent duration of a sample.
        encrypted: whether its samples have encryption data of their own (`senc`).
        keyframes: place and size of every sample that depends on no other.
        fragments: place of each `moof`.
    """

    decode_ticks: int
    duration_ticks: int
    samples: int
    first_is_key: bool | None
    sample_ticks: int = 0
    encrypted: bool = False
    keyframes: tuple[tuple[int, int], ...] = ()
    fragments: tuple[int, ...] = ()


class InitFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One init segment: its one track.

    Attributes:
        sample_entry: of the clear format, also when it is encrypted ("avc1").
        codec: as manifests spell it ("avc1.64001f").
        width: pixels, 0 for what is no picture.
        video_range: "SDR", "PQ", "HLG", or None where the boxes do not say.
        priming_ticks: what the edit list cuts from the beginning.
        scheme: "cenc", "cbcs", ... of encrypted tracks.
        key_id: 32 lower-case hex digits, of encrypted tracks.
        systems: system ids of the `pssh` boxes, lower-case with hyphens.
    """

    timescale: int
    sample_entry: str
    default_sample_ticks: int
    default_sample_flags: int
    default_sample_size: int = 0
    kind: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    video_range: str | None = None
    priming_ticks: int = 0
    scheme: str | None = None
    key_id: str | None = None
    systems: tuple[str, ...] = ()


class IndexEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One subsegment that a `sidx` lists: place in the file, bytes, ticks."""

    offset: int
    size: int
    ticks: int


class SegmentIndex(msgspec.Struct, frozen=True, kw_only=True):
    """The index of a single-file stream; `ticks` are of its own timescale."""

    timescale: int
    entries: tuple[IndexEntry, ...]


def init_facts(data: bytes) -> InitFacts:
    """Read an init segment.

    Raises:
        ValueError: the bytes hold no movie box with one track.
    """
    try:
        movie = _child(data, b"moov")
        track = _child(movie, b"trak")
        media = _child(track, b"mdia")
        header = _child(media, b"mdhd")
        # Version 1 has 64-bit times before the timescale.
        (timescale,) = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)
        kind = _child(media, b"hdlr")[8:12].decode("latin-1")
        description = _child(_child(_child(media, b"minf"), b"stbl"), b"stsd")
        _, ticks, size, flags = struct.unpack_from(">IIII", _child(_child(movie, b"mvex"), b"trex"), 8)
        facts = InitFacts(
            timescale=timescale,
            sample_entry=description[12:16].decode("ascii"),
            default_sample_ticks=ticks,
            default_sample_size=size,
            default_sample_flags=flags,
            kind=kind,
            priming_ticks=_priming(track),
            systems=tuple(_system(body) for name, body in _boxes(movie) if name == b"pssh"),
        )
        return _with_entry(facts, description[8:])
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("init segment: a box in it is cut off or malformed") from error


def segment_facts(head: bytes, init: InitFacts) -> SegmentFacts:
    """Read a media segment; its beginning up to the end of the last `moof` is enough.

    Raises:
        ValueError: the bytes hold no complete `moof`.
    """
    try:
        runs = [
            _fragment(_child(head[start:end], b"traf"), init, moof=place)
            for kind, place, start, end in _places(head)
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
        sample_ticks=runs[0].sample_ticks,
        encrypted=all(run.encrypted for run in runs),
        keyframes=tuple(place for run in runs for place in run.keyframes),
        fragments=tuple(place for run in runs for place in run.fragments),
    )


def segment_index(data: bytes, *, file_offset: int) -> SegmentIndex:
    """Read the `sidx` box of a single-file stream.

    Args:
        data: bytes that begin with the box.
        file_offset: where in the file they lie.

    Raises:
        ValueError: there is no complete index in them.
    """
    try:
        kind, _, start, end = next(_places(data))
        body = data[start:end]
        if kind != b"sidx":
            raise ValueError("segment index: there is no sidx box where one is listed")
        (timescale,) = struct.unpack_from(">I", body, 8)
        wide = body[0] != 0
        (first,) = struct.unpack_from(">Q" if wide else ">I", body, 20 if wide else 16)
        offset = 28 if wide else 20
        (count,) = struct.unpack_from(">H", body, offset + 2)
        place, entries = file_offset + end + first, []
        for number in range(count):
            size, ticks, _ = struct.unpack_from(">III", body, offset + 4 + 12 * number)
            entries.append(IndexEntry(offset=place, size=size & 0x7FFF_FFFF, ticks=ticks))
            place += size & 0x7FFF_FFFF
    except (struct.error, IndexError, StopIteration) as error:
        raise ValueError("segment index: the box is cut off or malformed") from error
    return SegmentIndex(timescale=timescale, entries=tuple(entries))


def _with_entry(facts: InitFacts, entries: bytes) -> InitFacts:
    """Add what the first sample entry says; a second one is the same stream in the clear."""
    kind, _, start, end = next(_places(entries))
    entry = kind.decode("ascii")
    body = entries[start:end]
    width = height = 0
    if facts.kind == "vide":
        width, height = struct.unpack_from(">HH", body, 24)
    children = body[_ENTRY_FIELDS.get(facts.kind, 8) :]
    boxes = {name.decode("latin-1"): inner for name, inner in _boxes(children)}
    scheme = key_id = None
    if entry in _ENCRYPTED_ENTRIES:
        protection = boxes.get("sinf", b"")
        entry = _child(protection, b"frma").decode("ascii")
        scheme = _child(protection, b"schm")[4:8].decode("ascii")
        key_id = _child(_child(protection, b"schi"), b"tenc")[8:24].hex()
    return msgspec.structs.replace(
        facts,
        sample_entry=entry,
        codec=codec_string(entry, boxes),
        width=width,
        height=height,
        video_range=video_range(entry, boxes) if facts.kind == "vide" else None,
        scheme=scheme,
        key_id=key_id,
    )


def _priming(track: bytes) -> int:
    edits = next((body for kind, body in _boxes(track) if kind == b"edts"), None)
    if edits is None:
        return 0
    edit_list = _child(edits, b"elst")
    (count,) = struct.unpack_from(">I", edit_list, 4)
    if not count:
        return 0
    # Version 1 has 64-bit fields: the length of the edit, then where in the media it begins.
    (start,) = struct.unpack_from(
        ">q" if edit_list[0] == 1 else ">i", edit_list, 16 if edit_list[0] == 1 else 12
    )
    return max(0, int(start))


def _system(pssh: bytes) -> str:
    digits = pssh[4:20].hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _fragment(body: bytes, init: InitFacts, *, moof: int) -> SegmentFacts:
    base, ticks, size, flags = _fragment_defaults(_child(body, b"tfhd"), init, moof)
    time = _child(body, b"tfdt")
    (decode_ticks,) = struct.unpack_from(">Q" if time[0] == 1 else ">I", time, 4)
    lengths: Counter[int] = Counter()
    keyframes: list[tuple[int, int]] = []
    first_flags: int | None = None
    place = base
    for kind, run in _boxes(body):
        if kind != b"trun":
            continue
        (word,) = struct.unpack_from(">I", run)
        if word & _TRUN_OFFSET:
            place = base + int(struct.unpack_from(">i", run, 8)[0])
        for sample_ticks, sample_size, sample_flags in _samples(run, ticks, size, flags):
            first_flags = sample_flags if first_flags is None else first_flags
            if not sample_flags & NON_SYNC:
                keyframes.append((place, sample_size))
            lengths[sample_ticks] += 1
            place += sample_size
    return SegmentFacts(
        decode_ticks=decode_ticks,
        duration_ticks=sum(length * count for length, count in lengths.items()),
        samples=lengths.total(),
        first_is_key=None if first_flags is None else not first_flags & NON_SYNC,
        sample_ticks=max(lengths, key=lengths.__getitem__, default=0),
        encrypted=any(kind == b"senc" for kind, _ in _boxes(body)),
        keyframes=tuple(keyframes),
        fragments=(moof,),
    )


def _fragment_defaults(header: bytes, init: InitFacts, moof: int) -> tuple[int, int, int, int]:
    """Base of data offsets, and the sample duration, size and flags that hold where a run says nothing."""
    (word,) = struct.unpack_from(">I", header)
    base, offset = moof, 8
    ticks, size, flags = init.default_sample_ticks, init.default_sample_size, init.default_sample_flags
    if word & _TFHD_BASE_OFFSET:
        (base,) = struct.unpack_from(">Q", header, offset)
        offset += 8
    offset += 4 * bool(word & _TFHD_DESCRIPTION)
    if word & _TFHD_DURATION:
        (ticks,) = struct.unpack_from(">I", header, offset)
        offset += 4
    if word & _TFHD_SIZE:
        (size,) = struct.unpack_from(">I", header, offset)
        offset += 4
    if word & _TFHD_FLAGS:
        (flags,) = struct.unpack_from(">I", header, offset)
    return base, ticks, size, flags


def _samples(run: bytes, ticks: int, size: int, flags: int) -> Iterator[tuple[int, int, int]]:
    word, count = struct.unpack_from(">II", run)
    offset = 8 + 4 * bool(word & _TRUN_OFFSET)
    first_flags: int | None = None
    if word & _TRUN_FIRST_FLAGS:
        (first_flags,) = struct.unpack_from(">I", run, offset)
        offset += 4
    for number in range(count):
        sample_ticks, sample_size, sample_flags = ticks, size, flags
        if word & _TRUN_DURATION:
            (sample_ticks,) = struct.unpack_from(">I", run, offset)
            offset += 4
        if word & _TRUN_SIZE:
            (sample_size,) = struct.unpack_from(">I", run, offset)
            offset += 4
        if word & _TRUN_FLAGS:
            (sample_flags,) = struct.unpack_from(">I", run, offset)
            offset += 4
        elif number == 0 and first_flags is not None:
            sample_flags = first_flags
        offset += 4 * bool(word & _TRUN_SHIFT)
        yield sample_ticks, sample_size, sample_flags


def _child(data: bytes, wanted: bytes) -> bytes:
    found = next((body for kind, body in _boxes(data) if kind == wanted), None)
    if found is None:
        raise ValueError(f"{wanted.decode()}: the box is missing")
    return found


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of each box in a row."""
    for kind, _, start, end in _places(data, whole=True):
        yield kind, data[start:end]


def _places(data: bytes, *, whole: bool = False) -> Iterator[tuple[bytes, int, int, int]]:
    """Type, beginning, begin of the body and end of each box in a row.

    A box that goes on beyond the bytes ends the reading, unless they should be `whole`.
    """
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
        if offset + size > len(data) and (not whole or kind == b"mdat"):
            return
        yield kind, offset, offset + header, offset + size
        offset += size
