"""Profiles, ladders and plans: decided from values alone."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_workers.media.facts import AudioFacts, Colour, SourceFacts
from media_workers.media.ladder import even_size, ladder
from media_workers.media.levels import h264_level
from media_workers.media.plan import Plan, make_plan
from media_workers.media.profiles import PlanError, profile_names, resolve_profile
from media_workers.media.rates import parse_rate, tidy_rate

Source = Callable[..., SourceFacts]


def sizes(width: int, height: int, profile: str = "default", **overrides: Any) -> list[str]:
    rungs = ladder(width, height, Fraction(25), resolve_profile(profile, overrides))
    return [f"{rung.name} {rung.width}x{rung.height}" for rung in rungs]


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1920, 1080, ["1080p 1920x1080", "720p 1280x720", "480p 854x480", "360p 640x360", "240p 426x240"]),
        (3840, 2160, ["1080p 1920x1080", "720p 1280x720", "480p 854x480", "360p 640x360", "240p 426x240"]),
        (1280, 720, ["720p 1280x720", "480p 854x480", "360p 640x360", "240p 426x240"]),
        (720, 405, ["404p 720x404", "360p 640x360", "240p 426x240"]),
        (1080, 1920, ["1080p 1080x1920", "720p 720x1280", "480p 480x854", "360p 360x640", "240p 240x426"]),
        (1920, 800, ["800p 1920x800", "720p 1728x720", "480p 1152x480", "360p 864x360", "240p 576x240"]),
        (640, 480, ["480p 640x480", "360p 480x360", "240p 320x240"]),
        (1024, 576, ["576p 1024x576", "480p 854x480", "360p 640x360", "240p 426x240"]),
        (640, 360, ["360p 640x360", "240p 426x240", "180p 320x180"]),
        (480, 270, ["270p 480x270", "240p 426x240", "180p 320x180"]),
        (426, 240, ["240p 426x240", "180p 320x180", "144p 256x144"]),
        (640, 362, ["362p 640x362", "240p 424x240", "180p 318x180"]),
        (176, 144, ["144p 176x144"]),
        (64, 64, ["64p 64x64"]),
    ],
)
def test_default_ladder(width: int, height: int, expected: list[str]) -> None:
    """The ladder of a source: its own size on top, even sides, three renditions from 240 lines on."""
    assert sizes(width, height) == expected


@given(
    st.integers(16, 8192), st.integers(16, 8192), st.sampled_from(["default", "fast", "premium", "mobile"])
)
def test_no_ladder_upscales(width: int, height: int, profile: str) -> None:
    """For any size: even sides, none larger than the source's, names unique, largest first in each codec."""
    rungs = ladder(width, height, Fraction(30), resolve_profile(profile))

    assert rungs
    assert all(rung.width % 2 == 0 and rung.height % 2 == 0 for rung in rungs)
    assert all(2 <= rung.width <= width and 2 <= rung.height <= height for rung in rungs)
    assert len({rung.name for rung in rungs}) == len(rungs)
    for codec in {rung.codec for rung in rungs}:
        areas = [rung.width * rung.height for rung in rungs if rung.codec == codec]
        assert areas == sorted(areas, reverse=True)
        if min(width, height) >= 240 and max(width, height) <= 4 * min(width, height):
            assert len(areas) >= 3


@given(st.integers(2, 8192), st.integers(2, 8192), st.integers(2, 4320))
def test_scaling_keeps_the_shape(width: int, height: int, short_side: int) -> None:
    """A scaled picture is at most a pixel off its shape on the long side (two for an odd source)."""
    scaled = even_size(width, height, short_side)

    short, long = sorted((width, height))
    exact = Fraction(long * min(scaled), short)
    assert abs(max(scaled) - exact) <= 1 + Fraction(2 * long, short)


@pytest.mark.parametrize(
    ("profile", "first", "count"),
    [
        ("premium", {"h264": "1080p", "hevc": "2160p_hevc", "av1": "2160p_av1"}, 19),
        ("archive", {"h264": "1080p", "hevc": "2160p_hevc"}, 12),
        ("mobile", {"h264": "480p", "av1": "480p_av1"}, 6),
        ("fast", {"h264": "1080p"}, 4),
        ("apple", {"h264": "1080p", "hevc": "2160p_hevc"}, 12),
        (
            "netflix",
            {"h264": "2160p", "hevc": "2160p_hevc", "vp9": "2160p_vp9", "av1": "2160p_av1"},
            16,
        ),
    ],
)
def test_profiles_of_a_large_source(profile: str, first: dict[str, str], count: int) -> None:
    """Each profile has its own codecs and rungs."""
    rungs = ladder(3840, 2160, Fraction(25), resolve_profile(profile))

    tops: dict[str, str] = {}
    for rung in rungs:
        tops.setdefault(rung.codec, rung.name)
    assert (tops, len(rungs)) == (first, count)


