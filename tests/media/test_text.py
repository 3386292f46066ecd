"""What the tools print, and what we write for players: text in, values out, and back."""

import msgspec
import pytest

from media_workers.media.loudness import Levelling, Loudness, correction, levelling, parse_loudness
from media_workers.media.progress import Progress, ProgressParser
from media_workers.media.stills_plan import StillsPlan
from media_workers.media.storyboard import storyboard_vtt

MEASURED = """[Parsed_loudnorm_2 @ 0x5581]
{
	"input_i" : "-27.61",
	"input_tp" : "-4.47",
	"input_lra" : "18.06",
	"input_thresh" : "-39.20",
	"output_i" : "-16.58",
	"output_tp" : "-1.50",
	"output_lra" : "14.78",
	"output_thresh" : "-27.71",
	"normalization_type" : "dynamic",
	"target_offset" : "0.58"
}
"""


def test_progress_blocks() -> None:
    """A report for each block; the misnamed out_time_ms is not believed."""
    parser = ProgressParser()
    block = (
        "frame=48\nfps=23.90\nstream_0_0_q=28.0\nbitrate= 120.3kbits/s\nout_time_us=2000000\n"
        "out_time_ms=2000000\nout_time=00:00:02.000000\ndup_frames=0\nspeed=0.995x\nprogress=continue"
    )

    reports = [report for line in block.splitlines() if (report := parser.feed(line))]

    assert reports == [Progress(frame=48, fps=23.9, speed=0.995, out_time_seconds=2.0, ended=False)]
    assert reports[0].fraction(96) == 0.5


def test_progress_before_the_first_frame() -> None:
    """N/A is nothing yet, and the end is told."""
    parser = ProgressParser()
    for line in ("frame=0", "fps=0.00", "out_time_us=N/A", "speed=N/A", "garbage", "x" * 10_000):
        assert parser.feed(line) is None

    report = parser.feed("progress=end")

    assert report == Progress(frame=0, fps=0.0, speed=0.0, out_time_seconds=0.0, ended=True)
    assert report.fraction(0) == 0.0


def test_loudness_is_read_from_the_end_of_the_log() -> None:
    """The JSON that loudnorm printed last is the measurement."""
    found = parse_loudness("Input #0, {curly} words\n" + MEASURED)

    assert found == Loudness(
        input_i=-27.61, input_tp=-4.47, input_lra=18.06, input_thresh=-39.2, target_offset=0.58
    )


@pytest.mark.parametrize("loudness", ["-inf", "-74.20"])
def test_silence_is_not_normalised(loudness: str) -> None:
    """A silent track has no loudness."""
    assert parse_loudness(MEASURED.replace("-27.61", loudness).replace("0.58", "inf")) is None


@pytest.mark.parametrize("log", ["", "{}", "{ not json }", '{"input_i": "x"}'])
def test_log_without_a_measurement(log: str) -> None:
    """A log without a measurement is an error and not a silent track."""
    with pytest.raises(ValueError, match="no measurement"):
        parse_loudness(log)


def test_gain_is_bounded() -> None:
    """A whisper is raised by twenty decibels and no more."""
    quiet = Loudness(input_i=-50.0, input_tp=-30.0, input_lra=2.0, input_thresh=-60.0, target_offset=0.0)
    usual = msgspec.structs.replace(quiet, input_i=-24.0)

    assert levelling(-16.0, quiet).gain_db == 20.0
    assert levelling(-16.0, usual).gain_db == 8.0


def test_peaks_are_held_only_where_they_rise_too_high() -> None:
    """A track whose peaks have room is only made louder; sound over full scale is made quieter."""
    usual = Loudness(input_i=-24.0, input_tp=-10.0, input_lra=2.0, input_thresh=-34.0, target_offset=0.0)
    peaky = msgspec.structs.replace(usual, input_tp=-9.0)
    hot = msgspec.structs.replace(usual, input_i=0.3, input_tp=4.6)

    assert not levelling(-16.0, usual).limited
    assert levelling(-16.0, peaky).limited
    assert levelling(-16.0, hot) == Levelling(gain_db=-16.3, limited=False)


@pytest.mark.parametrize(("heard", "step"), [(-16.4, 0.0), (-17.5, 1.5), (-14.0, -2.0), (-30.0, 6.0)])
def test_correction(heard: float, step: float) -> None:
    """What a finished track lacks is added once more, up to a bound; what is near enough stays."""
    assert correction(-16.0, heard) == step


def test_storyboard_cues() -> None:
    """Cues follow each other without a gap, run over the sheets in order, and end with the title."""
    stills = StillsPlan(
        poster_width=1280,
        poster_height=720,
        poster_small_width=320,
        poster_small_height=180,
        poster_seconds=(1.0,),
        interval_seconds=10.0,
        tiles=5,
        tile_width=160,
        tile_height=90,
        columns=2,
        rows=2,
        keyframes_only=False,
    )

    text = storyboard_vtt(stills, duration_seconds=45.5)

    assert text == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:10.000\nsprite-001.jpg#xywh=0,0,160,90\n\n"
        "00:00:10.000 --> 00:00:20.000\nsprite-001.jpg#xywh=160,0,160,90\n\n"
        "00:00:20.000 --> 00:00:30.000\nsprite-001.jpg#xywh=0,90,160,90\n\n"
        "00:00:30.000 --> 00:00:40.000\nsprite-001.jpg#xywh=160,90,160,90\n\n"
        "00:00:40.000 --> 00:00:45.500\nsprite-002.jpg#xywh=0,0,160,90\n"
    )
