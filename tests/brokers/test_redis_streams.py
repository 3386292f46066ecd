"""Events on a real Redis."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from engine.adapters.brokers.redis_streams import RedisStreams
from engine.core.errors import StoreError
from engine.ports.brokers import Broker
from engine.testing.broker import BrokerContract, Connect, ids, received

from .conftest import RedisServer

RECLAIM_MS = 300
_consumers = itertools.count(1)


@pytest.fixture
async def connect(redis_server: RedisServer) -> AsyncIterator[Connect]:
    opened: list[RedisStreams] = []

    def open_one() -> Broker:
        consumer = f"server-{next(_consumers)}"
        opened.append(RedisStreams(redis_server.url, group="tests", consumer=consumer, reclaim_ms=RECLAIM_MS))
        return opened[-1]

    yield open_one
    for broker in opened:
        await broker.aclose()


@pytest.fixture
async def unreachable(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = RedisStreams(f"unix://{tmp_path / 'nobody.sock'}", group="tests", consumer="server")
    yield broker
    await broker.aclose()


class TestRedisStreams(BrokerContract):
    """The contract."""


async def test_entries_of_others_are_payloads(redis_server: RedisServer, connect: Connect) -> None:
    """An entry without our fields is an object of its fields, known by its id in the stream."""
    async with Redis.from_url(redis_server.url) as client:
        entry_id = await client.xadd("foreign", {"order": "7", "who": "Ada"})

    [message] = await received(connect(), "foreign", 1)

    assert message.id.encode() == entry_id
    assert msgspec.json.decode(message.payload) == {"order": "7", "who": "Ada"}


async def test_a_deleted_stream_is_made_again(redis_server: RedisServer, connect: Connect) -> None:
    """The reading that meets the gap fails, and the next one goes on."""
    broker = connect()
    await broker.receive("gone", count=1, wait_ms=1)
    async with Redis.from_url(redis_server.url) as client:
        await client.delete("gone")

    with pytest.raises(StoreError, match="gone"):
        await broker.receive("gone", count=1, wait_ms=1)
    await broker.publish("gone", "m1", b"{}")

    assert ids(await received(broker, "gone", 1)) == ["m1"]


async def test_a_server_that_leaves_is_forgotten_when_it_holds_nothing(
    redis_server: RedisServer, connect: Connect
) -> None:
    """A consumer with messages stays in the group, so that they can be claimed."""
    idle, holding = connect(), connect()
    await idle.publish("left", "m1", b"{}")
    await received(holding, "left", 1)
    await idle.receive("left", count=1, wait_ms=1)

    await idle.aclose()
    await holding.aclose()

    async with Redis.from_url(redis_server.url) as client:
        consumers = await client.xinfo_consumers("left", "tests")
    assert [one["pending"] for one in consumers] == [1]
    assert ids(await received(connect(), "left", 1)) == ["m1"]


async def test_a_redis_that_was_away(redis_program: str, tmp_path: Path) -> None:
    """What it had said it has, it has after kill -9; whoever reads goes on by itself."""
    server = RedisServer(redis_program, tmp_path)
    server.start()
    broker = RedisStreams(server.url, group="tests", consumer="server", reclaim_ms=RECLAIM_MS)
    try:
        await broker.publish("q", "m1", b"{}")
        server.stop()
        with pytest.raises(StoreError):
            await broker.publish("q", "m2", b"{}")
        server.start()
        await broker.publish("q", "m2", b"{}")
        async with asyncio.timeout(20):
            assert ids(await received(broker, "q", 2)) == ["m1", "m2"]
    finally:
        await broker.aclose()
        server.stop()
