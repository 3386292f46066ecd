"""How the awkward sources are made that the table of ingest verdicts is walked through with."""

import os
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from media_workers.procs.binaries import Binaries

MAKE_SECONDS_MAX = 60
TS_PACKET_BYTES = 188
PES_WITHOUT_TIME = 0x3F

H264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
SMALL = "-f lavfi -i testsrc2=s=160x90:r=25:d={d}"
PLAIN = f"{SMALL.format(d=1)} {H264}"
# Without fine lines, which look like fields by themselves.
BARS = "nullsrc=s=160x120:r={r}:d={d},geq=lum='128+100*sin((X+Y)/9+N/2)':cb=128:cr=128,format=yuv420p"
SINE = "-f lavfi -i sine=d={d}:r=48000"


class Bench:
    """A folder, and FFmpeg to fill it with."""

    def __init__(self, tools: Binaries, folder: Path) -> None:
        self.tools = tools
        self.folder = folder
        folder.mkdir()

    def make(self, name: str, arguments: str) -> Path:
        """A file by FFmpeg's words; `{name}` stands for a file made before."""
        target = self.folder / name
        words = [self._word(word) for word in arguments.split()]
        argv = [self.tools.ffmpeg, "-v", "error", "-nostdin", "-y", *words, str(target)]
        subprocess.run(argv, check=True, timeout=MAKE_SECONDS_MAX)
        return target

    def write(self, name: str, content: bytes) -> Path:
        target = self.folder / name
        target.write_bytes(content)
        return target

    def _word(self, word: str) -> str:
        return re.sub(r"^\{([\w.]+)\}$", lambda found: str(self.folder / found.group(1)), word)


def cut(path: Path, share: float) -> bytes:
    """The first part of a file."""
    content = path.read_bytes()
    return content[: int(len(content) * share)]


def damaged(content: bytes, places: int, *, first: float = 0.2, length: int = 64) -> bytes:
    """Bytes overwritten at evenly spread places, behind whatever stands at the beginning."""
    spoiled = bytearray(content)
    start = int(len(spoiled) * first)
    step = (len(spoiled) - start - length) // max(places, 1)
    for place in range(places):
        at = start + place * step
        spoiled[at : at + length] = bytes((7 * place + 31 * byte + 3) % 256 for byte in range(length))
    return bytes(spoiled)


def without_times(stream: bytes, lost: Callable[[int], bool]) -> bytes:
    """An MPEG transport stream whose pictures lose their times where `lost(number)`, from 0, says so."""
    content = bytearray(stream)
    for number, at in enumerate(_picture_starts(stream)):
        if lost(number):
            content[at + 7] &= PES_WITHOUT_TIME
    return bytes(content)


def _picture_starts(stream: bytes) -> Iterator[int]:
    for at in range(0, len(stream), TS_PACKET_BYTES):
        packet = stream[at : at + TS_PACKET_BYTES]
        if not packet[1] & 0x40:
            continue
        start = 4 + (packet[4] + 1 if packet[3] & 0x20 else 0)
        if packet[start : start + 3] == b"\0\0\1" and 0xE0 <= packet[start + 3] <= 0xEF:
            yield at + start


def with_box(movie: bytes, path: tuple[bytes, ...], box: bytes) -> bytes:
    """Add a box at the end of a nested one; every box around it grows. The index must stand last.

    Args:
        movie: an MP4 or MOV.
        path: the types of the boxes from the outside in, such as (b"moov", b"trak").
        box: a whole box.
    """
    return _replaced(movie, path, lambda content: content + box)


def with_content(movie: bytes, path: tuple[bytes, ...], content: bytes) -> bytes:
    """Replace what is in a nested box, in the same way."""
    return _replaced(movie, path, lambda _: content)


# What stands in these before the first box inside them.
_BEFORE_BOXES = {b"stsd": 8, b"hvc1": 78, b"dref": 8}


def _replaced(level: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    if not path:
        return change(level)
    at = 0
    while at < len(level):
        size, kind = struct.unpack_from(">I4s", level, at)
        if kind == path[0]:
            before = _BEFORE_BOXES.get(kind, 0) if len(path) > 1 else 0
            start = at + 8 + before
            inside = _replaced(level[start : at + size], path[1:], change)
            head = struct.pack(">I4s", 8 + before + len(inside), kind) + level[at + 8 : start]
            return level[:at] + head + inside + level[at + size :]
        at += size
    raise AssertionError(f"there is no box {path[0]!r}")


def alias_record(target: str) -> bytes:
    """The content of a QuickTime data reference: a Macintosh alias to another file."""
    name = target.encode()
    alias = bytes(10) + bytes([3]) + b"vol".ljust(27, b"\0") + bytes(12) + bytes([len(name)])
    alias += name.ljust(63, b"\0") + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    alias += struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2)
    alias += struct.pack(">HH", 0xFFFF, 0)
    # Version and flags: "not in this file".
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    return struct.pack(">II", 0, 1) + entry


def dolby_vision_box(profile: int) -> bytes:
    """A configuration record (dvcC) that says which profile; the base layer is shown by nobody for 5."""
    version = bytes([1, 0])
    packed = (profile << 9) | (6 << 3) | 0b101
    record = version + struct.pack(">H", packed) + bytes([0]) + bytes(19)
    return struct.pack(">I4s", 8 + len(record), b"dvcC") + record


def make_pipe(path: Path) -> None:
    """A named pipe that nobody writes to."""
    os.mkfifo(path)
