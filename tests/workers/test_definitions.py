"""The shipped definitions: they parse, and every task in them is served and defined."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import workflows
from media_workers.sdk import TaskDef
from media_workers.tasks.registry import CLASS_OF, RESOURCE_CLASSES, WORKERS, task_types

FOLDER = Path(workflows.__path__[0])
DEFINITIONS = sorted(FOLDER.glob("video_*.json"))


def walk(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for branch in task.get("forkTasks", []):
            yield from walk(branch)
        for case in task.get("decisionCases", {}).values():
            yield from walk(case)
        yield from walk(task.get("defaultCase", []))
        yield from walk(task.get("loopOver", []))


def task_definitions() -> dict[str, TaskDef]:
    text = (FOLDER / "task_definitions.json").read_bytes()
    return {item.name: item for item in msgspec.json.decode(text, type=list[TaskDef])}


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.name)
def test_tasks_are_served_and_defined(path: Path) -> None:
    """Each simple task has a worker and a task definition, and reference names are unique."""
    tasks = list(walk(json.loads(path.read_text())["tasks"]))
    names = {task["name"] for task in tasks if task.get("type", "SIMPLE") == "SIMPLE"}
    refs = [task["taskReferenceName"] for task in tasks]

    assert names
    assert names <= set(WORKERS)
    assert names <= set(task_definitions())
    assert len(refs) == len(set(refs))


def test_definitions_and_workers_are_the_same_set() -> None:
    """No worker without a task definition, and no definition nobody serves."""
    assert set(task_definitions()) == set(WORKERS) == set(CLASS_OF)


def test_task_definitions_are_legal() -> None:
    """The response timeout fits into the timeout, and a lease is short enough to notice a dead worker."""
    for definition in task_definitions().values():
        assert 0 < definition.response_timeout_seconds <= 60
        assert definition.timeout_seconds >= definition.response_timeout_seconds
        assert definition.retry_count >= 0


def test_failure_workflow_is_shipped() -> None:
    """The workflow that a failure starts exists."""
    names = {json.loads(path.read_text())["name"] for path in DEFINITIONS}
    wanted = {json.loads(path.read_text()).get("failureWorkflow") for path in DEFINITIONS} - {None}
    assert wanted <= names


def test_types_can_be_chosen() -> None:
    """Task types are chosen by name and by class; an unknown one is refused with what there is."""
    assert task_types() == list(WORKERS)
    assert task_types(classes=frozenset({"io"})) == [
        "media_plan",
        "media_gate",
        "media_keys",
        "media_publish",
        "media_cleanup",
    ]
    assert task_types(names=frozenset({"media_plan", "media_encode"}), classes=frozenset({"io"})) == [
        "media_plan"
    ]
    assert set(CLASS_OF.values()) <= set(RESOURCE_CLASSES)
    with pytest.raises(ValueError, match=r"no task type 'x'; there are: media_validate"):
        task_types(names=frozenset({"x"}))
