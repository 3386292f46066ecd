"""Sound in four codecs: which tracks there are, what becomes of channels, where the first sound is."""

import array
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.audio_check import check_audio, check_loudness
from media_workers.media.audio_plan import AUDIO_TRACKS_MAX, AudioPlan, audio_plans
from media_workers.media.downmix import has_surround, mapping_of, pan_filter
from media_workers.media.facts import AudioFacts, SourceFacts
from media_workers.media.loudness import parse_loudness, reachable_lufs
from media_workers.media.packets import PacketScan
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import Profile, resolve_profile
from media_workers.media.sound import audio_args, loudness_args, output_loudness_args
from media_workers.media.video import video_args
from media_workers.media.watermark import Clip as Cut
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcResult

pytestmark = pytest.mark.media

Clip = Callable[[str], Path]
Execute = Callable[..., ProcResult]
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Source = Callable[..., SourceFacts]

EVERY = ("aac", "opus", "ac3", "eac3")
# First loud sample against first white frame: nearer than a frame of 25 a second.
FRAME_SECONDS = 1 / 25


def wanting(*codecs: str, **changes: Any) -> Profile:
    return msgspec.structs.replace(resolve_profile("fast"), audio_codecs=codecs, **changes)


def track(number: int, **changes: Any) -> AudioFacts:
    facts = AudioFacts(
        track=number, index=number + 1, codec="aac", channels=2, layout="stereo", sample_rate=48_000
    )
    return msgspec.structs.replace(facts, **changes)


def planned(source: SourceFacts, *tracks: AudioFacts, profile: Profile) -> tuple[AudioPlan, ...]:
    facts = msgspec.structs.replace(source, audio=tracks)
    return audio_plans(facts, profile, zero=0.0, seconds=Fraction(2))


@pytest.fixture
def encode(tools: Binaries, execute: Execute, tmp_path: Path) -> Callable[[AudioPlan, Path], Path]:
    """Measure and encode a planned track."""

    def run_encode(plan: AudioPlan, source: Path) -> Path:
        target = tmp_path / f"{plan.name}.mp4"
        measured = None
        if plan.loudness_lufs is not None:
            log = execute(loudness_args(tools.ffmpeg, plan, source=str(source))).stderr_tail
            measured = parse_loudness(log)
        execute(audio_args(tools.ffmpeg, plan, source=str(source), target=str(target), measured=measured))
        return target

    return run_encode


def first_sound(execute: Execute, tools: Binaries, path: Path, channels: int) -> float:
    """Seconds to the first sample that is half as loud as the loudest."""
    decoded = execute([tools.ffmpeg, "-loglevel", "error", "-i", str(path), "-f", "s16le", "-"]).stdout
    left = array.array("h", decoded).tolist()[::channels]
    loud = max(map(abs, left)) / 2
    return next(number for number, value in enumerate(left) if abs(value) > loud) / 48_000


def test_fallback_is_always_there(source: Source) -> None:
    """Whatever codecs are asked for, each track is there in AAC stereo, first of all."""
    plans = planned(source(), track(0), track(1), profile=wanting("opus", "eac3"))

    assert [one.name for one in plans] == ["audio_0_aac", "audio_0_opus", "audio_1_aac", "audio_1_opus"]
    assert {one.layout for one in plans} == {"stereo"}


def test_surround_has_its_own_group(source: Source) -> None:
    """A 5.1 track is also there in 5.1, in a group whose default is a track that it has."""
    plans = planned(
        source(),
        track(0, default=True),
        track(1, channels=6, layout="5.1", language="deu"),
        track(2, channels=6, layout="5.1(side)", language="deu", role="commentary"),
        profile=wanting("aac", "eac3"),
    )

    assert [(one.group, one.track, one.channels, one.default) for one in plans if one.group == "eac3"] == [
        ("eac3", 1, 6, True),
        ("eac3", 2, 6, False),
    ]
    assert [one.track for one in plans if one.group == "aac" and one.default] == [0]
    assert [one.label for one in plans if one.group == "aac"] == ["Audio", "German", "German - commentary"]


def test_many_tracks_are_bounded(source: Source) -> None:
    """A hundred tracks become a few, and the default one is among them."""
    tracks = [track(number) for number in range(99)] + [track(99, default=True)]

    plans = planned(source(), *tracks, profile=wanting("aac"))

    assert len(plans) == AUDIO_TRACKS_MAX
    assert [one.track for one in plans if one.default] == [99]


def test_sound_alone_has_two_bitrates(source: Source) -> None:
    """A title that is sound alone can be heard over a slow connection."""
    plans = planned(source(), track(0), profile=resolve_profile("audio"))

    assert [(one.group, one.bitrate_bps, one.default) for one in plans] == [
        ("aac", 128_000, True),
        ("aac_low", 64_000, True),
    ]


