"""SUB_WORKFLOW: start and end of the child travel as messages, each harmless when repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from engine.core import events as ev
from engine.core.facts import name_uuid
from engine.core.model import TaskDef
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.testing.story import Story, child, fork, join, task

if TYPE_CHECKING:
    from .conftest import Farm


def _story(retries: int = 0) -> Story:
    policy = TaskDef(name="c", retry_count=retries, retry_delay_seconds=0)
    return Story.of(child("c", inputParameters={"n": 1}), task("z"), defs=[policy]).begun()


def test_the_task_runs_at_once_and_a_message_starts_the_child() -> None:
    """The child's id follows from parent, task and attempt, so a message delivered twice starts one child."""
    story = _story()

    [message] = story.messages
    running = story.newest("c")
    assert running.status is TaskStatus.IN_PROGRESS
    assert message.kind == "start_child"
    assert message.target_id == name_uuid(f"subworkflow:w:{running.id}:0") == running.state.sub_workflow_id
    body = msgspec.json.decode(message.body)
    assert (body["name"], body["version"], body["input"]) == ("child", 1, {"n": 1})
    assert (body["parent_workflow_id"], body["parent_task_id"]) == ("w", running.id)


def test_an_empty_input_gives_the_child_the_whole_task_input() -> None:
    """As upstream; some children read their own name there."""
    story = Story.of(child("c")).begun()

    given = msgspec.json.decode(story.messages[0].body)["input"]
    assert (given["subWorkflowName"], given["subWorkflowVersion"]) == ("child", 1)


@pytest.mark.parametrize(
    ("ended", "becomes", "state"),
    [
        (WorkflowStatus.COMPLETED, TaskStatus.COMPLETED, "RUNNING"),
        (WorkflowStatus.FAILED, TaskStatus.FAILED, "FAILED"),
        (WorkflowStatus.TIMED_OUT, TaskStatus.TIMED_OUT, "TIMED_OUT"),
        (WorkflowStatus.TERMINATED, TaskStatus.CANCELED, "TERMINATED"),
    ],
)
def test_the_end_of_the_child_is_the_end_of_the_task(
    ended: WorkflowStatus, becomes: TaskStatus, state: str
) -> None:
    """And, when it failed, of the parent."""
    story = _story()

    story.tells(story.child_end(story.newest("c"), ended))

    assert (story.newest("c").status, story.state) == (becomes, state)


def test_the_childs_output_and_reason_are_the_tasks() -> None:
    """Its id is in the output, its name in the reason."""
    story = _story()
    running = story.newest("c")
    end = story.child_end(running, WorkflowStatus.FAILED)

    story.tells(msgspec.structs.replace(end, output=msgspec.Raw(b'{"made":2}')))

    assert story.output_of("c") == {"subWorkflowId": running.state.sub_workflow_id, "made": 2}
    assert story.reason_of("c") == "Sub workflow child failure reason: the child broke"


def test_a_retry_starts_a_new_child_and_the_old_ones_news_is_late() -> None:
    """Each attempt has a child of its own."""
    story = _story(retries=1)
    first = story.newest("c")
    old_news = story.child_end(first, WorkflowStatus.FAILED)
    story.tells(old_news)

    second = story.newest("c")
    assert [message.target_id for message in story.messages] == [
        first.state.sub_workflow_id, second.state.sub_workflow_id,
    ]  # fmt: skip
    assert first.state.sub_workflow_id != second.state.sub_workflow_id
    assert not story.tells(old_news).changed
    assert second.status is TaskStatus.IN_PROGRESS


def test_the_end_reported_twice_counts_once() -> None:
    """Messages are delivered at least once."""
    story = _story()
    end = story.child_end(story.newest("c"), WorkflowStatus.COMPLETED)

    assert story.tells(end).changed
    assert not story.tells(end).changed
    assert story.open_refs() == ["z"]


