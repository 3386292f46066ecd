"""Per-title ladders: the hull, the choice of rungs, and what may never happen to a profile's ladder."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media_workers.media.hull import Probe, fit_curves, upper_hull
from media_workers.media.ladder import Rendition, ladder
from media_workers.media.per_title import (
    PROBE_CRFS,
    PROBE_PRESET,
    PerTitle,
    apply_per_title,
    choose_rungs,
    probe_sizes,
)
from media_workers.media.plan import make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.quality import harmonic_mean, parse_vmaf
from media_workers.media.trials import (
    REFERENCE_NAME,
    reference_args,
    score_args,
    score_name,
    trial_args,
    trial_name,
)
from media_workers.media.windows import Window
from media_workers.procs.binaries import Binaries
from tests.media.conftest import Probed

SIZES = ((1280, 720), (854, 480), (640, 360), (426, 240))
RATE = Fraction(25)

probes = st.lists(
    st.builds(
        Probe,
        width=st.just(1280),
        height=st.just(720),
        crf=st.sampled_from([20.0, 26.0, 32.0, 38.0]),
        bitrate_bps=st.integers(1_000, 50_000_000),
        vmaf=st.floats(0, 100),
    ),
    min_size=1,
    max_size=20,
)


@st.composite
def titles(draw: st.DrawFn) -> tuple[Probe, ...]:
    """Trials of one title: fewer bits and less quality with each CRF and each smaller size."""
    found = []
    bits, quality = draw(st.integers(200_000, 30_000_000)), draw(st.floats(60, 100))
    for width, height in SIZES:
        cheaper, worse = bits, quality
        for crf in PROBE_CRFS:
            found.append(Probe(width=width, height=height, crf=crf, bitrate_bps=cheaper, vmaf=worse))
            cheaper = max(1, round(cheaper * draw(st.floats(0.3, 0.9))))
            worse = max(0.0, worse - draw(st.floats(0.1, 30)))
        bits = round(bits * draw(st.floats(0.2, 0.7)))
        quality = max(0.0, quality - draw(st.floats(0.1, 15)))
    return tuple(found)


def static(profile: str = "default", **overrides: Any) -> tuple[Rendition, ...]:
    return ladder(1280, 720, RATE, resolve_profile(profile, overrides))


def result(found: tuple[Probe, ...], renditions_min: int = 3) -> PerTitle:
    return PerTitle(
        rungs=choose_rungs(found, static(), renditions_min=renditions_min),
        probes=found,
        hull=upper_hull(found),
        windows=(Window(first_frame=0, frames=50),),
        preset=PROBE_PRESET,
        cpu_seconds=1.0,
    )


@settings(deadline=None)
@given(probes)
def test_the_hull_rises_and_nothing_lies_above_it(found: list[Probe]) -> None:
    """Bitrate and quality rise along it; no trial is both cheaper and better than its place on it."""
    hull = upper_hull(found)
    assert hull
    for below, above in pairwise(hull):
        assert above.bitrate_bps > below.bitrate_bps
        assert above.vmaf > below.vmaf
    for probe in found:
        dearer = [point.vmaf for point in hull if point.bitrate_bps <= probe.bitrate_bps]
        assert dearer or probe.bitrate_bps < hull[0].bitrate_bps
        assert probe.vmaf <= max(point.vmaf for point in hull)


@settings(deadline=None)
@given(probes, st.floats(0, 100))
def test_a_curve_only_rises(found: list[Probe], vmaf: float) -> None:
    """More quality never costs less; what lies beyond the trials is never promised."""
    (curve,) = fit_curves(found)
    point, better = curve.at_vmaf(vmaf), curve.at_vmaf(min(100.0, vmaf + 5))
    assert better.bitrate_bps >= point.bitrate_bps
    assert curve.vmaf_min - 1e-9 <= point.vmaf <= curve.vmaf_max + 1e-9
    assert curve.at_bitrate(point.bitrate_bps).vmaf == pytest.approx(point.vmaf, abs=0.5)


@settings(deadline=None)
@given(titles())
def test_a_title_never_gets_more_than_the_profile_gives(found: tuple[Probe, ...]) -> None:
    """No rung is added, no cap is raised, no CRF lowered; quality and caps fall from rung to rung."""
    before = {rendition.name: rendition for rendition in static()}
    after = apply_per_title(static(), result(found))
    assert 3 <= len(after) <= len(before)
    for rendition in after:
        old = before[rendition.name]
        assert rendition.maxrate_bps <= old.maxrate_bps
        assert rendition.bufsize_bits <= old.bufsize_bits
        assert rendition.crf >= old.crf
    caps = [rendition.maxrate_bps for rendition in after]
    assert caps == sorted(caps, reverse=True)
    promised = [rung.vmaf for rung in result(found, renditions_min=1).rungs]
    assert promised == sorted(promised, reverse=True)


@settings(deadline=None)
@given(titles())
def test_other_codecs_follow_by_their_own_caps(found: tuple[Probe, ...]) -> None:
    """The same rungs go, and each keeps the same share of its codec's cap at most."""
    before = {item.name: item for item in static(codecs=["h264", "hevc", "av1"])}
    after = apply_per_title(tuple(before.values()), result(found))
    sizes = {
        codec: [item.height for item in after if item.codec == codec] for codec in ("h264", "hevc", "av1")
    }
    assert sizes["h264"] == sizes["hevc"] == sizes["av1"]
    for rendition in after:
        assert rendition.maxrate_bps <= before[rendition.name].maxrate_bps
        assert rendition.crf >= before[rendition.name].crf


