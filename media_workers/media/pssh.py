"""Protection system specific header boxes (`pssh`, ISO/IEC 23001-7): written and read.

Data of Widevine is a protocol buffer (key ids in field 2, the scheme in field 9); data of PlayReady is a
PlayReady object with a WRMHEADER in UTF-16; the common box of version 1 has its key ids in front and no data.
"""

import base64
import re
import struct
from collections.abc import Iterator, Sequence

import msgspec

from media_workers.media.protection import SYSTEM_IDS, CopyScheme

BOX_BYTES_MAX = 1 << 20
_NAME_OF = {bytes.fromhex(system_id): name for name, system_id in SYSTEM_IDS.items()}
_KEY_IDS_FIELD, _SCHEME_FIELD = 2, 9
_VARINT, _SIXTY_FOUR_BITS, _BYTES, _THIRTY_TWO_BITS = 0, 1, 2, 5
_PLAYREADY_HEADER_RECORD = 1
_ALGORITHM_OF: dict[CopyScheme, str] = {"cbcs": "AESCBC", "cenc": "AESCTR"}
_WRM_KEY = re.compile(r"<KID\b[^>]*/>|<KID\b[^>]*>[^<]*</KID>")
_WRM_KEY_ID = re.compile(r'<KID\b[^>]*\bVALUE="([^"]+)"|<KID>([^<]+)</KID>')


class Pssh(msgspec.Struct, frozen=True, kw_only=True):
    """One box.

    Attributes:
        system: widevine, playready, fairplay, common, or the system's id in hex when it is another.
        version: 0 or 1.
        key_ids: 32 lower-case hex digits each, from the box or its data.
        data: what the system's own players read.
    """

    system: str
    version: int
    key_ids: tuple[str, ...]
    data: bytes


def parse_pssh(box: bytes) -> tuple[Pssh, ...]:
    """Read one or several boxes in a row.

    Raises:
        ValueError: the bytes are no complete `pssh` boxes, or their data is malformed.
    """
    if not box or len(box) > BOX_BYTES_MAX:
        raise ValueError(f"pssh: must have 1 to {BOX_BYTES_MAX} bytes")
    found = []
    offset = 0
    while offset < len(box):
        if len(box) - offset < 32:
            raise ValueError("pssh: the box is cut off")
        size, kind = struct.unpack_from(">I4s", box, offset)
        if kind != b"pssh" or not 32 <= size <= len(box) - offset:
            raise ValueError("pssh: these bytes are no pssh box, or it is cut off")
        found.append(_parsed(box[offset + 8 : offset + size]))
        offset += size
    return tuple(found)


def common_pssh(key_ids: Sequence[str]) -> bytes:
    """The common box of version 1, as ClearKey reads it."""
    return _box("common", b"", key_ids)


def widevine_pssh(key_ids: Sequence[str], scheme: CopyScheme) -> bytes:
    """A Widevine box of version 0 that names keys and scheme; enough for most licence servers."""
    data = b"".join(_field(_KEY_IDS_FIELD, bytes.fromhex(key_id)) for key_id in key_ids)
    (four_characters,) = struct.unpack(">I", scheme.encode())
    return _box("widevine", data + bytes([_SCHEME_FIELD << 3]) + _varint(four_characters))


def playready_pssh(key_ids: Sequence[str], scheme: CopyScheme, licence_url: str | None = None) -> bytes:
    """A PlayReady box of version 0 with a header of 4.3 for `cbcs` and 4.2 for `cenc`.

    Source: Microsoft's PlayReady header specification; the checksum, which it makes optional, is left out
    because it would need the key.
    """
    version = "4.3.0.0" if scheme == "cbcs" else "4.2.0.0"
    keys = "".join(
        f'<KID ALGID="{_ALGORITHM_OF[scheme]}" VALUE="{_guid(key_id)}"></KID>' for key_id in key_ids
    )
    url = f"<LA_URL>{_escaped(licence_url)}</LA_URL>" if licence_url else ""
    header = (
        '<WRMHEADER xmlns="http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader" '
        f'version="{version}"><DATA><PROTECTINFO><KIDS>{keys}</KIDS></PROTECTINFO>{url}</DATA></WRMHEADER>'
    ).encode("utf-16-le")
    return _box("playready", _playready_object(header))


def merged_pssh(boxes: Sequence[bytes]) -> tuple[bytes, ...]:
    """One box a system that names all keys, where the boxes were made for one key each.

    A packager writes the same boxes into every track and PlayReady's players look at the first alone, so that
    boxes of single keys would leave most tracks without a licence.

    Args:
        boxes: one `pssh` box each.

    Returns:
        a box of Widevine and of PlayReady at most, made from the first of each; others, and PlayReady headers
        before 4.2, which cannot name several keys, as they were.

    Raises:
        ValueError: a box is malformed.
    """
    by_system: dict[str, list[Pssh]] = {}
    for box in boxes:
        for item in parse_pssh(box):
            by_system.setdefault(item.system, []).append(item)
    return tuple(box for system, items in by_system.items() for box in _MERGERS.get(system, _unmerged)(items))