def test_a_child_that_cannot_be_started_fails_the_task() -> None:
    """The reason says why."""
    story = _story()

    story.tells(ev.ChildFailed(task_id=story.newest("c").id, reason="No such workflow defined"))

    assert story.shown == ["c FAILED"]
    assert story.reason_of("c") == "No such workflow defined"


def test_a_cancelled_task_takes_its_child_along() -> None:
    """Here because a neighbour failed."""
    story = Story.of(
        fork("f", [task("a")], [child("c")]), join("j", "a", "c"), defs=[TaskDef(name="a", retry_count=0)]
    ).begun()
    running = story.newest("c")

    story.fails("a")

    told = story.messages[-1]
    assert (told.kind, told.target_id) == ("terminate_child", running.state.sub_workflow_id)
    assert msgspec.json.decode(told.body)["parent_task_id"] == running.id


def test_the_parent_of_a_workflow_hears_of_its_end() -> None:
    """Seen from the child: one message, with status, output and reason."""
    story = Story.of(task("a"))
    story.post(ev.Start(parent_workflow_id="p", parent_task_id="pt"))
    story.done("a", n=3)

    [message] = story.messages
    body = msgspec.json.decode(message.body)
    assert (message.kind, message.target_id) == ("child_ended", "p")
    assert (body["task_id"], body["child_id"], body["status"]) == ("pt", "w", "COMPLETED")
    assert (body["name"], body["output"]) == ("story.1/w", {"n": 3})


def test_a_revived_child_revives_its_parent() -> None:
    """The failed task runs again with the same child, and the workflow with it."""
    story = _story()
    running = story.newest("c")
    child_id = running.state.sub_workflow_id
    assert isinstance(child_id, str)
    story.tells(story.child_end(running, WorkflowStatus.FAILED))
    assert story.state == "FAILED"

    story.tells(ev.ChildRevived(task_id=running.id, child_id=child_id))

    assert (story.state, story.why) == ("RUNNING", None)
    assert story.shown == ["c IN_PROGRESS"]
    assert story.newest("c").state.subworkflow_changed
    story.tells(story.child_end(story.newest("c"), WorkflowStatus.COMPLETED))
    assert story.open_refs() == ["z"]


def test_a_child_revived_after_its_result_was_taken_up_changes_nothing() -> None:
    """Running it again is its own affair then."""
    story = _story()
    running = story.newest("c")
    child_id = running.state.sub_workflow_id
    assert isinstance(child_id, str)
    story.tells(story.child_end(running, WorkflowStatus.COMPLETED))

    assert not story.tells(ev.ChildRevived(task_id=running.id, child_id=child_id)).changed
    assert story.shown == ["c COMPLETED", "z SCHEDULED"]


def test_a_paused_parent_does_not_pause_its_child() -> None:
    """Its end is kept and taken up by the resume."""
    story = _story()
    story.tells(ev.Pause())

    story.tells(story.child_end(story.newest("c"), WorkflowStatus.COMPLETED))
    assert story.shown == ["c COMPLETED"]
    story.tells(ev.Resume())

    assert story.open_refs() == ["z"]


async def test_a_child_without_a_version_keeps_the_newest_one_of_the_start(farm: Farm) -> None:
    """The execution's definition names it, and a later registration changes nothing for it."""
    for version in (1, 2):
        await farm.engine.metadata.register_workflow(_kid(version), overwrite=True)
    sub = task("s", "SUB_WORKFLOW", subWorkflowParam={"name": "kid"})
    await farm.register(task("a"), sub)
    workflow_id = await farm.start()
    await farm.engine.metadata.register_workflow(_kid(3), overwrite=True)

    await farm.report((await farm.poll("a"))[0])

    shown = await farm.workflow(workflow_id)
    assert shown["tasks"][1]["inputData"]["subWorkflowVersion"] == 2
    assert shown["workflowDefinition"]["tasks"][1]["subWorkflowParam"]["version"] == 2


def _kid(version: int) -> bytes:
    return msgspec.json.encode({"name": "kid", "version": version, "tasks": [task("k")]})
