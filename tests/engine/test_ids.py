"""Ids and chance follow from a seed and the time, so that a step can be repeated exactly."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from engine.core.facts import IdStream, name_uuid

SEEDS = st.integers(0, 2**64 - 1)
TIMES_MS = st.integers(0, 2**48 - 1)


@given(SEEDS, TIMES_MS)
def test_the_same_seed_and_time_give_the_same_ids(seed: int, now_ms: int) -> None:
    """A step decided again after missing facts or a conflict names its tasks alike."""
    first, again = IdStream(seed, now_ms), IdStream(seed, now_ms)

    assert [first.uuid() for _ in range(5)] == [again.uuid() for _ in range(5)]
    assert first.below(1000) == again.below(1000)


@given(SEEDS, TIMES_MS)
def test_ids_are_version_7_and_sort_as_they_were_drawn(seed: int, now_ms: int) -> None:
    """By time, then by place in the step."""
    stream = IdStream(seed, now_ms)
    drawn = [stream.uuid() for _ in range(50)]

    assert drawn == sorted(drawn)
    assert all(uuid.UUID(text).version == 7 for text in drawn)
    assert all(uuid.UUID(text).variant == uuid.RFC_4122 for text in drawn)
    assert all(uuid.UUID(text).int >> 80 == now_ms for text in drawn)


@given(SEEDS, SEEDS, TIMES_MS)
def test_other_seeds_give_other_ids(one: int, other: int, now_ms: int) -> None:
    """Two servers at the same instant never draw alike."""
    if one != other:
        assert IdStream(one, now_ms).uuid() != IdStream(other, now_ms).uuid()


@given(SEEDS, st.integers(1, 10_000))
def test_chance_stays_below_its_bound(seed: int, bound: int) -> None:
    """And is 0 when there is nothing to choose from."""
    assert 0 <= IdStream(seed, 0).below(bound) < bound
    assert IdStream(seed, 0).below(0) == 0


def test_a_childs_id_is_what_java_would_name_it() -> None:
    """UUID.nameUUIDFromBytes: version 3 of the text alone."""
    assert name_uuid("hello") == "5d41402a-bc4b-3a76-b971-9d911017c592"
    assert uuid.UUID(name_uuid("subworkflow:w:t:0")).version == 3
