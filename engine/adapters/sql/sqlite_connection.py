"""One SQLite file: a thread that writes, a connection a reading thread, and what the driver's errors mean.

SQLite lets one connection write at a time, so all writes of a server go through one thread: a group of writes
costs one hop to it and one fsync. Short reads run where they are asked for (5 microseconds, less than any
hop); long ones go to a small pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from engine.adapters.sql.migrations import bring_up_to_date
from engine.core.errors import OutcomeUnknownError, StoreError, StoreFullError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Synchronous = Literal["OFF", "NORMAL", "FULL", "EXTRA"]

LONG_READS_MAX = 2
STATEMENTS_CACHED_MAX = 256
LOCK_WAIT_MS_MAX = 10_000

# A full disk shows as SQLITE_FULL, or as this one when the shared-memory file beside the log cannot grow.
_FULL = frozenset({"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"})
_LOCKED = frozenset({"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED"})


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Work[T]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]


class SqliteDatabase:
    """An open SQLite file, its tables brought up to date.

    Args:
        path: the file; its folder must exist. Beside it SQLite keeps `-wal` and `-shm`.
        synchronous: FULL survives power loss; NORMAL survives kill -9, but the last commits may go with the
            power.
        size_bytes_max: the file's bound; writes past it end in StoreFullError. None = the disk's.
        lock_wait_ms_max: how long a write waits for another process that writes the same file.

    Raises:
        StoreError: the file cannot be opened, is no database, or was written by a newer version.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        synchronous: Synchronous = "FULL",
        size_bytes_max: int | None = None,
        lock_wait_ms_max: int = LOCK_WAIT_MS_MAX,
    ) -> None:
        self.path = Path(path)
        self._lock_wait_ms_max = lock_wait_ms_max
        self._synchronous = synchronous
        self._size_bytes_max = size_bytes_max
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._open_lock = threading.Lock()
        self._closed = False
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        try:
            self._writer = self._connect()
            bring_up_to_date(self._writer, self.path)
        except sqlite3.Error as error:
            self._close_connections()
            raise StoreError(f"{self.path}: cannot be used as the database ({error})") from error
        except StoreError as error:
            self._close_connections()
            raise StoreError(f"{self.path}: {error}") from error
        self._pool = ThreadPoolExecutor(LONG_READS_MAX, thread_name_prefix="sqlite-read")
        self._thread = threading.Thread(target=self._serve, name="sqlite-write", daemon=True)
        self._thread.start()

    def reader(self) -> sqlite3.Connection:
        """The calling thread's reading connection; every statement on it sees the newest commit.

        Raises:
            StoreError: the database is closed.
        """
        self._check_open()
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
        return connection

    async def read(self, work: Work[T]) -> T:
        """Run a long read on the pool; its statements see one and the same state."""

        def in_one_snapshot() -> T:
            connection = self.reader()
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("COMMIT")

        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._pool, in_one_snapshot)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in one transaction on the writing thread; durable when this returns.

        Raises:
            StoreFullError: nothing was written.
            OutcomeUnknownError: the commit itself failed.
            StoreError: nothing was written, for any other reason of the database's.
            Exception: whatever `work` raises; nothing was written.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(work, loop, future))
        return await future

    async def close(self) -> None:
        """Finish the writes that were asked for, then let go of the file. Closing twice is no error."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._pool.shutdown)
        self._close_connections()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path}: the database is closed")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=self._lock_wait_ms_max / 1000,
            isolation_level=None,
            check_same_thread=False,  # closed by the thread that closes the database
            cached_statements=STATEMENTS_CACHED_MAX,
        )
        with self._open_lock:
            self._open.append(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        if self._size_bytes_max is not None:
            [page_bytes] = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count = {max(1, self._size_bytes_max // page_bytes)}")
        return connection

    def _close_connections(self) -> None:
        with self._open_lock:
            while self._open:
                self._open.pop().close()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                result = self._transact(job.work)
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the caller, never to this thread
                _tell(job.loop, job.future, error=error)
            else:
                _tell(job.loop, job.future, result)

    def _transact(self, work: Work[T]) -> T:
        connection = self._writer
        _roll_back(connection)  # no-op unless an earlier rollback failed
        try:
            # Immediate: a transaction that reads first and writes later fails at once when another process
            # wrote between.
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
        except sqlite3.Error as error:
            _roll_back(connection)
            raise self._meaning(error) from error
        except BaseException:
            _roll_back(connection)
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(connection)
            if _name(error) in _FULL:
                raise self._meaning(error) from error
            raise OutcomeUnknownError(f"{self.path}: the commit failed ({error})") from error
        return result

    def _meaning(self, error: sqlite3.Error) -> StoreError:
        name = _name(error)
        if name in _FULL:
            return StoreFullError(f"{self.path}: no space left to write; free some, nothing was lost")
        if name in _LOCKED:
            return StoreError(
                f"{self.path}: another process keeps the database locked; stop it, or try again"
            )
        return StoreError(f"{self.path}: {error}")


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _tell(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[T],
    result: T | None = None,
    error: BaseException | None = None,
) -> None:
    def settle() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T is None

    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
        loop.call_soon_threadsafe(settle)
