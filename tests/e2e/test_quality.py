"""The quality gate in the workflow: caught, encoded again once, passed; or failed with both numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.media]

CLIP = "-f lavfi -i testsrc2=s=320x180:r=25:d=4,noise=alls={}:allf=t -c:v libx264 -preset ultrafast -crf 8"
WITHIN_S = 120.0


@pytest.fixture
def running(installation: Installation) -> Installation:
    installation.start_server()
    installation.start_worker()
    return installation


def tasks_of(running: Installation, video: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    flow = running.get(f"/api/workflow/{video['workflowId']}?includeTasks=true")
    return [task for task in flow["tasks"] if task["taskType"] == kind]


def test_a_rendition_far_too_low_is_encoded_again_and_published(
    running: Installation, make: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    """CRF 45 misses its target, the second attempt does not, and the other rendition is encoded once."""
    clip = make(tmp_path / "clip.mp4", CLIP.format(12))
    wishes = [{"height": 180, "crf": 45}, {"height": 120, "crf": 23}, {"height": 90, "crf": 23}]
    video = running.ready(running.uploaded(clip, overrides={"renditions": wishes}), WITHIN_S)
    again = tasks_of(running, video, "media_gate")
    assert [task["outputData"]["again"] for task in again] == [True, False]
    made = [
        (chunk["rendition"], chunk["attempt"], chunk["crf"])
        for task in tasks_of(running, video, "media_encode")
        for chunk in task["outputData"]["chunks"]
    ]
    second = [item for item in made if item[1] == 2]
    assert [item[0] for item in second] == ["180p"]
    assert second[0][2] < 45
    verdict = next(item for item in again[1]["outputData"]["verdicts"] if item["rendition"] == "180p")
    assert verdict["first"]["mean"] < verdict["first"]["targetMean"] <= verdict["second"]["mean"]


def test_a_rendition_that_cannot_pass_fails_the_title_with_both_numbers(
    running: Installation, make: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    """Noise at the lowest cap there is: the uploader reads what was measured, twice, and what to do."""
    clip = make(tmp_path / "clip.mp4", CLIP.format(60))
    wishes = [{"height": 180, "crf": 30, "maxBitrate": 50_000}]
    video = running.ended(running.uploaded(clip, overrides={"renditions": wishes}), WITHIN_S)
    assert video["status"] == "failed"
    assert video["error"]["code"] == "quality_failed"
    message = video["error"]["message"]
    assert message.count("of 84 wanted") == 2
    assert "CRF 30" in message
    assert "maxBitrate" in message
