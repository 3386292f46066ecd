"""Real tools and tiny real clips: each is generated once a session, when a test first asks for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.facts import Colour, SourceFacts, VideoFacts, facts_from_probe
from media_workers.media.guards import packets_args, probe_args
from media_workers.media.packets import PacketScan
from media_workers.procs.binaries import Binaries, find_binaries
from media_workers.procs.runner import ProcLimits, ProcResult, run

LIMITS = ProcLimits(wall_seconds=60)
SINE = "-f lavfi -i sine=d={seconds}:r=48000"
X264 = "-c:v libx264 -preset ultrafast"
PQ = (
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv,zscale=t=linear:npl=100,"
    "format=gbrpf32le,zscale=p=bt2020:t=smpte2084:m=bt2020nc:r=tv,format=yuv420p10le"
)

# Every frame is one flat grey, told apart from its neighbours by far: which frame is where can be read off.
GREY = "color=s=160x98:r={rate}:d=2,geq=lum='16+mod(N*37,200)':cb=128:cr=128"

# White frames 25 to 29 of black ones, and a tone on every channel for just as long.
FLASH = "color=black:s=160x90:r=25:d=3,drawbox=c=white:t=fill:enable='between(n,25,29)'"
BEEP = "0.5*sin(6283*t)*between(t\\,1\\,1.2)"

# One line of FFmpeg arguments a clip; "{other}" stands for the path of another clip.
RECIPES: dict[str, str] = {
    "plain.mp4": f"-f lavfi -i testsrc2=s=320x240:r=25:d=2 {X264}",
    "odd.mpg": "-f lavfi -i testsrc2=s=720x406:r=25:d=2.2 -vf scale=720:405 -c:v mpeg2video -bf 2 -f vob",
    "ntsc.mp4": (
        f"-f lavfi -i testsrc2=s=320x180:r=30000/1001:d=2.5 {SINE.format(seconds=2)} {X264} -bf 2 -c:a aac "
        "-metadata:s:a language=eng"
    ),
    "ntsc.mkv": "-i {ntsc.mp4} -c copy",
    "start.ts": (
        f"-f lavfi -i testsrc2=s=320x180:r=25:d=2 {SINE.format(seconds=2)} -c:v libx264 -preset fast -bf 2 "
        "-c:a aac -f mpegts"
    ),
    "vfr.mp4": (
        "-f lavfi -i testsrc2=s=320x180:r=30:d=3 "
        f"-vf select='not(eq(mod(n,7),3)+between(n,40,50))' -fps_mode vfr {X264}"
    ),
    "portrait.mp4": "-display_rotation 90 -i {plain.mp4} -c copy",
    "mirrored.mp4": "-display_rotation 0 -display_hflip -i {plain.mp4} -c copy",
    "anamorphic.mp4": f"-f lavfi -i testsrc2=s=360x288:r=25:d=1 -vf setsar=64/45 {X264}",
    "interlaced.mpg": (
        "-f lavfi -i testsrc2=s=360x288:r=50:d=2 -vf tinterlace=interleave_top -c:v mpeg2video "
        "-flags +ildct+ilme -b:v 3M"
    ),
    "hdr10.mp4": (
        f"-f lavfi -i testsrc2=s=160x90:r=24:d=1 -vf {PQ} -c:v libx265 -preset ultrafast "
        "-x265-params log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    ),
    "hlg.mp4": (
        f"-f lavfi -i testsrc2=s=160x90:r=25:d=0.4 -vf {PQ.replace('smpte2084', 'arib-std-b67')} "
        "-c:v libx265 -preset ultrafast "
        "-x265-params log-level=error:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
    ),
    "wide_gamut.mp4": (
        "-f lavfi -i testsrc2=s=160x90:r=25:d=0.4 "
        f"-vf setparams=color_primaries=smpte432:color_trc=bt709:colorspace=bt709:range=tv {X264}"
    ),
    "fast120.mp4": f"-f lavfi -i testsrc2=s=160x90:r=120:d=1 {X264}",
    "high422.mov": "-f lavfi -i testsrc2=s=160x90:r=25:d=0.4 -pix_fmt yuv422p10le -c:v prores_ks",
    "alpha.mov": ("-f lavfi -i color=red@0.5:s=64x64:r=25:d=0.2,format=argb -c:v qtrle"),
    "full_range.mp4": f"-f lavfi -i testsrc2=s=160x90:r=25:d=0.4 -pix_fmt yuvj420p {X264}",
    "two_tracks.mkv": (
        f"-f lavfi -i testsrc2=s=160x120:r=25:d=1 {SINE.format(seconds=1)} "
        f"-f lavfi -i anoisesrc=d=1:r=48000:a=0.2 -map 0 -map 1 -map 2 {X264} -c:a aac "
        "-metadata:s:a:0 language=deu -metadata:s:a:1 language=und -ac:a:1 6"
    ),
    "late_sound.mp4": (
        f"-f lavfi -i testsrc2=s=160x90:r=25:d=2 -itsoffset 0.5 {SINE.format(seconds=3)} {X264} -c:a aac"
    ),
    "silent.mp4": f"-f lavfi -i testsrc2=s=160x90:r=25:d=1 -f lavfi -i anullsrc=d=1 -t 1 {X264} -c:a aac",
    "surround.mp4": (
        "-f lavfi -i testsrc2=s=160x90:r=25:d=1 -f lavfi "
        f"-i aevalsrc=0|0|0.1*sin(880*t)|0|0|0:c=5.1:d=1:s=48000 {X264} -c:a aac"
    ),
    # So quiet between its clicks that loudnorm must work dynamically, and no multiple of its 100 ms frames.
    "clicks.mp4": (
        "-f lavfi -i testsrc2=s=160x90:r=25:d=3.36 -f lavfi "
        "-i aevalsrc=0.01*sin(880*t)+0.3*lt(mod(t\\,0.5)\\,0.01)*sin(6000*t):d=3.312:s=48000 "
        f"{X264} -c:a aac"
    ),
    "flash.mp4": (
        f"-f lavfi -i {FLASH} -f lavfi -i aevalsrc={'|'.join([BEEP] * 6)}:c=5.1:d=3:s=48000 "
        f"-c:v libx264 -preset fast -bf 2 -g 20 -c:a aac"
    ),
    "flash.ts": "-i {flash.mp4} -c copy",
    # The sound starts long after the picture.
    "flash_late.mpg": (
        "-i {flash.mp4} -ss 0.8 -itsoffset 0.8 -i {flash.mp4} -map 0:v -map 1:a -c:v mpeg2video -bf 2 "
        "-c:a ac3 -f vob"
    ),
    "wide.mkv": (
        f"-f lavfi -i testsrc2=s=160x90:r=25:d=1 -f lavfi "
        f"-i aevalsrc={'|'.join(['0.1*sin(880*t)'] * 8)}:c=7.1:d=1 {X264} -c:a flac"
    ),
    # Matroska does not say which channel of PCM is which.
    "nameless.mkv": (
        f"-f lavfi -i testsrc2=s=160x90:r=25:d=1 -f lavfi "
        f"-i aevalsrc={'|'.join(['0.1*sin(880*t)'] * 10)}:d=1 {X264} -c:a pcm_s16le"
    ),
    "side.mkv": (
        "-f lavfi -i testsrc2=s=160x90:r=25:d=1 -f lavfi "
        f"-i aevalsrc=0|0|0|0|0.1*sin(880*t)|0:c=5.1(side):d=1:s=48000 {X264} -c:a ac3"
    ),
    "sound.m4a": f"{SINE.format(seconds=2)} -c:a aac",
    "cover.mp3": (
        f"{SINE.format(seconds=1)} -f lavfi -i testsrc2=s=64x64:r=1:d=1 -map 0 -map 1 -frames:v 1 "
        "-c:v mjpeg -disposition:v attached_pic"
    ),
    "fast_start.mp4": f"-f lavfi -i testsrc2=s=320x180:r=25:d=2 {X264} -g 10 -movflags +faststart",
    "fragmented.mp4": "-i {fast_start.mp4} -c copy -movflags frag_keyframe+empty_moov",
    # Black, but for its last second; then one whole black one.
    "late_picture.mp4": (
        f"-f lavfi -i testsrc2=s=320x180:r=25:d=4,drawbox=c=black:t=fill:enable='lt(n,75)' {X264} -g 25"
    ),
    "black.mp4": f"-f lavfi -i color=black:s=160x90:r=25:d=1 {X264}",
    "cover.m4a": (
        f"{SINE.format(seconds=1)} -f lavfi -i testsrc2=s=1500x900:r=1:d=1 -map 0 -map 1 -frames:v 1 "
        "-c:a aac -c:v png -disposition:v attached_pic"
    ),
    "one_frame.mp4": f"-f lavfi -i testsrc2=s=160x90:r=25 -frames:v 1 {X264}",
    "huge.mov": "-f lavfi -i color=s=16000x100:r=25 -frames:v 1 -c:v png",
    "grey.ts": f"-f lavfi -i {GREY.format(rate=25)} -c:v libx264 -preset fast -bf 3 -g 12 -f mpegts",
    "grey.mpg": f"-f lavfi -i {GREY.format(rate=25)} -vf scale=160:97 -q:v 2 -c:v mpeg2video -bf 2 -f vob",
    "grey.mp4": f"-f lavfi -i {GREY.format(rate='30000/1001')} -c:v libx264 -preset fast -bf 2",
    "grey.mkv": "-i {grey.mp4} -c copy",
    "grey.avi": f"-f lavfi -i {GREY.format(rate=25)} -c:v mpeg4 -q:v 2 -bf 2",
    "grey_vfr.mp4": (
        f"-f lavfi -i {GREY.format(rate=30)} -vf select='not(eq(mod(n,7),3))' -fps_mode vfr {X264}"
    ),
    "grey_interlaced.mpg": (
        f"-f lavfi -i {GREY.format(rate=25)} -vf setfield=tff -c:v mpeg2video -q:v 2 -flags +ildct+ilme"
    ),
    "long.mp4": (
        f"-f lavfi -i testsrc2=s=480x360:r=30000/1001:d=7 {SINE.format(seconds=7)} {X264} -c:a aac "
        "-metadata:s:a language=fra"
    ),
}

Probed = tuple[dict[str, Any], PacketScan, SourceFacts]


@pytest.fixture(scope="session")
def tools() -> Binaries:
    return find_binaries()


@pytest.fixture(scope="session")
def clip(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a clip by its recipe's name."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            words = RECIPES[name].split(" ")
            arguments = [str(make(word[1:-1])) if word.startswith("{") else word for word in words]
            run([tools.ffmpeg, "-loglevel", "error", "-y", *arguments, str(path)], limits=LIMITS).check(name)
        return path

    return make


@pytest.fixture(scope="session")
def execute() -> Callable[..., ProcResult]:
    """Run an argument list that must succeed."""

    def run_checked(argv: list[str], cwd: Path | None = None) -> ProcResult:
        return run(argv, limits=LIMITS, cwd=cwd).check(argv[0])

    return run_checked


@pytest.fixture(scope="session")
def probe(tools: Binaries) -> Callable[[Path], Probed]:
    """Probe and scan a file as a worker does."""

    def probed(path: Path) -> Probed:
        result = run(probe_args(tools.ffprobe, str(path)), limits=LIMITS).check("probe")
        document = json.loads(result.stdout)
        scan = PacketScan()
        run(packets_args(tools.ffprobe, str(path)), limits=LIMITS, on_line=scan.feed).check("scan")
        size = path.stat().st_size
        facts = facts_from_probe(document, size_bytes=size, packets=scan, stderr=result.stderr_tail)
        return document, scan, facts

    return probed


@pytest.fixture(scope="session")
def greys(tools: Binaries) -> Callable[[Path], list[int]]:
    """The mean luma of every decoded frame, in order."""

    def lumas(path: Path) -> list[int]:
        argv = [
            tools.ffmpeg,
            "-loglevel",
            "error",
            "-i",
            str(path),
            "-vf",
            "scale=1:1:flags=area,format=gray",
        ]
        argv += ["-fps_mode", "passthrough", "-f", "rawvideo", "-"]
        return list(run(argv, limits=LIMITS).check("decode").stdout)

    return lumas


@pytest.fixture
def source() -> Callable[..., SourceFacts]:
    """Facts of a two-second 1080p25 source; keyword arguments change its picture."""

    def make(**changes: Any) -> SourceFacts:
        video = VideoFacts(
            index=0,
            codec="h264",
            coded_width=1920,
            coded_height=1080,
            display_width=1920,
            display_height=1080,
            frame_rate="25/1",
            avg_frame_rate="25/1",
            colour=Colour(primaries="bt709", transfer="bt709", matrix="bt709", range="tv"),
            pix_fmt="yuv420p",
            frames=50,
            end_seconds=2.0,
            duration_seconds=2.0,
            last_frame_seconds=0.04,
        )
        return SourceFacts(
            container="mov,mp4,m4a,3gp,3g2,mj2",
            size_bytes=1_000_000,
            duration_seconds=2.0,
            streams=1,
            video=msgspec.structs.replace(video, **changes),
            scanned=True,
        )

    return make
