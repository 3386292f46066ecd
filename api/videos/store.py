"""Where the product keeps its own rows: videos, idempotency keys, which shipped definitions are registered.

A database file of its own (videos.db), because SQLite lets one connection write at a time: the engine's
writer commits every step of every workflow; product rows in the same file would wait behind it and delay it.
Nothing needs one transaction over both: a row is written before its workflow starts, and what a crash leaves
between the two is picked up at the next start.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    Table,
    Text,
    and_,
    create_engine,
    delete,
    event,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from api.videos.models import OPEN_STATUSES, VIDEO_MOVES, VideoStatus

T = TypeVar("T")

SCHEMA_VERSION = 1
BUSY_TIMEOUT_MS = 10_000
IDEMPOTENCY_MS = 24 * 3600 * 1000
"""How long a key is remembered."""

METADATA = MetaData()

VIDEO = Table(
    "video",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("workflow_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("source_key", Text, nullable=False),
    Column("source_sha256", Text, nullable=False),
    Column("source_size", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("ready_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger, nullable=False),
    Column("options", LargeBinary, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Index("ix_video_created", "created_ms", "id"),
    Index("ix_video_status", "status", "created_ms"),
    Index("ix_video_workflow", "workflow_id"),
    Index("ix_video_source", "source_sha256"),
)

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("video_id", Text, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

REPORT = Table(
    "report",
    METADATA,
    Column("video_id", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""How ended videos were made: of its own, because it is large and only read alone."""

SHIPPED = Table(
    "shipped_definition",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
)

SCHEMA = Table("schema_version", METADATA, Column("version", Integer, primary_key=True))