def test_named_renditions_and_no_others() -> None:
    """Who names renditions gets those; one above the source becomes the source's size."""
    assert sizes(1280, 720, renditions=["1080p", "360p"]) == ["720p 1280x720", "360p 640x360"]
    assert sizes(1280, 720, renditions=["480p"]) == ["480p 854x480"]
    assert sizes(320, 180, renditions=["1080p"]) == ["180p 320x180"]


def test_a_rendition_may_have_its_own_settings() -> None:
    """Height, quality and cap of a rendition can be given."""
    wish = {"height": 400, "crf": 30, "maxBitrate": 700_000}

    [rung] = ladder(1280, 720, Fraction(25), resolve_profile("default", {"renditions": [wish]}))

    assert (rung.name, rung.crf, rung.maxrate_bps, rung.bufsize_bits) == ("400p", 30.0, 700_000, 1_050_000)


def test_fast_pictures_get_more_bits() -> None:
    """Above thirty frames a second the cap is half as high again."""
    profile = resolve_profile("default")

    calm, fast = (ladder(1280, 720, Fraction(rate), profile)[0] for rate in (30, 60))

    assert (calm.maxrate_bps, fast.maxrate_bps) == (3_000_000, 4_500_000)


@pytest.mark.parametrize(
    ("width", "height", "rate", "level"),
    [
        (426, 240, 25, "2.1"),
        (640, 360, 30, "3.0"),
        (1280, 720, 30, "3.1"),
        (1280, 720, 60, "3.2"),
        (1920, 1080, 30, "4.0"),
        (1920, 1080, 60, "4.2"),
        (3840, 2160, 30, "5.1"),
        (3840, 2160, 60, "5.2"),
    ],
)
def test_levels(width: int, height: int, rate: int, level: str) -> None:
    """The level is the smallest that a picture fits in."""
    [rung, *_] = ladder(width, height, Fraction(rate), resolve_profile("premium"))

    found = h264_level(
        width,
        height,
        Fraction(rate),
        maxrate_bps=rung.maxrate_bps,
        bufsize_bits=rung.bufsize_bits,
        references=3,
        profile="high",
    )
    assert found == level


@pytest.mark.parametrize(
    ("name", "overrides", "path", "accepted"),
    [
        ("defualt", {}, "profile", profile_names()),
        ("default", {"codec": []}, "overrides.codec", ("codecs", "renditions", "hdr")),
        ("default", {"codecs": ["av2"]}, "overrides.codecs[0]", ("h264",)),
        ("default", {"codecs": []}, "overrides.codecs", ()),
        ("default", {"renditions": ["721q"]}, "overrides.renditions[0]", ("1080p",)),
        ("default", {"renditions": ["720p", "720p"]}, "overrides.renditions", ()),
        ("default", {"renditions": [{"width": 3}]}, "overrides.renditions[0].width", ("height", "codec")),
        ("default", {"renditions": [{"height": 1}]}, "overrides.renditions[0].height", ()),
        ("default", {"renditions": [{"height": 720, "crf": "x"}]}, "overrides.renditions[0].crf", ()),
        (
            "default",
            {"renditions": [{"height": 720, "maxBitrate": True}]},
            "overrides.renditions[0].maxBitrate",
            (),
        ),
        ("default", {"renditions": [7]}, "overrides.renditions[0]", ()),
        ("default", {"renditions": ["240p"] * 99}, "overrides.renditions", ()),
        ("default", {"hdr": "keep"}, "overrides.hdr", ("auto", "sdr")),
        ("default", {"loudness": float("nan")}, "overrides.loudness", ()),
        ("default", {"clip": {"start": 2, "end": 1}}, "overrides.clip.end", ()),
        ("default", {"perTitle": "yes"}, "overrides.perTitle", ()),
        ("default", {"chunkSeconds": 1}, "overrides.chunkSeconds", ()),
    ],
)
def test_wrong_wishes(name: str, overrides: dict[str, Any], path: str, accepted: tuple[str, ...]) -> None:
    """A wrong name or value is refused with the field's path and what it may hold."""
    with pytest.raises(PlanError) as caught:
        resolve_profile(name, overrides)

    assert caught.value.path == path
    assert set(accepted) <= set(caught.value.accepted)


