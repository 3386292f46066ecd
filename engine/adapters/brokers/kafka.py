"""Events on Kafka: `kafka:NAME` is the topic NAME, read by one consumer group a topic.

The message id travels as the header `id`; a record without it is known by topic, partition and offset. The
order within a partition is kept: a record that could not be handled is read again before those after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # type: ignore[import-untyped]  # it comes without types
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # it comes without types

from engine.core.errors import StoreError
from engine.ports.brokers import Received

REQUEST_MS_MAX = 15_000


class Position(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class Kafka:
    """Broker on a Kafka cluster.

    Args:
        servers: `host:port`, several separated by commas.
        group: begins the names of the consumer groups; all servers of one database use the same.
    """

    def __init__(self, servers: str, *, group: str) -> None:
        self._servers = [server.strip() for server in servers.split(",")]
        self._group = group
        self._producer: AIOKafkaProducer | None = None
        self._consumers: dict[str, AIOKafkaConsumer] = {}

    async def publish(self, queue: str, message_id: str, payload: bytes) -> None:
        try:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._servers, acks="all", request_timeout_ms=REQUEST_MS_MAX
                )
                await _started(producer)
                self._producer = producer
            await self._producer.send_and_wait(queue, payload, headers=[("id", message_id.encode())])
        except (KafkaError, OSError) as error:
            raise StoreError(f"Kafka topic {queue}: {error}") from error

    async def receive(self, queue: str, *, count: int, wait_ms: int) -> list[Received]:
        try:
            consumer = await self._consumer(queue)
            found = await consumer.getmany(timeout_ms=wait_ms, max_records=count)
        except (KafkaError, OSError) as error:
            raise StoreError(f"Kafka topic {queue}: {error}") from error
        return [received(record) for records in found.values() for record in records]

    async def _consumer(self, queue: str) -> AIOKafkaConsumer:
        consumer = self._consumers.get(queue)
        if consumer is None:
            consumer = AIOKafkaConsumer(
                queue,
                bootstrap_servers=self._servers,
                group_id=f"{self._group}.{queue}",
                enable_auto_commit=False,
                # What was published before the first handler is not lost.
                auto_offset_reset="earliest",
                request_timeout_ms=REQUEST_MS_MAX,
            )
            await _started(consumer)
            self._consumers[queue] = consumer
        return consumer

    async def settle(self, queue: str, *, done: Sequence[Received], again: Sequence[Received]) -> None:
        try:
            consumer = await self._consumer(queue)
            commits, seeks = progress(done, again)
            assigned = consumer.assignment()
            for (topic, partition), offset in seeks.items():
                if TopicPartition(topic, partition) in assigned:
                    consumer.seek(TopicPartition(topic, partition), offset)
            if commits:
                await consumer.commit({TopicPartition(*place): offset for place, offset in commits.items()})
        except (KafkaError, OSError) as error:
            raise StoreError(f"Kafka topic {queue}: {error}") from error

    async def aclose(self) -> None:
        consumers, self._consumers = list(self._consumers.values()), {}
        for consumer in consumers:
            await consumer.stop()
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None


def progress(
    done: Sequence[Received], again: Sequence[Received]
) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """How far each partition of a batch is done, and where to read again.

    Returns:
        offsets to commit (the first that is not done), and offsets to go back to, by (topic, partition).
        Records after one that is read again are read again with it, done or not.
    """
    seeks: dict[tuple[str, int], int] = {}
    for message in again:
        topic, partition, offset = message.receipt
        seeks[topic, partition] = min(offset, seeks.get((topic, partition), offset))
    commits: dict[tuple[str, int], int] = {}
    for message in done:
        topic, partition, offset = message.receipt
        place = (topic, partition)
        if offset < seeks.get(place, offset + 1):
            commits[place] = max(offset + 1, commits.get(place, 0))
    return commits, seeks


def received(record: Any) -> Received:
    """A record as the bus sees it."""
    headers = {str(key): value for key, value in record.headers or ()}
    own_id = f"{record.topic}:{record.partition}:{record.offset}"
    given = headers.get("id") or b""
    return Received(
        id=given.decode(errors="replace") or own_id,
        payload=record.value or b"null",
        receipt=Position(record.topic, record.partition, record.offset),
    )


async def _started(client: Any) -> None:
    """Start a client; one that cannot be started is closed again, which it does not do by itself."""
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise
