"""A real server in a thread, and a scripted worker that speaks the wire as any worker would."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from api.server import application, product
from api.settings import ServerSettings, engine_settings, load
from api.videos.follow import FOLLOW_TIMINGS, FollowTimings
from api.videos.service import VideoService
from engine.bootstrap import open_engine

WAIT_S = 20.0


def eventually(check: Callable[[], Any], what: str, within_s: float = WAIT_S) -> Any:
    """The first true answer of `check`; fails after the bound."""
    pause = threading.Event()
    deadline = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        pause.wait(0.02)
    return found


class _TellingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


class RunningServer:
    """Engine, product and HTTP on a loop of their own."""

    def __init__(self, settings: ServerSettings, timings: FollowTimings = FOLLOW_TIMINGS) -> None:
        self.settings = settings
        self._timings = timings
        self.media = settings.media_root
        self.service: VideoService
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="server")
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        if self._failed is not None:
            self._thread.join()
            raise self._failed
        self.http = httpx.Client(base_url=self.url, timeout=WAIT_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._failed = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with await open_engine(engine_settings(self.settings)) as engine:
            self.service = product(engine, self.settings, self._timings)
            try:
                await self.service.open()
                app = application(engine, self.service, self.settings)
                config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
                self._server = _TellingServer(config, self._ready.set)
                await self._server.serve(sockets=[self._listener])
            finally:
                await self.service.close()

    def call(self, work: Any) -> Any:
        """Await something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    def stop(self) -> None:
        self.http.close()
        self._loop.call_soon_threadsafe(self.service.end_streams)
        self._server.should_exit = True
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def upload(self, content: bytes = b"some bytes", options: Any = None, **headers: str) -> httpx.Response:
        data = {"options": json.dumps(options)} if options is not None else {}
        return self.http.post(
            "/api/v1/videos", data=data, files={"file": ("clip one.mp4", content)}, headers=headers
        )

    def video(self, video_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/v1/videos/{video_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, video_id: str, status: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            video = self.video(video_id)
            return video if video["status"] == status else None

        return dict(eventually(reached, f"{video_id} {status}"))

    def leftovers(self) -> list[str]:
        """What lies in the media folder, relative."""
        return sorted(p.relative_to(self.media).as_posix() for p in self.media.rglob("*") if p.is_file())


PLAN: dict[str, Any] = {
    "profile": "default",
    "frameRate": "25",
    "framesTotal": 50,
    "durationSeconds": 2.0,
    "chunks": [{"number": 0, "firstFrame": 0, "frames": 50}],
    "groups": [
        {"name": "360p", "renditions": ["360p"], "predictedSeconds": 2.0},
        {"name": "240p", "renditions": ["240p"], "predictedSeconds": 1.0},
    ],
    "renditions": [
        {"name": "360p", "codec": "h264", "width": 640, "height": 360},
        {"name": "240p", "codec": "h264", "width": 426, "height": 240},
    ],
    "audio": [],
    "text": [],
    "stills": None,
    "preview": None,
    "quality": None,
    "estimate": {"cpuSeconds": 1, "wallSeconds": 1, "outputBytes": 1, "cost": 0},
}
VERDICTS = [{"code": "no_audio", "severity": "warn", "message": "There is no sound."}]
FACTS = {
    "container": "mov,mp4",
    "sizeBytes": 10,
    "durationSeconds": 2.0,
    "video": {
        "codec": "h264",
        "codedWidth": 640,
        "codedHeight": 360,
        "displayWidth": 640,
        "displayHeight": 360,
    },
}


class ScriptedWorker:
    """Answers the product's tasks over HTTP with the outputs that real workers give, without media tools."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._http = httpx.Client(base_url=server.url, timeout=WAIT_S)

    def close(self) -> None:
        self._http.close()

    def take(self, task_type: str) -> dict[str, Any]:
        """The next task of that type."""

        def poll() -> Any:
            query: dict[str, str | int] = {"workerid": "scripted", "count": 1, "timeout": 1000}
            answer = self._http.get(f"/api/tasks/poll/batch/{task_type}", params=query)
            answer.raise_for_status()
            return answer.json()

        return dict(eventually(poll, f"a task of type {task_type}")[0])

    def tell(self, task: dict[str, Any], status: str, output: dict[str, Any], **more: Any) -> None:
        body = {
            "workflowInstanceId": task["workflowInstanceId"],
            "taskId": task["taskId"],
            "workerId": "scripted",
            "status": status,
            "outputData": output,
            **more,
        }
        self._http.post("/api/tasks", json=body).raise_for_status()

    def progress(self, task: dict[str, Any], fraction: float) -> None:
        told = {"fraction": fraction, "fps": 50.0, "speed": 2.0, "etaSeconds": 1.0, "message": "encoding"}
        self.tell(task, "IN_PROGRESS", {"progress": told}, extendLease=True)

    def pass_scan(self) -> None:
        """The decode scan finds nothing new."""
        found = {"facts": FACTS, "verdicts": VERDICTS, "scan": {}}
        self.tell(self.take("media_scan"), "COMPLETED", found)

    def validate_and_plan(self, plan: dict[str, Any] | None = None) -> None:
        plan = plan or PLAN
        task = self.take("media_validate")
        given = task["inputData"]
        self.tell(
            task,
            "COMPLETED",
            {
                "videoId": given["videoId"],
                "sourceKey": given["source"]["key"],
                "sourceSha256": given["source"]["sha256"],
                "sourceSize": given["source"]["size"],
                "facts": FACTS,
                "verdicts": VERDICTS,
            },
        )
        self.pass_scan()
        task = self.take("media_plan")
        refs = {f"encode_{each['name']}_c0000": each["renditions"] for each in plan["groups"]}
        inputs = {
            ref: {"videoId": given["videoId"], "planKey": "k", "renditions": names, "chunk": 0}
            for ref, names in refs.items()
        }
        forks = [{"name": "media_encode", "taskReferenceName": ref, "type": "SIMPLE"} for ref in refs]
        answer = {"plan": plan, "planKey": "k", "protected": False, "previewTasks": [], "previewInputs": {}}
        self.tell(task, "COMPLETED", {**answer, "forkTasks": forks, "forkInputs": inputs})
        self.tell(self.take("media_preview"), "COMPLETED", {"note": "this title has no preview"})

    def encode(self, task: dict[str, Any]) -> None:
        [name] = task["inputData"]["renditions"]
        chunk = {
            "rendition": name,
            "chunk": 0,
            "frames": 50,
            "file": {"key": f"artefacts/x/{name}-0/video.mp4", "size": 1000, "sha256": "0" * 64},
            "crf": 21.0,
            "attempt": 1,
            "provenance": {"argv": [], "cpuSeconds": 2.0, "wallSeconds": 1.5, "inputs": [], "tools": {}},
            "reused": False,
        }
        self.tell(task, "COMPLETED", {"chunks": [chunk]})

    def stitch(self) -> None:
        videos = [
            {
                "video": {
                    "rendition": each["name"],
                    "codec": each["codec"],
                    "width": each["width"],
                    "height": each["height"],
                    "frames": 50,
                    "averageBitrate": 500_000,
                    "encodeSeconds": 1.5,
                    "provenance": {"argv": ["ffmpeg", "SOURCE"], "cpuSeconds": 0.1, "inputs": []},
                },
                "file": {"key": f"artefacts/x/{each['name']}/video.mp4", "size": 1000, "sha256": "0" * 64},
            }
            for each in PLAN["renditions"]
        ]
        answer = {"renditions": videos, "audio": [], "text": [], "measureTasks": [], "measureInputs": {}}
        self.tell(self.take("media_stitch"), "COMPLETED", answer)

    def finish(self) -> None:
        """From the joined chunks to what is published: with files that can be fetched."""
        self.stitch()
        self.tell(self.take("media_gate"), "COMPLETED", {"again": False, "quality": [], "verdicts": []})
        self.tell(self.take("media_package"), "COMPLETED", {"package": {}, "artefact": "a", "findings": []})
        self.tell(self.take("media_check"), "COMPLETED", {"findings": [], "rules": [], "passed": True})
        task = self.take("media_publish")
        given = task["inputData"]
        folder = self._server.media / "published" / given["videoId"] / given["version"]
        publish(folder)
        playback = {"hls": "master.m3u8", "dash": "manifest.mpd", "poster": "poster.jpg", "storyboard": None}
        self.tell(
            task, "COMPLETED", {"version": given["version"], "playback": playback, "files": 3, "size": 99}
        )

    def run_all(self) -> None:
        self.validate_and_plan()
        for _ in PLAN["groups"]:
            self.encode(self.take("media_encode"))
        self.finish()


PUBLISHED = {
    "master.m3u8": b"#EXTM3U\n",
    "manifest.mpd": b"<MPD/>",
    "poster.jpg": bytes(range(256)) * 4,
    "v/360p/init.mp4": b"init" * 10,
    "v/360p/1.m4s": b"0123456789" * 100,
    "storyboard.vtt": b"WEBVTT\n",
}


def publish(folder: Path) -> None:
    """A published version with its manifest."""
    listed = []
    for path, content in PUBLISHED.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        listed.append({"path": path, "size": len(content), "sha256": digest, "contentType": "x/y"})
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Start servers on this test's folder; they are stopped at its end."""
    running: list[RunningServer] = []

    def start(timings: FollowTimings = FOLLOW_TIMINGS, **settings: Any) -> RunningServer:
        given = {"data": tmp_path / "data", "disk_free_bytes_min": 1, **settings}
        server = RunningServer(load(given), timings)
        running.append(server)
        return server

    yield start
    for server in running:
        if server._thread.is_alive():
            server.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the tests of a module that do not mind each other's videos."""
    data = tmp_path_factory.mktemp("shared") / "data"
    server = RunningServer(load({"data": data, "disk_free_bytes_min": 1}))
    yield server
    server.stop()


@pytest.fixture
def worker(shared: RunningServer) -> Iterator[ScriptedWorker]:
    """A scripted worker of the shared server."""
    scripted = ScriptedWorker(shared)
    yield scripted
    scripted.close()
