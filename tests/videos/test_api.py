"""Videos over HTTP, with a scripted worker on the real engine."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest

from api.client import ShowrunnerClient, VideoEvent
from api.videos.follow import FollowTimings
from tests.videos.conftest import PUBLISHED, RunningServer, ScriptedWorker, eventually


def ids(page: dict[str, Any]) -> list[str]:
    return [each["id"] for each in page["items"]]


def test_a_video_becomes_ready(shared: RunningServer, worker: ScriptedWorker) -> None:
    """From upload to playback: phases, renditions, verdicts, absolute addresses that answer."""
    video_id = shared.upload(b"bytes").json()["id"]

    worker.run_all()

    video = shared.until(video_id, "ready")
    assert video["progress"] == {"fraction": 1.0, "phase": "publish", "message": "ready"}
    assert [(each["name"], each["status"], each["frames"]) for each in video["renditions"]] == [
        ("360p", "ready", 50),
        ("240p", "ready", 50),
    ]
    assert video["verdicts"][0]["code"] == "no_audio"
    assert video["source"]["displayWidth"] == 640
    assert video["cost"] == {"cpuSeconds": 4.2, "storedBytes": 4099}
    assert video["readyAt"] >= video["createdAt"]
    playback = video["playback"]
    assert playback["hls"] == f"{shared.url}/media/{video_id}/v1/master.m3u8"
    for url in (playback["hls"], playback["dash"], playback["poster"], playback["player"]):
        assert httpx.get(url).status_code == 200, url


def test_progress_of_a_running_task_is_shown(shared: RunningServer, worker: ScriptedWorker) -> None:
    """A heartbeat shows up in the video, and the whole's fraction only grows."""
    video_id = shared.upload(b"bytes").json()["id"]
    worker.validate_and_plan()
    tasks = [worker.take("media_encode"), worker.take("media_encode")]
    before = shared.video(video_id)["progress"]["fraction"]

    worker.progress(tasks[0], 0.5)

    [name] = tasks[0]["inputData"]["renditions"]

    def shown() -> Any:
        listed = {each["name"]: each for each in shared.video(video_id)["renditions"]}
        return listed[name] if listed[name]["progress"] == 0.5 else None

    rendition = eventually(shown, "the heartbeat's progress")
    assert (rendition["status"], rendition["fps"], rendition["speed"]) == ("running", 50.0, 2.0)
    assert shared.video(video_id)["progress"]["fraction"] > before
    for task in tasks:
        worker.encode(task)
    worker.finish()
    shared.until(video_id, "ready")


def test_events_lead_from_the_upload_to_the_end(shared: RunningServer, worker: ScriptedWorker) -> None:
    """All four kinds are told, the last one is the end; progress never falls."""
    video_id = shared.upload(b"bytes").json()["id"]
    with ShowrunnerClient(shared.url) as client:
        followed = client.follow(video_id)
        events: list[VideoEvent] = [next(followed)]
        worker.run_all()
        events += followed

    assert {event.name for event in events} == {"progress", "status", "rendition", "log"}
    assert events[-1].data["status"] == "ready"
    fractions = [event.data["fraction"] for event in events if event.name == "progress"]
    assert fractions == sorted(fractions)
    numbers = [int(event.id.rpartition("-")[2]) for event in events]
    assert numbers == sorted(numbers)


def test_a_broken_line_goes_on_where_it_was(shared: RunningServer, worker: ScriptedWorker) -> None:
    """With Last-Event-ID exactly the later events come, also after the video's end."""
    video_id = shared.upload(b"bytes").json()["id"]
    worker.run_all()
    shared.until(video_id, "ready")
    with ShowrunnerClient(shared.url) as client:
        hub = shared.service.hub
        last = hub.last_number(video_id)
        missed = hub.since(video_id, f"{hub._epoch}-{last - 3}")
        assert missed is not None

        again = client.events(video_id, f"{hub._epoch}-{last - 3}")

        assert [(each.name, each.data) for each in (next(again), next(again), next(again))] == [
            (event.name, event.data) for event in missed
        ]
        again.close()  # type: ignore[attr-defined]  # it is a generator


