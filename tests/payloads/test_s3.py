"""Payloads on a server that speaks S3."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]  # it comes without types
import httpx
import msgspec
import pytest

from engine.adapters.payloads.opening import open_payloads
from engine.adapters.payloads.s3 import S3Payloads
from engine.bootstrap import open_engine
from engine.core.errors import InvalidRequestError
from engine.ports.payloads import PayloadStore
from engine.services.executions import StartRequest
from engine.settings import EngineSettings
from engine.testing.payloads import BODY, FAR_MS, OTHER, PATH, PayloadStoreContract
from engine.testing.story import task

REGION = "eu-central-1"
_serial = itertools.count(1)


@pytest.fixture
def bucket(s3_url: str) -> Any:
    """An empty bucket, as boto3 sees it."""
    place = {"LocationConstraint": REGION}
    made = boto3.resource("s3", region_name=REGION, endpoint_url=s3_url).Bucket(f"bucket-{next(_serial)}")
    made.create(CreateBucketConfiguration=place)
    return made


@pytest.fixture
async def store(s3_url: str, bucket: Any) -> AsyncIterator[PayloadStore]:
    opened = S3Payloads(bucket.name, "some/where", region=REGION, endpoint=s3_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def away(s3_url: str) -> AsyncIterator[PayloadStore]:
    del s3_url  # only its credentials are needed
    opened = S3Payloads("bucket", "", region=REGION, endpoint="http://127.0.0.1:9")
    yield opened
    await opened.aclose()


class TestS3(PayloadStoreContract):
    """The contract."""


async def test_keys_begin_with_the_prefix(store: PayloadStore, bucket: Any) -> None:
    """And what others keep beside ours is neither read nor removed."""
    bucket.put_object(Key="some/where/else.json", Body=b"{}")
    await PayloadStoreContract.put(store, PATH, BODY)
    keys = sorted(item.key for item in bucket.objects.all())

    await store.remove_before(FAR_MS, count_max=10)

    assert keys == ["some/where/else.json", f"some/where/{PATH}"]
    assert [item.key for item in bucket.objects.all()] == ["some/where/else.json"]


async def test_an_address_is_good_for_one_payload(store: PayloadStore) -> None:
    """A client reads with the address for READ; a bucket that is not there is an error of the store."""
    await PayloadStoreContract.put(store, PATH, BODY)
    url = await store.url(PATH, "READ", now_ms=0, lasts_ms=60_000)

    async with httpx.AsyncClient() as client:
        found = (await client.get(url)).content

    assert found == BODY
    assert await store.read(OTHER, bytes_max=100) is None


@pytest.mark.parametrize("place", ["s3://", "s3://A_B/x", "gs://bucket/x", "folder/x"])
def test_a_place_of_no_known_kind_is_refused(tmp_path: Path, place: str) -> None:
    """The sentence says how to write it."""
    with pytest.raises(InvalidRequestError, match="write s3://BUCKET/PREFIX or leave it empty"):
        open_payloads(place, tmp_path, region="", endpoint="")


async def test_a_place_in_a_bucket(s3_url: str, bucket: Any, tmp_path: Path) -> None:
    """The prefix may be absent, or end with a slash."""
    for place in (f"s3://{bucket.name}", f"s3://{bucket.name}/deep/er/"):
        opened = open_payloads(place, tmp_path, region=REGION, endpoint=s3_url)
        await PayloadStoreContract.put(opened, PATH, BODY)
        await opened.aclose()

    assert sorted(item.key for item in bucket.objects.all()) == [f"deep/er/{PATH}", PATH]


@pytest.mark.parametrize(
    ("bucket_name", "host", "begins"),
    [
        ("plain", "plain.s3.eu-central-1.amazonaws.com", f"/{PATH}"),
        ("with.dots", "s3.eu-central-1.amazonaws.com", f"/with.dots/{PATH}"),
    ],
)
async def test_addresses_at_aws_name_the_region(
    s3_url: str, bucket_name: str, host: str, begins: str
) -> None:
    """So that no redirect spoils their signature; nothing but the host is signed, so any client can PUT."""
    del s3_url  # only its credentials are needed
    opened = S3Payloads(bucket_name, "", region=REGION)

    address = urlsplit(await opened.url(PATH, "WRITE", now_ms=0, lasts_ms=60_000))
    await opened.aclose()

    assert (address.hostname, address.path) == (host, begins)
    assert "X-Amz-SignedHeaders=host&" in address.query


async def test_an_engine_on_s3(s3_url: str, bucket: Any, tmp_path: Path) -> None:
    """Settings alone: an input put into the bucket by a client is the input of the workflow."""
    settings = EngineSettings(
        data=tmp_path,
        database="memory://",
        payloads=f"s3://{bucket.name}/in",
        payloads_s3_region=REGION,
        payloads_s3_endpoint=s3_url,
    )
    async with await open_engine(settings) as engine:
        definition = {"name": "flow", "version": 1, "tasks": [task("a")]}
        await engine.metadata.register_workflow(msgspec.json.encode(definition), overwrite=True)
        place = await engine.payloads.location("WRITE", "WORKFLOW_INPUT", "")
        assert place is not None
        async with httpx.AsyncClient() as client:
            (await client.put(place.uri, json={"name": "Ada"})).raise_for_status()

        workflow_id = await engine.executions.start(
            StartRequest(name="flow", external_input_payload_storage_path=place.path)
        )
        shown = msgspec.json.decode(await engine.executions.workflow(workflow_id))

    assert shown["input"] == {"name": "Ada"}
    assert [item.key for item in bucket.objects.all()] == [f"in/{place.path}"]
