"""The table of awkward uploads as data: per row, files and what has to come out of them."""

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.media.awkward_files import (
    BARS,
    H264,
    MAKE_SECONDS_MAX,
    PLAIN,
    SINE,
    SMALL,
    Bench,
    alias_record,
    cut,
    damaged,
    dolby_vision_box,
    make_pipe,
    with_box,
    with_content,
    without_times,
)

Build = Callable[[Bench, Path], None]
Found = tuple[str, str]
BESIDE_THE_TABLE = 0
"""The row of codes that the table does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file of one row.

    Attributes:
        build: puts it at the given path.
        expected: codes and severities that must come out; others may.
        absent: codes that must not.
        scan: whether it is scanned after validation.
        frames: how many frames the scan must decode.
        security: whether the operator is told.
        accepted_as_is: the row says "accept", so no code of its own is expected.
        beside: what else lies beside the upload, made by `build`.
        seconds_min: the operator's least length.
    """

    row: int
    name: str
    build: Build
    expected: frozenset[Found]
    absent: frozenset[str] = frozenset()
    profile: str | None = None
    scan: bool = False
    frames: int | None = None
    security: bool = False
    accepted_as_is: bool = False
    beside: frozenset[str] = frozenset()
    seconds_min: float = 0.0

    @property
    def refused(self) -> bool:
        return any(severity == "reject" for _, severity in self.expected)


def _made(arguments: str, name: str = "a.mp4") -> Build:
    """A file that FFmpeg makes."""
    return lambda bench, target: _moved(bench.make(name, arguments), target)


def _bytes(content: bytes) -> Build:
    def build(bench: Bench, target: Path) -> None:
        target.write_bytes(content)

    return build


def _changed(arguments: str, change: Callable[[Path], bytes], name: str = "a.mp4") -> Build:
    """A file that FFmpeg makes, changed by hand."""

    def build(bench: Bench, target: Path) -> None:
        target.write_bytes(change(bench.make(name, arguments)))

    return build


def _moved(made: Path, target: Path) -> None:
    made.rename(target)


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


def _two_clocks(bench: Bench, target: Path) -> None:
    first = bench.make("a.ts", f"{SMALL.format(d=1)} {H264} -f mpegts")
    later = bench.make("b.ts", f"{SMALL.format(d=1)} {H264} -output_ts_offset 100 -f mpegts")
    target.write_bytes(first.read_bytes() + later.read_bytes())


def _two_sizes(bench: Bench, target: Path) -> None:
    first = bench.make("a.ts", f"{SMALL.format(d=1)} {H264} -f mpegts")
    later = bench.make(
        "b.ts", f"-f lavfi -i testsrc2=s=192x108:r=25:d=1 {H264} -output_ts_offset 1 -f mpegts"
    )
    target.write_bytes(first.read_bytes() + later.read_bytes())


def _live(bench: Bench, target: Path) -> None:
    """Written into a pipe, a Matroska file cannot go back to say how long it became."""
    argv = [bench.tools.ffmpeg, "-v", "error", "-nostdin", *PLAIN.split(), "-f", "matroska", "pipe:1"]
    target.write_bytes(
        subprocess.run(argv, check=True, timeout=MAKE_SECONDS_MAX, stdout=subprocess.PIPE).stdout
    )


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


def _in_avi(fourcc: bytes) -> Callable[[Path], bytes]:
    """Says of its picture that another codec made it."""
    return lambda path: path.read_bytes().replace(b"cvid", fourcc)


_PQ = (
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv,zscale=t=linear:npl=100,"
    "format=gbrpf32le,zscale=p=bt2020:t={t}:m=bt2020nc:r=tv,format=yuv420p10le"
)
_HEVC = "-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=error"
_SAMPLE_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1")
_DATA_REFERENCE = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
_PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%s\n#EXT-X-ENDLIST\n"
_MPD = b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>'
_SDP = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n"
_FIELDS = "-vf tinterlace=interleave_top -c:v mpeg2video -q:v 2 -flags +ildct+ilme -f vob"
_HALF_SECOND = f"{SMALL.format(d=0.4)}"
_LONG = f"-f lavfi -i testsrc2=s=64x36:r=25:d=20 {H264} -movflags +faststart"
_DAMAGED = f"-f lavfi -i {BARS.format(r=25, d=4)} -c:v mpeg2video -q:v 3 -g 12 -f vob"