def test_a_rejected_source_is_a_failed_video(shared: RunningServer, worker: ScriptedWorker) -> None:
    """The verdict's code and sentence reach the uploader; the request itself had succeeded."""
    video_id = shared.upload(b"text").json()["id"]
    error = {"code": "not_media", "message": "This is no video.", "retryable": False}

    task = worker.take("media_validate")
    worker.tell(task, "FAILED_WITH_TERMINAL_ERROR", {"error": error}, reasonForIncompletion="no video")

    video = shared.until(video_id, "failed")
    assert video["error"] == {**error, "task": "validate"}
    assert "playback" not in video


def test_a_failed_video_can_be_retried(shared: RunningServer, worker: ScriptedWorker) -> None:
    """Retry runs what failed again in the same workflow and reaches ready."""
    created = shared.upload(b"bytes").json()
    video_id = created["id"]
    error = {"code": "tool_failed", "message": "It broke.", "retryable": True}
    worker.tell(worker.take("media_validate"), "FAILED_WITH_TERMINAL_ERROR", {"error": error})
    shared.until(video_id, "failed")

    answer = shared.http.post(f"/api/v1/videos/{video_id}/retry")
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] in {"queued", "processing"}
    assert "error" not in answer.json()
    worker.run_all()

    assert shared.until(video_id, "ready")["workflowId"] == created["workflowId"]


def test_a_retry_of_the_workflow_itself_is_followed(shared: RunningServer, worker: ScriptedWorker) -> None:
    """Somebody who retries through the Conductor interface brings the video back too."""
    created = shared.upload(b"bytes").json()
    worker.tell(worker.take("media_validate"), "FAILED_WITH_TERMINAL_ERROR", {})
    shared.until(created["id"], "failed")

    shared.http.post(f"/api/workflow/{created['workflowId']}/retry").raise_for_status()

    eventually(lambda: shared.video(created["id"])["status"] in {"queued", "processing"}, "a revived video")
    worker.run_all()
    shared.until(created["id"], "ready")


def test_cancel_ends_the_work(shared: RunningServer) -> None:
    """202 with the cancelled video, its workflow terminated; again is fine; a retry brings it back."""
    created = shared.upload(b"bytes").json()
    path = f"/api/v1/videos/{created['id']}"

    answers = [shared.http.post(f"{path}/cancel") for _ in range(2)]

    assert [(each.status_code, each.json()["status"]) for each in answers] == [(202, "cancelled")] * 2
    status = shared.http.get(f"/api/workflow/{created['workflowId']}/status").json()["status"]
    assert status == "TERMINATED"
    assert shared.http.post(f"{path}/retry").json()["status"] in {"queued", "processing"}
    shared.http.post(f"{path}/cancel")


def test_what_the_status_forbids_is_409(shared: RunningServer, worker: ScriptedWorker) -> None:
    """A ready video can be neither cancelled nor retried; the sentence says why."""
    video_id = shared.upload(b"bytes").json()["id"]
    worker.run_all()
    shared.until(video_id, "ready")

    for verb in ("cancel", "retry"):
        answer = shared.http.post(f"/api/v1/videos/{video_id}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_state")
        assert "ready" in answer.json()["detail"]


def test_delete_removes_everything(shared: RunningServer, worker: ScriptedWorker) -> None:
    """204; the video, its source and its streams are gone, a running workflow is ended."""
    ready = shared.upload(b"bytes").json()
    worker.run_all()
    shared.until(ready["id"], "ready")
    running = shared.upload(b"other").json()

    for video in (ready, running):
        assert shared.http.delete(f"/api/v1/videos/{video['id']}").status_code == 204
        assert shared.http.get(f"/api/v1/videos/{video['id']}").status_code == 404
        assert not [name for name in shared.leftovers() if video["id"] in name]
        assert shared.http.delete(f"/api/v1/videos/{video['id']}").status_code == 404
    assert shared.http.get(f"/media/{ready['id']}/v1/master.m3u8").status_code == 404
    status = shared.http.get(f"/api/workflow/{running['workflowId']}/status").json()["status"]
    assert status == "TERMINATED"


