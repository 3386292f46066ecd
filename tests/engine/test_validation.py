"""Definitions are refused in the words, and at the paths, that the recorded upstream server uses."""

from typing import Any

import pytest

from engine.core.model import WorkflowDef, decode_task_def, decode_workflow_def
from engine.core.validation import (
    Problem,
    validate_start,
    validate_task_def,
    validate_workflow_def,
)
from engine.core.values import DEPTH_MAX
from engine.core.warnings import definition_warnings


def task(ref: str, type: str = "SIMPLE", **more: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": type, **more}


def workflow(*tasks: dict[str, Any], **more: Any) -> WorkflowDef:
    return decode_workflow_def({"name": "w", "tasks": list(tasks), **more})


def js_problem(source: str) -> str | None:
    return "unbalanced" if source.count("(") != source.count(")") else None


def messages(definition: WorkflowDef, **more: Any) -> list[str]:
    return [problem.message for problem in validate_workflow_def(definition, js_problem=js_problem, **more)]


def switch(ref: str, **more: Any) -> dict[str, Any]:
    cases = {"a": [task(f"{ref}_a")]}
    given = {"evaluatorType": "value-param", "expression": "x", "decisionCases": cases}
    return task(ref, "SWITCH", **{"inputParameters": {"x": 1}, **given, **more})


JOIN = task("j", "JOIN")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (task("e", "EVENT"), ["sink field is required for taskType: EVENT taskName: e"]),
        (
            task("d", "DECISION"),
            [
                "caseValueParam or caseExpression field is required for taskType: DECISION taskName: d",
                "decisionCases should have atleast one task for taskType: DECISION taskName: d",
            ],
        ),
        (
            task("d", "DECISION", caseExpression="(", decisionCases={"a": [task("x")]}),
            ["Expression is not well formatted: unbalanced, taskType: DECISION taskName d"],
        ),
        (
            switch("s", evaluatorType=None),
            ["evaluatorType field is required for taskType: SWITCH taskName: s"],
        ),
        (switch("s", expression=None), ["expression field is required for taskType: SWITCH taskName: s"]),
        (
            switch("s", decisionCases={}),
            ["decisionCases should have atleast one task for taskType: SWITCH taskName: s"],
        ),
        (
            switch("s", evaluatorType="javascript", expression="$.a("),
            ["Expression is not well formatted: unbalanced, taskType: SWITCH taskName s"],
        ),
        (task("d", "DYNAMIC"), ["dynamicTaskNameParam field is required for taskType: DYNAMIC taskName: d"]),
        (
            task("f", "FORK_JOIN"),
            ["forkTasks should have atleast one task for taskType: FORK_JOIN taskName: f"],
        ),
        (
            task("f", "FORK_JOIN_DYNAMIC"),
            [
                "dynamicForkTasksParam field is required for taskType: FORK_JOIN_DYNAMIC taskName: f",
                (
                    "dynamicForkTasksInputParamName field is required for taskType: FORK_JOIN_DYNAMIC"
                    " taskName: f"
                ),
            ],
        ),
        (
            task("f", "FORK_JOIN_DYNAMIC", dynamicForkTasksParam="t"),
            ["dynamicForkTasksInputParamName field is required for taskType: FORK_JOIN_DYNAMIC taskName: f"],
        ),
        (
            task("f", "FORK_JOIN_DYNAMIC", dynamicForkTasksParam="t", dynamicForkJoinTasksParam="j"),
            [
                (
                    "dynamicForkJoinTasksParam or combination of dynamicForkTasksInputParamName and "
                    "dynamicForkTasksParam cam be used for taskType: FORK_JOIN_DYNAMIC taskName: f"
                )
            ],
        ),
        (
            task("h", "HTTP"),
            [
                (
                    "inputParameters.http_request or inputParameters.uri field is required for"
                    " taskType: HTTP taskName: h"
                )
            ],
        ),
        (
            task("k", "KAFKA_PUBLISH"),
            ["inputParameters.kafka_request field is required for taskType: KAFKA_PUBLISH taskName: k"],
        ),
        (
            task("q", "JSON_JQ_TRANSFORM"),
            ["inputParameters.queryExpression field is required for taskType: JSON_JQ_TRANSFORM taskName: q"],
        ),
        (
            task(
                "t", "TERMINATE", optional=True, inputParameters={"terminationStatus": "${workflow.input.s}"}
            ),
            [
                "terminate task cannot be optional, taskName: t",
                (
                    "terminate task must have an terminationStatus parameter and must be set to COMPLETED or"
                    " FAILED, taskName: t"
                ),
            ],
        ),
        (
            task("l", "DO_WHILE"),
            [
                "loopCondition field is required for taskType: DO_WHILE taskName: l",
                "loopOver field is required for taskType: DO_WHILE taskName: l",
            ],
        ),
        (
            task("s", "SUB_WORKFLOW"),
            ["subWorkflowParam field is required for taskType: SUB_WORKFLOW taskName: s"],
        ),
        (
            task("w", "WAIT", inputParameters={"duration": "1s", "until": "2026-01-01"}),
            ["Both 'duration' and 'until' specified. Please provide only one input"],
        ),
        (
            task("w", "WAIT", inputParameters={"duration": "soon"}),
            ["Either date or duration is passed as null "],
        ),
        (task("w", "WAIT", inputParameters={"until": "soon"}), ["Unable to parse date "]),
    ],
)
def test_what_a_type_requires(bad: dict[str, Any], said: list[str]) -> None:
    """Each task type names what it lacks, all at once."""
    assert messages(workflow(bad)) == said


