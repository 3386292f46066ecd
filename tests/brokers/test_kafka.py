"""What can be said of Kafka without one: how far a batch is done, what a record becomes, who is not there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.adapters.brokers.kafka import Kafka, Position, progress, received
from engine.core.errors import StoreError
from engine.ports.brokers import Received

records = st.lists(
    st.tuples(st.sampled_from(["t"]), st.integers(0, 2), st.integers(0, 30)), unique=True, max_size=20
)


@dataclass
class Record:
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    topic: str = "t"
    partition: int = 1
    offset: int = 7


def message(place: tuple[str, int, int]) -> Received:
    return Received(id=str(place), payload=b"{}", receipt=Position(*place))


@given(places=records, fails=st.sets(st.integers(0, 19)))
def test_nothing_is_committed_past_what_is_read_again(
    places: list[tuple[str, int, int]], fails: set[int]
) -> None:
    """Per partition: commits end before the first failure, and reading goes back to it."""
    done = [message(place) for at, place in enumerate(places) if at not in fails]
    again = [message(place) for at, place in enumerate(places) if at in fails]

    commits, seeks = progress(done, again)

    for place in {(one.receipt.topic, one.receipt.partition) for one in (*done, *again)}:
        failed = [one.receipt.offset for one in again if one.receipt[:2] == place]
        fine = [one.receipt.offset for one in done if one.receipt[:2] == place]
        assert seeks.get(place) == (min(failed) if failed else None)
        before = [offset for offset in fine if not failed or offset < min(failed)]
        assert commits.get(place) == (max(before) + 1 if before else None)


def test_a_record_of_ours_and_of_others() -> None:
    """The header `id` is the message's id; without it the place of the record is."""
    ours = received(Record(b"{}", [("id", b"m1")]))
    theirs = received(Record(None))

    assert (ours.id, ours.payload, ours.receipt) == ("m1", b"{}", ("t", 1, 7))
    assert (theirs.id, theirs.payload) == ("t:1:7", b"null")


async def test_a_cluster_that_cannot_be_reached() -> None:
    """It is a StoreError that names the topic, and nothing stays open."""
    broker = Kafka("127.0.0.1:9", group="tests")
    async with asyncio.timeout(30):
        with pytest.raises(StoreError, match="Kafka topic orders"):
            await broker.publish("orders", "m1", b"{}")
        with pytest.raises(StoreError, match="Kafka topic orders"):
            await broker.receive("orders", count=1, wait_ms=10)
        await broker.aclose()