def test_loudness_may_be_left_alone() -> None:
    """null turns loudness off, a number sets the target."""
    assert resolve_profile("default", {"loudness": None}).loudness_lufs is None
    assert resolve_profile("default", {"loudness": -23}).loudness_lufs == -23.0


@pytest.mark.parametrize(
    ("rate", "variable", "expected", "gop", "segment_seconds", "timescale"),
    [
        ("25/1", False, "25/1", 50, 6.0, 12_800),
        ("30000/1001", False, "30000/1001", 60, 6.006, 30_000),
        ("24000/1001", False, "24000/1001", 48, 6.006, 24_000),
        ("60000/1001", False, "60000/1001", 120, 6.006, 60_000),
        ("60/1", False, "60/1", 120, 6.0, 15_360),
        ("50/1", False, "50/1", 100, 6.0, 12_800),
        ("120/1", False, "60/1", 120, 6.0, 15_360),
        ("120000/1001", False, "60000/1001", 120, 6.006, 60_000),
        ("144/1", False, "48/1", 96, 6.0, 12_288),
        ("25/2", False, "25/2", 25, 6.0, 12_800),
        ("1/1", False, "5/1", 10, 6.0, 10_240),
        ("55/1", True, "60000/1001", 120, 6.006, 60_000),
        ("27/1", True, "25/1", 50, 6.0, 12_800),
        ("12/1", True, "24000/1001", 48, 6.006, 24_000),
    ],
)
def test_time_grid(
    rate: str,
    *,
    variable: bool,
    expected: str,
    gop: int,
    segment_seconds: float,
    timescale: int,
    source: Source,
) -> None:
    """Output rate, GOP, segment length and clock of a source's rate, all exact."""
    plan = make_plan(source(frame_rate=rate, variable_frame_rate=variable), resolve_profile("default"))

    assert (plan.frame_rate, plan.gop_frames, plan.timescale) == (expected, gop, timescale)
    assert plan.segment_frames == 3 * gop
    assert plan.segment_seconds == pytest.approx(segment_seconds, abs=1e-6)
    assert (plan.timescale / Fraction(expected)).denominator == 1


def test_mobile_halves_fast_pictures(source: Source) -> None:
    """A profile may bound the rate."""
    assert make_plan(source(frame_rate="60/1"), resolve_profile("mobile")).frame_rate == "30/1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30000/1001", Fraction(30000, 1001)),
        ("0/0", None),
        ("N/A", None),
        ("64:45", Fraction(64, 45)),
        ("-1", None),
    ],
)
def test_rates_are_read(text: str, expected: Fraction | None) -> None:
    """Rates are rationals; what is none is None."""
    assert parse_rate(text) == expected


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (Fraction(2997, 100), Fraction(30000, 1001)),
        (Fraction(1000, 33) * Fraction(99, 100), Fraction(30)),
        (Fraction(23976, 1000), Fraction(24000, 1001)),
        (Fraction(10001, 1000), Fraction(10)),
        (Fraction(456000, 15217), Fraction(30000, 1001)),
    ],
)
def test_measured_rates_are_tidied(measured: Fraction, expected: Fraction) -> None:
    """A measured rate means the standard rate beside it."""
    assert tidy_rate(measured) == expected


def test_colour_is_assumed_by_size(source: Source) -> None:
    """A picture that names no colours is taken for what its size was made with; outputs are always tagged."""
    found = {
        size: make_plan(
            source(coded_width=size[0], coded_height=size[1], colour=Colour()), resolve_profile("default")
        )
        for size in ((1920, 1080), (720, 576), (720, 480))
    }

    matrices = {size: plan.video.colour.output.matrix for size, plan in found.items() if plan.video}
    assert matrices == {(1920, 1080): "bt709", (720, 576): "bt470bg", (720, 480): "smpte170m"}
    assert all(plan.video and plan.video.colour.assumed for plan in found.values())


def track(number: int, **changes: Any) -> AudioFacts:
    facts = AudioFacts(
        track=number,
        index=number + 1,
        codec="aac",
        channels=2,
        layout="stereo",
        sample_rate=44_100,
        duration_seconds=2.0,
    )
    return msgspec.structs.replace(facts, **changes)