def test_title_and_metadata_can_be_changed(shared: RunningServer) -> None:
    """PATCH changes what it names and keeps the rest; other fields are refused."""
    video_id = shared.upload(b"x", {"title": "old", "metadata": {"a": 1}}).json()["id"]
    path = f"/api/v1/videos/{video_id}"

    changed = shared.http.patch(path, json={"title": "new"}).json()

    assert (changed["title"], changed["metadata"]) == ("new", {"a": 1})
    assert shared.http.patch(path, json={"status": "ready"}).status_code == 422
    assert shared.video(video_id)["title"] == "new"
    shared.http.post(f"{path}/cancel")


def test_pages_filter_and_walk(start_server: Callable[..., RunningServer]) -> None:
    """limit and cursor walk all videos once; q, profile and status narrow."""
    server = start_server()
    made = [server.upload(b"x", {"title": f"number {n}", "profile": "fast"}).json()["id"] for n in range(5)]
    server.http.post(f"/api/v1/videos/{made[0]}/cancel")

    def page(**query: Any) -> dict[str, Any]:
        answer = server.http.get("/api/v1/videos", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    first = page(limit=3)
    second = page(limit=3, cursor=first["nextCursor"])
    assert ids(first) + ids(second) == made[::-1]
    assert "nextCursor" not in second
    assert ids(page(sort="createdAt")) == made
    assert ids(page(q="NUMBER 3")) == [made[3]]
    assert ids(page(status="cancelled")) == [made[0]]
    assert ids(page(profile="mobile")) == []
    assert ids(page(createdBefore="2001-01-01T00:00:00Z")) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/videos/vid_none", 404, "not_found"),
        ("GET", "/api/v1/videos/vid_none/events", 404, "not_found"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/media/a/v1/b.mp4", 404, "not_found"),
        ("GET", "/player/a/b/c", 404, "not_found"),
        ("PUT", "/api/v1/videos", 405, "method_not_allowed"),
        ("GET", "/api/v1/videos?limit=1000", 422, "invalid_request"),
        ("GET", "/api/v1/videos?status=bogus", 422, "invalid_request"),
        ("GET", "/api/v1/videos?cursor=bogus", 422, "invalid_request"),
        ("GET", "/api/v1/profiles/bogus", 404, "not_found"),
    ],
)
def test_every_refusal_is_a_problem(
    shared: RunningServer, method: str, path: str, status: int, code: str
) -> None:
    """RFC 9457 with our members, and a type that can be looked up."""
    answer = shared.http.request(method, path)

    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail", "code", "instance", "retryable", "errors"}
    assert problem["instance"] == path.partition("?")[0]
    looked_up = shared.http.get(problem["type"]).json()
    assert looked_up["title"] == problem["title"]


def test_files_are_listed_as_published(shared: RunningServer, worker: ScriptedWorker) -> None:
    """The publish manifest by pages, each with an address that answers; prefix narrows."""
    video_id = shared.upload(b"bytes").json()["id"]
    assert shared.http.get(f"/api/v1/videos/{video_id}/files").json() == {"items": []}
    worker.run_all()
    shared.until(video_id, "ready")
    path = f"/api/v1/videos/{video_id}/files"

    first = shared.http.get(path, params={"limit": 4}).json()
    second = shared.http.get(path, params={"limit": 4, "cursor": first["nextCursor"]}).json()

    items = first["items"] + second["items"]
    assert [each["path"] for each in items] == sorted(PUBLISHED)
    assert "nextCursor" not in second
    for each in items:
        assert len(httpx.get(each["url"]).content) == each["size"]
    narrowed = shared.http.get(path, params={"prefix": "v/"}).json()["items"]
    assert [each["path"] for each in narrowed] == ["v/360p/1.m4s", "v/360p/init.mp4"]


