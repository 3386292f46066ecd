"""Keeps the videos in step with their workflows: after every committed change, and at start.

The feed's hook only marks a workflow; one loop reads marked workflows, writes what matters, then tells. So a
burst of changes costs one read, nothing is lost when a reader is slow, and a crash loses nothing: the next
start reads all.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from api.videos.events import EventHub
from api.videos.files import MediaFolder
from api.videos.models import OPEN_STATUSES, VideoStatus
from api.videos.report import TaskLine, chunk_documents, report, task_lines
from api.videos.store import StoreUnavailableError, VideoRow, VideoStore
from api.videos.view import Failure, Snapshot, built, changes, snapshot, waiting_since
from api.videos.wire import latest_tasks
from engine.bootstrap import Engine
from engine.core.errors import EngineError, NotFoundError
from engine.ports.system import Clock
from engine.services.feed import Change

log = structlog.get_logger(__name__)

PAUSE_MS = 100
"""Between two rounds: changes that come together are read together."""
PERSIST_MS = 5_000
"""Mere progress is written this often; what a crash forgets of it is computed again."""
ENDED_VIEWS_MAX = 500
LOOKING_SHARE_MAX = 0.1
"""Looking at one workflow takes at most so much of the loop's time: one of thousands of chunks is large."""


class FollowTimings(Struct, kw_only=True, frozen=True):
    """How often the follower looks around.

    Attributes:
        watch_ms: between two checks whether workers poll for what waits; a failed read is repeated then too.
        unpolled_ms: a queue that nobody asked for so long has no worker; a poll is answered within 5 s.
    """

    watch_ms: int = 5_000
    unpolled_ms: int = 15_000


FOLLOW_TIMINGS = FollowTimings()