@pytest.mark.parametrize(
    ("channels", "layout", "mapping"),
    [
        (1, "mono", "doubled"),
        (1, None, "doubled"),
        (2, "stereo", "kept"),
        (2, None, "kept"),
        (6, "5.1", "downmixed"),
        (6, "5.1(side)", "downmixed"),
        (8, "7.1", "downmixed"),
        (6, None, "first_pair"),
        (10, None, "first_pair"),
        (24, "22.2", "first_pair"),
        # What a container says may be wrong: then its channels have no names.
        (2, "5.1", "kept"),
        (4, "5.1", "first_pair"),
    ],
)
def test_channels_are_mapped_by_name_or_said_not_to_be(
    channels: int, layout: str | None, mapping: str
) -> None:
    """No layout is guessed: unknown channels give their first pair, and the plan says so."""
    assert mapping_of(channels, layout, "stereo") == mapping


def test_surround_of_unknown_channels_is_refused() -> None:
    """Six channels without names are no 5.1."""
    assert not has_surround(6, None)
    with pytest.raises(ValueError, match=r"no 5\.1 track"):
        pan_filter(6, None, "5.1(side)")


@pytest.mark.parametrize("codec", EVERY)
def test_codec(
    codec: str,
    *,
    clip: Clip,
    probe: Probe,
    tools: Binaries,
    execute: Execute,
    encode: Callable[[AudioPlan, Path], Path],
) -> None:
    """Each codec is as planned: to the sample by its edit list, and within one LU of the target."""
    source = clip("flash.mp4")
    plans = make_plan(probe(source)[2], wanting(*EVERY)).audio
    plan = next(one for one in plans if one.codec == codec)

    target = encode(plan, source)

    document, scan, _ = probe(target)
    assert check_audio(plan, document, scan) == ()
    stream = document["streams"][0]
    assert float(stream["duration"]) == pytest.approx(plan.samples_total / 48_000, abs=1 / 48_000)
    assert stream["codec_tag_string"] == {"aac": "mp4a", "opus": "Opus", "ac3": "ac-3", "eac3": "ec-3"}[codec]
    heard = parse_loudness(execute(output_loudness_args(tools.ffmpeg, media=str(target))).stderr_tail)
    assert heard is not None
    assert plan.loudness_lufs is not None
    assert check_loudness(plan, plan.loudness_lufs, heard.input_i) == ()


def test_one_measurement_serves_all_codecs(source: Source) -> None:
    """Tracks of one layout are measured by the same command; surround is another sound."""
    surround = track(0, channels=6, layout="5.1")
    plans = planned(source(), surround, profile=wanting("aac", "opus", "ac3", "eac3"))

    commands = {one.codec: tuple(loudness_args("ffmpeg", one, source="x")) for one in plans}

    assert commands["aac"] == commands["opus"]
    assert commands["ac3"] == commands["eac3"] != commands["aac"]


@pytest.mark.parametrize(
    ("name", "loudness"), [("flash.mp4", -16.0), ("flash.ts", None), ("flash_late.mpg", None)]
)
def test_sound_stays_with_the_picture(
    name: str,
    loudness: float | None,
    *,
    clip: Clip,
    probe: Probe,
    greys: Callable[[Path], list[int]],
    tools: Binaries,
    execute: Execute,
    encode: Callable[[AudioPlan, Path], Path],
    tmp_path: Path,
) -> None:
    """A flash and its beep come together in every codec, though the picture is encoded in chunks."""
    source = clip(name)
    plan = make_plan(
        probe(source)[2], wanting(*EVERY, chunk_seconds=2, gop_seconds=1, loudness_lufs=loudness)
    )
    lumas = chunked_lumas(plan, source, tools=tools, execute=execute, greys=greys, folder=tmp_path)
    flash = next(number for number, luma in enumerate(lumas) if luma > 128) / 25

    beeps = {one.codec: first_sound(execute, tools, encode(one, source), one.channels) for one in plan.audio}

    assert len(plan.chunks) > 1
    assert len(lumas) == plan.frames_total
    assert set(beeps) == set(EVERY)
    for codec, beep in beeps.items():
        assert abs(beep - flash) < FRAME_SECONDS, f"{codec}: beep at {beep}, flash at {flash}"


def test_sound_of_a_clip(
    clip: Clip,
    probe: Probe,
    tools: Binaries,
    execute: Execute,
    encode: Callable[[AudioPlan, Path], Path],
) -> None:
    """Of a part of the source the sound is that part's, to the sample."""
    source = clip("flash.ts")
    profile = wanting("aac", clip=Cut(start=0.6, end=2.6))
    plan = make_plan(probe(source)[2], profile)

    beep = first_sound(execute, tools, encode(plan.audio[0], source), 2)

    assert plan.audio[0].samples_total == 96_000
    assert beep == pytest.approx(0.4, abs=FRAME_SECONDS / 2)


