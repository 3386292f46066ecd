"""Events on a real Kafka cluster, where one is named: SHOWRUNNER_TEST_KAFKA=HOST:PORT."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from engine.adapters.brokers.kafka import Kafka
from engine.ports.brokers import Broker
from engine.testing.broker import BrokerContract, Connect, ids, received

from .conftest import KAFKA_SERVERS, WITH_CLUSTER

pytestmark = WITH_CLUSTER


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Groups of its own for each test; a consumer that was closed is out of its group at once."""
    opened: list[Kafka] = []
    group = f"tests-{uuid.uuid4().hex}"

    def open_one() -> Broker:
        opened.append(Kafka(KAFKA_SERVERS, group=group))
        return opened[-1]

    yield open_one
    for broker in opened:
        await broker.aclose()


@pytest.fixture
async def unreachable() -> AsyncIterator[Broker]:
    broker = Kafka("127.0.0.1:9", group="tests")
    yield broker
    await broker.aclose()


class TestKafka(BrokerContract):
    """The contract."""

    @pytest.fixture
    def queue(self) -> str:
        return f"queue-{uuid.uuid4().hex}"


async def test_what_follows_a_failure_is_read_again_in_order(connect: Connect) -> None:
    """The records after one that is to be delivered again come again behind it."""
    broker, queue = connect(), f"queue-{uuid.uuid4().hex}"
    for number in range(3):
        await broker.publish(queue, f"m{number}", b"{}")
    taken = await received(broker, queue, 3)
    await broker.settle(queue, done=[taken[0], taken[2]], again=[taken[1]])

    found = await received(broker, queue, 2)

    assert [message.id for message in found] == ["m1", "m2"]
    assert ids(found) == ["m1", "m2"]
