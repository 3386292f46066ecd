"""Whole argument lists, as they would be typed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from media_workers.media.facts import AudioFacts, Colour, SourceFacts
from media_workers.media.guards import SOURCE_DEMUXERS, decode_args, packets_args, probe_args
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.sound import audio_args
from media_workers.media.stills import choose_poster, poster_args
from media_workers.media.video import video_args

GUARDS = ["-format_whitelist", SOURCE_DEMUXERS, "-max_pixels", "35389440", "-protocol_whitelist", "file"]
CLEAN = {"-map_metadata": "-1", "-map_chapters": "-1"}


@pytest.fixture
def plan(source: Callable[..., SourceFacts]) -> Callable[..., Plan]:
    def make(profile: str = "fast", **changes: Any) -> Plan:
        sound = AudioFacts(track=0, index=1, codec="aac", channels=2, layout="stereo", sample_rate=48_000)
        facts = msgspec.structs.replace(source(**changes), audio=(sound,))
        return make_plan(facts, resolve_profile(profile))

    return make


def graph(argv: list[str]) -> str:
    return argv[argv.index("-filter_complex") + 1]


def test_probe() -> None:
    """The probe prints JSON, and opens files of the accepted containers only."""
    assert probe_args("ffprobe", "/s/input.bin") == [
        "ffprobe",
        "-hide_banner",
        "-loglevel",
        "warning",
        "-protocol_whitelist",
        "file",
        "-format_whitelist",
        SOURCE_DEMUXERS,
        "-max_pixels",
        "35389440",
        "-of",
        "json",
        "-show_streams",
        "-show_format",
        "-i",
        "/s/input.bin",
    ]


def test_packets() -> None:
    """The scan prints one packet a line."""
    assert packets_args("ffprobe", "/s/input.bin")[-5:] == [
        "json=compact=1",
        "-show_entries",
        "packet=stream_index,pts,dts,duration,flags:packet_side_data=side_data_type",
        "-i",
        "/s/input.bin",
    ]


def test_video(plan: Callable[..., Plan]) -> None:
    """The whole list of an ordinary rendition."""
    made = plan()

    assert video_args(
        "ffmpeg", made, [made.renditions[1]], source="/s/input.bin", targets=["/w/720p.mp4"]
    ) == [
        *["ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"],
        *["-progress", "pipe:1", "-stats_period", "0.5", "-y"],
        *["-format_whitelist", SOURCE_DEMUXERS, "-max_pixels", "35389440", "-protocol_whitelist", "file"],
        *["-reinit_filter", "0", "-i", "/s/input.bin"],
        "-filter_complex",
        (
            "[0:0]fps=eof_action=pass:fps=25/1:start_time=0[s0];[s0]tpad=stop=3:stop_mode=clone[s1];"
            "[s1]trim=end_pts=50[s2];"
            "[s2]setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv[s3];"
            "[s3]scale=flags=lanczos:h=720:out_color_matrix=bt709:out_range=tv:w=1280[s4];"
            "[s4]format=yuv420p[s5];[s5]setsar=1[s6]"
        ),
        *["-map", "[s6]", "-f", "mp4", "-bufsize", "4500000", "-c:v", "libx264", "-color_primaries", "bt709"],
        *["-color_range", "tv", "-color_trc", "bt709", "-colorspace", "bt709", "-crf", "22.5"],
        *["-fflags", "+bitexact", "-flags", "+bitexact", "-fps_mode", "passthrough", "-level:v", "3.1"],
        *["-map_chapters", "-1", "-map_metadata", "-1", "-maxrate", "3000000", "-movflags", "+faststart"],
        *[
            "-pix_fmt",
            "yuv420p",
            "-preset",
            "veryfast",
            "-profile:v",
            "high",
            "-video_track_timescale",
            "12800",
        ],
        "-x264-params",
        "keyint=50:min-keyint=50:scenecut=0:open-gop=0:rc-lookahead=50:sync-lookahead=0:threads=1:ref=1",
        "/w/720p.mp4",
    ]


def test_interlaced_source(plan: Callable[..., Plan]) -> None:
    """Deinterlacing comes first, at the source's size."""
    made = plan(interlaced=True)

    argv = video_args("ffmpeg", made, [made.renditions[0]], source="s", targets=["t"])

    assert graph(argv).startswith("[0:0]bwdif=deint=all:mode=send_frame[s0];[s0]fps=")


def test_high_dynamic_range(plan: Callable[..., Plan]) -> None:
    """HDR is scaled, made linear, mapped and tagged as BT.709."""
    colour = Colour(primaries="bt2020", transfer="smpte2084", matrix="bt2020nc", range="tv")
    made = plan(hdr="hdr10", colour=colour)

    argv = video_args("ffmpeg", made, [made.renditions[0]], source="s", targets=["t"])

    assert "zscale=npl=100:t=linear" in graph(argv)
    assert "zscale=p=bt709[" in graph(argv)
    assert "tonemap=desat=0:tonemap=hable" in graph(argv)
    assert "zscale=m=bt709:r=tv:t=bt709" in graph(argv)
    assert argv[argv.index("-color_trc") + 1] == "bt709"


def test_first_frame_is_the_zero(plan: Callable[..., Plan]) -> None:
    """What lies between the container's start and the first frame is taken off picture and sound alike."""
    made = plan(start_seconds=1.5, end_seconds=3.5)

    picture = video_args("ffmpeg", made, [made.renditions[0]], source="s", targets=["t"])
    sound = audio_args("ffmpeg", made.audio[0], source="s", target="t", measured=None)

    assert "setpts=PTS-1.5/TB" in graph(picture)
    assert any("asetpts=PTS-1.5/TB" in word for word in sound)


def test_no_picture_no_command(plan: Callable[..., Plan]) -> None:
    """A plan without a picture has no picture commands."""
    made = plan("audio")

    with pytest.raises(ValueError, match="no picture"):
        poster_args("ffmpeg", made, source="s", target="t", at_seconds=0)


def test_decode_check() -> None:
    """The decode check stops at the first error."""
    argv = decode_args("ffmpeg", "/p/master.m3u8")

    assert "-xerror" in argv
    assert argv[argv.index("-protocol_whitelist") + 1] == "file"
    assert argv[-5:] == ["-f", "null", "-map", "0", "-"]


def test_most_detailed_poster_wins() -> None:
    """The largest JPEG has the most in it."""
    assert choose_poster([10, 30, 20]) == 1
