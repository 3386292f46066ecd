"""What a store promises about searching tasks, and workflows by their tasks."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw, structs

from engine.core.records import Header, Task, TaskHead
from engine.core.search import TASK_FIELDS, SearchQuery
from engine.core.search_grammar import parse_query
from engine.core.statuses import TaskStatus
from engine.ports.stores import Claim, ExecutionStore
from engine.testing.builders import accepted, creation, entry, header, step, task


def _task(task_id: str, workflow: Header, **members: Any) -> Task:
    made = task(workflow.workflow_id, task_id, status=members.pop("status", TaskStatus.COMPLETED))
    head = {key: members.pop(key) for key in list(members) if key in TaskHead.__struct_fields__}
    output = members.pop("output", Raw(b"{}"))
    return Task(
        head=structs.replace(made.head, workflow_type=workflow.name, **head),
        state=structs.replace(made.state, **members),
        links=made.links,
        output=output,
    )


W1 = header("w1", name="encode", correlation_id="c1", priority=3, create_ms=10)
W2 = header("w2", name="publish", create_ms=20)
TASKS = {
    "1": _task(
        "1",
        W1,
        task_type="cut",
        task_def_name="cut",
        scheduled_time=10,
        start_time=20,
        end_time=50,
        update_time=50,
        worker_id="host-1",
        input_data=Raw(b'{"path":"In/1"}'),
    ),
    "2": _task(
        "2",
        W1,
        seq=2,
        task_type="HTTP",
        task_def_name="call",
        scheduled_time=55,
        start_time=60,
        end_time=70,
        update_time=70,
        status=TaskStatus.FAILED,
        reason_for_incompletion="No Answer",
        output=Raw(b'{"status":404}'),
    ),
    "3": _task(
        "3",
        W1,
        seq=3,
        task_type="call",
        task_def_name="call",
        scheduled_time=80,
        retry_count=1,
        domain="eu",
        status=TaskStatus.SCHEDULED,
    ),
    "4": _task("4", W2, task_type="cut", task_def_name="cut", scheduled_time=90, status=TaskStatus.SCHEDULED),
}


async def filled_with_tasks(store: ExecutionStore) -> None:
    """Tasks 3 and 4 wait in their queues; then a worker polls 4."""
    for workflow in (W1, W2):
        own = [one for one in TASKS.values() if one.head.workflow_instance_id == workflow.workflow_id]
        entries = [
            entry(workflow.workflow_id, one.id, queue=one.head.task_type, due_ms=1) for one in own if one.open
        ]
        await accepted(
            store, creation(workflow.workflow_id, header=workflow, tasks_new=own, queue_put=entries)
        )
    await store.write([Claim(queue="cut", count=1, worker_id="host-2", now_ms=100)])


class TaskSearchContract:
    @pytest.mark.parametrize(
        ("query", "ids"),
        [
            ("", "4321"),
            ("taskId = 2", "2"),
            ("taskType = cut", "41"),
            ("taskType IN (cut, HTTP)", "421"),
            ("taskDefName = call", "32"),
            ("taskDefName = call AND taskType = HTTP", "2"),
            ("taskDefName IN (cut, call) AND workflowType = encode", "321"),
            ("taskDefName != call", "41"),
            ("taskType = c*", "431"),
            ("referenceTaskName = 3", "3"),
            ("retryCount >= 1", "3"),
            ("workflowId = w1", "321"),
            ("workflowType = publish", "4"),
            ("correlationId = c1 AND workflowPriority = 3", "321"),
            ("status = FAILED", "2"),
            ("status IN (FAILED, COMPLETED)", "21"),
            ("status = SCHEDULED", "3"),
            ("status = IN_PROGRESS", "4"),
            ("status NOT IN (IN_PROGRESS, COMPLETED)", "32"),
            ("status < D", "1"),
            ("scheduledTime > 55", "43"),
            ("startTime = 100", "4"),
            ("startTime BETWEEN 20 AND 60", "21"),
            ("updateTime >= 70", "42"),
            ("endTime IS NULL", "43"),
            ("executionTime = 30", "1"),
            ("reasonForIncompletion = 'no *'", "2"),
            ("workerId IN (host-1, host-2)", "41"),
            ("workerId STARTS_WITH host-2", "4"),
            ("domain = eu", "3"),
            ("domain IS NULL AND workflowId = w2", "4"),
            ("input = *in/1*", "1"),
            ("output = *404*", "2"),
            ("nothing = 1", "4321"),
        ],
    )
    async def test_conditions_on_tasks(self, store: ExecutionStore, query: str, ids: str) -> None:
        """Every field; what a worker holds shows as its lease says; the newest first."""
        await filled_with_tasks(store)
        assert await found_tasks(store, query) == list(ids)

    @pytest.mark.parametrize(
        ("text", "ids"), [("in/1", "1"), ("answer", "2"), ("404 call", "2"), ("call", "32"), ("w2", "4")]
    )
    async def test_free_text_of_tasks(self, store: ExecutionStore, text: str, ids: str) -> None:
        """It occurs in ids, type, names, reason, input or output."""
        await filled_with_tasks(store)
        assert await found_tasks(store, free_text=text) == list(ids)

    async def test_tasks_in_order(self, store: ExecutionStore) -> None:
        """By each order in turn; equals by id."""
        await filled_with_tasks(store)
        assert await found_tasks(store, sort="startTime:DESC") == ["4", "2", "1", "3"]
        assert await found_tasks(store, sort="taskType:ASC|scheduledTime:DESC") == ["2", "3", "4", "1"]
        assert await found_tasks(store, sort="workflowType:DESC|taskId:ASC") == ["4", "1", "2", "3"]

    async def test_pages_of_tasks(self, store: ExecutionStore) -> None:
        """All matches are counted whatever the page; a hit is the stored task."""
        await filled_with_tasks(store)
        count, page = await store.search_tasks(SearchQuery(start=1, size=2))
        assert (count, [one.id for one in page]) == (4, ["3", "2"])
        assert page == [TASKS["3"], TASKS["2"]]
        assert await store.search_tasks(SearchQuery(start=4, size=2)) == (4, [])
        assert await store.search_tasks(SearchQuery(size=0)) == (4, [])

    async def test_workflows_by_tasks(self, store: ExecutionStore) -> None:
        """Each once, the newest first unless the tasks' order says otherwise; counted as workflows."""
        await filled_with_tasks(store)

        async def by_tasks(query: str, sort: str = "", start: int = 0) -> tuple[int, list[str]]:
            wanted = parse_query(query, free_text="", sort=sort, start=start, size=10, fields=TASK_FIELDS)
            count, rows = await store.search_by_tasks(wanted)
            return count, [row.header.workflow_id for row in rows]

        assert await by_tasks("taskType IN (cut, call)") == (2, ["w2", "w1"])
        assert await by_tasks("taskType IN (cut, call)", sort="startTime:ASC") == (2, ["w1", "w2"])
        assert await by_tasks("taskType IN (cut, call)", start=1) == (2, ["w1"])
        assert await by_tasks("taskDefName = call") == (1, ["w1"])
        assert await by_tasks("status = IN_PROGRESS") == (1, ["w2"])
        assert await by_tasks("status = CANCELED") == (0, [])

    async def test_a_changed_head_is_found_anew(self, store: ExecutionStore) -> None:
        """What a step changed is found by its new value; what it removed is not found."""
        await filled_with_tasks(store)
        changed = structs.replace(
            TASKS["2"], state=structs.replace(TASKS["2"].state, status=TaskStatus.CANCELED)
        )
        await accepted(store, step("w1", 1, header=W1, tasks_changed=[changed], tasks_removed=["1"]))
        assert await found_tasks(store, "status = CANCELED") == ["2"]
        assert await found_tasks(store, "taskType = cut") == ["4"]


async def found_tasks(
    store: ExecutionStore, query: str = "", *, free_text: str = "", sort: str = ""
) -> list[str]:
    parsed = parse_query(query, free_text=free_text, sort=sort, start=0, size=100, fields=TASK_FIELDS)
    count, tasks = await store.search_tasks(parsed)
    assert count == len(tasks)
    return [one.id for one in tasks]
