"""What is kept of workflows between steps is bounded in number and in bytes, and forgets only what it may."""

from __future__ import annotations

import pytest
from msgspec import Raw

from engine.core.facts import View
from engine.core.records import Delta, Header, Task, TaskHead, TaskLinks, TaskState
from engine.core.statuses import TaskStatus
from engine.services import residents
from engine.services.residents import Residents

KILOBYTE = Raw(b'"' + b"x" * 1020 + b'"')  # with the empty input of its task


def ended(workflow_id: str, number: int, *, status: TaskStatus = TaskStatus.COMPLETED) -> Task:
    head = TaskHead(
        task_type="t",
        reference_task_name=f"t{number}",
        task_def_name="t",
        task_id=f"{workflow_id}.{number}",
        workflow_instance_id=workflow_id,
        workflow_type="w",
        seq=number,
    )
    links = TaskLinks(base_ref=f"t{number}")
    return Task(head=head, state=TaskState(status=status), links=links, output=KILOBYTE)


def written(kept: Residents, workflow_id: str, *tasks: Task) -> None:
    """A step that made `tasks` was written."""
    resident = kept.of(workflow_id)
    header = Header(workflow_id=workflow_id, name="w", version=1, definition_hash="h")
    resident.view.header = header
    for task in tasks:
        resident.view.tasks[task.id] = task
        resident.view.latest[task.links.base_ref] = task.id
    delta = Delta(workflow_id=workflow_id, expected_version=0, header=header, tasks_new=list(tasks))
    kept.grown(resident, delta)


def test_the_bytes_of_all_workflows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound the workflow that was used longest ago leaves, and its bytes with it."""
    monkeypatch.setattr(residents, "RESIDENT_BYTES_MAX", 4 * 1024)
    kept = Residents(View)
    for number in range(8):
        written(kept, f"w{number}", ended(f"w{number}", 1))
        assert kept.bytes <= residents.RESIDENT_BYTES_MAX
    assert [kept.get(f"w{number}") is not None for number in range(8)] == [False] * 4 + [True] * 4


def test_a_busy_workflow_never_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being decided stays, however large."""
    monkeypatch.setattr(residents, "RESIDENT_BYTES_MAX", 1024)
    kept = Residents(View)
    kept.of("busy").busy = True
    written(kept, "busy", *(ended("busy", number) for number in range(3)))
    written(kept, "idle", ended("idle", 1))
    assert kept.get("busy") is not None
    assert kept.get("idle") is None


def test_a_large_workflow_sheds_its_ended_tasks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open tasks stay known as long as they fit; the view says what it does not hold any more."""
    monkeypatch.setattr(residents, "WORKFLOW_BYTES_MAX", 8 * 1024)
    kept = Residents(View)
    view = kept.of("w").view
    view.all_known = view.open_known = True
    tasks = [
        ended("w", n, status=TaskStatus.IN_PROGRESS if n == 2 else TaskStatus.COMPLETED) for n in range(12)
    ]
    written(kept, "w", *tasks)
    assert kept.bytes <= residents.WORKFLOW_BYTES_MAX
    assert "w.2" in view.tasks
    assert view.open_known
    assert not view.all_known
    assert set(view.latest.values()) == set(view.tasks)


def test_what_is_dropped_weighs_nothing() -> None:
    """Dropping a workflow, or beginning its view again, gives its bytes back."""
    kept = Residents(View)
    written(kept, "a", ended("a", 1))
    written(kept, "b", ended("b", 1))
    kept.weighs(kept.of("a"), 0)
    assert kept.bytes == 1024
    kept.drop("b")
    kept.drop("b")
    assert (kept.bytes, len(kept)) == (0, 1)
