"""POST /plans: what would be made, asked of the workers, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.videos.conftest import FACTS, RunningServer, ScriptedWorker
from tests.videos.tasks import PLAN


def plan_upload(server: RunningServer, options: dict[str, Any]) -> httpx.Response:
    data = {"options": json.dumps(options)}
    return server.http.post("/api/v1/plans", data=data, files={"file": ("a.mp4", b"some bytes")})


def answer_plan(worker: ScriptedWorker) -> dict[str, Any]:
    """Do the tasks of a plan as a worker would; answers the input of the first."""
    task = worker.take("media_validate")
    given = task["inputData"]
    found = {
        "videoId": given["videoId"],
        "sourceKey": given["source"]["key"],
        "sourceSha256": given["source"]["sha256"],
        "facts": FACTS,
        "verdicts": [],
    }
    worker.tell(task, "COMPLETED", found)
    worker.pass_scan()
    worker.tell(worker.take("media_plan"), "COMPLETED", {"plan": PLAN, "planKey": "k"})
    return dict(given)


def test_an_upload_is_planned_and_removed(shared: RunningServer, worker: ScriptedWorker) -> None:
    """Ladder, chunks and estimate are answered; afterwards neither video nor file is there."""
    videos = shared.http.get("/api/v1/videos").json()["items"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(plan_upload, shared, {"profile": "premium", "overrides": {"codecs": ["av1"]}})
        given = answer_plan(worker)
        answer = asked.result()

    plan = answer.json()
    assert answer.status_code == 200, answer.text
    assert [each["name"] for each in plan["ladder"]] == ["1080p", "720p", "1080p_av1"]
    assert len(plan["chunks"]) == 3
    assert plan["estimate"] == PLAN["estimate"]
    assert (given["profile"], given["overrides"]) == ("premium", {"codecs": ["av1"]})
    assert shared.http.get("/api/v1/videos").json()["items"] == videos
    assert not [path for path in shared.leftovers() if "plan_" in path]


def test_a_video_that_is_here_is_planned_anew(shared: RunningServer, worker: ScriptedWorker) -> None:
    """Its source is planned with other options; the video itself stays as it is."""
    video = shared.upload(b"source to plan").json()
    worker.tell(worker.take("media_validate"), "FAILED_WITH_TERMINAL_ERROR", {})
    shared.until(video["id"], "failed")
    with ThreadPoolExecutor(1) as pool:
        body = {"videoId": video["id"], "profile": "fast"}
        asked = pool.submit(shared.http.post, "/api/v1/plans", json=body)
        given = answer_plan(worker)
        answer = asked.result()

    assert answer.status_code == 200, answer.text
    assert given["source"]["key"] == f"sources/{video['id']}/input.bin"
    assert shared.video(video["id"])["status"] == "failed"


def test_a_source_that_cannot_be_processed_is_refused(shared: RunningServer, worker: ScriptedWorker) -> None:
    """The verdict's sentence and code are the answer."""
    error = {"code": "not_media", "message": "This is no video.", "retryable": False}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(plan_upload, shared, {})
        task = worker.take("media_validate")
        worker.tell(task, "FAILED_WITH_TERMINAL_ERROR", {"error": error}, reasonForIncompletion="x")
        answer = asked.result()

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "source_rejected")
    assert problem["detail"] == "This is no video."
    assert problem["errors"][0]["code"] == "not_media"


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        ({"videoId": "vid_none"}, 404, None),
        ({"videoId": "vid_none", "profile": "nope"}, 404, None),
        ({"video": "x"}, 422, "videoId"),
        ({"videoId": "x", "overrides": {"hdr": "on"}}, 422, "overrides.hdr"),
    ],
)
def test_wrong_plans_are_refused(
    shared: RunningServer, body: dict[str, Any], status: int, path: str | None
) -> None:
    """As for a video: an unknown one is 404, a wrong field is named."""
    answer = shared.http.post("/api/v1/plans", json=body)

    assert answer.status_code == status
    assert path is None or path in [each["path"] for each in answer.json()["errors"]]


def test_without_workers_nobody_waits_long(start_server: Callable[..., RunningServer]) -> None:
    """Where no worker has asked for work, a plan is refused in words, to be asked for again."""
    answer = plan_upload(start_server(), {})

    assert answer.status_code == 503
    assert (answer.json()["code"], answer.json()["retryable"]) == ("plan_not_made", True)
    assert "showrunner worker" in answer.json()["detail"]