@pytest.mark.parametrize(
    "good",
    [
        task("u", "SOMETHING_ELSE"),
        task("f", "FORK_JOIN_DYNAMIC", inputParameters={"forkTaskInputs": []}),
        task("f", "FORK_JOIN_DYNAMIC", dynamicForkJoinTasksParam="j"),
        task("h", "HTTP", inputParameters={"uri": "http://x", "method": "GET"}),
        task("h", "HTTP", taskDefinition={"name": "h", "inputTemplate": {"http_request": {}}}),
        task("t", "TERMINATE", inputParameters={"terminationStatus": "TERMINATED"}),
        task("l", "DO_WHILE", loopCondition="", loopOver=[task("x")]),
        task("w", "WAIT"),
        task("w", "WAIT", inputParameters={"duration": "${workflow.input.d}"}),
        task("w", "WAIT", inputParameters={"until": "2026-01-01 10:00 Europe/Berlin"}),
        switch("s", evaluatorType="javascript", expression="$.a > 1"),
        switch("s", decisionCases={"a": []}),
        task("a", inputParameters={"list": [1, None, "${workflow.input.x}"], "p": "${workflow.variables.v}"}),
        task("a", inputParameters={"own": "${a.output.x}", "id": "${CPEWF_TASK_ID}", "esc": "$${nobody.x}"}),
        task("a", inputParameters={"nested": "${workflow.input.${workflow.input.k}}"}),
    ],
)
def test_what_is_accepted(good: dict[str, Any]) -> None:
    """Unknown types, empty case lists, nulls in lists and nested expressions are no problem."""
    assert messages(workflow(good)) == []


def test_registered_task_definitions_count() -> None:
    """A template in the registered task definition can hold what an HTTP task requires."""
    registered = decode_task_def({"name": "h", "inputTemplate": {"http_request": {"uri": "http://x"}}})

    assert messages(workflow(task("h", "HTTP")), task_def={"h": registered}.get) == []


def test_paths_lead_to_the_task() -> None:
    """A problem's path is the prefix and the way through cases, branches and lists."""
    bad = {"name": "", "taskReferenceName": "x"}
    definition = workflow(
        switch("s", decisionCases={"case": [task("ok"), bad]}, defaultCase=[{"name": "n"}]),
        task("f", "FORK_JOIN", forkTasks=[[task("y")], [task("e", "EVENT")]]),
    )

    found = validate_workflow_def(definition, path="registerWorkflowDef.arg0")

    at = "registerWorkflowDef.arg0.tasks"
    assert [(p.path, p.message) for p in found] == [
        (f"{at}[0].decisionCases[case].<map value>[1].name", "WorkflowTask name cannot be empty or null"),
        (
            f"{at}[0].defaultCase[0].taskReferenceName",
            "WorkflowTask taskReferenceName name cannot be empty or null",
        ),
        (
            f"{at}[1].forkTasks[1].<list element>[0]",
            "sink field is required for taskType: EVENT taskName: e",
        ),
    ]


