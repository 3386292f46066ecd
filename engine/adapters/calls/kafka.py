"""The KAFKA_PUBLISH task: one message to a topic. Needs the kafka extra (aiokafka).

Source of shapes and texts: conductor-oss/conductor, KafkaPublishTask.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.core.statuses import TaskStatus
from engine.core.values import to_text
from engine.ports.calls import CallResult

REQUEST_MS = 10_000
DOCUMENTED = "See documentation for KafkaTask for required input parameters"


class KafkaCaller:
    """A producer lives for one message: these tasks are rare, and a kept one would hold connections."""

    async def call(self, given: Mapping[str, Any]) -> CallResult:
        """See `Caller.call`."""
        request = given.get("kafka_request")
        if not isinstance(request, Mapping):
            return _failed(
                "Missing Kafka request. Request input MUST have a 'kafka_request' key with KafkaTask.Input"
                f" as value. {DOCUMENTED}"
            )
        if not request.get("bootStrapServers"):
            return _failed("No boot strap servers specified")
        if not request.get("topic"):
            return _failed(f"Missing Kafka topic. {DOCUMENTED}")
        if request.get("value") is None:
            return _failed(f"Missing Kafka value.  {DOCUMENTED}")
        try:
            await self._publish(request)
        except ImportError:
            return _failed(
                "Failed to invoke kafka task due to: this server has no Kafka client; "
                "install showrunner[kafka]"
            )
        except Exception as error:  # noqa: BLE001 - whatever the client or the broker says, the task says it
            return _failed(f"Failed to invoke kafka task due to: {type(error).__name__}: {error}")
        return CallResult(status=TaskStatus.COMPLETED)

    async def aclose(self) -> None:
        """See `Caller.aclose`; nothing is kept."""

    async def _publish(self, request: Mapping[str, Any]) -> None:
        # An extra: only who uses it needs it; it has no type hints.
        from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

        timeout_ms = _milliseconds(request.get("requestTimeoutMs"), REQUEST_MS)
        wait_ms = timeout_ms + _milliseconds(request.get("maxBlockMs"), 0)
        key = _key(request.get("key"), to_text(request.get("keySerializer") or ""))
        headers = request.get("headers") or {}
        producer = AIOKafkaProducer(
            bootstrap_servers=to_text(request["bootStrapServers"]), request_timeout_ms=timeout_ms
        )
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await producer.start()
                await producer.send_and_wait(
                    to_text(request["topic"]),
                    value=msgspec.json.encode(request["value"]),
                    key=key,
                    headers=[(name, to_text(value).encode()) for name, value in headers.items()],
                )
        finally:
            await producer.stop()


def _key(value: Any, serializer: str) -> bytes | None:
    if value is None or value == "":
        return None
    if serializer.endswith("LongSerializer"):
        return struct.pack(">q", int(value))
    if serializer.endswith("IntegerSerializer"):
        return struct.pack(">i", int(value))
    return to_text(value).encode()


def _milliseconds(value: Any, default_ms: int) -> int:
    return default_ms if value is None else max(1, int(value))


def _failed(reason: str) -> CallResult:
    return CallResult(status=TaskStatus.FAILED, reason=reason)
