"""The product's view of the whole pipeline: plan, progress, preview, quality and report of one real title."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.client import ShowrunnerClient
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.media]

RENDITIONS = ("180p", "144p")
CODECS = ("h264", "av1")
PROFILE = {
    "description": "Two codecs in chunks of two seconds, judged.",
    "codecs": list(CODECS),
    "renditions": list(RENDITIONS),
    "renditionsMin": 1,
    "speed": "veryfast",
    "chunkSeconds": 2,
    "qualityGate": True,
    "quality": {"rungMean": 20, "topMean": 20, "topP5": 10},
}


@dataclass(frozen=True, slots=True)
class Made:
    """A finished video, what was told of it on the way, and its report."""

    video: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    report: dict[str, Any]


@pytest.fixture(scope="module")
def clip(make: Callable[[Path, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds with sound."""
    source = "-f lavfi -i testsrc2=s=320x180:r=25:d=6 -f lavfi -i sine=d=6:r=48000"
    path = tmp_path_factory.mktemp("product") / "clip.mp4"
    return make(path, f"{source} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac")


@pytest.fixture(scope="module")
def made(running: Installation, clip: Path) -> Made:
    """The clip, processed with a profile of the operator's own while its events are read."""
    stored = running.http.put("/api/v1/profiles/judged", json=PROFILE)
    assert stored.status_code == 200, stored.text
    video_id = running.uploaded(clip, profile="judged")
    with ShowrunnerClient(str(running.http.base_url)) as client:
        events = [(event.name, event.data) for event in client.follow(video_id)]
    return Made(
        video=running.ready(video_id),
        events=events,
        report=running.get(f"/api/v1/videos/{video_id}/report"),
    )


def test_progress_only_grows_and_goes_through_the_phases(made: Made) -> None:
    """From the first event to the last the fraction never falls, and the end is exactly 1."""
    told = [data for name, data in made.events if name == "progress"]

    fractions = [each["fraction"] for each in told]
    assert fractions == sorted(fractions)
    assert (fractions[-1], told[-1]["message"]) == (1.0, "ready")
    assert {"encode", "measure"} & {each["phase"] for each in told}


def test_the_preview_is_told_before_the_end(made: Made, running: Installation) -> None:
    """The smallest H.264 rendition plays from a version of its own before the title is ready."""
    names = [name for name, _ in made.events]
    [preview] = [data for name, data in made.events if name == "previewReady"]

    assert names.index("previewReady") < len(names) - 1
    assert preview["rendition"] == "144p"
    path = f"/media/{made.video['id']}/{preview['version']}/{preview['playback']['hls']}"
    assert "EXTM3U" in running.http.get(path).text


def test_every_rendition_is_measured(made: Made) -> None:
    """Two sizes in two codecs, each with its frames, rate and VMAF."""
    renditions = {each["name"]: each for each in made.video["renditions"]}

    assert set(renditions) == {"180p", "144p", "180p_av1", "144p_av1"}
    for each in renditions.values():
        assert (each["status"], each["progress"], each["frames"]) == ("ready", 1.0, 150), each
        assert 0 < each["quality"]["vmaf"]["p5"] <= each["quality"]["vmaf"]["mean"] <= 100
        assert each["averageBitrate"] > 0
    assert {each["codec"] for each in renditions.values()} == set(CODECS)


def test_the_report_has_each_command_and_every_window(made: Made) -> None:
    """Each chunk of each rendition with its whole command and hashes; the series of every measurement."""
    report = made.report

    encodes = [each for each in report["artefacts"] if each["kind"] == "encode"]
    assert sorted((each["rendition"], each["chunk"]) for each in encodes) == sorted(
        (each["name"], number) for each in made.video["renditions"] for number in range(3)
    )
    for each in encodes:
        assert "SOURCE" in " ".join(each["argv"]), each
        assert len(each["sha256"]) == 64
        assert each["inputs"]
        assert each["cpuSeconds"] > 0
    assert {each["rendition"] for each in report["quality"]} == {e["name"] for e in made.video["renditions"]}
    assert all(each["windows"] and each["passed"] and each["aligned"] for each in report["quality"])
    assert [each for each in report["validation"] if each["severity"] == "error"] == []
    assert "streams" in json.dumps(report["scan"])
    assert not [word for each in encodes for word in each["argv"] if word.startswith("/")]


def test_a_plan_says_what_would_be_made(running: Installation, clip: Path) -> None:
    """The ladder of the same profile, its chunks and a price, from an upload that is gone afterwards."""
    with clip.open("rb") as file:
        answer: httpx.Response = running.http.post(
            "/api/v1/plans", data={"options": json.dumps({"profile": "premium"})}, files={"file": file}
        )

    plan = answer.json()
    assert answer.status_code == 200, answer.text
    assert {each["codec"] for each in plan["ladder"]} == {"h264", "hevc", "av1"}
    assert sum(each["frames"] for each in plan["chunks"]) == plan["framesTotal"] == 150
    assert plan["estimate"]["cpuSeconds"] > 0
    assert plan["estimate"]["outputBytes"] > 0
    left = [path.name for path in running.media.glob("*/plan_*")]
    assert left == []
