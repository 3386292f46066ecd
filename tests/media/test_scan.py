"""The scan's log as values: what FFmpeg prints twice, prints as nan, or cuts in two."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_workers.media.catalogue import CATALOGUE, catalogue_document, verdict
from media_workers.media.facts import AudioFacts, SourceFacts, VideoFacts
from media_workers.media.scan import Complexity, FieldCounts, ScanFacts, StreamScan, merged_facts
from media_workers.media.scan_log import WINDOWS_MAX, ScanParser, scan_args
from media_workers.media.verdicts import judge

EMPTY_FIELDS = "TFF:     0 BFF:     0 Progressive:     0 Undetermined:     0"


def fed(*lines: str) -> ScanFacts:
    parser = ScanParser()
    for line in lines:
        parser.feed(line)
    return parser.facts()


def frame(number: int, seconds: float, *, spatial: float = 10.0, temporal: float = 1.0) -> list[str]:
    return [
        f"[metadata@frame @ 0x1] [info] frame:{number}   pts:{number}   pts_time:{seconds}",
        f"[metadata@frame @ 0x1] [info] lavfi.siti.si={spatial}",
        f"[metadata@frame @ 0x1] [info] lavfi.siti.ti={temporal}",
    ]


def test_the_empty_summaries_of_a_graph_that_was_set_up_twice() -> None:
    """idet prints zeros and vfrdet nan before the real ones: they change nothing."""
    scan = fed(
        "[vfrdet@rate @ 0x1] [info] VFR:-nan (0/0)",
        "[idet@fields @ 0x1] [info] Repeated Fields: Neither:     0 Top:     0 Bottom:     0",
        f"[idet@fields @ 0x1] [info] Multi frame detection: {EMPTY_FIELDS}",
        "[vfrdet@rate @ 0x2] [info] VFR:0.696035 (316/138) min: -33000 max: 101000 avg: 33250",
        "[idet@fields @ 0x2] [info] Repeated Fields: Neither:    36 Top:    12 Bottom:    12",
        "[idet@fields @ 0x2] [info] Single frame detection: TFF: 1 BFF: 2 Progressive: 3 Undetermined: 4",
        "[idet@fields @ 0x2] [info] Multi frame detection: TFF: 56 BFF: 1 Progressive: 4 Undetermined: 2",
    )

    assert scan.fields == FieldCounts(
        top_first=56, bottom_first=1, progressive=4, undetermined=2, repeated=24, not_repeated=36
    )
    assert scan.variable_share == pytest.approx(316 / 454, abs=1e-6)
    assert scan.variable_ratio is not None
    assert scan.variable_ratio > 1000


def test_the_summaries_of_a_graph_that_was_restarted() -> None:
    """A picture that changes its size is counted in parts, which add up."""
    part = "[idet@fields @ 0x2] [info] Multi frame detection: TFF: 5 BFF: 0 Progressive: 20 Undetermined: 0"
    scan = fed(
        part,
        "[fc#0 @ 0x1] [info] Reconfiguring filter graph because video parameters changed to yuv420p, 192x108",
        part,
    )

    assert (scan.fields.top_first, scan.fields.progressive, scan.parameter_changes) == (10, 40, 1)


def test_a_silent_track_has_no_loudness() -> None:
    """Minus infinity and the meter's floor are no numbers to work with."""
    scan = fed(
        "[ebur128@a0 @ 0x1] [info] Summary:",
        "",
        "  Integrated loudness:",
        "    I:         -70.0 LUFS",
        "    Threshold:   0.0 LUFS",
        "  Loudness range:",
        "    LRA:         0.0 LU",
        "  True peak:",
        "    Peak:       -inf dBFS",
        "[ebur128@a1 @ 0x2] [info] Summary:",
        "    I:         -21.8 LUFS",
        "    LRA:         3.1 LU",
        "    LRA low:   -21.8 LUFS",
        "    Peak:       -1.5 dBFS",
        "[astats@a1 @ 0x2] [info] Max difference: 0.120000",
    )

    silent, heard = scan.loudness
    assert (silent.integrated_lufs, silent.true_peak_dbtp, silent.silent) == (None, None, True)
    assert (heard.integrated_lufs, heard.range_lu, heard.true_peak_dbtp) == (-21.8, 3.1, -1.5)


