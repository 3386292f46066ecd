"""Profiles, levels and hardware: names in, values out."""

import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_workers.media.gate import QualityTargets
from media_workers.media.hardware import (
    choose_hardware,
    hardware_encoders,
    listing_args,
    on_hardware,
    trial_args,
)
from media_workers.media.hdr import read_mastering
from media_workers.media.ladder import Rendition, ladder
from media_workers.media.levels import level_of
from media_workers.media.profiles import (
    PlanError,
    Profile,
    parse_profile,
    profile_names,
    profiles_document,
    resolve_profile,
)
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcLimits, run

LIMITS = ProcLimits(wall_seconds=60)


def refusal(document: object) -> PlanError:
    with pytest.raises(PlanError) as caught:
        parse_profile(document)
    return caught.value


def test_every_profile_is_a_document_and_back() -> None:
    """What is listed can be read again, and is the same profile."""
    documents = profiles_document()

    assert tuple(document["name"] for document in documents) == profile_names()
    assert all(parse_profile(document) == resolve_profile(document["name"]) for document in documents)
    assert all(document["description"] for document in documents)


def test_the_documents_own_set() -> None:
    """Four sizes in four codecs, 4K in H.264 included."""
    rungs = ladder(3840, 2160, Fraction(24), resolve_profile("netflix"))

    assert {(rung.codec, rung.height) for rung in rungs} == {
        (codec, height) for codec in ("h264", "hevc", "vp9", "av1") for height in (2160, 1080, 720, 480)
    }


def test_an_operators_profile() -> None:
    """Fields that are named are taken, the others are those of any profile."""
    document = {
        "name": "news",
        "codecs": ["h264", "av1"],
        "renditions": ["720p", {"height": 360, "codec": "h264", "crf": 26, "maxBitrate": 500_000}],
        "speed": "fast",
        "quality": {"topMean": 90},
        "watermark": {"text": "LIVE"},
    }

    profile = resolve_profile(document, {"loudness": -23})

    assert isinstance(profile, Profile)
    assert (profile.name, profile.speed, profile.loudness_lufs) == ("news", "fast", -23.0)
    assert profile.quality == QualityTargets(top_mean=90.0)
    names = [rung.name for rung in ladder(1280, 720, Fraction(25), profile)]
    assert names == ["720p", "480p", "360p", "720p_av1", "480p_av1", "360p_av1"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"nmae": "x"}, "profile.nmae"),
        ({"name": "../x"}, "profile.name"),
        ({"version": 2}, "profile.version"),
        ({"renditions": None}, "profile.renditions"),
        ({"renditions": ["0p"]}, "profile.renditions[0]"),
        ({"renditions": [{"height": 720, "codec": "h265"}]}, "profile.renditions[0].codec"),
        ({"renditions": [{"height": 720, "codec": "h264", "crf": 60}]}, "profile.renditions[0].crf"),
        ({"renditions": ["720p", {"height": 720, "codec": "hevc"}]}, "profile.renditions"),
        ({"speed": "placebo"}, "profile.speed"),
        ({"quality": {"mean": 1}}, "profile.quality.mean"),
        ({"quality": {"topMean": 101}}, "profile.quality.topMean"),
        ({"audioCodecs": ["mp3"]}, "profile.audioCodecs[0]"),
        ({"qualityGate": "yes"}, "profile.qualityGate"),
        ({"hdr": "keep", "codecs": ["h264"]}, "profile.hdr"),
        ({"clip": {"start": 5, "end": 5}}, "profile.clip.end"),
        ({"crop": {"width": 8, "height": 90}}, "profile.crop.width"),
        ({"crop": [0, 0, 10, 10]}, "profile.crop"),
        ({"watermark": {}}, "profile.watermark"),
        ({"watermark": {"text": "a", "image": "b"}}, "profile.watermark"),
        ({"watermark": {"text": "\x00\x01"}}, "profile.watermark.text"),
        ({"watermark": {"image": "../../etc/passwd"}}, "profile.watermark.image"),
        ({"watermark": {"image": "http://host/x.png"}}, "profile.watermark.image"),
        ({"watermark": {"text": "a", "position": "middle"}}, "profile.watermark.position"),
        ({"watermark": {"text": "a", "scale": 3}}, "profile.watermark.scale"),
    ],
)
def test_a_wrong_profile_is_refused_by_path(change: dict[str, Any], path: str) -> None:
    """The sentence names the field that is wrong, and what it may hold where that can be listed."""
    refused = refusal({"name": "news", "renditions": ["720p"], **change})

    assert refused.path == path
    assert str(refused).startswith(f"{path}: ")


def test_no_profile_at_all() -> None:
    """What is no object, or has no name, is refused."""
    assert refusal([1]).path == "profile"
    assert refusal({"renditions": ["720p"]}).path == "profile.name"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(
        [
            "renditions",
            "codecs",
            "hdr",
            "clip",
            "crop",
            "watermark",
            "quality",
            "speed",
            "loudness",
            "threads",
        ]
    ),
)
def test_nothing_but_a_sentence_comes_of_nonsense(value: object, field: str) -> None:
    """Whatever is sent in whatever field: a profile, or a refusal that names it."""
    path = ""
    try:
        parse_profile({"name": "news", "renditions": ["720p"], field: value})
    except PlanError as refused:
        path = refused.path
    assert path in ("", f"profile.{field}") or path.startswith((f"profile.{field}.", f"profile.{field}["))


