"""What every Broker promises; a test class subclasses it with a `connect` fixture."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import pytest

from engine.core.errors import StoreError
from engine.ports.brokers import Broker, Received

BOUND_S = 20
WAIT_MS = 1_000
_serial = itertools.count(1)

Connect = Callable[[], Broker]


async def received(broker: Broker, queue: str, count: int) -> list[Received]:
    """Take until there are `count`; a broker may give them in parts."""
    found: list[Received] = []
    async with asyncio.timeout(BOUND_S):
        while len(found) < count:
            found += await broker.receive(queue, count=count, wait_ms=WAIT_MS)
    return found


def ids(messages: Sequence[Received]) -> list[str]:
    return sorted(message.id for message in messages)


class BrokerContract:
    """The fixture `connect` gives a further connection, as another server would have one.

    Messages that are taken and not settled come back to such a one within a few seconds.
    """

    @pytest.fixture
    def queue(self) -> str:
        return f"queue-{next(_serial)}"

    async def test_what_is_published_is_received(self, connect: Connect, queue: str) -> None:
        """Id and payload arrive as they were given, also what was published before anybody read."""
        broker = connect()
        payloads = {"m1": b'{"x":1}', "m2": '{"text":"Grüße \u2028"}'.encode()}
        for message_id, payload in payloads.items():
            await broker.publish(queue, message_id, payload)

        found = await received(broker, queue, 2)

        assert {message.id: message.payload for message in found} == payloads

    async def test_what_is_done_does_not_come_back(self, connect: Connect, queue: str) -> None:
        """Settled as done, a message is gone for everybody; the one after it comes."""
        broker, other = connect(), connect()
        await broker.publish(queue, "m1", b"{}")
        await broker.settle(queue, done=await received(broker, queue, 1), again=[])
        await broker.publish(queue, "m2", b"{}")
        await broker.aclose()

        assert ids(await received(other, queue, 1)) == ["m2"]

    async def test_what_is_not_settled_comes_back(self, connect: Connect, queue: str) -> None:
        """A server that went with a message leaves it to another one, under the same id."""
        broker, other = connect(), connect()
        await broker.publish(queue, "m1", b'{"x":1}')
        taken = await received(broker, queue, 1)
        await broker.aclose()

        found = await received(other, queue, 1)

        assert (ids(found), found[0].payload) == (ids(taken), b'{"x":1}')

    async def test_what_could_not_be_handled_comes_back(self, connect: Connect, queue: str) -> None:
        """A part of what was taken may be done, and the rest be delivered again."""
        broker = connect()
        for message_id in ("m1", "m2", "m3"):
            await broker.publish(queue, message_id, b"{}")
        taken = await received(broker, queue, 3)
        failed = [message for message in taken if message.id == "m2"]
        await broker.settle(queue, done=[one for one in taken if one not in failed], again=failed)

        assert ids(await received(broker, queue, 1)) == ["m2"]

    async def test_servers_share_a_queue(self, connect: Connect, queue: str) -> None:
        """Each message goes to one of them."""
        brokers = [connect(), connect()]
        for number in range(20):
            await brokers[0].publish(queue, f"m{number}", b"{}")
        found: list[Received] = []
        async with asyncio.timeout(BOUND_S):
            while len(found) < 20:
                for broker in brokers:
                    taken = await broker.receive(queue, count=5, wait_ms=WAIT_MS)
                    await broker.settle(queue, done=taken, again=[])
                    found += taken

        assert ids(found) == sorted(f"m{number}" for number in range(20))

    async def test_an_empty_queue_gives_nothing(self, connect: Connect, queue: str) -> None:
        """After the wait, and not before a queue exists either."""
        async with asyncio.timeout(BOUND_S):
            assert await connect().receive(queue, count=5, wait_ms=WAIT_MS) == []

    async def test_a_broker_that_cannot_be_reached(self, unreachable: Broker, queue: str) -> None:
        """It is a StoreError, which means: not done, try again."""
        for work in (
            unreachable.publish(queue, "m", b"{}"),
            unreachable.receive(queue, count=1, wait_ms=WAIT_MS),
        ):
            with pytest.raises(StoreError, match=queue):
                async with asyncio.timeout(BOUND_S):
                    await work
