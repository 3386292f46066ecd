"""What a definition limits, and the lane a task waits in."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw, structs

from engine.core.limits import (
    PARTITIONS_MAX,
    TaskLimit,
    lane_of,
    limit_of,
    partition_key,
    partition_problems,
    window_opens_ms,
)
from engine.core.model import TaskDef
from engine.core.records import Task
from engine.testing.builders import task


def waiting(task_id: str = "t1", *, def_name: str = "work", **given: object) -> Task:
    """A task of type `work` with this input."""
    made = task("w1", task_id)
    head = structs.replace(made.head, task_def_name=def_name, input_data=Raw(msgspec.json.encode(given)))
    return structs.replace(made, head=head)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, None),
        ({"concurrent_exec_limit": 0, "rate_limit_per_frequency": 0}, None),
        ({"concurrent_exec_limit": -1}, None),
        ({"concurrent_exec_limit": 4}, TaskLimit(held_max=4)),
        ({"rate_limit_per_frequency": 5}, TaskLimit(deliveries_max=5, window_ms=1_000)),
        (
            {
                "rate_limit_per_frequency": 5,
                "rate_limit_frequency_in_seconds": 60,
                "concurrent_exec_limit": 2,
            },
            TaskLimit(held_max=2, deliveries_max=5, window_ms=60_000),
        ),
        ({"rate_limit_per_frequency": 5, "rate_limit_frequency_in_seconds": 0}, None),
    ],
)
def test_what_a_definition_limits(members: dict[str, int], expected: TaskLimit | None) -> None:
    """Nothing, zero and less are no limit; a rate without a time is per second."""
    assert limit_of(structs.replace(TaskDef(name="work"), **members)) == expected


def test_an_ordinary_queue_is_one_lane() -> None:
    """Also for a task whose definition is not known, or asks for one partition."""
    assert lane_of(waiting(), None) == ""
    assert lane_of(waiting(), TaskDef(name="work")) == ""
    assert lane_of(waiting(), TaskDef(name="work", partitions=1, partition_by="${video}")) == ""


def test_definitions_that_share_a_queue_have_lanes_of_their_own() -> None:
    """The lane is named after the definition."""
    assert lane_of(waiting(def_name="call_partner"), None) == "call_partner"
    lane = lane_of(waiting(def_name="call_partner"), TaskDef(name="call_partner", partitions=4))
    assert lane.startswith("call_partner#")


def test_equal_keys_share_a_partition() -> None:
    """Whatever the task; without a key the ids spread over all of them."""
    keyed = TaskDef(name="work", partitions=8, partition_by="${video.id}-${part}")
    lanes = {lane_of(waiting(f"t{n}", video={"id": "v1"}, part=1), keyed) for n in range(20)}
    assert len(lanes) == 1
    spread = TaskDef(name="work", partitions=4)
    assert len({lane_of(waiting(f"t{n}"), spread) for n in range(100)}) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${id}", "7"),
        ("${video.id}/${id}", "a/7"),
        ("fixed", "fixed"),
        ("${missing}", "null"),
        ("${tags[0]}", "x"),
        ("${)(}", "null"),
    ],
)
def test_a_key_is_read_from_the_task_input(text: str, expected: str) -> None:
    """Expressions stand for what is there, all else for itself."""
    assert partition_key(text, b'{"id":7,"video":{"id":"a"},"tags":["x"]}') == expected


def test_what_cannot_be_meant_is_told() -> None:
    """With the member and what to write instead."""
    bad = TaskDef(name="work", partitions=PARTITIONS_MAX + 1, partition_by="${a[}")
    problems = dict(partition_problems(bad))
    assert problems["partitions"] == "TaskDef partitions: 257 must be between 0 and 256"
    assert "${a[} is no path into the task's input" in problems["partitionBy"]
    assert list(partition_problems(TaskDef(name="work", partitions=8, partition_by="${a.b}"))) == []


def test_a_window_opens_when_enough_has_left_it() -> None:
    """Not the oldest delivery decides, but the one that makes the rate full."""
    limit = TaskLimit(deliveries_max=3, window_ms=100)
    assert window_opens_ms([(90, 1), (50, 1)], limit) == 0
    assert window_opens_ms([(90, 1), (50, 2), (10, 5)], limit) == 150
    assert window_opens_ms([(90, 4)], limit) == 190
