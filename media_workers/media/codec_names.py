"""Codec strings as manifests spell them (RFC 6381), made from the configuration boxes of a sample entry."""

import struct

PQ, HLG = 16, 18
_RANGE_OF = {PQ: "PQ", HLG: "HLG"}
_NAL_AVC = {"avc1", "avc3"}
_PLAIN = {"Opus": "opus", "ac-3": "ac-3", "ec-3": "ec-3", "fLaC": "flac", "wvtt": "wvtt", "stpp": "stpp"}
_AVC_HIGH = 100
_DECODER_CONFIG, _DECODER_INFO, _ELEMENT = 0x04, 0x05, 0x03


def codec_string(entry: str, boxes: dict[str, bytes]) -> str:
    """The codec string of a sample entry; the bare entry when nothing more is known of it.

    Args:
        entry: its four characters, of the clear format when it is encrypted ("avc1").
        boxes: bodies of its child boxes by type.

    Raises:
        ValueError: a configuration box breaks off.
    """
    try:
        if entry in _NAL_AVC and "avcC" in boxes:
            return f"{entry}.{boxes['avcC'][1:4].hex()}"
        if entry in ("hvc1", "hev1") and "hvcC" in boxes:
            return _hevc(entry, boxes["hvcC"])
        if entry == "av01" and "av1C" in boxes:
            return _av1(boxes["av1C"])
        if entry == "vp09" and "vpcC" in boxes:
            profile, level, depth = boxes["vpcC"][4:7]
            return f"vp09.{profile:02d}.{level:02d}.{depth >> 4:02d}"
        if entry == "mp4a" and "esds" in boxes:
            return _mpeg4_audio(boxes["esds"])
    except (IndexError, struct.error) as error:
        raise ValueError(f"{entry}: its configuration breaks off") from error
    return _PLAIN.get(entry, entry)


def video_range(entry: str, boxes: dict[str, bytes]) -> str | None:
    """Either "SDR", "PQ" or "HLG" where the sample entry says it (`colr`, `vpcC`), else None."""
    colour = boxes.get("colr", b"")
    transfer = 0
    if colour[:4] == b"nclx" and len(colour) >= 8:
        (transfer,) = struct.unpack_from(">H", colour, 6)
    elif entry == "vp09" and len(boxes.get("vpcC", b"")) >= 9:
        transfer = boxes["vpcC"][8]
    # 2 means unspecified, which players take for SDR; nothing is known then.
    return None if transfer in (0, 2) else _RANGE_OF.get(transfer, "SDR")


def eight_bit(codec: str) -> bool:
    """Whether a codec string says eight bits a sample, with which no high dynamic range is made."""
    fields = codec.split(".")
    if fields[0] in ("av01", "vp09") and len(fields) > 3:
        return fields[3] == "08"
    # HEVC's profile 1 is Main, and H.264's 110 and above are those with more bits.
    if fields[0] in ("hvc1", "hev1") and len(fields) > 1:
        return fields[1] == "1"
    return fields[0] in _NAL_AVC and len(fields) > 1 and int(fields[1][:2], 16) <= _AVC_HIGH


def same_codec(listed: str, real: str) -> bool:
    """Whether a manifest's codec string means this one; fields it may leave out are not compared."""
    one, other = listed.strip(), real.strip()
    family = one.split(".")[0].lower()
    if family != other.split(".")[0].lower():
        return False
    if family in ("av01", "vp09"):
        return one.lower().split(".")[:4] == other.lower().split(".")[:4]
    return one.lower() == other.lower() or "." not in other


def _hevc(entry: str, config: bytes) -> str:
    space = ("", "A", "B", "C")[config[1] >> 6]
    tier = "H" if config[1] & 0x20 else "L"
    (compatible,) = struct.unpack_from(">I", config, 2)
    mirrored = int(f"{compatible:032b}"[::-1], 2)
    constraints = [f"{byte:x}" for byte in config[6:12].rstrip(b"\0")]
    return ".".join(
        [entry, f"{space}{config[1] & 0x1F}", f"{mirrored:x}", f"{tier}{config[12]}", *constraints]
    )


def _av1(config: bytes) -> str:
    profile, level = config[1] >> 5, config[1] & 0x1F
    tier = "H" if config[2] & 0x80 else "M"
    high, twelve = config[2] & 0x40, config[2] & 0x20
    depth = 12 if twelve else 10 if high else 8
    return f"av01.{profile}.{level:02d}{tier}.{depth:02d}"


def _mpeg4_audio(esds: bytes) -> str:
    """Walk the descriptors down to the decoder's own configuration (ISO/IEC 14496-1 7.2.6)."""
    offset, kind = 4, 0
    object_type = 0
    while offset < len(esds):
        kind, start = esds[offset], _after_length(esds, offset + 1)
        if kind == _ELEMENT:
            flags = esds[start + 2]
            skipped = 2 * bool(flags & 0x80) + 2 * bool(flags & 0x20)
            if flags & 0x40:
                skipped += 1 + esds[start + 3]
            offset = start + 3 + skipped
        elif kind == _DECODER_CONFIG:
            object_type = esds[start]
            offset = start + 13
        elif kind == _DECODER_INFO:
            audio_type = esds[start] >> 3
            if audio_type == 31:
                audio_type = 32 + ((esds[start] & 7) << 3 | esds[start + 1] >> 5)
            return f"mp4a.{object_type:02x}.{audio_type}"
        else:
            break
    return f"mp4a.{object_type:02x}"


def _after_length(data: bytes, offset: int) -> int:
    while data[offset] & 0x80:
        offset += 1
    return offset + 1
