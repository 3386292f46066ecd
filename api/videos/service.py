"""What can be done with videos: each method is one operation of the product API."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from msgspec import Struct

from api.videos import definitions
from api.videos.errors import ProblemError
from api.videos.events import EventHub
from api.videos.files import MediaFolder
from api.videos.follow import FOLLOW_TIMINGS, Follower, FollowTimings
from api.videos.models import OPEN_STATUSES, EditVideo, PlanVideo, Reprocess, VideoStatus
from api.videos.options import VideoOptions, drm_input, stored_options
from api.videos.plans import PlanSource, make_plan
from api.videos.profiles import Profiles
from api.videos.store import Idempotency, StoreUnavailableError, VideoFilter, VideoRow, VideoStore
from api.videos.uploads import Received, UploadLimits, disk_full
from api.videos.view import Snapshot, changes
from api.videos.wire import obj
from engine.bootstrap import Engine
from engine.core.errors import EngineError, IllegalStateError, NotFoundError, RefusedError
from engine.ports.system import Clock
from engine.services.executions import StartRequest

log = structlog.get_logger(__name__)

FIRST_VERSION = "v1"
PLAN_PREFIX = "plan_"
"""Ids of uploads that are only planned."""
FORGET_MS = 60_000
"""How long a deleted video's folders are watched: a worker that learns late of it may still write there."""
SWEEP_MS = 30_000


class Created(Struct, kw_only=True, frozen=True):
    """A new video, or the answer that its Idempotency-Key already got."""

    row: VideoRow
    answer: bytes = b""


