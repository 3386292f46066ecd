"""Awkward uploads that are about the file: empty, cut, no media, pointing elsewhere, protected, hostile."""

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.media.awkward_case import Build, Case, case, changed, given, made
from tests.media.awkward_files import (
    H264,
    MAKE_SECONDS_MAX,
    PLAIN,
    SINE,
    SMALL,
    Bench,
    alias_record,
    cut,
    make_pipe,
    with_content,
)


def _at_end(content: bytes) -> Callable[[Path], bytes]:
    return lambda path: path.read_bytes() + content


def _noise() -> bytes:
    return hashlib.shake_256(b"noise").digest(20_000)


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../escape.sh", "#!/bin/sh\n")
    return packed.getvalue()


def _iso() -> bytes:
    return bytes(32768) + b"\x01CD001\x01" + bytes(4096)


def _link(bench: Bench, target: Path) -> None:
    target.symlink_to(bench.make("a.mp4", PLAIN))


def _pipe(bench: Bench, target: Path) -> None:
    make_pipe(target)


def _relative_list(bench: Bench, target: Path) -> None:
    """A list that names a real file beside it: what a whitelist alone keeps from being followed."""
    bench.make("a.mp4", PLAIN).rename(target.parent / "beside.mp4")
    target.write_bytes(b"ffconcat version 1.0\nfile beside.mp4\n")


