"""Servers on one PostgreSQL: LISTEN and NOTIFY tell, advisory locks of their sessions show who lives.

Each server keeps one connection for both. Its lock goes with the session, so a server that was killed is gone
from the list as soon as the kernel closed its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import msgspec
import structlog

from engine.adapters.sql.postgres_connection import DISCONNECTED, connect
from engine.adapters.sql.postgres_locks import lock_number
from engine.core.errors import StoreError
from engine.ports.notifier import News

log = structlog.get_logger(__name__)

CHANNEL = "showrunner"
PRESENCE_EVERY_MS = 500
"""How often a server looks who else is there."""
TELL_EVERY_MS = 5
"""Notices of a busy server are gathered so long; a quiet one tells at once."""
PAYLOAD_BYTES_MAX = 7_500
"""PostgreSQL takes 8,000; what does not fit is said as "look at everything"."""
QUERY_S_MAX = 10
_PRESENCE = 0x53484F57
"""Class of the locks that servers hold while they live."""

_OTHERS = """SELECT objid FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND classid = $1::int8::oid
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND granted"""
_BROKEN = (*DISCONNECTED, asyncpg.PostgresError, StoreError)


class _Notice(msgspec.Struct, kw_only=True, omit_defaults=True):
    server: int
    news: News


class PostgresNotifier:
    """Notifier over one connection of its own.

    Args:
        url: of the database.
        number: tells this server from the others; any, below 2^31.
    """

    shared = True

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._number = number
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._others: frozenset[int] = frozenset()
        self._heard: Callable[[News], None] = lambda _: None
        self._waiting: News | None = None
        self._moved: set[str] = set()
        self._something = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self.told = 0

    async def join(self, first: Callable[[], Awaitable[None]], heard: Callable[[News], None]) -> None:
        self._heard = heard
        joining = lock_number("join")
        self._connection = await connect(self._url)
        await self._connection.execute("SELECT pg_advisory_lock($1)", joining)
        await self._look()
        if not self._others:
            await first()
        await self._appear()
        await self._connection.execute("SELECT pg_advisory_unlock($1)", joining)
        self._loops = [asyncio.ensure_future(step()) for step in (self._watch, self._send)]

    def others(self) -> int:
        return len(self._others)

    def is_mine(self, key: str) -> bool:
        mine = _weight(self._number, key)
        return all(_weight(number, key) < mine for number in self._others)

    def tell(self, news: News) -> None:
        if not self._others:
            return
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = News(queues={})
        for queue, count in news.queues.items():
            waiting.queues[queue] = waiting.queues.get(queue, 0) + count
        if news.due_ms:
            waiting.due_ms = min(news.due_ms, waiting.due_ms or news.due_ms)
        waiting.freed = list({*waiting.freed, *news.freed}) if news.freed else waiting.freed
        waiting.turns.update(news.turns)
        self._moved.update(news.moved)
        self._something.set()

    async def close(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_BROKEN):
                await connection.close(timeout=QUERY_S_MAX)

    # ------------------------------------------------------------------------------------ inside
    async def _appear(self) -> None:
        """Be seen and listen, on the connection at hand."""
        await self._connection.execute("SELECT pg_advisory_lock($1, $2)", _PRESENCE, self._number)
        await self._connection.add_listener(CHANNEL, self._receive)
        await self._notify(_Notice(server=self._number, news=News()))

    async def _look(self) -> None:
        rows = await self._connection.fetch(_OTHERS, _PRESENCE, timeout=QUERY_S_MAX)
        self._others = frozenset(int(row[0]) for row in rows) - {self._number}

    async def _watch(self) -> None:
        """Look who is there; make a new connection when the old one broke."""
        while True:
            await asyncio.sleep(PRESENCE_EVERY_MS / 1000)
            try:
                async with self._turn:
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await connect(self._url)
                        await self._appear()
                        self._heard(News(missed=True))
                    await self._look()
            except _BROKEN as error:
                log.warning("servers_not_seen", error=str(error))

    async def _send(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            news, self._waiting = self._waiting or News(), None
            news.moved, self._moved = list(self._moved), set()
            try:
                async with self._turn:
                    await self._notify(_Notice(server=self._number, news=news))
            except _BROKEN as error:  # the others look by themselves
                log.warning("servers_not_told", error=str(error))
            await asyncio.sleep(TELL_EVERY_MS / 1000)

    async def _notify(self, notice: _Notice) -> None:
        payload = msgspec.json.encode(notice)
        if len(payload) > PAYLOAD_BYTES_MAX:
            notice = _Notice(server=self._number, news=News(missed=True))
            payload = msgspec.json.encode(notice)
        self.told += 1
        await self._connection.execute(
            "SELECT pg_notify($1, $2)", CHANNEL, payload.decode(), timeout=QUERY_S_MAX
        )

    def _receive(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        try:
            notice = msgspec.json.decode(payload, type=_Notice)
        except msgspec.MsgspecError:
            return  # of a version that speaks otherwise; what it did is seen by looking
        if notice.server == self._number:
            return
        if notice.server not in self._others:
            self._others |= {notice.server}
        self._heard(notice.news)


def _weight(server: int, key: str) -> tuple[int, int]:
    return zlib.crc32(key.encode(), server & 0xFFFFFFFF), server