def test_the_report_tells_how_it_was_made(shared: RunningServer, worker: ScriptedWorker) -> None:
    """Plan, artefacts with their commands, and a line for each attempt."""
    video_id = shared.upload(b"bytes").json()["id"]
    worker.run_all()
    shared.until(video_id, "ready")

    report = shared.http.get(f"/api/v1/videos/{video_id}/report").json()

    assert report["plan"]["framesTotal"] == 50
    made = [(each["kind"], each["rendition"]) for each in report["artefacts"]]
    assert made == [("encode", "360p"), ("encode", "240p"), ("stitch", "360p"), ("stitch", "240p")]
    assert report["artefacts"][2]["argv"] == ["ffmpeg", "SOURCE"]
    assert {each["type"] for each in report["timings"]} >= {"media_validate", "media_encode", "media_publish"}


def test_operators_see_queues_and_workers(shared: RunningServer, worker: ScriptedWorker) -> None:
    """What waits, what runs, and who polls."""
    video_id = shared.upload(b"bytes").json()["id"]
    worker.validate_and_plan()
    worker.take("media_encode")

    def detail() -> dict[str, Any]:
        return {each["name"]: each for each in shared.http.get("/api/v1/queues").json()}

    queue = detail()["media_encode"]
    assert (queue["waiting"], queue["running"]) == (1, 1), queue
    [polling] = eventually(
        lambda: [w for w in shared.http.get("/api/v1/workers").json() if w["id"] == "scripted"], "the worker"
    )
    assert "media_encode" in polling["taskTypes"]
    assert polling["live"]
    shared.http.post(f"/api/v1/videos/{video_id}/cancel")


def test_a_restart_loses_nothing(start_server: Callable[..., RunningServer]) -> None:
    """A video in the middle goes on after a restart; one that had no workflow yet gets exactly one."""
    server = start_server()
    middle, unstarted = (server.upload(f"bytes {n}".encode()).json() for n in range(2))
    cut = server.media / "sources" / "vid_cut" / "input.bin.part"
    server.stop()
    cut.parent.mkdir()
    cut.write_bytes(b"half")
    with closing(sqlite3.connect(server.settings.data / "videos.db")) as database:
        # As a crash leaves it between the row and the start, and between the row and the file's name.
        database.execute("UPDATE video SET workflow_id = '' WHERE id = ?", (unstarted["id"],))
        database.commit()
    source = server.media / "sources" / unstarted["id"] / "input.bin"
    source.rename(source.with_name("input.bin.part"))

    again = start_server()
    scripted = ScriptedWorker(again)
    scripted.run_all()
    scripted.run_all()

    for video in (middle, unstarted):
        assert again.until(video["id"], "ready")["workflowId"] == video["workflowId"]
    assert not cut.parent.exists()
    assert source.read_bytes() == b"bytes 1"
    scripted.close()


def test_waiting_without_workers_is_told_once(
    start_server: Callable[..., RunningServer], capfd: pytest.CaptureFixture[str]
) -> None:
    """With nobody polling, the videos' messages say so and the log says so once; a worker ends it."""
    server = start_server(FollowTimings(watch_ms=50, unpolled_ms=500))
    waiting = [server.upload(b"x").json()["id"] for _ in range(2)]

    def told() -> list[bool]:
        messages = [server.video(each)["progress"]["message"] for each in waiting]
        return ["no worker polls for media_validate" in message for message in messages]

    eventually(lambda: all(told()), "the message")
    assert "".join(capfd.readouterr()).count("no_worker_polls") == 1

    def polled_and_quiet() -> bool:
        server.http.get("/api/tasks/poll/batch/media_validate", params={"workerid": "w", "timeout": 1})
        return not any(told())

    eventually(polled_and_quiet, "the message's end")


