"""Definitions survive the trip through Conductor's JSON, and bad ones say what is wrong."""

import json
from typing import Any

import msgspec
import pytest

from engine.core.model import (
    MalformedBodyError,
    TimeoutPolicy,
    WorkflowDef,
    WorkflowTask,
    collect_tasks,
    decode,
    decode_task_def,
    decode_task_defs,
    decode_workflow_def,
    decode_workflow_defs,
    encode,
    map_tasks,
    wire,
)

# What the upstream server answers for a definition that says nothing but names.
BARE_TASK = {
    "name": "a",
    "taskReferenceName": "a",
    "inputParameters": {},
    "type": "SIMPLE",
    "decisionCases": {},
    "defaultCase": [],
    "forkTasks": [],
    "startDelay": 0,
    "joinOn": [],
    "optional": False,
    "defaultExclusiveJoinTask": [],
    "asyncComplete": False,
    "loopOver": [],
    "onStateChange": {},
    "permissive": False,
    "metadata": {},
}
BARE_WORKFLOW = {
    "createTime": 0,
    "updateTime": 0,
    "name": "w",
    "version": 1,
    "tasks": [BARE_TASK],
    "inputParameters": [],
    "outputParameters": {},
    "schemaVersion": 2,
    "restartable": True,
    "workflowStatusListenerEnabled": False,
    "timeoutPolicy": "ALERT_ONLY",
    "timeoutSeconds": 0,
    "variables": {},
    "inputTemplate": {},
    "enforceSchema": True,
    "metadata": {},
    "maskedFields": [],
}
BARE_TASK_DEF = {
    "createTime": 0,
    "updateTime": 0,
    "name": "t",
    "retryCount": 3,
    "timeoutSeconds": 0,
    "timeoutPolicy": "TIME_OUT_WF",
    "retryLogic": "FIXED",
    "retryDelaySeconds": 60,
    "backoffScaleFactor": 1,
    "maxRetryDelaySeconds": 0,
    "backoffJitterMs": 0,
    "responseTimeoutSeconds": 3600,
    "totalTimeoutSeconds": 0,
    "rateLimitPerFrequency": 0,
    "rateLimitFrequencyInSeconds": 1,
    "inputKeys": [],
    "outputKeys": [],
    "inputTemplate": {},
    "runtimeMetadata": [],
    "taskStatusListenerEnabled": True,
    "enforceSchema": False,
}
FULL_TASK = BARE_TASK | {
    "description": "t",
    "inputParameters": {"p": 1, "nul": None},
    "optional": True,
    "startDelay": 2,
    "retryCount": 4,
    "asyncComplete": True,
    "permissive": True,
    "metadata": {"k": "v"},
    "rateLimited": True,
    "joinStatus": "x",
    "joinMode": "SYNC",
    "cacheConfig": {"key": "k", "ttlInSecond": 5},
    "items": "${workflow.input.l}",
    "onStateChange": {"onSuccess": [{"type": "x", "payload": {"a": None}}]},
    "loopCondition": "",
    "evaluatorType": "e",
    "dynamicForkTasksInputParamName": "n",
    "dynamicForkJoinTasksParam": "j",
    "defaultExclusiveJoinTask": ["b"],
    "subWorkflowParam": {
        "name": "s",
        "version": 3,
        "taskToDomain": {"*": "d"},
        "priority": "${workflow.input.p}",
    },
    "taskDefinition": BARE_TASK_DEF,
}
FULL_WORKFLOW = BARE_WORKFLOW | {
    "tasks": [FULL_TASK],
    "description": "d",
    "failureWorkflow": "fw",
    "failureWorkflowVersion": 2,
    "restartable": False,
    "workflowStatusListenerSink": "s",
    "timeoutPolicy": "TIME_OUT_WF",
    "timeoutSeconds": 77,
    "variables": {"v": None},
    "inputTemplate": {"i": {"j": None}},
    "metadata": {"m": [1]},
    "maskedFields": ["secret"],
    "ownerApp": "app",
    "rateLimitConfig": {"rateLimitKey": "k", "concurrentExecLimit": 3, "policy": "QUEUE"},
    "createdBy": "me",
    "ownerEmail": "a@b.c",
    "inputSchema": {"createTime": 0, "updateTime": 0, "name": "s", "version": 1, "type": "JSON", "data": {}},
}
FULL_TASK_DEF = BARE_TASK_DEF | {
    "description": "d",
    "retryLogic": "LINEAR_BACKOFF",
    "timeoutPolicy": "RETRY",
    "pollTimeoutSeconds": 60,
    "concurrentExecLimit": 4,
    "rateLimitPerFrequency": 5,
    "rateLimitFrequencyInSeconds": 6,
    "runtimeMetadata": ["K"],
    "inputTemplate": {"x": {"y": None}},
    "isolationGroupId": "iso",
    "executionNameSpace": "ns",
    "baseType": "b",
}


def task(ref: str, **more: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, **more}


@pytest.mark.parametrize("document", [BARE_WORKFLOW, FULL_WORKFLOW])
def test_workflow_definition_round_trip(document: dict[str, Any]) -> None:
    """Every field of a workflow definition comes back as it was sent, under its wire name."""
    assert json.loads(encode(decode_workflow_def(json.dumps(document)))) == document


