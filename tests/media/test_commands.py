"""Whole argument lists, as they would be typed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from media_workers.media.commands import (
    SOURCE_DEMUXERS,
    audio_args,
    choose_poster,
    decode_args,
    loudness_args,
    packets_args,
    poster_args,
    probe_args,
    storyboard_args,
    video_args,
)
from media_workers.media.downmix import stereo_filter
from media_workers.media.facts import AudioFacts, Colour, SourceFacts
from media_workers.media.loudness import Loudness
from media_workers.media.package import packager_args
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import resolve_profile

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

    assert video_args("ffmpeg", made, made.renditions[1], source="/s/input.bin", target="/w/720p.mp4") == [
        *["ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"],
        *["-progress", "pipe:1", "-stats_period", "0.5", "-y"],
        *["-format_whitelist", SOURCE_DEMUXERS, "-max_pixels", "35389440", "-protocol_whitelist", "file"],
        *["-reinit_filter", "0", "-i", "/s/input.bin"],
        "-filter_complex",
        (
            "[0:0]fps=eof_action=pass:fps=25/1:start_time=0[s0];[s0]tpad=stop=3:stop_mode=clone[s1];"
            "[s1]trim=end_frame=50[s2];"
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
        "keyint=50:min-keyint=50:scenecut=0:open-gop=0:rc-lookahead=50:sync-lookahead=0:threads=4",
        "/w/720p.mp4",
    ]


def test_interlaced_source(plan: Callable[..., Plan]) -> None:
    """Deinterlacing comes first, at the source's size."""
    made = plan(interlaced=True)

    argv = video_args("ffmpeg", made, made.renditions[0], source="s", target="t")

    assert graph(argv).startswith("[0:0]bwdif=deint=all:mode=send_frame[s0];[s0]fps=")


def test_high_dynamic_range(plan: Callable[..., Plan]) -> None:
    """HDR is scaled, made linear, mapped and tagged as BT.709."""
    colour = Colour(primaries="bt2020", transfer="smpte2084", matrix="bt2020nc", range="tv")
    made = plan(hdr="hdr10", colour=colour)

    argv = video_args("ffmpeg", made, made.renditions[0], source="s", target="t")

    assert "zscale=npl=100:t=linear" in graph(argv)
    assert "zscale=p=bt709[" in graph(argv)
    assert "tonemap=desat=0:tonemap=hable" in graph(argv)
    assert "zscale=m=bt709:r=tv:t=bt709" in graph(argv)
    assert argv[argv.index("-color_trc") + 1] == "bt709"


def test_first_frame_is_the_zero(plan: Callable[..., Plan]) -> None:
    """What lies between the container's start and the first frame is taken off picture and sound alike."""
    made = plan(start_seconds=1.5, end_seconds=3.5)

    picture = video_args("ffmpeg", made, made.renditions[0], source="s", target="t")
    sound = audio_args("ffmpeg", made.audio[0], source="s", target="t", measured=None)

    assert "setpts=PTS-1.5/TB" in graph(picture)
    assert "asetpts=PTS-1.5/TB" in graph(sound)


def test_loudness(plan: Callable[..., Plan]) -> None:
    """The measuring pass prints JSON and writes nothing."""
    argv = loudness_args("ffmpeg", plan().audio[0], source="s")

    assert graph(argv).endswith("loudnorm=I=-16.0:LRA=11:TP=-1.5:print_format=json[s2]")
    assert argv[-3:] == ["-f", "null", "-"]


def test_nothing_to_measure(plan: Callable[..., Plan]) -> None:
    """A track without a target is not measured."""
    with pytest.raises(ValueError, match="audio_0"):
        loudness_args("ffmpeg", plan("archive").audio[0], source="s")


def test_sound(plan: Callable[..., Plan]) -> None:
    """The whole list of a measured track."""
    measured = Loudness(input_i=-40.0, input_tp=-20.0, input_lra=3.0, input_thresh=-50.0, target_offset=0.5)

    assert audio_args("ffmpeg", plan().audio[0], source="s", target="t", measured=measured) == [
        *["ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"],
        *["-progress", "pipe:1", "-stats_period", "0.5", "-y", *GUARDS, "-i", "s"],
        "-filter_complex",
        (
            "[0:1]aresample=48000:async=1:first_pts=0[s0];[s0]aformat=channel_layouts=stereo[s1];"
            "[s1]loudnorm=I=-20.0:LRA=11:TP=-1.5:linear=true:measured_I=-40.0:measured_LRA=3.0:measured_TP=-20.0:"
            "measured_thresh=-50.0:offset=0.5[s2];[s2]aresample=48000[s3];[s3]asetpts=N/SR/TB[s4];"
            "[s4]apad=whole_len=96000[s5];[s5]atrim=end_sample=96000[s6];[s6]asetpts=N/SR/TB[s7]"
        ),
        *["-map", "[s7]", "-f", "mp4", "-ac", "2", "-ar", "48000", "-b:a", "128000", "-c:a", "aac"],
        *["-fflags", "+bitexact", "-flags", "+bitexact", "-map_chapters", "-1", "-map_metadata", "-1"],
        *["-movflags", "+faststart", "t"],
    ]