def test_openapi_describes_the_product(shared: RunningServer) -> None:
    """Every product route is described, the upload with both its forms and without loose ends."""
    document = shared.http.get("/openapi.json").json()

    paths = document["paths"]
    create = paths["/api/v1/videos"]["post"]
    assert set(create["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"201", "409", "413", "422", "501", "507"} <= set(create["responses"])
    product = [op for path, ops in paths.items() if path.startswith("/api/v1") for op in ops.values()]
    assert len(product) >= 16
    assert all(op.get("description") for op in product)
    assert "$ref" not in json.dumps(create["requestBody"])


def test_the_player_page_loads_nothing_from_elsewhere(shared: RunningServer) -> None:
    """Page, script and style come from us; a policy keeps it so."""
    page = shared.http.get("/player/vid_x")

    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name in ("player.js", "player.css"):
        assert f"/player/assets/{name}" in page.text
        assert shared.http.get(f"/player/assets/{name}").status_code == 200


def test_a_ready_video_gets_a_new_version(shared: RunningServer, worker: ScriptedWorker) -> None:
    """What was published plays until the new version is ready; what was not named anew is as before."""
    asked = {"profile": "fast", "overrides": {"hdr": "sdr"}, "drm": True}
    video_id = shared.upload(b"twice", asked).json()["id"]
    worker.run_all()
    first = shared.until(video_id, "ready")
    path = f"/api/v1/videos/{video_id}/reprocess"

    begun = shared.http.post(path, json={"renditions": ["240p"]})
    again = shared.http.post(path, json={})
    given = shared.http.get(f"/api/workflow/{begun.json()['workflowId']}").json()["input"]
    plays_on = shared.video(video_id)["playback"]
    worker.run_all()
    second = shared.until(video_id, "ready")

    assert (begun.status_code, begun.json()["status"], begun.json()["version"]) == (202, "queued", "v2")
    assert (again.status_code, again.json()["code"]) == (409, "illegal_state")
    assert given["profile"] == "fast"
    assert given["overrides"] == {"hdr": "sdr", "renditions": ["240p"]}
    assert given["drm"]["scheme"] == "cbcs"
    assert plays_on["hls"] == first["playback"]["hls"]
    assert second["playback"]["hls"] == f"{shared.url}/media/{video_id}/v2/master.m3u8"
    assert second["workflowId"] != first["workflowId"]


def test_a_new_version_that_fails_leaves_the_old_one_playing(
    shared: RunningServer, worker: ScriptedWorker
) -> None:
    """The video is failed and says why; its playback is the version that was published."""
    video_id = shared.upload(b"once").json()["id"]
    worker.run_all()
    ready = shared.until(video_id, "ready")

    shared.http.post(f"/api/v1/videos/{video_id}/reprocess", json={})
    error = {"code": "quality_failed", "message": "Too low.", "retryable": False}
    worker.tell(worker.take("media_validate"), "FAILED_WITH_TERMINAL_ERROR", {"error": error})
    failed = shared.until(video_id, "failed")

    assert failed["error"]["code"] == "quality_failed"
    assert failed["playback"]["hls"] == ready["playback"]["hls"]


def test_keys_go_with_their_video(start_server: Callable[..., RunningServer]) -> None:
    """Deleting a protected video has a worker drop its keys; a clear one asks for nothing."""
    server = start_server()
    scripted = ScriptedWorker(server)
    clear = server.upload(b"clear").json()["id"]
    protected = server.upload(b"protected", {"drm": {"scheme": "cenc"}}).json()["id"]

    for video_id in (clear, protected):
        server.http.delete(f"/api/v1/videos/{video_id}").raise_for_status()
    given = scripted.take("media_cleanup")["inputData"]
    scripted.close()
    waiting = {each["name"]: each["waiting"] for each in server.http.get("/api/v1/queues").json()}

    assert (given["videoId"], given["dropKeys"]) == (protected, True)
    assert waiting["media_cleanup"] == 0