def test_stretches_count_from_the_first_picture() -> None:
    """Black and still stretches are on the title's own clock; one that lasts to the end is closed there."""
    scan = fed(
        *frame(0, 1.4),
        "[blackdetect@black @ 0x1] [info] black_start:1.4 black_end:2.4 black_duration:1",
        "[freezedetect@frozen @ 0x1] [info] lavfi.freezedetect.freeze_start: 2.4",
        *frame(1, 5.4),
    )

    assert scan.black_ranges() == ((0.0, 1.0),)
    (frozen,) = scan.frozen
    assert (frozen.start_seconds, frozen.end_seconds) == (1.0, 4.0)


def test_errors_are_counted_by_stream() -> None:
    """Damaged frames and lost packets belong to their stream; the scan's own output is not the source."""
    scan = fed(
        "[h264 @ 0x1] [error] error while decoding MB 16 4",
        "[vist#0:3/h264 @ 0x1] [dec:h264 @ 0x2] [warning] corrupt decoded frame",
        "[null @ 0x1] [error] Application provided invalid, non monotonically increasing dts to muxer",
        "[in#0/mov @ 0x1] [verbose]   Input stream #0:3 (video): 200 packets read (7 bytes); 199 frames "
        "decoded; 1 decode errors; ",
        "[in#0/mov @ 0x1] [verbose]   Input stream #0:4 (audio): 376 packets read (9 bytes); 373 frames "
        "decoded; 2 decode errors (381952 samples); ",
    )

    picture, sound = scan.streams
    assert (picture.index, picture.frames, picture.errors, picture.damaged) == (3, 199, 1, 1)
    assert (sound.index, sound.kind, sound.errors, sound.damaged) == (4, "audio", 2, 0)
    assert scan.error_lines == 1
    assert picture.bad_share == 0.01


@given(st.lists(st.text(max_size=200), max_size=30))
def test_any_log_is_read(lines: list[str]) -> None:
    """Whatever a file makes FFmpeg say, reading it raises nothing."""
    fed(*lines)


@given(st.floats(min_value=1, max_value=1e7), st.integers(min_value=2, max_value=200))
def test_windows_are_bounded(seconds: float, count: int) -> None:
    """However long the title, the series is bounded, and no frame is lost from it."""
    parser = ScanParser()
    for number in range(count):
        for line in frame(number, seconds * number / count):
            parser.feed(line)

    complexity = parser.facts().complexity

    assert len(complexity.frames) <= WINDOWS_MAX
    assert sum(complexity.frames) == count
    assert len(complexity.frames) * complexity.window_seconds >= seconds * (count - 1) / count


def test_complexity_by_the_second() -> None:
    """Long windows stand for each of their seconds; more movement is harder."""
    series = Complexity(window_seconds=2, frames=(50, 50), spatial=(50.0, 50.0), temporal=(1.0, 9.0))

    still, also_still, moving, _ = series.per_second()

    assert still == also_still < moving


@pytest.mark.parametrize(
    ("claimed", "fields", "interlaced"),
    [
        ("tt", FieldCounts(progressive=90, undetermined=10), False),
        ("tt", FieldCounts(undetermined=100), True),
        ("tt", FieldCounts(top_first=50, progressive=50), True),
        ("progressive", FieldCounts(top_first=100), True),
        ("progressive", FieldCounts(top_first=50, bottom_first=50), False),
        ("progressive", FieldCounts(bottom_first=60, progressive=40), False),
    ],
)
def test_fields_by_claim_and_by_sight(claimed: str, fields: FieldCounts, interlaced: bool) -> None:
    """What is seen clearly wins; what is not leaves the container's word."""
    facts = source(field_order=claimed, interlaced=claimed == "tt")

    merged = merged_facts(facts, ScanFacts(frames=100, fields=fields))

    assert merged.video is not None
    assert merged.video.interlaced is interlaced