@pytest.mark.parametrize(
    ("channels", "layout", "expected"),
    [
        (1, "mono", ("pan", {"args": "stereo|c0=c0|c1=c0"})),
        (2, "stereo", ("aformat", {"channel_layouts": "stereo"})),
        (6, "5.1", ("pan", {"args": "stereo|FL=FL+0.707*FC+0.707*BL|FR=FR+0.707*FC+0.707*BR"})),
        (6, "5.1(side)", ("pan", {"args": "stereo|FL=FL+0.707*FC+0.707*SL|FR=FR+0.707*FC+0.707*SR"})),
        (8, None, ("pan", {"args": "stereo|c0=c0|c1=c1"})),
    ],
)
def test_downmix(channels: int, layout: str | None, expected: tuple[str, dict[str, str]]) -> None:
    """Every layout becomes stereo by written weights."""
    assert stereo_filter(channels, layout) == expected


def test_poster_starts_a_group_early(plan: Callable[..., Plan]) -> None:
    """A poster's seek leaves room for a whole group of pictures before the wanted one."""
    made = plan(keyframe_gap_seconds_max=4.0, duration_seconds=60.0, end_seconds=60.0)

    argv = poster_args("ffmpeg", made, source="s", target="p.jpg", at_seconds=30.0)

    assert argv[argv.index("-ss") + 1] == "25.0"
    assert "trim=start=5.0" in graph(argv)
    assert argv[-1] == "p.jpg"


def test_storyboard(plan: Callable[..., Plan]) -> None:
    """The storyboard decodes keyframes alone when they are near enough, and tiles what it got."""
    argv = storyboard_args("ffmpeg", plan(keyframe_gap_seconds_max=0.5), source="s", pattern="sp-%03d.jpg")

    assert argv[argv.index("-skip_frame") + 1] == "nokey"
    assert "fps=eof_action=pass:fps=1/1:start_time=0" in graph(argv)
    assert "tile=2x1" in graph(argv)
    assert "-skip_frame" not in storyboard_args("ffmpeg", plan(), source="s", pattern="p")


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


def test_packager(plan: Callable[..., Plan]) -> None:
    """The whole list of a package, with exact segment durations."""
    made = plan(frame_rate="30000/1001")
    videos = {rendition.name: f"/e/{rendition.name}.mp4" for rendition in made.renditions}

    argv = packager_args("packager", made, videos=videos, audios={"audio_0": "/e/audio_0.mp4"})

    assert argv[1] == (
        "in=/e/1080p.mp4,stream=video,init_segment=video/1080p/init.mp4,"
        "segment_template=video/1080p/$Number%05d$.m4s,playlist_name=video/1080p/playlist.m3u8,"
        "iframe_playlist_name=video/1080p/iframes.m3u8"
    )
    assert argv[5:] == [
        (
            "in=/e/audio_0.mp4,stream=audio,language=mis,hls_group_id=audio,hls_name=Audio,"
            "init_segment=audio/audio_0/init.mp4,segment_template=audio/audio_0/$Number%05d$.m4s,"
            "playlist_name=audio/audio_0/playlist.m3u8"
        ),
        "--quiet",
        "--segment_duration=6.006000",
        "--fragment_duration=6.006000",
        "--default_language=mis",
        "--generate_static_live_mpd",
        "--mpd_output=manifest.mpd",
        "--hls_master_playlist_output=master.m3u8",
        "--hls_playlist_type=VOD",
        "--per_playlist_target_duration",
    ]


@pytest.mark.parametrize("files", [{}, {"1080p": "/a,b.mp4"}])
def test_packager_paths(files: dict[str, str], plan: Callable[..., Plan]) -> None:
    """A missing file or a path that the packager's syntax would split is refused by name."""
    with pytest.raises(ValueError, match="1080p"):
        packager_args("packager", plan(), videos=files, audios={})