def _damage(places: int) -> Build:
    return _changed(_DAMAGED, lambda path: damaged(path.read_bytes(), places), "a.mpg")


def _long_damage(bench: Bench, target: Path) -> None:
    bench.make("once.mpg", _DAMAGED.replace("160x120", "64x48"))
    whole = bench.make("whole.mp4", "-stream_loop 10 -i {once.mpg} -c copy")
    target.write_bytes(damaged(whole.read_bytes(), 1))


def _case(row: int, name: str, build: Build, *expected: str, **more: object) -> Case:
    """A case; what is expected is written as "code severity"."""
    found = frozenset((code, severity) for code, severity in (one.split() for one in expected))
    return Case(row=row, name=name, build=build, expected=found, **more)  # type: ignore[arg-type] # by name


_FILES = (
    _case(1, "empty", _bytes(b""), "empty_file reject"),
    _case(2, "index_lost", _changed(PLAIN, lambda path: cut(path, 0.5)), "truncated_no_index reject"),
    _case(
        3,
        "cut",
        _changed(f"{PLAIN} -movflags +faststart", lambda path: cut(path, 0.6)),
        "truncated reject",
    ),
    _case(3, "a_little_cut", _changed(_LONG, lambda path: cut(path, 0.99)), "truncated warn"),
    _case(
        4,
        "fragmented_cut",
        _changed(f"{PLAIN} -g 5 -movflags frag_keyframe+empty_moov", lambda path: cut(path, 0.6)),
        "truncated reject",
    ),
    _case(5, "text", _bytes(b"hello world\n" * 500), "not_media reject"),
    _case(5, "noise", _bytes(_noise()), "not_media reject"),
    _case(6, "sound", _made(f"{SINE.format(d=1)} -c:a aac", "a.m4a"), "no_video reject"),
    _case(
        6,
        "sound_wanted",
        _made(f"{SINE.format(d=1)} -c:a aac", "a.m4a"),
        "audio_only info",
        profile="audio",
        scan=True,
    ),
    _case(7, "no_sound", _made(PLAIN), "no_audio warn", scan=True, frames=25),
    _case(
        8,
        "cover",
        _made(
            f"{SINE.format(d=1)} -f lavfi -i testsrc2=s=64x64:r=1:d=1 -map 0 -map 1 -frames:v 1 -c:v png "
            "-c:a aac -disposition:v attached_pic",
            "a.m4a",
        ),
        "cover_art_only info",
        "audio_only info",
        profile="audio",
        scan=True,
    ),
    _case(
        9,
        "two_pictures",
        _made(f"{SMALL.format(d=1)} -f lavfi -i testsrc2=s=64x64:r=25:d=1 -map 0 -map 1 {H264}", "a.mkv"),
        "extra_video_streams warn",
    ),
    _case(10, "attachment", _other_streams, "extra_streams_ignored info"),
    _case(10, "timecode", _made(f"{PLAIN} -timecode 01:00:00:00", "a.mov"), "extra_streams_ignored info"),
    _case(10, "pictures_of_text", _subtitled(b"S_HDMV/PGS\0"), "image_subtitles_skipped warn"),
    _case(10, "strange_text", _subtitled(b"S_TEXT/XXXX"), "text_subtitles_skipped warn"),
    _case(
        11,
        "huge",
        _made("-f lavfi -i color=s=16000x100:r=25 -frames:v 1 -c:v png", "a.mov"),
        "too_large_frame reject",
    ),
    _case(
        12,
        "bomb",
        _made(
            "-f lavfi -i color=s=3000x2000:r=25 -frames:v 4 -vf setpts=if(lt(N\\,3)\\,N/25/TB\\,39600/TB) "
            "-fps_mode passthrough -c:v mjpeg -q:v 31",
            "a.mkv",
        ),
        "over_budget reject",
    ),
    _case(13, "playlist", _bytes(_PLAYLIST % b"part.ts"), "forbidden_container reject"),
    _case(13, "marked_playlist", _bytes(b"\xef\xbb\xbf" + _PLAYLIST), "forbidden_container reject"),
    _case(13, "manifest", _bytes(_MPD), "forbidden_container reject"),
    _case(13, "session", _bytes(_SDP), "forbidden_container reject"),
    _case(
        13,
        "list_of_neighbours",
        _relative_list,
        "forbidden_container reject",
        beside=frozenset({"beside.mp4"}),
    ),
    _case(
        13,
        "playlist_of_neighbours",
        _relative_playlist,
        "forbidden_container reject",
        beside=frozenset({"beside.ts"}),
    ),
    _case(
        14,
        "reads_the_machine",
        _bytes(_PLAYLIST % b"file:///etc/passwd"),
        "forbidden_container reject",
        security=True,
    ),
    _case(
        14,
        "calls_the_network",
        _bytes(_PLAYLIST % b"http://169.254.169.254/latest/meta-data/"),
        "forbidden_container reject",
        security=True,
    ),
    _case(15, "link", _link, "not_regular_file reject"),
    _case(15, "pipe", _pipe, "not_regular_file reject"),
    _case(
        16,
        "other_file",
        _changed(
            PLAIN,
            lambda path: with_content(path.read_bytes(), _DATA_REFERENCE, alias_record("/etc/passwd")),
            "a.mov",
        ),
        "external_reference reject",
    ),
)


