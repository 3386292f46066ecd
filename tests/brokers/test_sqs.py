"""Events on a server that speaks SQS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import boto3  # type: ignore[import-untyped]  # it comes without types
import pytest

from engine.adapters.brokers.sqs import Sqs
from engine.ports.brokers import Broker
from engine.testing.broker import BrokerContract, Connect, ids, received

REGION = "eu-central-1"


@pytest.fixture
async def connect(sqs_url: str) -> AsyncIterator[Connect]:
    opened: list[Sqs] = []

    def open_one() -> Broker:
        opened.append(Sqs(REGION, endpoint=sqs_url, visibility_s=1, retry_s=0))
        return opened[-1]

    yield open_one
    for broker in opened:
        await broker.aclose()


@pytest.fixture
async def unreachable(sqs_url: str) -> AsyncIterator[Broker]:
    del sqs_url  # only its credentials are needed
    broker = Sqs(REGION, endpoint="http://127.0.0.1:9")
    yield broker
    await broker.aclose()


@pytest.fixture
def client(sqs_url: str) -> Any:
    return boto3.client("sqs", region_name=REGION, endpoint_url=sqs_url)


class TestSqs(BrokerContract):
    """The contract."""


async def test_messages_of_others(connect: Connect, client: Any) -> None:
    """A message without our attribute is known by SQS's id; its body is the payload. A URL names a queue."""
    url = client.create_queue(QueueName="foreign")["QueueUrl"]
    sent = client.send_message(QueueUrl=url, MessageBody='{"order": 7}')

    [message] = await received(connect(), url, 1)

    assert (message.id, message.payload) == (sent["MessageId"], b'{"order": 7}')


async def test_a_fifo_queue(connect: Connect) -> None:
    """It is made as one, and drops a repeat by itself."""
    broker = connect()
    for message_id in ("m1", "m1", "m2"):
        await broker.publish("orders.fifo", message_id, b"{}")

    found = await received(broker, "orders.fifo", 2)

    assert ids(found) == ["m1", "m2"]