def _merged_widevine(items: Sequence[Pssh]) -> list[bytes]:
    first = items[0]
    further = dict.fromkeys(key_id for item in items for key_id in item.key_ids)
    # In a protocol buffer a repeated field may go on at the end.
    added = [
        _field(_KEY_IDS_FIELD, bytes.fromhex(key_id)) for key_id in further if key_id not in first.key_ids
    ]
    return [_box("widevine", first.data + b"".join(added))]


def _merged_playready(items: Sequence[Pssh]) -> list[bytes]:
    headers = [_header_of(item.data) for item in items]
    if len(items) == 1 or not all("</KIDS>" in header for header in headers):
        return _unmerged(items)
    keys = dict.fromkeys(key for header in headers for key in _WRM_KEY.findall(header))
    before, _, rest = headers[0].partition("<KIDS>")
    after = rest.partition("</KIDS>")[2]
    header = f"{before}<KIDS>{''.join(keys)}</KIDS>{after}".encode("utf-16-le")
    return [_box("playready", _playready_object(header))]


def _unmerged(items: Sequence[Pssh]) -> list[bytes]:
    return [_box(item.system, item.data, item.key_ids if item.version else None) for item in items]


_MERGERS = {"widevine": _merged_widevine, "playready": _merged_playready}


def _parsed(body: bytes) -> Pssh:
    version = body[0]
    if version > 1:
        raise ValueError(f"pssh: version {version} is unknown")
    system = _NAME_OF.get(body[4:20], body[4:20].hex())
    offset, key_ids = 20, []
    if version == 1:
        (count,) = struct.unpack_from(">I", body, offset)
        offset += 4
        if count * 16 > len(body) - offset - 4:
            raise ValueError("pssh: it names more keys than it holds")
        key_ids = [body[offset + 16 * n : offset + 16 * n + 16].hex() for n in range(count)]
        offset += 16 * count
    if len(body) < offset + 4:
        raise ValueError("pssh: the box is cut off")
    (size,) = struct.unpack_from(">I", body, offset)
    data = body[offset + 4 :]
    if size != len(data):
        raise ValueError("pssh: its data has another length than it says")
    if system == "widevine":
        key_ids += _widevine_key_ids(data)
    elif system == "playready":
        key_ids += _playready_key_ids(data)
    return Pssh(system=system, version=version, key_ids=tuple(dict.fromkeys(key_ids)), data=data)


def _box(system: str, data: bytes, key_ids: Sequence[str] | None = None) -> bytes:
    names = b""
    if key_ids is not None:
        names = struct.pack(">I", len(key_ids)) + b"".join(bytes.fromhex(key_id) for key_id in key_ids)
    body = bytes.fromhex(SYSTEM_IDS.get(system, system)) + names + struct.pack(">I", len(data)) + data
    return struct.pack(">I4sB3x", 12 + len(body), b"pssh", 0 if key_ids is None else 1) + body


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _widevine_key_ids(data: bytes) -> list[str]:
    return [value.hex() for number, value in _fields(data) if number == _KEY_IDS_FIELD and len(value) == 16]


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of the fields that are bytes; the others are skipped."""
    offset = 0
    while offset < len(data):
        tag, offset = _read_varint(data, offset)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, offset = _read_varint(data, offset)
            continue
        size = {_SIXTY_FOUR_BITS: 8, _THIRTY_TWO_BITS: 4}.get(kind)
        if kind == _BYTES:
            size, offset = _read_varint(data, offset)
        if size is None or offset + size > len(data):
            raise ValueError("pssh: its Widevine data is malformed")
        if kind == _BYTES:
            yield number, data[offset : offset + size]
        offset += size


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for position in range(10):
        if offset + position >= len(data):
            break
        byte = data[offset + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, offset + position + 1
    raise ValueError("pssh: its Widevine data is malformed")


def _playready_key_ids(data: bytes) -> list[str]:
    return [_from_guid(a or b) for a, b in _WRM_KEY_ID.findall(_header_of(data))]


def _header_of(data: bytes) -> str:
    """The WRMHEADER of a PlayReady object; "" when it has none."""
    if len(data) < 6:
        raise ValueError("pssh: its PlayReady object is cut off")
    (records,) = struct.unpack_from("<H", data, 4)
    offset = 6
    for _ in range(records):
        if offset + 4 > len(data):
            raise ValueError("pssh: its PlayReady object is cut off")
        kind, size = struct.unpack_from("<HH", data, offset)
        if kind == _PLAYREADY_HEADER_RECORD:
            return data[offset + 4 : offset + 4 + size].decode("utf-16-le", "replace")
        offset += 4 + size
    return ""


def _playready_object(header: bytes) -> bytes:
    record = struct.pack("<HH", _PLAYREADY_HEADER_RECORD, len(header)) + header
    return struct.pack("<IH", 6 + len(record), 1) + record


def _guid(key_id: str) -> str:
    return base64.b64encode(_swapped(bytes.fromhex(key_id))).decode()


def _from_guid(text: str) -> str:
    raw = base64.b64decode(text.strip(), validate=True)
    if len(raw) != 16:
        raise ValueError("pssh: a key id of its PlayReady header has not 16 bytes")
    return _swapped(raw).hex()


def _swapped(raw: bytes) -> bytes:
    """A GUID has its first three groups in little-endian order; swapping twice gives the id again."""
    return raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
