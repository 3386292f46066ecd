"""Sound, really encoded: as long as the picture, as loud as asked, nothing in the wrong place."""

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.audio_check import check_audio
from media_workers.media.facts import SourceFacts
from media_workers.media.loudness import parse_loudness
from media_workers.media.packets import PacketScan
from media_workers.media.plan import AudioPlan, make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.sound import audio_args, loudness_args
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcResult

pytestmark = pytest.mark.media

Clip = Callable[[str], Path]
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Encode = Callable[..., tuple[AudioPlan, Path]]


@pytest.fixture
def encode(
    *, clip: Clip, probe: Probe, tools: Binaries, execute: Callable[..., ProcResult], tmp_path: Path
) -> Encode:
    """Measure and encode a track of a clip."""

    def run_encode(name: str, number: int = 0, profile: str = "fast") -> tuple[AudioPlan, Path]:
        source = str(clip(name))
        track = make_plan(probe(clip(name))[2], resolve_profile(profile)).audio[number]
        log = execute(loudness_args(tools.ffmpeg, track, source=source)).stderr_tail
        target = tmp_path / "sound.mp4"
        argv = audio_args(
            tools.ffmpeg, track, source=source, target=str(target), measured=parse_loudness(log)
        )
        execute(argv)
        return track, target

    return run_encode


@pytest.fixture
def samples(
    tools: Binaries, execute: Callable[..., ProcResult]
) -> Callable[[Path], tuple[list[int], list[int]]]:
    """Left and right of a decoded file, 16 bits, as a player hears them."""

    def decode(path: Path) -> tuple[list[int], list[int]]:
        result = execute([tools.ffmpeg, "-loglevel", "error", "-i", str(path), "-f", "s16le", "-"])
        values = array.array("h", result.stdout).tolist()
        return values[::2], values[1::2]

    return decode


@pytest.mark.parametrize(
    ("name", "number", "seconds"),
    [
        ("ntsc.mp4", 0, 75 * 1001 / 30000),
        ("ntsc.mkv", 0, 75 * 1001 / 30000),
        ("start.ts", 0, 2.0),
        ("late_sound.mp4", 0, 2.0),
        ("two_tracks.mkv", 1, 1.0),
        ("silent.mp4", 0, 1.0),
        ("surround.mp4", 0, 1.0),
        ("clicks.mp4", 0, 3.36),
    ],
)
def test_as_long_as_the_picture(
    name: str, number: int, seconds: float, *, encode: Encode, probe: Probe
) -> None:
    """Shorter tracks are padded, longer ones trimmed: the length is the picture's, to the sample."""
    track, target = encode(name, number)

    document, scan, _ = probe(target)

    assert check_audio(track, document, scan) == ()
    assert track.samples_total == round(seconds * 48_000)
    assert float(document["streams"][0]["duration"]) == pytest.approx(seconds, abs=1e-4)


def test_sound_alone(encode: Encode, probe: Probe) -> None:
    """A source without a picture keeps its own length."""
    track, target = encode("sound.m4a", profile="audio")

    document, scan, _ = probe(target)

    assert check_audio(track, document, scan) == ()
    assert track.samples_total / 48_000 == pytest.approx(2.0, abs=0.05)


def test_late_sound_stays_late(
    encode: Encode, samples: Callable[[Path], tuple[list[int], list[int]]]
) -> None:
    """Sound that starts half a second after the picture still does."""
    _, target = encode("late_sound.mp4")

    left, _ = samples(target)

    first = next(position for position, value in enumerate(left) if abs(value) > 300)
    assert first / 48_000 == pytest.approx(0.5, abs=0.03)


def test_loudness_target_is_met(encode: Encode, tools: Binaries, execute: Callable[..., ProcResult]) -> None:
    """The encoded track measures within one LU of the target."""
    track, target = encode("long.mp4")

    log = execute(
        [
            tools.ffmpeg,
            "-hide_banner",
            "-i",
            str(target),
            "-af",
            "loudnorm=print_format=json",
            "-f",
            "null",
            "-",
        ]
    ).stderr_tail

    measured = parse_loudness(log)
    assert measured is not None
    assert track.loudness_lufs is not None
    assert abs(measured.input_i - track.loudness_lufs) <= 1.0


def test_centre_reaches_both_sides(
    encode: Encode, samples: Callable[[Path], tuple[list[int], list[int]]]
) -> None:
    """A voice in the centre of a 5.1 track is heard left and right alike."""
    _, target = encode("surround.mp4")

    left, right = samples(target)

    assert max(map(abs, left)) > 1000
    assert max(map(abs, left)) == pytest.approx(max(map(abs, right)), rel=0.05)


def test_shortage_is_found(encode: Encode, probe: Probe) -> None:
    """A track shorter than planned, or of another kind, is found out in numbers."""
    track, target = encode("ntsc.mp4")
    document, scan, _ = probe(target)
    longer = msgspec.structs.replace(track, samples_total=500_000, channels=6)

    findings = check_audio(longer, document, scan)

    assert [finding.rule for finding in findings] == ["format", "duration"]
    assert "planned are 500000" in findings[1].message


def test_gaps_are_found(
    encode: Encode, probe: Probe, tools: Binaries, execute: Callable[..., ProcResult], tmp_path: Path
) -> None:
    """Sound with a hole in its timestamps lasts too long, however right the number of its samples is."""
    track, whole = encode("ntsc.mp4")
    gappy = tmp_path / "gappy.mp4"
    hole = "setts=ts=TS+if(gt(N\\,50)\\,4800\\,0)"
    execute([tools.ffmpeg, "-loglevel", "error", "-i", str(whole), "-c", "copy", "-bsf:a", hole, str(gappy)])
    document, scan, _ = probe(gappy)

    findings = check_audio(track, document, scan)

    assert [finding.rule for finding in findings] == ["duration", "gap"]
    assert "planned are 2.502500" in findings[0].message