def test_named_channels_are_mixed_by_name(
    clip: Clip, probe: Probe, tools: Binaries, execute: Execute, encode: Callable[[AudioPlan, Path], Path]
) -> None:
    """The left side of a 5.1(side) track is heard left in stereo, and left at the side in 5.1."""
    source = clip("side.mkv")
    plans = make_plan(probe(source)[2], wanting("aac", "ac3", loudness_lufs=None)).audio

    peaks = {one.codec: channel_peaks(execute, tools, encode(one, source), one.channels) for one in plans}

    left, right = peaks["aac"]
    assert left > 1000 > right * 10
    assert max(range(6), key=peaks["ac3"].__getitem__) == 4


@pytest.mark.parametrize(("name", "mapping"), [("wide.mkv", "downmixed"), ("nameless.mkv", "first_pair")])
def test_more_channels_than_anybody_asked_for(
    name: str, mapping: str, *, clip: Clip, probe: Probe, encode: Callable[[AudioPlan, Path], Path]
) -> None:
    """7.1 and ten channels without names become stereo as planned."""
    source = clip(name)
    plan = make_plan(probe(source)[2], wanting("aac")).audio[0]

    document, scan, _ = probe(encode(plan, source))

    assert plan.mapping == mapping
    assert check_audio(plan, document, scan) == ()


def test_quiet_track_is_judged_by_what_it_could_reach(source: Source) -> None:
    """A whisper that was raised as far as it may be is no finding."""
    (plan,) = planned(source(), track(0), profile=wanting("aac"))
    quiet = parse_loudness(
        '{"input_i": "-50", "input_tp": "-30", "input_lra": "2", "input_thresh": "-60", "target_offset": "0"}'
    )
    assert quiet is not None

    assert check_loudness(plan, reachable_lufs(-16.0, quiet), -30.4) == ()
    (finding,) = check_loudness(plan, -16.0, -30.4)
    assert (finding.rule, finding.severity) == ("loudness", "warn")


def channel_peaks(execute: Execute, tools: Binaries, path: Path, channels: int) -> list[int]:
    decoded = execute([tools.ffmpeg, "-loglevel", "error", "-i", str(path), "-f", "s16le", "-"]).stdout
    values = array.array("h", decoded).tolist()
    return [max(map(abs, values[channel::channels])) for channel in range(channels)]


def chunked_lumas(
    plan: Plan,
    source: Path,
    *,
    tools: Binaries,
    execute: Execute,
    greys: Callable[[Path], list[int]],
    folder: Path,
) -> list[int]:
    """The mean luma of each frame of the smallest rendition, encoded chunk by chunk."""
    smallest = min(plan.renditions, key=lambda one: one.height)
    lumas: list[int] = []
    for chunk in plan.chunks:
        target = folder / f"chunk-{chunk.number}.mp4"
        execute(
            video_args(tools.ffmpeg, plan, [smallest], source=str(source), targets=[str(target)], chunk=chunk)
        )
        lumas += greys(target)
    return lumas


@pytest.mark.parametrize("layouts", [("stereo", "5.1"), ("5.1", "stereo")])
def test_channels_that_change_on_the_way(
    layouts: tuple[str, str],
    *,
    probe: Probe,
    tools: Binaries,
    execute: Execute,
    encode: Callable[[AudioPlan, Path], Path],
    tmp_path: Path,
) -> None:
    """A broadcast that goes from stereo to 5.1, or back, keeps its length and the place of its sounds."""
    source = tmp_path / "broadcast.ts"
    with source.open("wb") as joined:
        for number, layout in enumerate(layouts):
            part = tmp_path / f"{number}.ts"
            channels = {"stereo": 2, "5.1": 6}[layout]
            beep = "|".join(["0.3*sin(6283*t)*gt(t\\,1.5)" if number else "0"] * channels)
            sound = ["-f", "lavfi", "-i", f"aevalsrc={beep}:c={layout}:d=2:s=48000", "-c:a", "ac3"]
            video = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=2", "-c:v", "mpeg2video"]
            inputs = [*video[:4], *sound[:4], *video[4:], *sound[4:]]
            execute([tools.ffmpeg, "-v", "error", *inputs, "-output_ts_offset", str(2 * number), str(part)])
            joined.write(part.read_bytes())
    plan = make_plan(probe(source)[2], wanting("aac", loudness_lufs=None)).audio[0]

    target = encode(plan, source)

    document, scan, _ = probe(target)
    assert check_audio(plan, document, scan) == ()
    assert first_sound(execute, tools, target, 2) == pytest.approx(3.5, abs=FRAME_SECONDS)
