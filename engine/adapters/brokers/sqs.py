"""Events on Amazon SQS: `sqs:NAME` is the queue NAME, made when it is not there; its URL is accepted, too.

The message id travels as the attribute `id`; a message without it is known by SQS's own id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import boto3  # type: ignore[import-untyped]  # it comes without types
from botocore.config import Config  # type: ignore[import-untyped]  # it comes without types
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # it comes without types

from engine.core.errors import StoreError
from engine.ports.brokers import Received

T = TypeVar("T")

THREADS_MAX = 16
"""Calls to SQS at a time."""
BATCH_MAX = 10
"""SQS's own bound of one call."""
VISIBILITY_S = 60
"""A message that was taken and not settled for so long is delivered again."""
RETRY_S = 5
"""One that could not be handled comes again after so long."""
CONNECT_S_MAX, ANSWER_S_MAX = 5, 30


class Sqs:
    """Broker on SQS; credentials come from where AWS's own tools take them.

    Args:
        region: AWS region.
        endpoint: URL of another server that speaks SQS; empty for AWS.
        visibility_s: see VISIBILITY_S.
        retry_s: see RETRY_S.
    """

    def __init__(
        self, region: str, *, endpoint: str = "", visibility_s: int = VISIBILITY_S, retry_s: int = RETRY_S
    ) -> None:
        self._client: Any = boto3.client(
            "sqs",
            region_name=region,
            endpoint_url=endpoint or None,
            config=Config(
                connect_timeout=CONNECT_S_MAX,
                read_timeout=ANSWER_S_MAX,
                # Whoever published or read tries again; two owners of one retry would multiply.
                retries={"total_max_attempts": 1},
                max_pool_connections=THREADS_MAX,
            ),
        )
        self._visibility_s = visibility_s
        self._retry_s = retry_s
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="sqs")
        self._urls: dict[str, str] = {}

    async def publish(self, queue: str, message_id: str, payload: bytes) -> None:
        def send() -> None:
            sent: dict[str, Any] = {
                "QueueUrl": self._url(queue),
                "MessageBody": payload.decode(errors="replace"),
                "MessageAttributes": {"id": {"DataType": "String", "StringValue": message_id}},
            }
            if queue.endswith(".fifo"):
                sent |= {"MessageGroupId": queue[:128], "MessageDeduplicationId": message_id}
            self._client.send_message(**sent)

        await self._do(queue, send)

    async def receive(self, queue: str, *, count: int, wait_ms: int) -> list[Received]:
        def take() -> list[Received]:
            answer = self._client.receive_message(
                QueueUrl=self._url(queue),
                MaxNumberOfMessages=max(1, min(BATCH_MAX, count)),
                WaitTimeSeconds=min(20, wait_ms // 1000),
                VisibilityTimeout=self._visibility_s,
                MessageAttributeNames=["id"],
            )
            return [_received(message) for message in answer.get("Messages", [])]

        return await self._do(queue, take)

    async def settle(self, queue: str, *, done: Sequence[Received], again: Sequence[Received]) -> None:
        def say() -> None:
            url = self._url(queue)
            for batch in _batches(done):
                gone = [{"Id": str(at), "ReceiptHandle": one.receipt} for at, one in enumerate(batch)]
                self._client.delete_message_batch(QueueUrl=url, Entries=gone)
            for batch in _batches(again):
                later = [
                    {"Id": str(at), "ReceiptHandle": one.receipt, "VisibilityTimeout": self._retry_s}
                    for at, one in enumerate(batch)
                ]
                self._client.change_message_visibility_batch(QueueUrl=url, Entries=later)

        await self._do(queue, say)

    def _url(self, queue: str) -> str:
        if queue.startswith(("http://", "https://")):
            return queue
        if queue not in self._urls:
            try:
                answer = self._client.get_queue_url(QueueName=queue)
            except self._client.exceptions.QueueDoesNotExist:
                attributes = {"FifoQueue": "true"} if queue.endswith(".fifo") else {}
                answer = self._client.create_queue(QueueName=queue, Attributes=attributes)
            self._urls[queue] = str(answer["QueueUrl"])
        return self._urls[queue]

    async def _do(self, queue: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (BotoCoreError, ClientError) as error:
            self._urls.pop(queue, None)  # the queue may have been deleted
            raise StoreError(f"SQS queue {queue}: {error}") from error

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()


def _received(message: dict[str, Any]) -> Received:
    attribute = message.get("MessageAttributes", {}).get("id", {})
    return Received(
        id=str(attribute.get("StringValue") or message["MessageId"]),
        payload=str(message["Body"]).encode(),
        receipt=message["ReceiptHandle"],
    )


def _batches(messages: Sequence[Received]) -> list[Sequence[Received]]:
    return [messages[at : at + BATCH_MAX] for at in range(0, len(messages), BATCH_MAX)]
