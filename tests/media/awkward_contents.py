"""Awkward uploads that are about what is shown and heard: clocks, fields, colours, damage, silence."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.media.awkward_case import BESIDE_THE_TABLE, Build, Case, case, changed, made
from tests.media.awkward_files import (
    BARS,
    H264,
    MAKE_SECONDS_MAX,
    PLAIN,
    SINE,
    SMALL,
    Bench,
    damaged,
    dolby_vision_box,
    with_box,
    without_times,
)


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


def _in_avi(fourcc: bytes) -> Callable[[Path], bytes]:
    """Says of its picture that another codec made it."""
    return lambda path: path.read_bytes().replace(b"cvid", fourcc)


_PQ = (
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv,zscale=t=linear:npl=100,"
    "format=gbrpf32le,zscale=p=bt2020:t={t}:m=bt2020nc:r=tv,format=yuv420p10le"
)
_HEVC = "-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=error"
_SAMPLE_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1")
_FIELDS = "-vf tinterlace=interleave_top -c:v mpeg2video -q:v 2 -flags +ildct+ilme -f vob"
_HALF_SECOND = f"{SMALL.format(d=0.4)}"
_DAMAGED = f"-f lavfi -i {BARS.format(r=25, d=4)} -c:v mpeg2video -q:v 3 -g 12 -f vob"


def _damage(places: int) -> Build:
    return changed(_DAMAGED, lambda path: damaged(path.read_bytes(), places), "a.mpg")


def _long_damage(bench: Bench, target: Path) -> None:
    bench.make("once.mpg", _DAMAGED.replace("160x120", "64x48"))
    whole = bench.make("whole.mp4", "-stream_loop 10 -i {once.mpg} -c copy")
    target.write_bytes(damaged(whole.read_bytes(), 1))


def _remuxed(options: str) -> Build:
    def build(bench: Bench, target: Path) -> None:
        bench.make("plain.mp4", PLAIN)
        bench.make("a.mp4", f"{options} -i {{plain.mp4}} -c copy").rename(target)

    return build


_PICTURES = (
    case(17, "turned", _remuxed("-display_rotation 90"), "rotated normalise", scan=True, frames=25),
    case(18, "flipped", _remuxed("-display_rotation 0 -display_hflip"), "mirrored normalise"),
    case(
        19,
        "variable",
        made(f"{SMALL.format(d=2)} -vf select='not(eq(mod(n,7),3)+between(n,20,30))' -fps_mode vfr {H264}"),
        "variable_frame_rate normalise",
        scan=True,
    ),
    case(
        20,
        "fast",
        made(f"-f lavfi -i testsrc2=s=160x90:r=150:d=0.4 {H264}"),
        "unusual_frame_rate normalise",
    ),
    case(
        20,
        "timeless",
        changed(
            f"{PLAIN} -bf 2 -f mpegts", lambda path: without_times(path.read_bytes(), lambda _: True), "a.ts"
        ),
        "no_timestamps reject",
    ),
    case(
        21,
        "ten_bits",
        made(f"{_HALF_SECOND} -pix_fmt yuv422p10le -c:v prores_ks", "a.mov"),
        "high_bit_depth normalise",
        "chroma_converted normalise",
    ),
    case(
        21,
        "rgb",
        made(f"{_HALF_SECOND} -c:v libx264rgb -preset ultrafast"),
        "rgb_converted normalise",
    ),
    case(
        22,
        "hdr10",
        made(
            f"{_HALF_SECOND} -vf {_PQ.format(t='smpte2084')} {_HEVC}:colorprim=bt2020:transfer=smpte2084:"
            "colormatrix=bt2020nc"
        ),
        "hdr10 normalise",
        scan=True,
        frames=10,
    ),
    case(
        22,
        "hlg",
        made(
            f"{_HALF_SECOND} -vf {_PQ.format(t='arib-std-b67')} {_HEVC}:colorprim=bt2020:"
            "transfer=arib-std-b67:colormatrix=bt2020nc"
        ),
        "hlg normalise",
    ),
    case(
        22,
        "dolby_vision_5",
        changed(
            f"{_HALF_SECOND} -pix_fmt yuv420p10le {_HEVC}",
            lambda path: with_box(path.read_bytes(), _SAMPLE_ENTRY, dolby_vision_box(5)),
        ),
        "dolby_vision_unsupported reject",
    ),
    case(23, "untagged", made(PLAIN), "colour_assumed info"),
    case(
        24,
        "fields",
        made(f"-f lavfi -i {BARS.format(r=50, d=1)} {_FIELDS}", "a.mpg"),
        "interlaced normalise",
        scan=True,
        frames=25,
    ),
    case(
        24,
        "hidden_fields",
        made(
            f"-f lavfi -i {BARS.replace('160x120', '96x576').format(r=50, d=1)} "
            f"-vf tinterlace=interleave_top,setfield=prog {H264} -crf 12"
        ),
        "interlaced normalise",
        scan=True,
        frames=25,
    ),
    case(
        24,
        "fields_that_are_none",
        made(
            f"-f lavfi -i {BARS.format(r=25, d=1)} -vf setfield=tff -c:v mpeg2video -q:v 2 "
            "-flags +ildct+ilme",
            "a.mpg",
        ),
        absent=frozenset({"interlaced"}),
        accepted_as_is=True,
        scan=True,
    ),
    case(
        25,
        "film_on_fields",
        made(
            f"-f lavfi -i {BARS.format(r='24000/1001', d=2)} -vf telecine=pattern=23 -c:v mpeg2video -q:v 2 "
            "-flags +ildct+ilme -f vob",
            "a.mpg",
        ),
        "telecine normalise",
        absent=frozenset({"interlaced"}),
        scan=True,
    ),
    case(
        26,
        "anamorphic",
        made(f"-f lavfi -i testsrc2=s=180x144:r=25:d=0.4 -vf setsar=64/45 {H264}"),
        "non_square_pixels normalise",
    ),
    case(
        27,
        "odd",
        made("-f lavfi -i testsrc2=s=720x406:r=25:d=0.4 -vf scale=720:405 -c:v mpeg2video -f vob", "a.mpg"),
        "odd_dimensions normalise",
        scan=True,
        frames=10,
    ),
    case(28, "one_bad_frame", _long_damage, "corrupt_frames warn", scan=True),
    case(28, "some_bad_frames", _damage(1), "corrupt_frames normalise", scan=True),
    case(28, "bad", _damage(40), "corrupt reject", scan=True),
    case(
        29,
        "some_timeless",
        changed(
            f"{PLAIN} -bf 2 -f mpegts",
            lambda path: without_times(path.read_bytes(), lambda number: 9 <= number <= 14),
            "a.ts",
        ),
        "timestamps_regenerated warn",
        scan=True,
    ),
    case(
        30,
        "late_clock",
        made(f"{PLAIN} -f mpegts", "a.ts"),
        "start_time_shifted normalise",
        scan=True,
        frames=25,
    ),
    case(
        31,
        "late_and_long_sound",
        made(f"{SMALL.format(d=1)} -itsoffset 0.5 {SINE.format(d=3)} {H264} -c:a aac"),
        "av_offset warn",
        "av_length_mismatch warn",
    ),
    case(32, "two_clocks", _two_clocks, "timestamp_discontinuity warn", scan=True, frames=50),
)

_OTHERS = (
    case(
        33,
        "one_frame",
        made(f"-f lavfi -i testsrc2=s=160x90:r=25 -frames:v 1 {H264}"),
        "very_short info",
        scan=True,
        frames=1,
    ),
    case(33, "shorter_than_asked", made(PLAIN), "too_short reject", seconds_min=5.0),
    case(
        34,
        "half_a_day",
        made(
            "-f lavfi -i testsrc2=s=64x36:r=25 -frames:v 14 -vf setpts=N*3600/TB -fps_mode passthrough "
            f"{H264}",
            "a.mkv",
        ),
        "over_limit reject",
    ),
    case(35, "live", _live, "duration_unknown info", scan=True, frames=25),
    case(
        37,
        "transparent",
        made("-f lavfi -i color=red@0.5:s=64x64:r=25:d=0.2,format=argb -c:v qtrle", "a.mov"),
        "alpha_flattened warn",
        scan=True,
        frames=5,
    ),
    case(
        38,
        "exotic",
        made("-f lavfi -i testsrc2=s=64x32:r=25:d=0.4 -c:v cinepak", "a.avi"),
        "unusual_codec info",
        scan=True,
        frames=10,
    ),
    case(
        38,
        "denied",
        changed("-f lavfi -i testsrc2=s=64x32:r=25:d=0.2 -c:v cinepak", _in_avi(b"TM20"), "a.avi"),
        "unsupported_codec reject",
    ),
    case(
        39,
        "av1",
        made(f"{_HALF_SECOND} -pix_fmt yuv420p -c:v libsvtav1 -preset 10"),
        "no_audio warn",
        absent=frozenset({"unusual_codec", "unsupported_codec", "corrupt", "corrupt_frames"}),
        accepted_as_is=True,
        scan=True,
        frames=10,
    ),
    case(40, "two_sizes", _two_sizes, "parameters_changed warn", scan=True, frames=50),
    case(
        41,
        "six_channels",
        made(
            f"{SMALL.format(d=1)} -f lavfi -i aevalsrc=0|0|0.1*sin(880*t)|0|0|0:c=5.1:d=1:s=48000 "
            f"{H264} -c:a aac"
        ),
        "audio_remapped normalise",
        scan=True,
    ),
    case(
        41,
        "ten_nameless_channels",
        made(
            f"{SMALL.format(d=1)} -f lavfi -i aevalsrc={'|'.join(['0.1*sin(880*t)'] * 10)}:d=1:s=48000 "
            f"{H264} -c:a pcm_s16le",
            "a.mov",
        ),
        "unknown_layout warn",
        scan=True,
    ),
    case(
        42,
        "silence",
        made(f"{SMALL.format(d=1)} -f lavfi -i anullsrc=d=1 -t 1 {H264} -c:a aac"),
        "silent_audio warn",
        scan=True,
    ),
    case(
        42,
        "constant",
        made(f"{SMALL.format(d=1)} -f lavfi -i aevalsrc=0.5:d=1:s=48000 {H264} -c:a pcm_s16le", "a.mov"),
        "silent_audio warn",
        scan=True,
    ),
    case(
        43,
        "black",
        made(f"-f lavfi -i color=black:s=160x90:r=25:d=3 {H264}"),
        "black_video warn",
        absent=frozenset({"frozen_video"}),
        scan=True,
    ),
    case(
        43,
        "still",
        made("-f lavfi -i testsrc2=s=160x90:r=25,trim=end_frame=1,loop=74:1:0 -c:v mjpeg -q:v 3", "a.mov"),
        "frozen_video warn",
        scan=True,
        frames=75,
    ),
    case(
        BESIDE_THE_TABLE,
        "a_few_pixels",
        made("-f lavfi -i testsrc2=s=8x8:r=25:d=0.2 -c:v ffv1", "a.mkv"),
        "too_small_frame reject",
    ),
)

CONTENTS: tuple[Case, ...] = (*_PICTURES, *_OTHERS)