def _remuxed(options: str) -> Build:
    def build(bench: Bench, target: Path) -> None:
        bench.make("plain.mp4", PLAIN)
        bench.make("a.mp4", f"{options} -i {{plain.mp4}} -c copy").rename(target)

    return build


_PICTURES = (
    _case(17, "turned", _remuxed("-display_rotation 90"), "rotated normalise", scan=True, frames=25),
    _case(18, "flipped", _remuxed("-display_rotation 0 -display_hflip"), "mirrored normalise"),
    _case(
        19,
        "variable",
        _made(f"{SMALL.format(d=2)} -vf select='not(eq(mod(n,7),3)+between(n,20,30))' -fps_mode vfr {H264}"),
        "variable_frame_rate normalise",
        scan=True,
    ),
    _case(
        20,
        "fast",
        _made(f"-f lavfi -i testsrc2=s=160x90:r=150:d=0.4 {H264}"),
        "unusual_frame_rate normalise",
    ),
    _case(
        20,
        "timeless",
        _changed(
            f"{PLAIN} -bf 2 -f mpegts", lambda path: without_times(path.read_bytes(), lambda _: True), "a.ts"
        ),
        "no_timestamps reject",
    ),
    _case(
        21,
        "ten_bits",
        _made(f"{_HALF_SECOND} -pix_fmt yuv422p10le -c:v prores_ks", "a.mov"),
        "high_bit_depth normalise",
        "chroma_converted normalise",
    ),
    _case(
        21,
        "rgb",
        _made(f"{_HALF_SECOND} -c:v libx264rgb -preset ultrafast"),
        "rgb_converted normalise",
    ),
    _case(
        22,
        "hdr10",
        _made(
            f"{_HALF_SECOND} -vf {_PQ.format(t='smpte2084')} {_HEVC}:colorprim=bt2020:transfer=smpte2084:"
            "colormatrix=bt2020nc"
        ),
        "hdr10 normalise",
        scan=True,
        frames=10,
    ),
    _case(
        22,
        "hlg",
        _made(
            f"{_HALF_SECOND} -vf {_PQ.format(t='arib-std-b67')} {_HEVC}:colorprim=bt2020:"
            "transfer=arib-std-b67:colormatrix=bt2020nc"
        ),
        "hlg normalise",
    ),
    _case(
        22,
        "dolby_vision_5",
        _changed(
            f"{_HALF_SECOND} -pix_fmt yuv420p10le {_HEVC}",
            lambda path: with_box(path.read_bytes(), _SAMPLE_ENTRY, dolby_vision_box(5)),
        ),
        "dolby_vision_unsupported reject",
    ),
    _case(23, "untagged", _made(PLAIN), "colour_assumed info"),
    _case(
        24,
        "fields",
        _made(f"-f lavfi -i {BARS.format(r=50, d=1)} {_FIELDS}", "a.mpg"),
        "interlaced normalise",
        scan=True,
        frames=25,
    ),
    _case(
        24,
        "hidden_fields",
        _made(
            f"-f lavfi -i {BARS.replace('160x120', '96x576').format(r=50, d=1)} "
            f"-vf tinterlace=interleave_top,setfield=prog {H264} -crf 12"
        ),
        "interlaced normalise",
        scan=True,
        frames=25,
    ),
    _case(
        24,
        "fields_that_are_none",
        _made(
            f"-f lavfi -i {BARS.format(r=25, d=1)} -vf setfield=tff -c:v mpeg2video -q:v 2 "
            "-flags +ildct+ilme",
            "a.mpg",
        ),
        absent=frozenset({"interlaced"}),
        accepted_as_is=True,
        scan=True,
    ),
    _case(
        25,
        "film_on_fields",
        _made(
            f"-f lavfi -i {BARS.format(r='24000/1001', d=2)} -vf telecine=pattern=23 -c:v mpeg2video -q:v 2 "
            "-flags +ildct+ilme -f vob",
            "a.mpg",
        ),
        "telecine normalise",
        absent=frozenset({"interlaced"}),
        scan=True,
    ),
    _case(
        26,
        "anamorphic",
        _made(f"-f lavfi -i testsrc2=s=180x144:r=25:d=0.4 -vf setsar=64/45 {H264}"),
        "non_square_pixels normalise",
    ),
    _case(
        27,
        "odd",
        _made("-f lavfi -i testsrc2=s=720x406:r=25:d=0.4 -vf scale=720:405 -c:v mpeg2video -f vob", "a.mpg"),
        "odd_dimensions normalise",
        scan=True,
        frames=10,
    ),
    _case(28, "one_bad_frame", _long_damage, "corrupt_frames warn", scan=True),
    _case(28, "some_bad_frames", _damage(1), "corrupt_frames normalise", scan=True),
    _case(28, "bad", _damage(40), "corrupt reject", scan=True),
    _case(
        29,
        "some_timeless",
        _changed(
            f"{PLAIN} -bf 2 -f mpegts",
            lambda path: without_times(path.read_bytes(), lambda number: 9 <= number <= 14),
            "a.ts",
        ),
        "timestamps_regenerated warn",
        scan=True,
    ),
    _case(
        30,
        "late_clock",
        _made(f"{PLAIN} -f mpegts", "a.ts"),
        "start_time_shifted normalise",
        scan=True,
        frames=25,
    ),
    _case(
        31,
        "late_and_long_sound",
        _made(f"{SMALL.format(d=1)} -itsoffset 0.5 {SINE.format(d=3)} {H264} -c:a aac"),
        "av_offset warn",
        "av_length_mismatch warn",
    ),
    _case(32, "two_clocks", _two_clocks, "timestamp_discontinuity warn", scan=True, frames=50),
)