@pytest.mark.parametrize(
    ("codec", "width", "height", "rate", "maxrate", "expected"),
    [
        ("h264", 1920, 1080, 60, 9_000_000, ("4.2", "main")),
        ("hevc", 1280, 720, 30, 2_000_000, ("3.1", "main")),
        ("hevc", 1920, 1080, 30, 4_000_000, ("4.0", "main")),
        ("hevc", 1920, 1080, 60, 6_000_000, ("4.1", "main")),
        ("hevc", 3840, 2160, 30, 12_000_000, ("5.0", "main")),
        ("hevc", 3840, 2160, 60, 18_000_000, ("5.1", "main")),
        ("hevc", 3840, 2160, 30, 90_000_000, ("5.1", "high")),
        ("hevc", 7680, 4320, 120, 300_000_000, ("6.2", "high")),
        ("vp9", 1920, 1080, 30, 4_000_000, ("4.0", "main")),
        ("vp9", 1080, 1920, 60, 6_000_000, ("4.1", "main")),
        ("vp9", 3840, 2160, 30, 12_000_000, ("5.0", "main")),
        ("av1", 1280, 720, 30, 1_500_000, ("3.1", "main")),
        ("av1", 1920, 1080, 30, 3_000_000, ("4.0", "main")),
        ("av1", 3840, 2160, 60, 14_000_000, ("5.1", "main")),
        ("av1", 1080, 5000, 24, 3_000_000, ("6.0", "main")),
    ],
)
def test_levels(
    *, codec: str, width: int, height: int, rate: int, maxrate: int, expected: tuple[str, str]
) -> None:
    """The smallest level that holds size, rate and bitrate; a main tier where there is one."""
    found = level_of(
        codec,
        width,
        height,
        Fraction(rate),
        maxrate_bps=maxrate,
        bufsize_bits=round(maxrate * 1.5),
        references=3,
        profile="high",
    )

    assert found == expected


def test_apple_never_gets_h264_beyond_its_level() -> None:
    """H.264 for Apple's devices: at most 1080 lines, at most level 4.2, at sixty frames a second too."""
    rungs = ladder(3840, 2160, Fraction(60), resolve_profile("apple"))

    h264 = [rung for rung in rungs if rung.codec == "h264"]
    assert max(min(rung.width, rung.height) for rung in h264) == 1080
    assert max(Fraction(rung.level) for rung in h264) <= Fraction("4.2")
    slow = ladder(1920, 1080, Fraction(60), resolve_profile("premium"))
    assert max(Fraction(rung.level) for rung in slow if rung.codec == "h264") <= Fraction("4.2")


def test_labels_of_content_keys() -> None:
    """SD to 576 lines, HD to 1080, UHD above; a portrait counts by its short side."""
    rungs = ladder(3840, 2160, Fraction(24), resolve_profile("netflix"))
    portrait = ladder(1080, 1920, Fraction(24), resolve_profile("default"))

    labels = {rung.height: rung.drm_label for rung in rungs}
    assert labels == {2160: "UHD", 1080: "HD", 720: "HD", 480: "SD"}
    assert portrait[0].drm_label == "HD"


def rendition(**changes: Any) -> Rendition:
    [made] = ladder(1280, 720, Fraction(25), resolve_profile("fast", {"renditions": ["720p"], **changes}))
    return made


def test_hardware_is_used_only_where_asked_for_and_usable() -> None:
    """A card takes over what the operator asked for and the trial showed, and nothing of ten bits."""
    usable = ("h264_qsv", "h264_nvenc", "av1_nvenc")

    assert choose_hardware((), usable) == {}
    assert choose_hardware(("vaapi",), usable) == {}
    chosen = choose_hardware(("nvenc", "qsv"), usable)
    assert chosen == {"h264": "h264_nvenc", "av1": "av1_nvenc"}
    moved = on_hardware([rendition(), rendition(codecs=["av1"]), rendition(codecs=["hevc"])], chosen)
    assert [item.encoder for item in moved] == ["h264_nvenc", "libsvtav1", "libx265"]


@pytest.mark.media
def test_hardware_is_reported_and_tried(tools: Binaries) -> None:
    """The build's list is understood; a trial without a card ends with an error, not with a guess."""
    listing = run(listing_args(tools.ffmpeg), limits=LIMITS).check("encoders").stdout.decode()

    found = hardware_encoders(listing)

    assert {"h264_nvenc", "hevc_qsv", "av1_vaapi"} <= set(found)
    assert all(re.fullmatch(r"(h264|hevc|av1)_[a-z0-9]+", name) for name in found)
    for name in ("h264_nvenc", "h264_vaapi"):
        result = run(trial_args(tools.ffmpeg, name), limits=LIMITS)
        assert isinstance(result.ok, bool)


@pytest.mark.parametrize(
    "side",
    [
        {},
        {"side_data_type": "Mastering display metadata"},
        {"side_data_type": "Mastering display metadata", "red_x": "1/0"},
    ],
)
def test_broken_mastering_metadata_is_none(side: dict[str, str]) -> None:
    """What a stranger's file says of its display is taken whole or not at all."""
    assert read_mastering({"frames": [{"side_data_list": [side]}]}) is None
    assert read_mastering({}) is None