def test_a_size_that_its_cap_starves_is_left_out() -> None:
    """Noise that 720p cannot show within its cap looks better in 480p: the larger rung only costs bits."""
    noise = tuple(
        Probe(
            width=width,
            height=height,
            crf=crf,
            bitrate_bps=round(bits * 0.6**step),
            vmaf=vmaf - 15 * step,
        )
        for (width, height), bits, vmaf in zip(
            SIZES, (40_000_000, 2_000_000, 900_000, 300_000), (95.0, 88.0, 70.0, 50.0), strict=True
        )
        for step, crf in enumerate(PROBE_CRFS)
    )
    chosen = choose_rungs(noise, static(), renditions_min=2)
    assert chosen[0].height == 480


def test_an_easy_title_gets_a_cheaper_top_and_fewer_rungs() -> None:
    """A title that is at 98 with the profile's own CRF goes to 95, and rungs beside each other go."""
    easy = tuple(
        Probe(
            width=width,
            height=height,
            crf=crf,
            bitrate_bps=round(1_000_000 * 0.6**step * width / 1280),
            vmaf=99.0 - 1.5 * step - size,
        )
        for size, (width, height) in enumerate(SIZES)
        for step, crf in enumerate(PROBE_CRFS)
    )
    chosen = choose_rungs(easy, static(), renditions_min=2)
    assert len(chosen) == 2
    assert chosen[0].vmaf == pytest.approx(95.0)
    assert chosen[0].crf > static()[0].crf


def test_without_trials_the_ladder_is_the_profile_s() -> None:
    assert apply_per_title(static(), None) == static()


def test_only_sizes_of_the_ladder_are_tried() -> None:
    """Largest first, each once, whatever the codecs."""
    assert probe_sizes(static(codecs=["h264", "av1"])) == SIZES


def test_whole_numbers_stay_whole_for_encoders_that_take_no_others() -> None:
    """A shift of a fraction is rounded for VP9 and AV1."""
    found = titles_of(vmaf_top=99.0)
    for rendition in apply_per_title(static(codecs=["h264", "vp9", "av1"]), result(found)):
        if rendition.codec in ("vp9", "av1"):
            assert rendition.crf == int(rendition.crf)


def titles_of(*, vmaf_top: float) -> tuple[Probe, ...]:
    return tuple(
        Probe(
            width=width,
            height=height,
            crf=crf,
            bitrate_bps=round(2_000_000 * 0.55**step * (width / 1280) ** 1.5),
            vmaf=vmaf_top - 4 * step - 6 * size,
        )
        for size, (width, height) in enumerate(SIZES)
        for step, crf in enumerate(PROBE_CRFS)
    )


@pytest.mark.media
def test_trials_of_a_real_clip_cost_less_and_are_worse_with_each_crf(
    tools: Binaries,
    clip: Callable[[str], Path],
    probe: Callable[[Path], Probed],
    execute: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Two windows of a PAL-rate transport stream, joined and tried at one size."""
    path = clip("start.ts")
    plan = make_plan(probe(path)[2], resolve_profile("fast"))
    windows = (Window(first_frame=0, frames=10), Window(first_frame=30, frames=10))
    reference = str(tmp_path / REFERENCE_NAME)
    execute(reference_args(tools.ffmpeg, plan, windows, source=str(path), target=reference))
    execute(trial_args(tools.ffmpeg, plan, (160, 90), reference=reference), cwd=tmp_path)
    execute(score_args(tools.ffmpeg, plan, reference=reference), cwd=tmp_path)
    sizes = [(tmp_path / trial_name(crf)).stat().st_size for crf in PROBE_CRFS]
    scores = [parse_vmaf((tmp_path / score_name(crf)).read_bytes()) for crf in PROBE_CRFS]
    assert sizes == sorted(sizes, reverse=True)
    assert [len(score) for score in scores] == [4] * len(PROBE_CRFS)
    means = [harmonic_mean(score) for score in scores]
    assert means == sorted(means, reverse=True)


def test_a_per_title_ladder_travels_as_json() -> None:
    """It is a task's output and another's input."""
    per_title = result(titles_of(vmaf_top=97.0))
    assert msgspec.json.decode(msgspec.json.encode(per_title), type=PerTitle) == per_title