def test_sound_tracks(source: Source) -> None:
    """Every track is planned to the picture's length, with one default and no two labels alike."""
    tracks = (track(0, language="eng"), track(1, language="eng", default=True), track(2))
    facts = msgspec.structs.replace(source(), audio=tracks)

    plan = make_plan(facts, resolve_profile("default"))

    assert [(one.name, one.label, one.default) for one in plan.audio] == [
        ("audio_0_aac", "English", False),
        ("audio_1_aac", "English 2", True),
        ("audio_2_aac", "Audio", False),
    ]
    assert {one.samples_total for one in plan.audio} == {96_000}


def test_sound_alone(source: Source) -> None:
    """The audio profile plans a source without a picture; the others say what to use."""
    facts = msgspec.structs.replace(source(), video=None, audio=(track(0, start_seconds=0.5),))

    plan = make_plan(facts, resolve_profile("audio"))

    assert (plan.renditions, plan.frames_total, plan.stills) == ((), 0, None)
    assert plan.duration_seconds == 2.0
    with pytest.raises(PlanError, match="audio"):
        make_plan(facts, resolve_profile("default"))


def test_storyboard_grid(source: Source) -> None:
    """A long title has a tile each ten seconds at most; the sheets hold a hundred."""
    plan = make_plan(source(duration_seconds=3600.0, end_seconds=3600.0), resolve_profile("fast"))

    assert plan.stills is not None
    stills = plan.stills
    assert (stills.interval_seconds, stills.tiles, stills.columns, stills.rows, stills.sheets) == (
        10.0,
        360,
        10,
        10,
        4,
    )
    assert (stills.tile_width, stills.tile_height, stills.poster_width) == (160, 90, 1280)


def test_estimate_grows_with_the_work(source: Source) -> None:
    """Longer titles and slower presets cost more."""
    short = make_plan(source(), resolve_profile("fast")).estimate
    long = make_plan(source(duration_seconds=200.0), resolve_profile("fast")).estimate
    slow = make_plan(source(), resolve_profile("premium")).estimate

    assert long.cpu_seconds > 50 * short.cpu_seconds
    assert slow.wall_seconds > short.wall_seconds
    assert long.cost > 0
    assert long.output_bytes > short.output_bytes > 0


def test_estimate_knows_the_slots(source: Source) -> None:
    """More encodes at once wait less and cost the same; one chunk cannot be divided."""
    profile = resolve_profile("fast")
    long, one = source(duration_seconds=600.0), source(duration_seconds=6.0)

    alone, eight = (make_plan(long, profile, slots=slots).estimate for slots in (1, 8))
    short = [make_plan(one, profile, slots=slots).estimate.wall_seconds for slots in (4, 64)]

    assert eight.cpu_seconds == alone.cpu_seconds
    assert alone.wall_seconds / 8 <= eight.wall_seconds < alone.wall_seconds / 6
    assert short[0] == short[1]


def test_clip_is_the_title(source: Source) -> None:
    """A clip moves the title's zero and bounds its frames; one behind the end is refused by name."""
    facts = source(duration_seconds=10.0, end_seconds=10.0)

    plan = make_plan(facts, resolve_profile("fast", {"clip": {"start": 2.5, "end": 6.0}}))

    assert plan.video is not None
    assert (plan.frames_total, plan.duration_seconds, plan.video.offset_seconds) == (88, 3.52, 2.5)
    with pytest.raises(PlanError, match=r"overrides\.clip\.start"):
        make_plan(facts, resolve_profile("fast", {"clip": {"start": 11}}))


def test_a_protected_title_has_no_preview(source: Source) -> None:
    """The preview is the smallest H.264 rendition; a title to be encrypted shows nothing early."""
    profile = resolve_profile("mobile")

    assert make_plan(source(), profile).preview == "240p"
    assert make_plan(source(), profile, protected=True).preview is None
    assert make_plan(source(), resolve_profile("fast", {"renditions": ["240p"]})).preview is None


def test_plan_travels_as_json(source: Source) -> None:
    """A plan written as JSON and read again is the same."""
    plan = make_plan(msgspec.structs.replace(source(), audio=(track(0),)), resolve_profile("default"))

    text = msgspec.json.encode(plan)

    assert b'"framesTotal":50' in text
    assert msgspec.json.decode(text, type=Plan) == plan