class VideoService:
    """The product's operations over an engine; `open` before use, `close` after.

    Args:
        engine: runs the workflows.
        store: the product's rows.
        media: the media folder.
        limits: bounds of uploads.
        clock: Unix milliseconds.
        new_id: a fresh unguessable text of lower-case letters and digits.
        timings: how often the workflows are looked after beside their own changes.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        store: VideoStore,
        media: MediaFolder,
        limits: UploadLimits,
        clock: Clock,
        new_id: Callable[[], str],
        timings: FollowTimings = FOLLOW_TIMINGS,
    ) -> None:
        self.engine = engine
        self.media = media
        self.limits = limits
        self.hub = EventHub(new_id()[:8])
        self.clock = clock
        self.profiles = Profiles(engine.documents, clock)
        self._store = store
        self._new_id = new_id
        self._follower = Follower(engine, store, self.hub, media=media, clock=clock, timings=timings)
        self._keys_in_use: set[str] = set()
        self._loops: list[asyncio.Task[None]] = []

    async def open(self, *, recover: bool = True) -> None:
        """Register the shipped definitions, pick up what a crash left, and follow the workflows.

        Args:
            recover: whether what is unfinished was left by a crash; false while other server processes work
                in the same folder.

        Raises:
            StoreUnavailableError, EngineError, OSError: the server cannot work.
        """
        self.media.prepare()
        await self._store.open()
        await definitions.register(self.engine.metadata, self._store)
        if recover:
            await self._recover()
        else:
            for row in await self._store.open_videos():
                if row.workflow_id:
                    self._follower.track(row)
        self._loops = [asyncio.create_task(self._follower.run()), asyncio.create_task(self._sweep())]

    def end_streams(self) -> None:
        """End the event streams, so that the server's connections can close."""
        self.hub.close()

    async def close(self) -> None:
        self.end_streams()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._store.close()

    # --------------------------------------------------------------------------------------- creating
    def new_video_id(self) -> str:
        return f"vid_{self._new_id()}"

    def reserve_key(self, key: str) -> None:
        """Take an Idempotency-Key for the time of one request; raises ProblemError when another has it."""
        if key in self._keys_in_use:
            raise ProblemError(
                "idempotency_in_progress",
                "a request with this Idempotency-Key is still running; wait for its answer",
            )
        self._keys_in_use.add(key)

    def release_key(self, key: str) -> None:
        self._keys_in_use.discard(key)

    async def create(self, video_id: str, received: Received, options: VideoOptions, key: str) -> Created:
        """Turn a received upload into a video and start its workflow.

        Args:
            video_id: under which the upload was received.
            received: the whole upload, still under its temporary name.
            options: as asked for.
            key: the Idempotency-Key, empty for none.

        Raises:
            ProblemError: `idempotency_mismatch`, or the disk is full.
            StoreUnavailableError, EngineError: the video may exist already; then it goes on by itself.
        """
        fingerprint = _fingerprint(received, options)
        now_ms = self.clock.now_ms()
        if key and (known := await self._store.idempotency(key, now_ms)) is not None:
            return await self._repeated(known, fingerprint)
        twin = await self._store.same_source(received.sha256)
        profile = await self.profiles.for_workflow(options.profile)
        row = VideoRow(
            id=video_id,
            status=VideoStatus.QUEUED,
            title=options.title or received.filename or video_id,
            profile=options.profile,
            filename=received.filename,
            version=FIRST_VERSION,
            source_key=self.media.source_key(video_id),
            source_sha256=received.sha256,
            source_size=received.size,
            created_ms=now_ms,
            updated_ms=now_ms,
            options={
                **stored_options(options),
                "profile": profile,
                **({"duplicateOf": _named(twin)} if twin else {}),
            },
            metadata=options.metadata,
        )
        taken = Idempotency(
            key=key, fingerprint=fingerprint, video_id=video_id, answer=b"", created_ms=now_ms
        )
        if not await self._store.add(row, taken if key else None):
            known = await self._store.idempotency(key, now_ms)
            if known is None:
                raise StoreUnavailableError("the video could not be stored")
            return await self._repeated(known, fingerprint)
        try:
            await asyncio.to_thread(self.media.reveal, video_id)
        except OSError as error:
            await self._store.change(video_id, deleted_ms=now_ms)
            raise disk_full() from error
        return Created(row=await self._start(row))

    async def keep_answer(self, key: str, answer: bytes) -> None:
        """Remember what was answered to a key."""
        await self._store.keep_answer(key, answer)

    async def _repeated(self, known: Idempotency, fingerprint: str) -> Created:
        if known.fingerprint != fingerprint:
            raise ProblemError(
                "idempotency_mismatch",
                "this Idempotency-Key was used with another file or other options; use a new key",
            )
        row = await self._store.get(known.video_id)
        if row is None:
            raise ProblemError(
                "not_found", f"the video {known.video_id} of this key was deleted; use a new key"
            )
        return Created(row=row, answer=known.answer)

    def new_plan_id(self) -> str:
        return f"{PLAN_PREFIX}{self._new_id()}"

    async def plan_upload(self, plan_id: str, received: Received, options: VideoOptions) -> dict[str, Any]:
        """What would be made of an upload, which is removed again. Raises ProblemError, EngineError."""
        try:
            await asyncio.to_thread(self.media.reveal, plan_id)
            source = PlanSource(
                owner_id=plan_id,
                key=self.media.source_key(plan_id),
                sha256=received.sha256,
                size=received.size,
                filename=received.filename,
            )
            return await self._planned(source, options.profile, stored_options(options))
        except OSError as error:
            raise disk_full() from error
        finally:
            await asyncio.to_thread(self.media.remove, plan_id)

    async def plan_video(self, asked: PlanVideo) -> dict[str, Any]:
        """What would be made of a video's source. Raises ProblemError, EngineError."""
        row = await self.get(asked.video_id)
        source = PlanSource(
            owner_id=row.id,
            key=row.source_key,
            sha256=row.source_sha256,
            size=row.source_size,
            filename=row.filename,
        )
        return await self._planned(source, asked.profile, stored_options(asked))

    async def _planned(self, source: PlanSource, profile: str, kept: dict[str, Any]) -> dict[str, Any]:
        return await make_plan(
            self.engine,
            source,
            profile=await self.profiles.for_workflow(profile),
            overrides=kept.get("overrides") or {},
            drm=drm_input(kept.get("drm")),
        )

    async def _start(self, row: VideoRow) -> VideoRow:
        request = StartRequest(
            name=definitions.WORKFLOW,
            correlation_id=row.id,
            priority=int(row.options.get("priority", 0)),
            # A start whose answer a crash swallowed is found again, not repeated.
            idempotency_key=f"{row.id}/{row.version}",
            idempotency_strategy="RETURN_EXISTING",
            input={
                "videoId": row.id,
                "title": row.title,
                "source": {
                    "key": row.source_key,
                    "sha256": row.source_sha256,
                    "size": row.source_size,
                    "filename": row.filename,
                },
                "profile": row.options.get("profile") or row.profile,
                "overrides": row.options.get("overrides") or {},
                "drm": drm_input(row.options.get("drm")),
                "version": row.version,
            },
        )
        workflow_id = await self.engine.executions.start(request)
        started = await self._store.change(row.id, workflow_id=workflow_id) or row
        self._follower.track(started)
        log.info("video_created", video_id=row.id, workflow_id=workflow_id, size=row.source_size)
        return started

    # ---------------------------------------------------------------------------------------- reading
    async def get(self, video_id: str) -> VideoRow:
        """The stored video; raises ProblemError `not_found`."""
        row = await self._store.get(video_id)
        if row is None:
            raise _no_video(video_id)
        return row

    async def page(self, wanted: VideoFilter) -> list[VideoRow]:
        return await self._store.page(wanted)

    def view(self, row: VideoRow) -> Snapshot:
        return self._follower.view(row)

    def state_events(self, row: VideoRow) -> list[tuple[str, dict[str, Any]]]:
        """The video as it is now, as events."""
        return changes(None, self.view(row))

    async def report(self, row: VideoRow) -> dict[str, Any]:
        """How the video was made, as stored when it ended, else as its workflow tells now."""
        ended = self.view(row).status not in OPEN_STATUSES
        if ended and (stored := await self._store.report(row.id)):
            return stored
        workflow = await self.workflow(row)
        return await self._follower.report(workflow) if workflow else {}

    async def workflow(self, row: VideoRow) -> dict[str, Any] | None:
        """The video's workflow on the wire, None when it has none (any more)."""
        if not row.workflow_id:
            return None
        try:
            document = msgspec.json.decode(await self.engine.executions.workflow(row.workflow_id))
        except NotFoundError:
            return None
        return document if isinstance(document, dict) else None

    # --------------------------------------------------------------------------------------- changing
    async def edit(self, video_id: str, edit: EditVideo) -> VideoRow:
        fields = edit.model_fields_set
        changed: dict[str, Any] = {}
        if "title" in fields:
            changed["title"] = edit.title or video_id
        if "metadata" in fields:
            changed["metadata"] = edit.metadata or {}
        row = await self._store.change(video_id, **changed, updated_ms=self.clock.now_ms())
        if row is None:
            raise _no_video(video_id)
        return row

    async def cancel(self, video_id: str) -> VideoRow:
        """End the video's workflow; repeating it changes nothing. Raises ProblemError."""
        row = await self.get(video_id)
        if self.view(row).status is VideoStatus.CANCELLED:
            return row
        if self.view(row).status not in OPEN_STATUSES or not row.workflow_id:
            raise _illegal(row, "cancelled", "only a queued or processing one can be")
        try:
            await self.engine.executions.terminate(row.workflow_id, "cancelled by request")
        except RefusedError as error:
            await self._follower.refresh(row.workflow_id)
            raise _illegal(row, "cancelled", "it has just ended") from error
        await self._follower.refresh(row.workflow_id)
        return await self.get(video_id)

    async def retry(self, video_id: str) -> VideoRow:
        """Run what failed again; finished artefacts are found, not made again. Raises ProblemError."""
        row = await self.get(video_id)
        if self.view(row).status not in {VideoStatus.FAILED, VideoStatus.CANCELLED}:
            raise _illegal(row, "retried", "only a failed or cancelled one can be")
        executions = self.engine.executions
        try:
            await executions.retry(row.workflow_id)
        except NotFoundError:
            row = await self._start(await self._renewed(row))
        except (RefusedError, IllegalStateError):
            # Nothing in it can be retried on its own: run it from the beginning.
            try:
                await executions.restart(row.workflow_id)
            except RefusedError as error:
                raise _illegal(row, "retried", "its workflow does not allow it now") from error
        self._follower.track(row)
        await self._follower.refresh(row.workflow_id, fresh=True)
        return await self.get(video_id)

    async def reprocess(self, video_id: str, asked: Reprocess) -> VideoRow:
        """Make a new version of an ended video; what was published stays until that is ready.

        Finished artefacts are found again, so that new keys, for one, need no encode. Raises ProblemError.
        """
        row = await self.get(video_id)
        seen = self.view(row)
        if seen.status not in {VideoStatus.READY, VideoStatus.FAILED, VideoStatus.CANCELLED}:
            raise _illegal(row, "processed again", "wait until it has ended, or cancel it")
        options = {**row.options, **stored_options(asked)}
        if asked.renditions is not None:
            wanted = asked.model_dump(mode="json", by_alias=True, exclude_unset=True)["renditions"]
            options["overrides"] = {**(options.get("overrides") or {}), "renditions": wanted}
        if asked.profile is not None:
            options["profile"] = await self.profiles.for_workflow(asked.profile)
        if seen.status is VideoStatus.READY and seen.playback:
            options["live"] = {"version": row.version, "playback": seen.playback, "drm": seen.drm}
        self._follower.forget(row)
        begun = await self._store.change(
            row.id,
            anew=True,
            status=VideoStatus.QUEUED,
            version=_next_version(row),
            profile=asked.profile or row.profile,
            workflow_id="",
            options=options,
            document={},
            updated_ms=self.clock.now_ms(),
        )
        if begun is None:
            raise _no_video(video_id)
        return await self._start(begun)

    async def _renewed(self, row: VideoRow) -> VideoRow:
        """A video whose workflow is gone starts a new one, under a new version."""
        changed = await self._store.change(row.id, version=_next_version(row), document={})
        return changed or row

    async def delete(self, video_id: str) -> None:
        """Hide the video at once, end its work, remove its files. Raises ProblemError."""
        row = await self.get(video_id)
        await self._store.change(video_id, deleted_ms=self.clock.now_ms())
        if row.status in OPEN_STATUSES:
            self.hub.publish(video_id, "status", {"status": VideoStatus.CANCELLED.value})
        self._follower.forget(row)
        if row.workflow_id:
            with suppress(RefusedError):
                await self.engine.executions.terminate(row.workflow_id, "the video was deleted")
        if drm_input(row.options.get("drm")) is not None:
            await self._forget_keys(row)
        await asyncio.to_thread(self.media.remove, video_id)
        log.info("video_deleted", video_id=video_id)

    async def _forget_keys(self, row: VideoRow) -> None:
        request = StartRequest(
            name=definitions.AFTER_DELETE,
            correlation_id=row.id,
            idempotency_key=f"{row.id}/deleted",
            idempotency_strategy="RETURN_EXISTING",
            input={"videoId": row.id, "version": row.version},
        )
        await self.engine.executions.start(request)

    # --------------------------------------------------------------------------------------- recovery
    async def _recover(self) -> None:
        for video_id in await asyncio.to_thread(self.media.parts):
            # Renamed below when a row promises it; else nobody was told of it.
            if await self._store.get(video_id) is None:
                await asyncio.to_thread(self.media.drop_part, video_id)
        for row in await self._store.open_videos():
            if row.workflow_id:
                self._follower.track(row)
            else:
                await self._resume(row)
        for plan_id in await asyncio.to_thread(self.media.sources_of, PLAN_PREFIX):
            await asyncio.to_thread(self.media.remove, plan_id)
        await self._remove_deleted()

    async def _resume(self, row: VideoRow) -> None:
        try:
            await asyncio.to_thread(self.media.reveal, row.id)
        except OSError as error:
            log.warning("upload_lost", video_id=row.id, error=str(error))
            await self._store.change(row.id, deleted_ms=self.clock.now_ms())
            return
        found = await self.engine.executions.correlated(
            definitions.WORKFLOW, [row.id], include_closed=True, include_tasks=False
        )
        for document in found.get(row.id, []):
            workflow = msgspec.json.decode(document)
            if obj(workflow.get("input")).get("version", row.version) != row.version:
                continue
            workflow_id = str(workflow["workflowId"])
            self._follower.track(await self._store.change(row.id, workflow_id=workflow_id) or row)
            return
        await self._start(row)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_MS / 1000)
            try:
                await self._remove_deleted()
            except (StoreUnavailableError, EngineError) as error:
                log.warning("deleted_videos_not_swept", error=str(error))

    async def _remove_deleted(self) -> None:
        for row in await self._store.deleted():
            if drm_input(row.options.get("drm")) is not None:
                # Found again when it was started: a crash came between the row and the workflow.
                await self._forget_keys(row)
            await asyncio.to_thread(self.media.remove, row.id)
            if self.clock.now_ms() - row.deleted_ms >= FORGET_MS:
                await self._store.forget(row.id)


def _next_version(row: VideoRow) -> str:
    number = row.version.removeprefix("v")
    return f"v{int(number) + 1 if number.isdigit() else 1}"


def _named(row: VideoRow) -> dict[str, Any]:
    return {"id": row.id, "title": row.title}


def _fingerprint(received: Received, options: VideoOptions) -> str:
    asked = options.model_dump(by_alias=True, exclude_unset=True)
    parts: Sequence[object] = [received.sha256, received.size, asked]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _no_video(video_id: str) -> ProblemError:
    return ProblemError("not_found", f"there is no video {video_id[:80]!r}; GET /api/v1/videos lists them")


def _illegal(row: VideoRow, verb: str, why: str) -> ProblemError:
    return ProblemError("illegal_state", f"the video {row.id} is {row.status} and cannot be {verb}: {why}")
