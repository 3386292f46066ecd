"""FORK_JOIN_DYNAMIC: branches made from the input, in the three forms upstream knows."""

from __future__ import annotations

from typing import Any

import pytest

from engine.testing.story import Story, dynamic, join, task


def _story(**given: Any) -> Story:
    return Story.of(dynamic("f", **given), join("j"), task("z"))


def test_a_list_of_tasks_and_a_map_of_inputs() -> None:
    """Each task of the list becomes a branch with its own input; the JOIN names them all."""
    story = _story(tasks=[task("a", inputParameters={"kept": 1}), task("b")], inputs={"a": {"n": 2}}).begun()

    assert story.shown == ["f COMPLETED", "a SCHEDULED", "b SCHEDULED", "j IN_PROGRESS"]
    assert story.input_of("a") == {"kept": 1, "n": 2}
    assert story.input_of("j") == {"joinOn": ["a", "b"]}
    assert story.input_of("f")["forkedTasks"] == ["a", "b"]


def test_the_join_gathers_the_outputs_of_the_branches() -> None:
    """Branches of a dynamic fork report to the JOIN behind it."""
    story = _story(tasks=[task("a"), task("b")], inputs={}).begun()

    story.done("a", n=1)
    story.done("b", n=2)

    assert story.output_of("j") == {"a": {"n": 1}, "b": {"n": 2}}
    assert story.open_refs() == ["z"]


def test_no_branches_complete_the_join_at_once() -> None:
    """An empty list is not an error."""
    assert _story(tasks=[], inputs={}).begun().shown == ["f COMPLETED", "j COMPLETED", "z SCHEDULED"]


def test_one_branch_for_each_element_of_a_list_of_inputs() -> None:
    """forkTaskInputs: refs are `_name_index`, a scalar arrives as `input`, the position as `__index`."""
    story = _story(forkTaskName="work", forkTaskInputs=[{"n": 5}, "plain"]).begun()

    assert story.shown[1:3] == ["_work_0 SCHEDULED", "_work_1 SCHEDULED"]
    assert story.input_of("_work_0") == {"n": 5, "__index": 0}
    assert story.input_of("_work_1") == {"input": "plain", "__index": 1}


def test_one_child_workflow_for_each_element() -> None:
    """forkTaskWorkflow makes each branch a SUB_WORKFLOW."""
    story = _story(forkTaskWorkflow="child", forkTaskInputs=[{"n": 5}]).begun()

    branch = story.listed()[1]
    assert branch.head.task_type == "SUB_WORKFLOW"
    assert [message.kind for message in story.messages] == ["start_child"]


def test_tasks_named_in_a_member_of_the_input() -> None:
    """The oldest form: dynamicForkJoinTasksParam with taskName, referenceName and input."""
    wanted = {
        "dynamicTasks": [{"taskName": "work", "referenceName": "r1", "input": {"n": 1}, "type": "SIMPLE"}]
    }
    fork = task("f", "FORK_JOIN_DYNAMIC", dynamicForkJoinTasksParam="all", inputParameters={"all": wanted})
    story = Story.of(fork, join("j")).begun()

    assert story.shown == ["f COMPLETED", "r1 SCHEDULED", "j IN_PROGRESS"]
    assert story.newest("r1").head.task_def_name == "work"
    assert story.input_of("r1") == {"n": 1}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"tasks": None, "inputs": {}},
            "Input 'tasks' is invalid. Cannot deserialize a list of Workflow Tasks from 'null'",
        ),
        (
            {"tasks": [task("a")], "inputs": "no map"},
            "Input to the dynamically forked tasks is not a map -> expecting a map of K,V  but found no map",
        ),
        (
            {"tasks": [task("a"), task("a")], "inputs": {}},
            (
                "No dynamic tasks could be created for the Workflow: story.1/w, "
                "attempted to create a duplicate task reference name: a"
            ),
        ),
    ],
)
def test_a_bad_list_fails_the_workflow_with_upstreams_words(given: dict[str, Any], reason: str) -> None:
    """Nothing is scheduled and the reason says what was wrong."""
    story = _story(**given).begun()

    assert (story.state, story.why) == ("FAILED", reason)
    assert story.open_refs() == []


def test_a_branch_uses_the_registered_definition_of_its_name() -> None:
    """A branch gets retries like any task: here the made-up definition's three."""
    story = _story(tasks=[task("a")], inputs={}).begun()

    story.fails("a")

    assert [a.head.retry_count for a in story.attempts("a")] == [0, 1]
    assert story.input_of("j") == {"joinOn": ["a"]}


def test_a_wide_fork_of_scripts_asks_for_all_of_them_at_once() -> None:
    """Decided twice, not once more for every branch: forty branches cost forty times one."""
    scripts = [
        task(f"s{n}", "INLINE", inputParameters={"evaluatorType": "javascript", "expression": f"{n} + 1"})
        for n in range(40)
    ]
    story = _story(tasks=scripts, inputs={})

    story.begun()

    assert story.open_refs() == ["z"]
    assert story.rounds <= 4  # for the fork's definitions and for the scripts, on a cold and on a warm view


@pytest.mark.parametrize("kind", ["SWITCH", "DECISION", "DO_WHILE", "FORK_JOIN", "FORK_JOIN_DYNAMIC", "JOIN"])
def test_a_branch_that_holds_other_tasks_is_refused(kind: str) -> None:
    """Their parts stand in no definition; the sentence says what to do instead."""
    story = Story.of(dynamic("f", tasks=[task("b", kind)], inputs={}), join("j")).begun()

    assert story.state == "FAILED"
    assert story.why == (
        f"f: branch b is a {kind}, which cannot be a branch of a dynamic fork; put it into a sub-workflow"
    )


def test_a_dynamic_task_cannot_be_a_container() -> None:
    """The same holds for DYNAMIC."""
    named = task("d", "DYNAMIC", dynamicTaskNameParam="n", inputParameters={"n": "DO_WHILE"})
    story = Story.of(named).begun()

    assert story.state == "FAILED"
    assert "a dynamic task cannot be a DO_WHILE" in (story.why or "")
