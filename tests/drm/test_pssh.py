"""PSSH boxes: what is written is read, and hostile bytes are refused in words."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_workers.media.protection import SYSTEM_IDS, CopyScheme
from media_workers.media.pssh import common_pssh, merged_pssh, parse_pssh, playready_pssh, widevine_pssh

KEY_IDS = ("0011223344556677889900aabbccddee", "ffeeddccbbaa00998877665544332211")
MAKERS = {"widevine": widevine_pssh, "playready": playready_pssh}


@pytest.mark.parametrize("scheme", ["cbcs", "cenc"])
@pytest.mark.parametrize("system", list(MAKERS))
def test_written_and_read(system: str, scheme: CopyScheme) -> None:
    """A box of version 0 names its system and all its keys in its data."""
    [box] = parse_pssh(MAKERS[system](KEY_IDS, scheme))

    assert (box.system, box.version, box.key_ids) == (system, 0, KEY_IDS)


def test_common_box() -> None:
    """The common box of version 1 names keys in front and has no data."""
    [box] = parse_pssh(common_pssh(KEY_IDS))

    assert (box.system, box.version, box.key_ids, box.data) == ("common", 1, KEY_IDS, b"")


def test_several_boxes() -> None:
    """Boxes in a row are read in their order, other systems by their id."""
    other = bytes.fromhex("12345678123456781234567812345678")
    strange = struct.pack(">I4sI", 32, b"pssh", 0) + other + struct.pack(">I", 0)

    boxes = parse_pssh(widevine_pssh(KEY_IDS[:1], "cbcs") + strange)

    assert [box.system for box in boxes] == ["widevine", other.hex()]


def test_playready_key_ids_are_guids() -> None:
    """PlayReady writes the first three groups of a key id in little-endian order."""
    [box] = parse_pssh(playready_pssh(["0123456789abcdef0123456789abcdef"], "cbcs"))

    # base64 of 67452301 ab89 efcd 0123456789abcdef
    assert 'VALUE="Z0UjAauJ780BI0VniavN7w=="' in box.data.decode("utf-16-le", "replace")


@pytest.mark.parametrize("cut", [0, 1, 8, 31, -1])
def test_cut_boxes(cut: int) -> None:
    """A box that breaks off is an error in words."""
    whole = widevine_pssh(KEY_IDS, "cbcs")

    with pytest.raises(ValueError, match="pssh: "):
        parse_pssh(whole[:cut])


@given(st.sampled_from(sorted(SYSTEM_IDS)), st.binary(max_size=200), st.integers(0, 2))
def test_hostile_data(system: str, data: bytes, version: int) -> None:
    """Any data in a box is either read or refused; nothing else happens."""
    body = bytes.fromhex(SYSTEM_IDS[system]) + struct.pack(">I", len(data)) + data
    box = struct.pack(">I4sB3x", 12 + len(body), b"pssh", version) + body

    try:
        [parsed] = parse_pssh(box)
    except ValueError:
        return
    assert all(len(key_id) == 32 for key_id in parsed.key_ids)


def test_boxes_of_single_keys_become_one() -> None:
    """Boxes made for one key each become one a system, with what else the first of them says."""
    singles = [
        box
        for key_id in KEY_IDS
        for box in (
            widevine_pssh([key_id], "cbcs"),
            playready_pssh([key_id], "cbcs", "https://licence.example/?a=1&b=2"),
        )
    ]

    merged = [parse_pssh(box)[0] for box in merged_pssh(singles)]

    assert [(box.system, box.key_ids) for box in merged] == [("widevine", KEY_IDS), ("playready", KEY_IDS)]
    header = merged[1].data.decode("utf-16-le", "replace")
    assert header.count("<LA_URL>https://licence.example/?a=1&amp;b=2</LA_URL>") == 1
    assert header.count('ALGID="AESCBC"') == 2


def test_boxes_that_name_all_keys_stay() -> None:
    """A box for all keys, and boxes of other systems, come out as they went in."""
    whole = [widevine_pssh(KEY_IDS, "cenc"), playready_pssh(KEY_IDS, "cenc"), common_pssh(KEY_IDS)]

    assert list(merged_pssh(whole)) == whole