def test_own_fields_of_a_workflow() -> None:
    """Name, tasks and schema version are checked together; an owner only where it is mandatory."""
    definition = decode_workflow_def({"schemaVersion": 1})

    found = validate_workflow_def(definition, path="arg0", owner_email_mandatory=True)

    assert found == [
        Problem("arg0.name", "WorkflowDef name cannot be null or empty"),
        Problem("arg0.tasks", "WorkflowTask list cannot be empty"),
        Problem("arg0.schemaVersion", "workflowDef schemaVersion: 2 is only supported", "1"),
        Problem("arg0.ownerEmail", "ownerEmail cannot be empty"),
    ]
    assert validate_workflow_def(workflow(task("a"))) == []


def test_references_are_unique() -> None:
    """A reference name used twice, at any depth, is one problem of the definition as a whole."""
    definition = workflow(task("a"), task("l", "DO_WHILE", loopCondition="", loopOver=[task("a")]), task("a"))

    found = validate_workflow_def(definition, path="updateWorkflowDef.arg0[1]")

    assert found == [
        Problem(
            "updateWorkflowDef.arg0[1]",
            "taskReferenceName: a should be unique across tasks for a given workflowDefinition: w",
        )
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"k": "x ${b.output.y}"},
            (
                "taskReferenceName: b for given task: a input value: k of input parameter: x ${b.output.y}"
                " is not defined in workflow definition."
            ),
        ),
        (
            {"k": [{"inner": ["${b.output}"]}]},
            (
                "taskReferenceName: b for given task: a input value: inner of input parameter: ${b.output}"
                " is not defined in workflow definition."
            ),
        ),
        (
            {"k": "${workflow.input.${b.output}}"},
            (
                "taskReferenceName: b for given task: a input value: k of input parameter:"
                " ${workflow.input.${b.output}} is not defined in workflow definition."
            ),
        ),
        (
            {"k": "${workflow['variables']['x']}"},
            (
                "taskReferenceName: workflow['variables']['x'] for given task: a input value: k"
                " of input parameter: ${workflow['variables']['x']} is not defined in workflow definition."
            ),
        ),
        (
            {"k": "`${$.x}`"},
            (
                "taskReferenceName: $ for given task: a input value: k of input parameter: `${$.x}`"
                " is not defined in workflow definition."
            ),
        ),
        ({"k": "${two words.output}"}, "key: k input parameter value: two words.output is not valid"),
        ({"k": "${}"}, "key: k input parameter value:  is not valid"),
        ({"k": "${workflow.input[}"}, "key: k input parameter value: workflow.input[ is not valid"),
    ],
)
def test_input_references_of_top_level_tasks(value: dict[str, Any], said: str) -> None:
    """What a top-level task reads must be a path, and start at the workflow or a task of the definition."""
    assert messages(workflow(task("a", inputParameters=value))) == [said]


def test_environment_names_are_no_references() -> None:
    """An environment variable may stand where a task reference would."""
    definition = workflow(task("a", inputParameters={"k": "${HOME}"}))

    assert len(messages(definition)) == 1
    assert messages(definition, env_names={"HOME"}) == []


def test_too_deep_parameters_are_refused() -> None:
    """Parameters beyond the nesting bound are one problem that says what to do."""
    value: Any = "${workflow.input.x}"
    for _ in range(DEPTH_MAX + 5):
        value = [value]

    [said] = messages(workflow(task("a", inputParameters={"k": value})))

    assert "inputParameters of task a" in said
    assert "flatten" in said


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": ""}, Problem("name", "TaskDef name cannot be null or empty")),
        ({"retryCount": -1}, Problem("retryCount", "TaskDef retryCount: 0 must be >= 0", "-1")),
        (
            {"responseTimeoutSeconds": 0},
            Problem(
                "responseTimeoutSeconds",
                "TaskDef responseTimeoutSeconds: 0 should be minimum 1 second",
                "0",
            ),
        ),
        (
            {"pollTimeoutSeconds": -2},
            Problem("pollTimeoutSeconds", "TaskDef pollTimeoutSeconds: 0 must be >= 0", "-2"),
        ),
        (
            {"backoffScaleFactor": 0},
            Problem("backoffScaleFactor", "Backoff scale factor. Applicable for LINEAR_BACKOFF", "0"),
        ),
        (
            {"timeoutSeconds": 60},
            Problem("", "TaskDef: t responseTimeoutSeconds: 3600 must be less than timeoutSeconds: 60"),
        ),
        (
            {"timeoutSeconds": 9, "totalTimeoutSeconds": 8, "responseTimeoutSeconds": 9},
            Problem("", "TaskDef: t timeoutSeconds: 9 must be less than or equal to totalTimeoutSeconds: 8"),
        ),
    ],
)
def test_task_definitions(fields: dict[str, Any], problem: Problem) -> None:
    """Each rule of a task definition speaks for itself."""
    assert validate_task_def(decode_task_def({"name": "t", **fields})) == [problem]


