"""Trial encodes as a task: what they suggest, kept once, and used by the plan."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.per_title import PROBE_CRFS
from media_workers.media.plan import make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.procs.binaries import Binaries
from media_workers.tasks.probe_encodes import (
    EVIDENCE_NAME,
    Evidence,
    ProbeEncodesInput,
    ProbeEncodesOutput,
    probe_encodes,
    trial_profile,
)
from media_workers.tasks.probing import inspect_source
from media_workers.tasks.source import source_path
from tests.workers.conftest import Desk

pytestmark = pytest.mark.media

KEY = "sources/vid_1/input.bin"


def job(desk: Desk, clip: Path, **overrides: Any) -> ProbeEncodesInput:
    desk.upload(clip)
    ctx = desk.context()
    return ProbeEncodesInput(
        video_id="vid_1",
        source_key=KEY,
        source_sha256="cd" * 32,
        facts=inspect_source(ctx, source_path(ctx, KEY), audio_only_allowed=True).facts,
        profile="fast",
        overrides=overrides,
    )


def test_trials_are_made_once_and_kept_with_their_evidence(desk: Desk, clip: Path) -> None:
    """Every size at every CRF, the commands without a path of ours, nothing left in scratch."""
    given = job(desk, clip, renditions=["240p", "180p"])
    first, again = (probe_encodes(given, desk.context()) for _ in range(2))
    assert (first.reused, again.reused) == (False, True)
    assert again.per_title == first.per_title
    assert first.per_title is not None
    assert first.artefact is not None
    sizes = {(probe.width, probe.height) for probe in first.per_title.probes}
    assert len(first.per_title.probes) == len(sizes) * len(PROBE_CRFS)
    with desk.storage.open(f"{first.artefact}/{EVIDENCE_NAME}") as stored:
        evidence = msgspec.json.decode(stored.read(), type=Evidence)
    assert evidence.per_title == first.per_title
    assert not any(str(desk.media) in word for word in evidence.provenance.argv)
    assert desk.leftovers() == []


def test_the_plan_takes_what_trials_suggest(desk: Desk, clip: Path) -> None:
    """Caps and CRFs of the plan are those of the chosen rungs, and it carries the evidence."""
    given = job(desk, clip, renditions=["240p", "180p"])
    found = probe_encodes(given, desk.context()).per_title
    assert found is not None
    profile = resolve_profile("fast", given.overrides)
    plan = make_plan(given.facts, profile, per_title=found)
    assert plan.per_title == found
    assert {(item.height, item.crf, item.maxrate_bps) for item in plan.renditions} == {
        (rung.height, rung.crf, rung.maxrate_bps) for rung in found.rungs
    }


def test_a_title_without_a_picture_has_no_trials(desk: Desk, tools: Binaries, tmp_path: Path) -> None:
    sound = tmp_path / "sound.m4a"
    argv = [tools.ffmpeg, "-v", "error", "-f", "lavfi", "-i", "sine=d=1:r=48000", "-c:a", "aac", str(sound)]
    subprocess.run(argv, check=True, timeout=60)
    given = msgspec.structs.replace(job(desk, sound), profile="audio")
    assert probe_encodes(given, desk.context()) == ProbeEncodesOutput(per_title=None)


def test_trials_cover_the_sizes_of_every_codec() -> None:
    """A size that only AV1 has is tried as well, with the ladder's own CRF."""
    wishes = [{"height": 720, "codec": "h264", "crf": 30}, {"height": 1080, "codec": "av1", "crf": 40}]
    profile = trial_profile(resolve_profile("default", {"renditions": wishes, "codecs": ["h264", "av1"]}))
    assert [(wish.height, wish.codec, wish.crf) for wish in profile.rungs] == [
        (1080, None, None),
        (720, None, 30),
    ]
    assert profile.codecs == ("h264",)