@pytest.mark.parametrize("document", [BARE_TASK_DEF, FULL_TASK_DEF])
def test_task_definition_round_trip(document: dict[str, Any]) -> None:
    """Every field of a task definition comes back as it was sent, under its wire name."""
    assert json.loads(encode(decode_task_def(json.dumps(document)))) == document


def test_defaults_are_written() -> None:
    """A definition of names alone is written with upstream's defaults, nulls left out."""
    definition = decode_workflow_def({"name": "w", "tasks": [task("a")]})

    assert wire(definition) == BARE_WORKFLOW
    assert wire(decode_task_def({"name": "t"})) == BARE_TASK_DEF


def test_nulls_become_defaults() -> None:
    """A null is the member's default, zero where Java has a primitive; unknown members are ignored."""
    sent = {
        "name": "w",
        "shape": "round",
        "restartable": None,
        "timeoutSeconds": None,
        "tasks": [
            task(
                "a", type=None, color="red", optional=None, inputParameters=None, joinOn=None, retryCount=None
            )
        ],
    }

    assert wire(decode_workflow_def(json.dumps(sent).encode())) == {**BARE_WORKFLOW, "restartable": False}


def test_inline_sub_workflow_decides_name_and_version() -> None:
    """A SUB_WORKFLOW's inline definition answers for name and version."""
    params = {
        "name": "other",
        "version": 9,
        "workflowDefinition": {"name": "inner", "version": None, "tasks": []},
    }

    [found] = decode_workflow_def({"tasks": [task("s", subWorkflowParam=params)]}).tasks

    assert found.sub_workflow_param is not None
    assert (found.sub_workflow_param.name, found.sub_workflow_param.version) == ("inner", 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[1", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "Expected `object`"),
        (b'{"name": 5}', "$.name"),
        (b'{"version": "1"}', "$.version"),
        (b'{"timeoutPolicy": "RETRY"}', "Invalid enum value 'RETRY' - at `$.timeoutPolicy`"),
        (b'{"tasks": [{"retryCount": 99999999999}]}', "$.tasks[0].retryCount"),
        (b'{"tasks": [null]}', "$.tasks[0]"),
        (b'{"tasks": [{"subWorkflowParam": {"workflowDefinition": "x"}}]}', "workflowDefinition must be"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"variables": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001, "nested too deeply"),
    ],
)
def test_malformed_body_is_one_sentence(body: bytes, said: str) -> None:
    """A body that cannot be read raises one error that names the field."""
    with pytest.raises(MalformedBodyError) as raised:
        decode_workflow_def(body)

    assert said in str(raised.value)


def test_lists_name_the_bad_element() -> None:
    """In a list of definitions the error says which one is wrong; no list at all is an error too."""
    assert [d.name for d in decode_workflow_defs([{"name": "a"}, {"name": "b"}])] == ["a", "b"]
    with pytest.raises(MalformedBodyError, match="element 1: "):
        decode_task_defs(b'[{"name": "a"}, {"name": 5}]')
    with pytest.raises(MalformedBodyError, match="must be a list"):
        decode_task_defs(b"{}")


def test_any_record_can_be_read() -> None:
    """A task alone, as a dynamic fork is given it, is read by the same rules."""
    assert decode({"name": "a", "taskReferenceName": "a", "optional": None}, WorkflowTask).optional is False


def test_collect_tasks_is_pre_order() -> None:
    """Containers come before their contents: cases in order, default case, branches, loop bodies."""
    inner = WorkflowDef(name="in", tasks=[WorkflowTask(task_reference_name="not me")])
    definition = decode_workflow_def(
        {
            "tasks": [
                task(
                    "s",
                    type="SWITCH",
                    decisionCases={"z": [task("z1"), task("z2")], "a": [task("a1")]},
                    defaultCase=[task("d")],
                ),
                task(
                    "f",
                    type="FORK_JOIN",
                    forkTasks=[[task("l", type="DO_WHILE", loopOver=[task("x")])], [task("y")]],
                ),
                task("simple", defaultCase=[task("unreachable")]),
                task("sub", type="SUB_WORKFLOW", subWorkflowParam={"workflowDefinition": wire(inner)}),
            ]
        }
    )

    refs = [t.task_reference_name for t in collect_tasks(definition)]

    assert refs == ["s", "z1", "z2", "a1", "d", "f", "l", "x", "y", "simple", "sub"]


def test_map_tasks_reaches_every_task() -> None:
    """A change is applied to each task once, inside containers too, and the original stays as it was."""
    definition = decode_workflow_def(
        {
            "tasks": [
                task("s", type="SWITCH", decisionCases={"z": [task("z1")]}, defaultCase=[task("d")]),
                task("f", type="FORK_JOIN", forkTasks=[[task("l", type="DO_WHILE", loopOver=[task("x")])]]),
            ]
        }
    )

    changed = map_tasks(definition, lambda t: msgspec.structs.replace(t, start_delay=t.start_delay + 1))

    assert [t.start_delay for t in collect_tasks(changed)] == [1] * 6
    assert [t.start_delay for t in collect_tasks(definition)] == [0] * 6


def test_enums_are_typed() -> None:
    """Policies are read into their enums, so that a wrong one cannot get past the decoder."""
    assert decode_task_def({"timeoutPolicy": "ALERT_ONLY"}).timeout_policy is TimeoutPolicy.ALERT_ONLY