def test_good_task_definitions() -> None:
    """Equal timeouts are fine, and so are all defaults."""
    equal = {"name": "t", "timeoutSeconds": 9, "totalTimeoutSeconds": 9, "responseTimeoutSeconds": 9}

    assert validate_task_def(decode_task_def(equal)) == []
    assert validate_task_def(decode_task_def({"name": "t"})) == []


def test_start_requests() -> None:
    """A start needs a name and a priority from 0 to 99."""
    found = [*validate_start(None, 100, path="startWorkflow.arg0"), *validate_start("w", -1)]

    assert found == [
        Problem("startWorkflow.arg0.name", "Workflow name cannot be null or empty"),
        Problem("startWorkflow.arg0.priority", "priority: 100 should be maximum 99", "100"),
        Problem("priority", "priority: -1 should be minimum 0", "-1"),
    ]
    assert validate_start("w", 99) == validate_start("w", None) == []


def doubts(definition: WorkflowDef) -> list[tuple[str, str]]:
    return [(p.path, p.message) for p in definition_warnings(definition, js_problem=js_problem)]


@pytest.mark.parametrize(
    ("definition", "path", "said"),
    [
        (
            workflow(task("f", "FORK_JOIN", forkTasks=[[task("a")]]), task("b")),
            "tasks[0]",
            "fork f is not followed by a JOIN; put one right behind it",
        ),
        (workflow(task("a"), JOIN), "tasks[1]", "join j follows no fork; put it right behind one"),
        (
            workflow(task("f", "FORK_JOIN", forkTasks=[[task("a")]]), JOIN | {"joinOn": ["a", "zz"]}),
            "tasks[1]",
            "join j waits for zz, but no task has this reference name",
        ),
        (
            workflow(switch("s", defaultCase=[task("a", inputParameters={"k": "${zz.output}"})])),
            "tasks[0].defaultCase[0]",
            "k reads zz, but no task has this reference name",
        ),
        (
            workflow(task("a"), outputParameters={"o": "${zz.output}"}),
            "outputParameters.o",
            "o reads zz, but no task has this reference name",
        ),
        (
            workflow(task("l", "DO_WHILE", loopCondition="$.l.iteration < 2", loopOver=[task("e", "EVENT")])),
            "tasks[0].loopOver[0]",
            "sink field is required for taskType: EVENT taskName: e",
        ),
        (
            workflow(task("l", "DO_WHILE", loopCondition="($.l.iteration", loopOver=[task("a")])),
            "tasks[0]",
            "the script of l cannot be read: unbalanced",
        ),
        (
            workflow(task("i", "INLINE", inputParameters={"expression": "f("})),
            "tasks[0]",
            "the script of i cannot be read: unbalanced",
        ),
        (
            workflow(switch("s", evaluatorType="prolog")),
            "tasks[0]",
            "switch s has the evaluatorType prolog, which nothing evaluates",
        ),
        (
            workflow(task("s", "SUB_WORKFLOW", subWorkflowParam={})),
            "tasks[0]",
            "sub-workflow s names no workflow; give subWorkflowParam a name or a workflowDefinition",
        ),
    ],
)
def test_what_can_never_work_is_doubted(definition: WorkflowDef, path: str, said: str) -> None:
    """An acceptable definition that must fail when it runs is accepted with a warning."""
    assert validate_workflow_def(definition, js_problem=js_problem) == []
    assert doubts(definition) == [(path, said)]


def test_sound_definitions_raise_no_doubt() -> None:
    """Nothing is said about a definition that can run; dynamic forks make names that nobody knows yet."""
    dynamic = task("f", "FORK_JOIN_DYNAMIC", inputParameters={"forkTaskInputs": []})
    inner = switch("s", defaultCase=[task("a", inputParameters={"k": "${_x_0.output} ${workflow.input.y}"})])

    assert doubts(workflow(dynamic, JOIN, inner, outputParameters={"o": "${_x_1.output}"})) == []
