"""What is accepted with a warning: definitions that cannot run, or hardly mean what they say."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.model import decode_workflow_def
from engine.core.validation import validate_workflow_def
from engine.core.warnings import Known, definition_warnings, names_in
from engine.testing.story import Definition, fork, join, loop, switch, task


def warned(*tasks: Definition, known: Known | None = None, **members: Any) -> list[tuple[str, str]]:
    """Path and text of each warning about a definition that validation accepts."""
    definition = decode_workflow_def({"name": "w", "tasks": list(tasks), **members})
    assert validate_workflow_def(definition) == []
    return [(found.path, found.message) for found in definition_warnings(definition, known=known)]


def do_while(condition: str, *body: Definition, **members: Any) -> Definition:
    return task("l", "DO_WHILE", loopCondition=condition, loopOver=list(body) or [task("x")], **members)


def sub(ref: str, params: dict[str, Any]) -> Definition:
    return task(ref, "SUB_WORKFLOW", subWorkflowParam=params)


END = task("end", "TERMINATE", inputParameters={"terminationStatus": "COMPLETED"})


@pytest.mark.parametrize(
    ("tasks", "path", "said"),
    [
        ([END, task("a")], "tasks[1]", "task a is never reached"),
        (
            [switch("s", "${workflow.input.x}", {"a": [END]}, {**END, "taskReferenceName": "e2"}), task("z")],
            "tasks[1]",
            "task z is never reached",
        ),
        ([do_while("true")], "tasks[0]", "is always true, it never ends"),
        ([do_while("")], "tasks[0]", "has no condition and no items: it runs once"),
        ([do_while("$.l['iteration'] < $.n")], "tasks[0]", "reads n, which is neither the loop"),
        (
            [do_while("$.go", inputParameters={"go": True})],
            "tasks[0]",
            "reads nothing that changes from round to round",
        ),
        (
            [fork("f", [switch("s", "x", {"x": [task("a")]})], [task("b")]), join("j", "a", "b")],
            "tasks[1]",
            "join j waits for a, which runs only if",
        ),
        ([fork("f", [task("a")]), join("j", "a", "zz")], "tasks[1]", "waits for zz, but no task has"),
        ([task("x", "EXCLUSIVE_JOIN", joinOn=["zz"])], "tasks[0]", "waits for zz, but no task has"),
        ([fork("f", [task("a")], []), join("j", "a")], "tasks[0]", "has an empty branch"),
        ([task("a", "http")], "tasks[0]", "type http of a is a worker's task; write HTTP"),
        ([task("a", "DoWhile"), task("b", "Sub-Workflow")], "tasks[1]", "write SUB_WORKFLOW"),
        (
            [task("a", inputParameters={"k": "${workflow.inputs.x}"})],
            "tasks[0]",
            "k reads workflow.inputs, which a workflow does not have",
        ),
        ([task("e", "EVENT", sink="conductor:${zz.output}")], "tasks[0]", "sink reads zz, but no task"),
        (
            [sub("c", {"name": "${zz.output.n}"})],
            "tasks[0]",
            "subWorkflowParam.name reads zz",
        ),
        (
            [task("d", "DYNAMIC", dynamicTaskNameParam="which")],
            "tasks[0]",
            "dynamicTaskNameParam of d names the input which",
        ),
        (
            [task("a", taskDefinition={"name": "a", "timeoutSeconds": 10, "responseTimeoutSeconds": 60})],
            "tasks[0]",
            "responseTimeoutSeconds: 60 must be less than timeoutSeconds: 10",
        ),
        ([task("a", retryCount=-1)], "tasks[0]", "retryCount of a is -1; 0 means none"),
        ([sub("c", {"name": "w"})], "tasks", "starts this workflow again, without end"),
    ],
)
def test_what_looks_wrong_is_said_with_its_place(tasks: list[Definition], path: str, said: str) -> None:
    """Path, what, and what to do; upstream accepts all of these without a word."""
    found = warned(*tasks)

    assert any(at == path and said in text for at, text in found), found


def test_a_timeout_without_effect_is_said() -> None:
    """The default policy only alerts, which surprises people whose workflow then runs on."""
    assert "ends nothing under the policy ALERT_ONLY" in warned(task("a"), timeoutSeconds=60)[0][1]
    assert warned(task("a"), timeoutSeconds=60, timeoutPolicy="TIME_OUT_WF") == []


@pytest.mark.parametrize(
    "tasks",
    [
        [loop("l", 3, task("x"))],
        [do_while("$.l['iteration'] < $.n", inputParameters={"n": 3})],
        [do_while("$.x.done != true")],
        [do_while("if ($.l.iteration < 3) { true } else { false }")],
        [do_while("(function (q) { return q.l.iteration < 2 })($)")],
        [do_while("", items="${workflow.input.list}")],
        [do_while("$.loopIndex < 5", items="${workflow.input.list}")],
        [fork("f", [task("a"), switch("s", "x", {"x": [task("b")]}), task("c")]), join("j", "c")],
        [fork("f", [loop("l", 2, task("a"))]), join("j", "l")],
        [switch("s", "x", {"x": [END]}), task("z")],
        [task("a"), task("b", inputParameters={"k": "${a.output.x} ${CPEWF_TASK_ID} ${workflow.secrets.s}"})],
        [task("a", "MY_OWN_TYPE"), task("b", "http_poll"), task("c", "YIELD")],
        [switch("s", "x", {"x": [sub("c", {"name": "w"})]})],
        [switch("s", "x", {"a": [task("ta")]}), task("x", "EXCLUSIVE_JOIN", joinOn=["ta"])],
    ],
)
def test_what_can_run_is_not_doubted(tasks: list[Definition]) -> None:
    """A warning that is wrong teaches people to overlook them."""
    assert warned(*tasks) == []


def test_names_are_doubted_when_asked() -> None:
    """The caller looks up what `names_in` lists; expressions and embedded definitions are left out."""
    tasks = [
        task("a"),
        task("b", taskDefinition={"name": "b"}),
        sub("c", {"name": "kid", "version": 2}),
        sub("d", {"name": "${workflow.input.n}"}),
    ]
    definition = decode_workflow_def({"name": "w", "tasks": tasks, "failureWorkflow": "cleanup"})
    asked = names_in(definition)
    assert (set(asked.tasks), set(asked.workflows)) == ({"a"}, {("kid", 2), ("cleanup", None)})

    nothing = warned(*tasks, failureWorkflow="cleanup", known=Known(tasks=(), workflows=()))
    assert [path for path, _ in nothing] == ["failureWorkflow", "tasks[0]", "tasks[2]"]
    assert warned(*tasks, failureWorkflow="cleanup", known=asked) == []
