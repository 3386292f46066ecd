"""Brokers that carry events between this engine and the world: Redis streams, SQS, Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct


class Received(Struct, kw_only=True, frozen=True):
    """A message that was handed to this consumer and waits for its word.

    Attributes:
        id: the same on every delivery of the message; repeats are known by it.
        payload: usually JSON.
        receipt: the broker's own handle of this delivery.
    """

    id: str
    payload: bytes
    receipt: Any


class Broker(Protocol):
    """Queues of one kind of broker. A message is delivered until it is settled as done, at least once.

    All servers of one database read a queue as one consumer group: a message goes to one of them.
    Every method raises StoreError when the broker cannot be reached or refuses; nothing is lost then.
    """

    async def publish(self, queue: str, message_id: str, payload: bytes) -> None:
        """Add a message; it is with the broker when this returns. A repeat may add it twice, under one id."""
        ...

    async def receive(self, queue: str, *, count: int, wait_ms: int) -> list[Received]:
        """Up to `count` messages, waiting up to `wait_ms` for the first.

        Among them are messages that others took and did not settle for a while.
        """
        ...

    async def settle(self, queue: str, *, done: Sequence[Received], again: Sequence[Received]) -> None:
        """Say of messages just received which are done with, and which are to be delivered again."""
        ...

    async def aclose(self) -> None:
        """Hang up; what was received and not settled goes to others."""
        ...
