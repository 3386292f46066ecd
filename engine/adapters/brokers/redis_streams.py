"""Events on Redis streams: `redis:NAME` is the stream NAME, read by one consumer group. Needs Redis 6.2.

An entry's fields `id` and `payload` are the message. In an entry with other fields, written by somebody else,
the whole entry is the payload, as a JSON object of texts, and its id in the stream is the message's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from engine.core.errors import StoreError
from engine.ports.brokers import Received

T = TypeVar("T")
Fields = dict[bytes, bytes]

ENTRIES_MAX = 1_000_000
"""Entries a stream keeps, about; the oldest go, read or not."""
RECLAIM_MS = 30_000
"""A message that was taken and not settled for so long is delivered again."""
CONNECT_S_MAX, ANSWER_S_MAX = 5.0, 15.0


class RedisStreams:
    """Broker on one Redis.

    Args:
        url: `redis://...` or `rediss://...`; may hold a password.
        group: consumer group; all servers of one database use the same.
        consumer: this server's name in the group.
        reclaim_ms: see RECLAIM_MS.
    """

    def __init__(self, url: str, *, group: str, consumer: str, reclaim_ms: int = RECLAIM_MS) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_connect_timeout=CONNECT_S_MAX, socket_timeout=ANSWER_S_MAX
        )
        self._group = group
        self._consumer = consumer
        self._reclaim_ms = reclaim_ms
        self._joined: set[str] = set()
        self._reclaimed: dict[str, tuple[float, str]] = {}

    async def publish(self, queue: str, message_id: str, payload: bytes) -> None:
        fields: dict[Any, Any] = {"id": message_id, "payload": payload}
        await self._do(queue, lambda: self._redis.xadd(queue, fields, maxlen=ENTRIES_MAX))

    async def receive(self, queue: str, *, count: int, wait_ms: int) -> list[Received]:
        async def take() -> list[Received]:
            await self._join(queue)
            entries = await self._left_behind(queue, count)
            if not entries:
                answer = await self._redis.xreadgroup(
                    self._group, self._consumer, {queue: ">"}, count=count, block=max(1, wait_ms)
                )
                entries = _entries(answer)
            return [_received(entry_id, fields) for entry_id, fields in entries]

        return await self._do(queue, take)

    async def _join(self, queue: str) -> None:
        if queue in self._joined:
            return
        try:
            # From the stream's beginning: what was published before the first handler is not lost.
            await self._redis.xgroup_create(queue, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._joined.add(queue)

    async def _left_behind(self, queue: str, count: int) -> list[tuple[bytes, Fields]]:
        """Messages that somebody, perhaps this server, took and did not settle."""
        looked_s, cursor = self._reclaimed.get(queue, (0.0, "0-0"))
        now_s = time.monotonic()
        if cursor == "0-0" and now_s - looked_s < self._reclaim_ms / 2_000:
            return []
        answer = await self._redis.xautoclaim(
            queue, self._group, self._consumer, min_idle_time=self._reclaim_ms, start_id=cursor, count=count
        )
        following = answer[0].decode() if isinstance(answer[0], bytes) else str(answer[0])
        self._reclaimed[queue] = (now_s, following)
        return [(entry_id, fields) for entry_id, fields in answer[1] if fields]

    async def settle(self, queue: str, *, done: Sequence[Received], again: Sequence[Received]) -> None:
        """Those to be delivered again stay with the group, and come back after `reclaim_ms`."""
        if done:
            receipts = [message.receipt for message in done]
            await self._do(queue, lambda: self._redis.xack(queue, self._group, *receipts))

    async def _do(self, queue: str, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except (RedisError, OSError) as error:
            self._joined.discard(queue)  # the stream, and its group with it, may have been deleted
            raise StoreError(f"Redis stream {queue}: {error}") from error

    async def aclose(self) -> None:
        for queue in self._joined:
            try:
                found = await self._redis.xinfo_consumers(queue, self._group)
                ours = [one for one in found if one["name"] == self._consumer.encode()]
                # One that still holds messages stays, for others to claim them.
                if ours and not ours[0]["pending"]:
                    await self._redis.xgroup_delconsumer(queue, self._group, self._consumer)
            except (RedisError, OSError):
                break
        await self._redis.aclose()


def _entries(answer: Any) -> list[tuple[bytes, Fields]]:
    """The entries of XREADGROUP's answer, in the shape of either version of the protocol."""
    if not answer:
        return []
    if isinstance(answer, dict):
        return [(entry[0], entry[1]) for found in answer.values() for part in found for entry in part]
    return [(entry_id, fields) for _, found in answer for entry_id, fields in found]


def _received(entry_id: bytes, fields: Fields) -> Received:
    payload = fields.get(b"payload")
    if payload is None:
        payload = msgspec.json.encode({_text(key): _text(value) for key, value in fields.items()})
    message_id = _text(fields.get(b"id", b"")) or entry_id.decode()
    return Received(id=message_id, payload=payload, receipt=entry_id)


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