_REST = (
    _case(
        33,
        "one_frame",
        _made(f"-f lavfi -i testsrc2=s=160x90:r=25 -frames:v 1 {H264}"),
        "very_short info",
        scan=True,
        frames=1,
    ),
    _case(33, "shorter_than_asked", _made(PLAIN), "too_short reject", seconds_min=5.0),
    _case(
        34,
        "half_a_day",
        _made(
            "-f lavfi -i testsrc2=s=64x36:r=25 -frames:v 14 -vf setpts=N*3600/TB -fps_mode passthrough "
            f"{H264}",
            "a.mkv",
        ),
        "over_limit reject",
    ),
    _case(35, "live", _live, "duration_unknown info", scan=True, frames=25),
    _case(36, "encrypted", _encrypted, "encrypted_source reject"),
    _case(
        37,
        "transparent",
        _made("-f lavfi -i color=red@0.5:s=64x64:r=25:d=0.2,format=argb -c:v qtrle", "a.mov"),
        "alpha_flattened warn",
        scan=True,
        frames=5,
    ),
    _case(
        38,
        "exotic",
        _made("-f lavfi -i testsrc2=s=64x32:r=25:d=0.4 -c:v cinepak", "a.avi"),
        "unusual_codec info",
        scan=True,
        frames=10,
    ),
    _case(
        38,
        "denied",
        _changed("-f lavfi -i testsrc2=s=64x32:r=25:d=0.2 -c:v cinepak", _in_avi(b"TM20"), "a.avi"),
        "unsupported_codec reject",
    ),
    _case(
        39,
        "av1",
        _made(f"{_HALF_SECOND} -pix_fmt yuv420p -c:v libsvtav1 -preset 10"),
        "no_audio warn",
        absent=frozenset({"unusual_codec", "unsupported_codec", "corrupt", "corrupt_frames"}),
        accepted_as_is=True,
        scan=True,
        frames=10,
    ),
    _case(40, "two_sizes", _two_sizes, "parameters_changed warn", scan=True, frames=50),
    _case(
        41,
        "six_channels",
        _made(
            f"{SMALL.format(d=1)} -f lavfi -i aevalsrc=0|0|0.1*sin(880*t)|0|0|0:c=5.1:d=1:s=48000 "
            f"{H264} -c:a aac"
        ),
        "audio_remapped normalise",
        scan=True,
    ),
    _case(
        41,
        "ten_nameless_channels",
        _made(
            f"{SMALL.format(d=1)} -f lavfi -i aevalsrc={'|'.join(['0.1*sin(880*t)'] * 10)}:d=1:s=48000 "
            f"{H264} -c:a pcm_s16le",
            "a.mov",
        ),
        "unknown_layout warn",
        scan=True,
    ),
    _case(
        42,
        "silence",
        _made(f"{SMALL.format(d=1)} -f lavfi -i anullsrc=d=1 -t 1 {H264} -c:a aac"),
        "silent_audio warn",
        scan=True,
    ),
    _case(
        42,
        "constant",
        _made(f"{SMALL.format(d=1)} -f lavfi -i aevalsrc=0.5:d=1:s=48000 {H264} -c:a pcm_s16le", "a.mov"),
        "silent_audio warn",
        scan=True,
    ),
    _case(
        43,
        "black",
        _made(f"-f lavfi -i color=black:s=160x90:r=25:d=3 {H264}"),
        "black_video warn",
        absent=frozenset({"frozen_video"}),
        scan=True,
    ),
    _case(
        43,
        "still",
        _made("-f lavfi -i testsrc2=s=160x90:r=25,trim=end_frame=1,loop=74:1:0 -c:v mjpeg -q:v 3", "a.mov"),
        "frozen_video warn",
        scan=True,
        frames=75,
    ),
    _case(44, "hostile_tags", _hostile_tags, "metadata_sanitised info", scan=True),
    _case(45, "seventy_streams", _many_streams, "too_many_streams reject"),
    _case(48, "zip", _bytes(_zip()), "not_media reject"),
    _case(48, "pdf", _bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), "not_media reject"),
    _case(48, "disc_image", _bytes(_iso()), "not_media reject"),
    _case(
        48,
        "video_that_is_an_archive_too",
        _changed(PLAIN, _at_end(_zip())),
        scan=True,
        frames=25,
        accepted_as_is=True,
    ),
    _case(
        BESIDE_THE_TABLE,
        "a_few_pixels",
        _made("-f lavfi -i testsrc2=s=8x8:r=25:d=0.2 -c:v ffv1", "a.mkv"),
        "too_small_frame reject",
    ),
)

CASES: tuple[Case, ...] = (*_FILES, *_PICTURES, *_REST)
