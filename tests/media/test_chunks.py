"""Cuts, groups, learned speeds: which work a title is divided into."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_workers.media.calibration import (
    CELLS_MAX,
    Calibration,
    Cell,
    Measured,
    learned,
    seconds_per_frame,
)
from media_workers.media.chunks import CHUNKS_MAX, plan_chunks, preroll_seconds
from media_workers.media.estimate import predicted_seconds
from media_workers.media.groups import TIME_FACTOR_MAX, Group, plan_groups
from media_workers.media.ladder import Rendition, ladder
from media_workers.media.profiles import resolve_profile

RATES = [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(456000, 15217)]


@given(st.integers(1, 5_000_000), st.sampled_from(RATES), st.integers(2, 600) | st.none())
def test_chunks_cover_every_frame_once(frames: int, rate: Fraction, seconds: int | None) -> None:
    """Chunks follow each other on the keyframe grid; the last is half to one and a half of the others."""
    gop = round(2 * rate)

    chunks = plan_chunks(frames, gop, rate, chunk_seconds=seconds)

    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert chunks[0].first_frame == 0
    assert chunks[-1].end_frame == frames
    for earlier, later in pairwise(chunks):
        assert later.first_frame == earlier.end_frame
        assert later.first_frame % gop == 0
    assert len(chunks) <= CHUNKS_MAX
    if len(chunks) > 1:
        assert len({chunk.frames for chunk in chunks[:-1]}) == 1
        assert Fraction(1, 2) <= Fraction(chunks[-1].frames, chunks[0].frames) < Fraction(3, 2)


@pytest.mark.parametrize(
    ("seconds", "count"), [(1, 1), (44, 1), (45, 2), (74, 2), (75, 3), (180, 6), (7200, 240), (86_400, 600)]
)
def test_usual_lengths(seconds: int, count: int) -> None:
    """Thirty seconds a chunk, one chunk below one and a half, longer chunks for a day."""
    assert len(plan_chunks(seconds * 25, 50, Fraction(25))) == count


def test_no_picture_has_no_chunk() -> None:
    """Sound alone is not cut."""
    assert plan_chunks(0, 50, Fraction(25)) == ()


def test_preroll_crosses_the_longest_gap() -> None:
    """Three seconds, or more than the source's longest distance between keyframes."""
    assert preroll_seconds(0.5) == 3.0
    assert preroll_seconds(8.0) > 8.0


def grouped(profile: str, width: int, height: int, preview: str | None) -> tuple[Group, ...]:
    renditions = ladder(width, height, Fraction(25), resolve_profile(profile))
    return plan_groups(renditions, predicted_seconds(Calibration(), renditions, 750), preview=preview)


@pytest.mark.parametrize("profile", ["default", "premium", "netflix", "mobile", "archive"])
def test_every_rendition_is_in_one_group(profile: str) -> None:
    """Nothing is forgotten or made twice; one process holds one codec; names are the largest member's."""
    renditions = {item.name: item for item in ladder(3840, 2160, Fraction(25), resolve_profile(profile))}

    groups = grouped(profile, 3840, 2160, "240p")

    names = [name for group in groups for name in group.renditions]
    assert sorted(names) == sorted(renditions)
    for group in groups:
        assert group.name == group.renditions[0]
        assert len({renditions[name].codec for name in group.renditions}) == 1


def test_cheap_rungs_share_a_process() -> None:
    """No group takes more than 1.3 times the longest rendition, and what fits together is together."""
    groups = grouped("netflix", 3840, 2160, None)
    renditions = ladder(3840, 2160, Fraction(25), resolve_profile("netflix"))
    longest = max(predicted_seconds(Calibration(), renditions, 750).values())

    assert all(group.predicted_seconds < TIME_FACTOR_MAX * longest for group in groups)
    assert ("2160p", "1080p", "720p", "480p") in [group.renditions for group in groups]


def test_slow_codecs_keep_their_largest_alone() -> None:
    """HEVC's and AV1's top rung is a group of its own, and so is every VP9 rendition: it takes two passes."""
    groups = {group.name: group.renditions for group in grouped("netflix", 3840, 2160, None)}

    assert groups["2160p_hevc"] == ("2160p_hevc",)
    assert groups["2160p_av1"] == ("2160p_av1",)
    assert all(groups[f"{lines}p_vp9"] == (f"{lines}p_vp9",) for lines in (2160, 1080, 720, 480))


def test_the_preview_stands_alone_and_first() -> None:
    """What is published first shares its process with nothing slower."""
    groups = grouped("default", 1920, 1080, "240p")

    assert groups[0].renditions == ("240p",)


def measured(frames: int = 1000, seconds: float = 40.0, **changes: object) -> Measured:
    fields = {"encoder": "libx264", "preset": "medium", "width": 1280, "height": 720}
    return Measured(**{**fields, "frames": frames, "cpu_seconds": seconds, **changes})  # type: ignore[arg-type] # a test's shorthand


def speed(calibration: Calibration, width: int = 1280, height: int = 720) -> float:
    return seconds_per_frame(calibration, "libx264", "medium", width, height)


def test_speeds_are_learned() -> None:
    """Repeated measurements draw the prediction to themselves, also for sizes nobody has measured."""
    calibration = Calibration()
    for _ in range(30):
        calibration = learned(calibration, [measured(seconds=80.0)])

    assert speed(calibration) == pytest.approx(0.08, rel=0.01)
    assert speed(calibration, 1920, 1080) == pytest.approx(0.08 * 2.25, rel=0.01)


def test_one_measurement_is_not_the_truth() -> None:
    """A short encode moves the prediction less than a long one, and neither all the way."""
    before = speed(Calibration())

    short, long = (
        speed(learned(Calibration(), [measured(frames=frames, seconds=frames * 0.08)]))
        for frames in (25, 2000)
    )

    assert before < short < long < 0.08


@pytest.mark.parametrize(
    "wrong",
    [
        measured(frames=0),
        measured(seconds=0.0),
        measured(seconds=-1.0),
        measured(seconds=float("nan")),
        measured(seconds=1e9),
        measured(width=0),
        measured(preset="x" * 1000),
    ],
)
def test_nonsense_teaches_nothing(wrong: Measured) -> None:
    """What cannot be true leaves the table as it was."""
    assert learned(Calibration(), [wrong]) == Calibration()


def test_the_table_is_bounded() -> None:
    """Of too many cells those that were taught least are dropped."""
    full = Calibration(
        cells={f"e{number}/p/720": Cell(seconds_per_frame=1.0, frames=10) for number in range(CELLS_MAX)}
    )

    after = learned(full, [measured()])

    assert len(after.cells) == CELLS_MAX
    assert "libx264/medium/720" in after.cells


def test_unknown_encoders_have_a_speed() -> None:
    """A card nobody has measured is planned for all the same."""
    rendition = ladder(1280, 720, Fraction(25), resolve_profile("default"))[0]
    fields = {name: getattr(rendition, name) for name in Rendition.__struct_fields__}
    card = Rendition(**{**fields, "encoder": "h264_nvenc"})

    groups = plan_groups([card], predicted_seconds(Calibration(), [card], 750), preview=None)

    assert groups[0].resource_class == "gpu"
    assert groups[0].predicted_seconds > 0