class StoreUnavailableError(Exception):
    """The product's database cannot be opened, read or written; `full` when the disk has no room."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class VideoRow(Struct, kw_only=True, frozen=True):
    """A stored video. Times are Unix milliseconds, 0 when unset; texts are empty when unset.

    Attributes:
        options: what the uploader asked for (overrides, priority, passthrough).
        document: the last view.Snapshot as plain data, so that a video outlives its workflow.
    """

    id: str
    status: VideoStatus
    title: str
    profile: str
    filename: str = ""
    workflow_id: str = ""
    version: str = "v1"
    source_key: str
    source_sha256: str
    source_size: int
    created_ms: int
    updated_ms: int
    ready_ms: int = 0
    deleted_ms: int = 0
    options: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    document: dict[str, Any] = {}


class Idempotency(Struct, kw_only=True, frozen=True):
    """What was answered to a key: the request's fingerprint and the answer's body."""

    key: str
    fingerprint: str
    video_id: str
    answer: bytes
    created_ms: int


class VideoFilter(Struct, kw_only=True, frozen=True):
    """A page of videos. `after` is (created_ms, id) of the last one seen."""

    statuses: tuple[VideoStatus, ...] = ()
    text: str = ""
    profile: str = ""
    created_after_ms: int = 0
    created_before_ms: int = 0
    ascending: bool = False
    after: tuple[int, str] | None = None
    limit: int = 50


_DOCUMENTS = ("options", "metadata", "document")


def _columns(changes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.json.encode(value) if name in _DOCUMENTS else value for name, value in changes.items()
    }


def _row(found: RowMapping) -> VideoRow:
    values = {
        name: msgspec.json.decode(value) if name in _DOCUMENTS else value for name, value in found.items()
    }
    return VideoRow(**{**values, "status": VideoStatus(values["status"])})


class VideoStore:
    """All methods run on one thread of their own, in order; each is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="videos-store")
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
        event.listen(self._engine, "connect", _configure)

    async def open(self) -> None:
        """Create or check the tables.

        Raises:
            StoreUnavailableError: the file cannot be used, or a newer version wrote it.
        """
        await self._run(self._prepare)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown()

    async def _run(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except IntegrityError:
            raise
        except OperationalError as error:
            reason = str(error.orig)
            raise StoreUnavailableError(
                f"the video database {self._path} cannot be used: {reason}", full="full" in reason
            ) from error
        except DBAPIError as error:
            raise StoreUnavailableError(
                f"the video database {self._path} cannot be read: {error.orig}"
            ) from error

    def _prepare(self, connection: Connection) -> None:
        METADATA.create_all(connection)
        for index in VIDEO.indexes:
            # Of a table that an earlier version made.
            index.create(connection, checkfirst=True)
        found = connection.execute(select(SCHEMA.c.version)).scalar()
        if found is None:
            connection.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))
        elif found != SCHEMA_VERSION:
            raise StoreUnavailableError(
                f"{self._path} was written by another version: schema {found} instead of {SCHEMA_VERSION}"
            )

    async def add(self, row: VideoRow, idempotency: Idempotency | None = None) -> bool:
        """Store a new video, and the key it was created under, together.

        Returns:
            False when the key was taken in the meantime; nothing is stored then.
        """

        def work(connection: Connection) -> bool:
            connection.execute(insert(VIDEO).values(_columns(msgspec.structs.asdict(row))))
            if idempotency is not None:
                old = idempotency.created_ms - IDEMPOTENCY_MS
                connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.created_ms < old))
                connection.execute(insert(IDEMPOTENCY).values(msgspec.structs.asdict(idempotency)))
            return True

        try:
            return await self._run(work)
        except IntegrityError:
            return False

    async def keep_answer(self, key: str, answer: bytes) -> None:
        """Complete a key with the body that was answered."""
        await self._run(
            lambda c: c.execute(update(IDEMPOTENCY).where(IDEMPOTENCY.c.key == key).values(answer=answer))
        )

    async def idempotency(self, key: str, now_ms: int) -> Idempotency | None:
        query = select(IDEMPOTENCY).where(
            IDEMPOTENCY.c.key == key, IDEMPOTENCY.c.created_ms >= now_ms - IDEMPOTENCY_MS
        )
        found = await self._run(lambda c: c.execute(query).mappings().first())
        return Idempotency(**found) if found else None

    async def get(self, video_id: str) -> VideoRow | None:
        """The video, unless it does not exist or was deleted."""
        query = select(VIDEO).where(VIDEO.c.id == video_id, VIDEO.c.deleted_ms == 0)
        found = await self._run(lambda c: c.execute(query).mappings().first())
        return _row(found) if found else None

    async def page(self, wanted: VideoFilter) -> list[VideoRow]:
        """Newest first unless `ascending`; at most `limit` rows."""
        key = (VIDEO.c.created_ms, VIDEO.c.id)
        query = select(VIDEO).where(VIDEO.c.deleted_ms == 0)
        if wanted.statuses:
            query = query.where(VIDEO.c.status.in_(wanted.statuses))
        if wanted.profile:
            query = query.where(VIDEO.c.profile == wanted.profile)
        if wanted.text:
            text = wanted.text
            query = query.where(
                or_(
                    VIDEO.c.title.icontains(text, autoescape=True),
                    VIDEO.c.filename.icontains(text, autoescape=True),
                    VIDEO.c.id == text,
                )
            )
        if wanted.created_after_ms:
            query = query.where(VIDEO.c.created_ms > wanted.created_after_ms)
        if wanted.created_before_ms:
            query = query.where(VIDEO.c.created_ms < wanted.created_before_ms)
        if wanted.after is not None:
            at, video_id = wanted.after
            beyond = VIDEO.c.created_ms > at if wanted.ascending else VIDEO.c.created_ms < at
            same = VIDEO.c.id > video_id if wanted.ascending else VIDEO.c.id < video_id
            query = query.where(or_(beyond, and_(VIDEO.c.created_ms == at, same)))
        query = query.order_by(*(c if wanted.ascending else c.desc() for c in key)).limit(wanted.limit)
        return await self._rows(query)

    async def change(self, video_id: str, *, anew: bool = False, **changes: Any) -> VideoRow | None:
        """Write the named columns and answer the row as it is now; None when there is no such video.

        A `status` that `VIDEO_MOVES` does not allow from the stored one is refused: nothing is written, and
        the stored row is answered. With `anew` an ended video may begin again, whatever it ended as.
        """

        def work(connection: Connection) -> RowMapping | None:
            here = and_(VIDEO.c.id == video_id, VIDEO.c.deleted_ms == 0)
            found = connection.execute(select(VIDEO.c.status).where(here)).scalar()
            if found is None:
                return None
            status = changes.get("status", found)
            begins = anew and found not in OPEN_STATUSES
            if begins or status == found or status in VIDEO_MOVES[VideoStatus(found)]:
                connection.execute(update(VIDEO).where(here).values(_columns(changes)))
            return connection.execute(select(VIDEO).where(here)).mappings().first()

        found = await self._run(work)
        return _row(found) if found else None

    async def open_videos(self) -> list[VideoRow]:
        """Those whose workflow has not ended as far as we know."""
        return await self._rows(
            select(VIDEO).where(VIDEO.c.status.in_(OPEN_STATUSES), VIDEO.c.deleted_ms == 0)
        )

    async def of_workflows(self, workflow_ids: Sequence[str]) -> list[VideoRow]:
        return await self._rows(
            select(VIDEO).where(VIDEO.c.workflow_id.in_(workflow_ids), VIDEO.c.deleted_ms == 0)
        )

    async def deleted(self) -> list[VideoRow]:
        """Rows kept only until their files are surely gone."""
        return await self._rows(select(VIDEO).where(VIDEO.c.deleted_ms > 0))

    async def forget(self, video_id: str) -> None:
        """Drop a deleted video's row and report."""

        def work(connection: Connection) -> None:
            gone = delete(VIDEO).where(VIDEO.c.id == video_id, VIDEO.c.deleted_ms > 0)
            if connection.execute(gone).rowcount:
                connection.execute(delete(REPORT).where(REPORT.c.video_id == video_id))

        await self._run(work)

    async def keep_report(self, video_id: str, report: dict[str, Any]) -> None:
        """Store how a video was made, over an earlier report."""
        body = zlib.compress(msgspec.json.encode(report))

        def work(connection: Connection) -> None:
            connection.execute(delete(REPORT).where(REPORT.c.video_id == video_id))
            connection.execute(insert(REPORT).values(video_id=video_id, body=body))

        await self._run(work)

    async def report(self, video_id: str) -> dict[str, Any]:
        """The stored report, empty when there is none."""
        query = select(REPORT.c.body).where(REPORT.c.video_id == video_id)
        body = await self._run(lambda c: c.execute(query).scalar())
        found = msgspec.json.decode(zlib.decompress(body)) if body else {}
        return found if isinstance(found, dict) else {}

    async def same_source(self, sha256: str) -> VideoRow | None:
        """The oldest video made of the same bytes."""
        query = select(VIDEO).where(VIDEO.c.source_sha256 == sha256, VIDEO.c.deleted_ms == 0)
        rows = await self._rows(query.order_by(VIDEO.c.created_ms, VIDEO.c.id).limit(1))
        return rows[0] if rows else None

    async def shipped(self) -> dict[str, str]:
        """Name -> sha256 of the shipped definitions that were registered."""
        rows = await self._run(lambda c: c.execute(select(SHIPPED)).all())
        return {str(name): str(sha256) for name, sha256 in rows}

    async def keep_shipped(self, name: str, sha256: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute(delete(SHIPPED).where(SHIPPED.c.name == name))
            connection.execute(insert(SHIPPED).values(name=name, sha256=sha256))

        await self._run(work)

    async def _rows(self, query: Any) -> list[VideoRow]:
        found = await self._run(lambda c: c.execute(query).mappings().all())
        return [_row(each) for each in found]


def _configure(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # FULL: a 201 means that the upload survives a power failure.
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
