"""Connections to PostgreSQL: a few for short statements, a few for long reads, and what errors mean.

Short statements find rows by key. Their connections rule out plans that read whole tables and plan each
statement once: a plan made while a table was empty must not stay when it has grown. Long reads (search,
lists) have connections of their own, which plan freely.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from engine.core.errors import OutcomeUnknownError, StoreError, StoreFullError

Row = Sequence[Any]

SHORT_CONNECTIONS_MAX = 6
LONG_CONNECTIONS_MAX = 3
STATEMENTS_CACHED_MAX = 512
CONNECT_S_MAX = 10
LONG_READ_MS_MAX = 60_000
IDLE_IN_TRANSACTION_MS_MAX = 60_000

_COMMON = {
    "application_name": "showrunner",
    "jit": "off",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS_MAX),
    # A machine that vanished is noticed, and what its sessions held is free again.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_BY_KEY = {
    **_COMMON,
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
}
# A search's best plan depends on what it asks for, not on its shape.
_FREELY = {
    **_COMMON,
    "plan_cache_mode": "force_custom_plan",
    "statement_timeout": str(LONG_READ_MS_MAX),
}

DISCONNECTED = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    OSError,
    TimeoutError,
)
"""What says that the connection, and so the answer, is gone. The driver's DataError comes before it."""

UNSAYABLE = (asyncpg.CharacterNotInRepertoireError, UnicodeError)
"""A text that no row can contain (it has a NUL or half a surrogate pair)."""


def without_password(url: str) -> str:
    """What may be shown of a database URL."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"postgresql://{parts.hostname or ''}{port}{parts.path}"


def meaning(error: BaseException, where: str) -> StoreError:
    """A driver's error as one of ours; nothing was written."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFullError(f"{where}: no space left to write; free some, nothing was lost")
    return StoreError(f"{where}: {str(error) or type(error).__name__}")


class Pool:
    """At most `size` connections, opened when needed, the last used first.

    A connection that broke is replaced by the next who needs one.
    """

    def __init__(self, url: str, size: int, settings: dict[str, str]) -> None:
        self._url = url
        self._settings = settings
        self._idle: list[Any] = []
        self._free = asyncio.Semaphore(size)
        self._closed = False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One connection for the block.

        Raises:
            StoreError: the server cannot be reached, or the pool is closed.
        """
        async with self._free:
            connection = await self._get()
            try:
                yield connection
            finally:
                if not connection.is_closed():
                    self._idle.append(connection)

    async def fetch(self, statement: str, *values: Any) -> list[Row]:
        """Rows of one statement.

        Raises:
            StoreError: the read failed.
        """
        try:
            async with self.connection() as connection:
                return await connection.fetch(statement, *values)  # type: ignore[no-any-return]  # untyped driver
        except UNSAYABLE:
            return []
        except (*DISCONNECTED, asyncpg.PostgresError) as error:
            raise meaning(error, without_password(self._url)) from error

    async def fetch_together(self, statements: Sequence[str], *values: Any) -> list[list[Row]]:
        """Rows of each statement, all as of one moment.

        Raises:
            StoreError: the read failed.
        """
        try:
            async with (
                self.connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return [await connection.fetch(statement, *values) for statement in statements]
        except UNSAYABLE:
            return [[] for _ in statements]
        except (*DISCONNECTED, asyncpg.PostgresError) as error:
            raise meaning(error, without_password(self._url)) from error

    async def fetchval(self, statement: str, *values: Any) -> Any:
        """The first value of the first row; None when there is no row."""
        rows = await self.fetch(statement, *values)
        return rows[0][0] if rows else None

    async def _get(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        if self._closed:
            raise StoreError(f"{without_password(self._url)}: the database is closed")
        return await connect(self._url, self._settings)

    async def close(self) -> None:
        self._closed = True
        while self._idle:
            with contextlib.suppress(*DISCONNECTED):
                await self._idle.pop().close(timeout=CONNECT_S_MAX)


class PostgresDatabase:
    """An open database. `short` and `long` are the two kinds of connections, `where` names it in errors."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.where = without_password(url)
        self.short = Pool(url, SHORT_CONNECTIONS_MAX, _BY_KEY)
        self.long = Pool(url, LONG_CONNECTIONS_MAX, _FREELY)

    async def close(self) -> None:
        await self.short.close()
        await self.long.close()


async def connect(url: str, settings: dict[str, str] | None = None) -> Any:
    """A connection of one's own.

    Raises:
        StoreError: the server cannot be reached or refuses.
    """
    where = without_password(url)
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_S_MAX,
            statement_cache_size=STATEMENTS_CACHED_MAX,
            max_cached_statement_lifetime=0,
            server_settings=settings or _COMMON,
        )
    except asyncpg.InvalidCatalogNameError as error:
        raise StoreError(f"{where}: there is no such database; create it first") from error
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise StoreError(f"{where}: the server does not accept user and password of the URL") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        # Not the driver's own text where it may quote the URL.
        reason = getattr(error, "strerror", None) or type(error).__name__
        if isinstance(error, asyncpg.PostgresError):
            reason = str(error)
        raise StoreError(f"{where}: the database cannot be reached ({reason})") from error


def unknown(error: BaseException, where: str) -> OutcomeUnknownError:
    """The connection went away while a commit was on its way."""
    return OutcomeUnknownError(f"{where}: the connection was lost during a commit ({error})")
