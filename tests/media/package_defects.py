"""What can be wrong with a package, planted into a copy of a sound one."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

Plant = Callable[[Path], None]

VIDEO, AUDIO, TEXT = "video/180p", "audio/audio_0_aac", "text/text_0"
MASTER, MPD = "master.m3u8", "manifest.mpd"


def replaced(path: str, old: str, new: str, count: int = 1) -> Plant:
    """Another text in a manifest; `old` is a pattern that must be there."""

    def plant(folder: Path) -> None:
        text = (folder / path).read_text()
        changed, times = re.subn(old, new, text, count=count)
        assert times, f"{path} has no {old}"
        (folder / path).write_text(changed)

    return plant


def every(pattern: str, old: str, new: str) -> Plant:
    """The same in all manifests whose path matches."""

    def plant(folder: Path) -> None:
        paths = sorted(folder.glob(pattern))
        assert paths
        for path in paths:
            replaced(path.relative_to(folder).as_posix(), old, new, count=0)(folder)

    return plant


def removed(*paths: str) -> Plant:
    """Files that are gone."""

    def plant(folder: Path) -> None:
        for path in paths:
            (folder / path).unlink()

    return plant


def written(path: str, content: bytes) -> Plant:
    """A file with another content, or one more."""

    def plant(folder: Path) -> None:
        (folder / path).write_bytes(content)

    return plant


def both(*plants: Plant) -> Plant:
    """Several changes that make one defect."""

    def plant(folder: Path) -> None:
        for one in plants:
            one(folder)

    return plant


def noise(path: str, *, skip: int = 0) -> Plant:
    """Bytes that mean nothing, from a place on; the file keeps its size."""

    def plant(folder: Path) -> None:
        data = (folder / path).read_bytes()
        middle = bytes((7 * number + 13) % 251 for number in range(len(data) - skip))
        (folder / path).write_bytes(data[:skip] + middle)

    return plant


def media_noise(path: str) -> Plant:
    """Pictures that mean nothing in boxes that are sound."""

    def plant(folder: Path) -> None:
        skip = (folder / path).read_bytes().index(b"mdat") + 4
        noise(path, skip=skip + 200)(folder)

    return plant


def box_renamed(path: str, old: bytes, new: bytes) -> Plant:
    """A box of another type; players skip types they do not know."""

    def plant(folder: Path) -> None:
        data = (folder / path).read_bytes()
        assert old in data
        (folder / path).write_bytes(data.replace(old, new, 1))

    return plant


def moved_in_time(path: str, ticks: int) -> Plant:
    """A segment that begins later than it should."""

    def plant(folder: Path) -> None:
        data = bytearray((folder / path).read_bytes())
        place = data.index(b"tfdt") + 8
        wide = data[place - 4] == 1
        form = ">Q" if wide else ">I"
        struct.pack_into(form, data, place, struct.unpack_from(form, data, place)[0] + ticks)
        (folder / path).write_bytes(data)

    return plant


def without_keyframe(path: str) -> Plant:
    """A segment whose first picture depends on others, as its flags say."""

    def plant(folder: Path) -> None:
        data = bytearray((folder / path).read_bytes())
        place = data.index(b"trun") + 4
        (word,) = struct.unpack_from(">I", data, place)
        offset = place + 8 + 4 * bool(word & 0x1)
        if word & 0x400:
            offset += 4 * bool(word & 0x100) + 4 * bool(word & 0x200)
        else:
            assert word & 0x4, "the first picture's flags are nowhere"
        (flags,) = struct.unpack_from(">I", data, offset)
        struct.pack_into(">I", data, offset, flags | 0x0001_0000)
        (folder / path).write_bytes(data)

    return plant


LAST_ENTRY = r"#EXTINF:[^\n]*\n0000\d\.\w+\n(?=#EXT-X-ENDLIST)"

CLEAR: tuple[tuple[str, Plant], ...] = (
    ("manifest_missing", removed(f"{VIDEO}/playlist.m3u8")),
    ("manifest_invalid", written(f"{VIDEO}/playlist.m3u8", b"<html>not found</html>")),
    ("manifest_invalid", replaced(MPD, "</MPD>", "")),
    ("manifest_invalid", replaced(MPD, "<MPD ", "<!DOCTYPE x><MPD ")),
    ("segment_missing", removed(f"{VIDEO}/00002.m4s")),
    ("segment_missing", removed(f"{AUDIO}/init.mp4")),
    ("segment_missing", removed("sprite-001.jpg")),
    ("segment_empty", written(f"{AUDIO}/00002.m4s", b"")),
    ("segment_unreadable", noise(f"{VIDEO}/00002.m4s")),
    ("extinf_mismatch", replaced(f"{VIDEO}/playlist.m3u8", "EXTINF:2.000", "EXTINF:1.900")),
    ("extinf_mismatch", replaced(f"{AUDIO}/playlist.m3u8", r"EXTINF:0\.\d+", "EXTINF:0.500")),
    ("duration_mismatch", replaced(f"{VIDEO}/playlist.m3u8", LAST_ENTRY, "")),
    ("av_length_mismatch", replaced(f"{AUDIO}/playlist.m3u8", LAST_ENTRY, "")),
    ("target_duration_exceeded", replaced(f"{VIDEO}/playlist.m3u8", "DURATION:2", "DURATION:1")),
    ("endlist_missing", replaced(f"{AUDIO}/playlist.m3u8", "#EXT-X-ENDLIST", "")),
    ("segment_without_keyframe", without_keyframe(f"{VIDEO}/00002.m4s")),
    ("timeline_gap", moved_in_time(f"{VIDEO}/00002.m4s", 512)),
    ("bandwidth_wrong", replaced(MASTER, r":BANDWIDTH=\d+", ":BANDWIDTH=50000")),
    ("bandwidth_wrong", replaced(MPD, r'bandwidth="\d+" codecs="avc1', 'bandwidth="9999999" codecs="avc1')),
    ("average_bandwidth_wrong", replaced(MASTER, r"AVERAGE-BANDWIDTH=\d+", "AVERAGE-BANDWIDTH=20000")),
    ("codecs_mismatch", replaced(MASTER, r'CODECS="avc1\.\w+', 'CODECS="avc1.640033')),
    ("codecs_mismatch", replaced(MASTER, ",mp4a.40.2", "")),
    ("resolution_mismatch", replaced(MASTER, "RESOLUTION=320x180", "RESOLUTION=322x180")),
    ("frame_rate_mismatch", replaced(MASTER, "FRAME-RATE=25.000", "FRAME-RATE=30.000")),
    ("video_range_mismatch", replaced(MASTER, "VIDEO-RANGE=SDR", "VIDEO-RANGE=PQ")),
    ("group_missing", replaced(MASTER, ',AUDIO="audio"', ',AUDIO="other"')),
    ("group_missing", replaced(MASTER, ',SUBTITLES="subtitles"', "", count=0)),
    ("default_missing", replaced(MASTER, "DEFAULT=YES", "DEFAULT=NO")),
    ("default_wrong", replaced(MASTER, "DEFAULT=NO(,AUTOSELECT=YES,CHANNELS)", r"DEFAULT=YES\1")),
    ("language_missing", replaced(MASTER, 'LANGUAGE="fr",', "")),
    ("iframe_range_wrong", replaced(f"{VIDEO}/iframes.m3u8", r"BYTERANGE:(\d)(\d+)@", r"BYTERANGE:1\2@")),
    (
        "iframes_missing",
        both(
            replaced(MASTER, r"#EXT-X-I-FRAME-STREAM-INF[^\n]*\n", "", count=0),
            removed(f"{VIDEO}/iframes.m3u8", "video/144p/iframes.m3u8"),
        ),
    ),
    (
        "subtitles_short",
        both(replaced(f"{TEXT}/playlist.m3u8", LAST_ENTRY, ""), removed(f"{TEXT}/00003.vtt")),
    ),
    ("subtitles_invalid", written(f"{TEXT}/00001.vtt", b"1\n00:00:00,200 --> 00:00:01,500\nHello\n")),
    ("dash_timeline_mismatch", replaced(MPD, 'd="25600"', 'd="25000"')),
    ("dash_duration_mismatch", replaced(MPD, r'(PresentationDuration)="[^"]+"', r'\1="PT4.9S"')),
    ("dash_attributes_missing", replaced(MPD, ' lang="fr"', "")),
    ("dash_codecs_mismatch", replaced(MPD, r'codecs="mp4a.40.2"', 'codecs="mp4a.40.5"')),
    ("dash_codecs_mismatch", replaced(MPD, r'width="320"', 'width="640"')),
    ("encryption_missing", replaced(f"{VIDEO}/playlist.m3u8", "#EXT-X-MAP", '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"\n#EXT-X-MAP')),
    ("file_stray", written("video/180p/00009.m4s", b"left behind")),
    ("file_stray", written(".env", b"secret")),
)  # fmt: skip

PROTECTED: tuple[tuple[str, Plant], ...] = (
    ("encryption_missing", box_renamed(f"{VIDEO}/00002.m4s", b"senc", b"free")),
    ("encryption_unsignalled", replaced(f"{VIDEO}/playlist.m3u8", r"#EXT-X-KEY[^\n]*\n", "", count=0)),
    ("scheme_mismatch", replaced(f"{AUDIO}/playlist.m3u8", "SAMPLE-AES", "SAMPLE-AES-CTR", count=0)),
    ("scheme_mismatch", box_renamed(f"{AUDIO}/init.mp4", b"cbcs", b"cenc")),
    ("key_id_mismatch", replaced(f"{VIDEO}/playlist.m3u8", r"KEYID=0x\w{8}", "KEYID=0x00000000")),
    ("key_id_mismatch", replaced(MPD, r'default_KID="\w{8}', 'default_KID="00000000')),
    ("drm_system_missing", replaced(f"{VIDEO}/playlist.m3u8", r"#EXT-X-KEY[^\n]*playready[^\n]*\n", "")),
    ("drm_system_missing", replaced(f"{AUDIO}/playlist.m3u8", r"#EXT-X-KEY[^\n]*apple[^\n]*\n", "")),
    ("drm_system_missing", box_renamed(f"{VIDEO}/init.mp4", bytes.fromhex("edef8ba979d6"), b"\0" * 6)),
    ("key_uri_shared", every("[av]*/*/playlist.m3u8", r"skd://[^\"]+", "skd://one")),
)  # fmt: skip