class Follower:
    """One for each server; all methods belong to the event loop's thread."""

    def __init__(
        self,
        engine: Engine,
        store: VideoStore,
        hub: EventHub,
        *,
        media: MediaFolder,
        clock: Clock,
        timings: FollowTimings,
    ) -> None:
        self._media = media
        self._timings = timings
        self._engine = engine
        self._store = store
        self._hub = hub
        self._clock = clock
        self._tracked: dict[str, str] = {}
        self._views: dict[str, Snapshot] = {}
        self._ended: OrderedDict[str, Snapshot] = OrderedDict()
        self._lines: dict[str, dict[str, TaskLine]] = {}
        self._waiting: dict[str, dict[str, int]] = {}
        self._persisted_ms: dict[str, int] = {}
        self._dirty: dict[str, None] = {}
        self._rest_until_ms: dict[str, int] = {}
        self._restarted: set[str] = set()
        self._unpolled: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        engine.feed.on_change(self._mark)

    def track(self, row: VideoRow) -> None:
        """Follow a video's workflow from now on, and look at it soon."""
        self._tracked[row.workflow_id] = row.id
        self._dirty[row.workflow_id] = None
        self._wake.set()

    def forget(self, row: VideoRow) -> None:
        """Stop following: the video is deleted."""
        self._tracked.pop(row.workflow_id, None)
        self._dirty.pop(row.workflow_id, None)
        self._rest_until_ms.pop(row.workflow_id, None)
        self._drop(row.id)
        self._ended.pop(row.id, None)

    def view(self, row: VideoRow) -> Snapshot:
        """The newest view: in memory while the video moves, else as stored."""
        return self._known(row) or Snapshot(status=row.status)

    def _known(self, row: VideoRow) -> Snapshot | None:
        known = self._views.get(row.id) or self._ended.get(row.id)
        if known is None and row.document:
            known = msgspec.convert(row.document, Snapshot)
        return known

    async def report(self, workflow: dict[str, Any]) -> dict[str, Any]:
        """How a video was made, as its workflow and the documents of its chunks tell."""
        documents = await asyncio.to_thread(self._media.documents, chunk_documents(workflow))
        return report(workflow, documents)

    async def refresh(self, workflow_id: str, *, fresh: bool = False) -> None:
        """Read one workflow now; write, then tell.

        Args:
            workflow_id: a tracked one; others are left alone.
            fresh: a new run of the same workflow, whose progress starts over.

        Raises:
            StoreUnavailableError, EngineError: nothing was told.
        """
        async with self._turn:
            self._dirty.pop(workflow_id, None)
            video_id = self._tracked.get(workflow_id)
            if video_id is not None:
                await self._refresh(video_id, workflow_id, fresh=fresh)

    async def run(self) -> None:
        """Follow until cancelled."""
        watched_ms = 0
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), self._timings.watch_ms / 1000)
            except TimeoutError:
                pass
            self._wake.clear()
            await self._revive()
            started_ms = self._clock.now_ms()
            for workflow_id in list(self._dirty):
                if started_ms < self._rest_until_ms.get(workflow_id, 0):
                    self._wake.set()
                    continue
                try:
                    await self._look(workflow_id)
                except (StoreUnavailableError, EngineError) as error:
                    # Marked again: the next round, at the latest in watch_ms, tries once more.
                    self._dirty[workflow_id] = None
                    log.warning("video_not_refreshed", workflow_id=workflow_id, error=str(error))
                except Exception:  # logged; one video must not end the watch over all
                    # One video that cannot be read must not stop the others; its next change is tried again.
                    log.exception("video_view_failed", workflow_id=workflow_id)
            now_ms = self._clock.now_ms()
            if now_ms - watched_ms >= self._timings.watch_ms:
                watched_ms = now_ms
                await self._watch_workers(now_ms)
            await asyncio.sleep(PAUSE_MS / 1000)

    async def _look(self, workflow_id: str) -> None:
        started_ms = self._clock.now_ms()
        await self.refresh(workflow_id)
        ended_ms = self._clock.now_ms()
        if workflow_id in self._tracked:
            self._rest_until_ms[workflow_id] = ended_ms + round((ended_ms - started_ms) / LOOKING_SHARE_MAX)
        else:
            self._rest_until_ms.pop(workflow_id, None)

    def _mark(self, change: Change) -> None:
        if change.workflow_id in self._tracked:
            self._dirty[change.workflow_id] = None
            self._wake.set()
        elif change.kind == "workflow" and change.status == "RUNNING":
            # Perhaps the workflow of an ended video was retried through its own interface.
            self._restarted.add(change.workflow_id)
            self._wake.set()

    async def _revive(self) -> None:
        restarted, self._restarted = self._restarted, set()
        if not restarted:
            return
        try:
            for row in await self._store.of_workflows(sorted(restarted)):
                self.track(row)
        except StoreUnavailableError as error:
            self._restarted |= restarted
            log.warning("video_not_refreshed", error=str(error))

    async def _refresh(self, video_id: str, workflow_id: str, *, fresh: bool) -> None:
        row = await self._store.get(video_id)
        if row is None:
            self._tracked.pop(workflow_id, None)
            return
        before = None if fresh else self._known(row)
        now_ms = self._clock.now_ms()
        try:
            workflow = msgspec.json.decode(await self._engine.executions.workflow(workflow_id))
        except NotFoundError:
            message = "the workflow of this video was removed before it had ended"
            error = Failure(code="processing_failed", message=message, retryable=True)
            now = msgspec.structs.replace(before or Snapshot(), status=VideoStatus.FAILED, error=error)
            lines: dict[str, TaskLine] = {}
            workflow = {}
        else:
            now = snapshot(workflow, previous=before, now_ms=now_ms, note=self._note(workflow))
            lines = task_lines(workflow)
            self._waiting[video_id] = waiting_since(workflow)
        if workflow and now.status not in OPEN_STATUSES:
            await self._store.keep_report(video_id, await self.report(workflow))
        if not await self._persist(row, now, now_ms):
            return
        self._tell(video_id, before, now, lines)
        if now.status in OPEN_STATUSES:
            self._views[video_id] = now
            self._lines[video_id] = lines
            self._ended.pop(video_id, None)
        else:
            self._drop(video_id)
            self._tracked.pop(workflow_id, None)
            self._ended[video_id] = now
            if len(self._ended) > ENDED_VIEWS_MAX:
                self._ended.popitem(last=False)

    async def _persist(self, row: VideoRow, now: Snapshot, now_ms: int) -> bool:
        """Write the view if it says something new; False when the video's status does not allow it."""
        due = now_ms - self._persisted_ms.get(row.id, 0) >= PERSIST_MS
        stored = msgspec.to_builtins(now)
        if row.status == now.status and not (due and stored != row.document):
            return True
        ready_ms = now_ms if now.status is VideoStatus.READY else row.ready_ms
        written = await self._store.change(
            row.id, status=now.status, document=stored, updated_ms=now_ms, ready_ms=ready_ms
        )
        self._persisted_ms[row.id] = now_ms
        return written is not None and written.status == now.status

    def _tell(
        self, video_id: str, before: Snapshot | None, now: Snapshot, lines: dict[str, TaskLine]
    ) -> None:
        known = self._lines.get(video_id, {})
        for task_id, line in lines.items():
            if known.get(task_id) != line:
                self._hub.publish(video_id, "log", built(line))
        for name, data in changes(before, now):
            self._hub.publish(video_id, name, data)
        if before is None or before.status != now.status:
            log.info("video_status", video_id=video_id, status=now.status.value)

    def _drop(self, video_id: str) -> None:
        for kept in (self._views, self._lines, self._waiting, self._persisted_ms):
            kept.pop(video_id, None)

    def _note(self, workflow: dict[str, Any]) -> str:
        missing = sorted(self._unpolled & set(waiting_since(workflow)))
        if not missing or any(task.get("status") == "IN_PROGRESS" for task in latest_tasks(workflow)):
            return ""
        return f"no worker polls for {', '.join(missing)}; start one with: showrunner worker"

    async def _watch_workers(self, now_ms: int) -> None:
        since: dict[str, int] = {}
        for types in self._waiting.values():
            for name, at_ms in types.items():
                since[name] = min(since.get(name, at_ms), at_ms)
        unpolled: set[str] = set()
        if since:
            try:
                polled = _last_polls(await self._engine.queues.poll_data())
            except EngineError as error:
                log.warning("poll_data_unavailable", error=str(error))
                return
            unpolled = {
                name
                for name, at_ms in since.items()
                if now_ms - max(at_ms, polled.get(name, 0)) >= self._timings.unpolled_ms
            }
        fresh = unpolled - self._unpolled
        if fresh:
            log.warning(
                "no_worker_polls",
                task_types=sorted(fresh),
                hint="videos wait; start workers with: showrunner worker",
            )
        if self._unpolled - unpolled:
            log.info("workers_poll_again", task_types=sorted(self._unpolled - unpolled))
        if unpolled != self._unpolled:
            self._unpolled = frozenset(unpolled)
            self._dirty.update(dict.fromkeys(self._tracked))
            self._wake.set()


def _last_polls(poll_data: Iterable[dict[str, Any]]) -> dict[str, int]:
    polls: dict[str, int] = {}
    for each in poll_data:
        name = str(each.get("queueName"))
        polls[name] = max(polls.get(name, 0), int(each.get("lastPollTime") or 0))
    return polls
