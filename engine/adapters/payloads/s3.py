"""Payloads in a bucket of S3, or of a server that speaks it; clients reach it under presigned addresses.

Credentials come from where AWS's own tools take them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import boto3  # type: ignore[import-untyped]  # it comes without types
from botocore.config import Config  # type: ignore[import-untyped]  # it comes without types
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # it comes without types

from engine.core.errors import StoreAwayError
from engine.core.payloads import is_path
from engine.ports.payloads import Held, Operation

T = TypeVar("T")

THREADS_MAX = 16
"""Calls to S3 at a time."""
CONNECT_S_MAX, ANSWER_S_MAX = 5, 30
DELETE_MAX = 1_000
"""S3's own bound of one call."""
METHODS: dict[Operation, str] = {"READ": "get_object", "WRITE": "put_object"}


class S3Payloads:
    """PayloadStore on a bucket that exists.

    Args:
        bucket: its name.
        prefix: of all keys, without slashes around it; may be empty.
        region: AWS region; empty for the one that AWS's own tools would take.
        endpoint: URL of another server that speaks S3; empty for AWS.
    """

    def __init__(self, bucket: str, prefix: str, *, region: str = "", endpoint: str = "") -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client: Any = boto3.client(
            "s3",
            region_name=region or None,
            endpoint_url=endpoint or None,
            config=Config(
                signature_version="s3v4",
                connect_timeout=CONNECT_S_MAX,
                read_timeout=ANSWER_S_MAX,
                # Whoever asked tries again; two owners of one retry would multiply.
                retries={"total_max_attempts": 1},
                max_pool_connections=THREADS_MAX,
                s3={"addressing_style": _addressing(bucket, endpoint)},
            ),
        )
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="payloads")

    async def url(self, path: str, operation: Operation, *, now_ms: int, lasts_ms: int) -> str:
        del now_ms  # S3 judges by its own clock

        def sign() -> str:
            made = self._client.generate_presigned_url(
                METHODS[operation],
                Params={"Bucket": self._bucket, "Key": self._key(path)},
                ExpiresIn=lasts_ms // 1000,
            )
            return str(made)

        return await self._do(sign)

    async def read(self, path: str, *, bytes_max: int) -> Held | None:
        def load() -> Held | None:
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
            except self._client.exceptions.NoSuchKey:
                return None
            size = int(answer["ContentLength"])
            with answer["Body"] as stream:
                if size > bytes_max:
                    return Held(size_bytes=size)
                return Held(size_bytes=size, body=stream.read())

        return await self._do(load)

    async def remove(self, path: str) -> None:
        await self._do(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(path)))

    async def remove_before(self, instant_ms: int, *, count_max: int) -> int:
        def sweep() -> int:
            removed = 0
            for keys in self._older(instant_ms):
                batch = [{"Key": key} for key in keys[: count_max - removed]]
                if batch:
                    gone = {"Objects": batch, "Quiet": True}
                    self._client.delete_objects(Bucket=self._bucket, Delete=gone)
                removed += len(batch)
                if removed == count_max:
                    break
            return removed

        return await self._do(sweep)

    def _older(self, instant_ms: int) -> Iterator[list[str]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix, PaginationConfig={}):
            yield [
                item["Key"]
                for item in page.get("Contents", [])
                # The bucket may hold other things below the prefix.
                if is_path(item["Key"].removeprefix(self._prefix))
                and item["LastModified"].timestamp() * 1000 < instant_ms
            ]

    def _key(self, path: str) -> str:
        if not is_path(path):
            raise StoreAwayError("a payload's path is none that this server made")
        return self._prefix + path

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (BotoCoreError, ClientError) as error:
            raise StoreAwayError(f"S3 bucket {self._bucket}: {error}") from error

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()


def _addressing(bucket: str, endpoint: str) -> str:
    # Other servers know BUCKET.HOST less often, and no certificate is for a bucket with dots. Else AWS's
    # address must name the region: a redirect there would spoil the signature.
    return "path" if endpoint or "." in bucket else "virtual"