def _relative_playlist(bench: Bench, target: Path) -> None:
    bench.make("a.ts", f"{PLAIN} -f mpegts").rename(target.parent / "beside.ts")
    target.write_bytes(b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nbeside.ts\n#EXT-X-ENDLIST\n")


def _encrypted(bench: Bench, target: Path) -> None:
    clear = bench.make("clear.mp4", PLAIN)
    argv = [
        *(
            bench.tools.packager,
            f"in={clear},stream=video,output={target},output_format=mp4",
            "--enable_raw_key_encryption",
        ),
        *("--keys", f"label=:key_id={'11' * 16}:key={'22' * 16}", "--protection_scheme", "cenc"),
        *("--clear_lead", "0", "--quiet"),
    ]
    subprocess.run(argv, check=True, timeout=MAKE_SECONDS_MAX, capture_output=True)


def _many_streams(bench: Bench, target: Path) -> None:
    bench.make("one.m4a", f"{SINE.format(d=0.1)} -c:a aac")
    bench.make("many.mkv", f"-i {{one.m4a}} {'-map 0:a ' * 70} -c copy").rename(target)


def _other_streams(bench: Bench, target: Path) -> None:
    bench.write("note.txt", b"hello")
    attached = "-attach {note.txt} -metadata:s:t mimetype=text/plain"
    bench.make("a.mkv", f"{PLAIN} {attached}").rename(target)


def _subtitled(codec: bytes) -> Build:
    """A file whose subtitles say that they are of that codec."""

    def build(bench: Bench, target: Path) -> None:
        bench.write("a.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n")
        made = bench.make("a.mkv", f"{SMALL.format(d=1)} -i {{a.srt}} {H264} -c:s srt")
        target.write_bytes(made.read_bytes().replace(b"S_TEXT/UTF8", codec))

    return build


def _hostile_tags(bench: Bench, target: Path) -> None:
    title = '../../etc/passwd"><script>alert(1)</script>\x1b[2J\x00\n' + "x" * 5000
    plain = bench.make("a.mp4", PLAIN)
    tags = bench.write("tags.txt", b";FFMETADATA1\ntitle=" + _escaped(title) + b"\nartist=\x07\n")
    argv = [
        *(bench.tools.ffmpeg, "-v", "error", "-nostdin", "-i", str(plain), "-f", "ffmetadata"),
        *("-i", str(tags), "-map_metadata", "1", "-c", "copy", "-f", "matroska", str(target)),
    ]
    subprocess.run(argv, check=True, timeout=MAKE_SECONDS_MAX)


def _escaped(text: str) -> bytes:
    special = {"=": "\\=", ";": "\\;", "#": "\\#", "\\": "\\\\", "\n": "\\\n", "\x00": ""}
    return "".join(special.get(char, char) for char in text).encode()


_DATA_REFERENCE = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
_PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%s\n#EXT-X-ENDLIST\n"
_MPD = b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>'
_SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n"
_LONG = f"-f lavfi -i testsrc2=s=64x36:r=25:d=20 {H264} -movflags +faststart"

UPLOADS: tuple[Case, ...] = (
    case(1, "empty", given(b""), "empty_file reject"),
    case(2, "index_lost", changed(PLAIN, lambda path: cut(path, 0.5)), "truncated_no_index reject"),
    case(
        3,
        "cut",
        changed(f"{PLAIN} -movflags +faststart", lambda path: cut(path, 0.6)),
        "truncated reject",
    ),
    case(3, "a_little_cut", changed(_LONG, lambda path: cut(path, 0.99)), "truncated warn"),
    case(
        4,
        "fragmented_cut",
        changed(f"{PLAIN} -g 5 -movflags frag_keyframe+empty_moov", lambda path: cut(path, 0.6)),
        "truncated reject",
    ),
    case(5, "text", given(b"hello world\n" * 500), "not_media reject"),
    case(5, "noise", given(_noise()), "not_media reject"),
    case(6, "sound", made(f"{SINE.format(d=1)} -c:a aac", "a.m4a"), "no_video reject"),
    case(
        6,
        "sound_wanted",
        made(f"{SINE.format(d=1)} -c:a aac", "a.m4a"),
        "audio_only info",
        profile="audio",
        scan=True,
    ),
    case(7, "no_sound", made(PLAIN), "no_audio warn", scan=True, frames=25),
    case(
        8,
        "cover",
        made(
            f"{SINE.format(d=1)} -f lavfi -i testsrc2=s=64x64:r=1:d=1 -map 0 -map 1 -frames:v 1 -c:v png "
            "-c:a aac -disposition:v attached_pic",
            "a.m4a",
        ),
        "cover_art_only info",
        "audio_only info",
        profile="audio",
        scan=True,
    ),
    case(
        9,
        "two_pictures",
        made(f"{SMALL.format(d=1)} -f lavfi -i testsrc2=s=64x64:r=25:d=1 -map 0 -map 1 {H264}", "a.mkv"),
        "extra_video_streams warn",
    ),
    case(10, "attachment", _other_streams, "extra_streams_ignored info"),
    case(10, "timecode", made(f"{PLAIN} -timecode 01:00:00:00", "a.mov"), "extra_streams_ignored info"),
    case(10, "pictures_of_text", _subtitled(b"S_HDMV/PGS\0"), "image_subtitles_skipped warn"),
    case(10, "strange_text", _subtitled(b"S_TEXT/XXXX"), "text_subtitles_skipped warn"),
    case(
        11,
        "huge",
        made("-f lavfi -i color=s=16000x100:r=25 -frames:v 1 -c:v png", "a.mov"),
        "too_large_frame reject",
    ),
    case(
        12,
        "bomb",
        made(
            "-f lavfi -i color=s=3000x2000:r=25 -frames:v 4 -vf setpts=if(lt(N\\,3)\\,N/25/TB\\,39600/TB) "
            "-fps_mode passthrough -c:v mjpeg -q:v 31",
            "a.mkv",
        ),
        "over_budget reject",
    ),
    case(13, "playlist", given(_PLAYLIST % b"part.ts"), "forbidden_container reject"),
    case(13, "marked_playlist", given(b"\xef\xbb\xbf" + _PLAYLIST), "forbidden_container reject"),
    case(13, "manifest", given(_MPD), "forbidden_container reject"),
    case(13, "session", given(_SDP), "forbidden_container reject"),
    case(
        13,
        "list_of_neighbours",
        _relative_list,
        "forbidden_container reject",
        beside=frozenset({"beside.mp4"}),
    ),
    case(
        13,
        "playlist_of_neighbours",
        _relative_playlist,
        "forbidden_container reject",
        beside=frozenset({"beside.ts"}),
    ),
    case(
        14,
        "reads_the_machine",
        given(_PLAYLIST % b"file:///etc/passwd"),
        "forbidden_container reject",
        security=True,
    ),
    case(
        14,
        "calls_the_network",
        given(_PLAYLIST % b"http://metadata.invalid/latest/meta-data/"),
        "forbidden_container reject",
        security=True,
    ),
    case(15, "link", _link, "not_regular_file reject"),
    case(15, "pipe", _pipe, "not_regular_file reject"),
    case(
        16,
        "other_file",
        changed(
            PLAIN,
            lambda path: with_content(path.read_bytes(), _DATA_REFERENCE, alias_record("/etc/passwd")),
            "a.mov",
        ),
        "external_reference reject",
    ),
    case(36, "encrypted", _encrypted, "encrypted_source reject"),
    case(44, "hostile_tags", _hostile_tags, "metadata_sanitised info", scan=True),
    case(45, "seventy_streams", _many_streams, "too_many_streams reject"),
    case(48, "zip", given(_zip()), "not_media reject"),
    case(48, "pdf", given(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), "not_media reject"),
    case(48, "disc_image", given(_iso()), "not_media reject"),
    case(
        48,
        "video_that_is_an_archive_too",
        changed(PLAIN, _at_end(_zip())),
        scan=True,
        frames=25,
        accepted_as_is=True,
    ),
)