def test_fine_lines_are_no_fields_where_television_has_none() -> None:
    """A size that no television ever had is not deinterlaced for its fine lines."""
    facts = source(coded_height=720)

    merged = merged_facts(facts, ScanFacts(frames=100, fields=FieldCounts(top_first=100)))

    assert merged.video is not None
    assert not merged.video.interlaced


@pytest.mark.parametrize(
    ("bad", "outcome"),
    [
        (0, None),
        (9, ("corrupt_frames", "warn")),
        (10, ("corrupt_frames", "normalise")),
        (199, ("corrupt_frames", "normalise")),
        (200, ("corrupt", "reject")),
    ],
)
def test_the_bounds_of_damage(bad: int, outcome: tuple[str, str] | None) -> None:
    """Under a thousandth is told, under two hundredths is patched, more is refused."""
    stream = StreamScan(index=0, kind="video", packets=10_000, frames=10_000, damaged=bad)
    found = judge(source(), scan=ScanFacts(frames=10_000, streams=(stream,)))

    damage = [(one.code, one.severity) for one in found if one.code.startswith("corrupt")]
    assert damage == ([outcome] if outcome else [])


def test_a_few_bad_frames_of_a_short_clip_are_no_reason() -> None:
    """A recording that starts in the middle of a picture group is not refused for it."""
    stream = StreamScan(index=0, kind="video", packets=50, frames=47, errors=3)
    found = judge(source(), scan=ScanFacts(frames=47, streams=(stream,)))

    assert "reject" not in {one.severity for one in found}


def test_arguments_hold_every_stream_once() -> None:
    """The picture and every track that has sound are decoded, guarded, and nothing else."""
    tracks = (
        AudioFacts(track=0, index=2, codec="aac", channels=2, sample_rate=48_000),
        AudioFacts(track=1, index=3, codec="unknown", channels=0, sample_rate=0),
    )
    argv = scan_args("ffmpeg", msgspec.structs.replace(source(), audio=tracks), source="input.bin")

    graphs = [argv[place + 1] for place, word in enumerate(argv) if word == "-filter_complex"]
    assert [graph.split("]")[0] for graph in graphs] == ["[0:0", "[0:2"]
    assert argv[argv.index("-protocol_whitelist") + 1] == "file"
    assert "-format_whitelist" in argv
    assert "-max_pixels" in argv


def test_nothing_to_decode_is_an_error_of_the_caller() -> None:
    """Without a picture and without sound there is no scan."""
    with pytest.raises(ValueError, match="neither"):
        scan_args("ffmpeg", msgspec.structs.replace(source(), video=None), source="input.bin")


def test_the_catalogue_is_a_table() -> None:
    """Every code has a stable name, an action that fits its severity, and a whole sentence."""
    for entry in CATALOGUE.values():
        for outcome in entry.outcomes:
            assert outcome.message.endswith("."), entry.code
            assert (outcome.severity == "reject") == (outcome.action == "reject"), entry.code
    document = catalogue_document()
    assert [entry["code"] for entry in document] == list(CATALOGUE)
    assert set(document[0]) == {"code", "rows", "about", "outcomes"}


def test_a_sentence_without_its_numbers_is_an_error() -> None:
    """A rule that forgets a number is found at once."""
    with pytest.raises(KeyError, match="width"):
        verdict("too_large_frame")


def source(**changes: object) -> SourceFacts:
    """A quiet source of ten seconds in a television's size."""
    video = VideoFacts(
        index=0,
        codec="h264",
        coded_width=720,
        coded_height=576,
        display_width=720,
        display_height=576,
        frame_rate="25/1",
        avg_frame_rate="25/1",
        frames=250,
        duration_seconds=10.0,
        end_seconds=10.0,
    )
    return SourceFacts(
        container="mpegts",
        size_bytes=1,
        duration_seconds=10.0,
        streams=1,
        video=msgspec.structs.replace(video, **changes),
        scanned=True,
    )
