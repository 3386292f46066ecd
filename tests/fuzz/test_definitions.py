"""Definitions that are nearly right: registered or refused, and what is registered runs or says why not."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.core.graph import SYSTEM_TYPES

pytestmark = pytest.mark.server

EXAMPLES = 200
ROUNDS_MAX = 25
CHANGES_MAX = 3
OUR_BUG = "The server failed on this request"
ENDED = {"COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"}
BY_HAND = {"WAIT", "HUMAN"}
OPEN = {"SCHEDULED", "IN_PROGRESS"}

_serial = itertools.count(1)


def task(ref: str, kind: str, **members: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": kind, **members}


WHOLE = [
    task(
        "first",
        "SIMPLE",
        inputParameters={"a": "${workflow.input.a}", "list": [1, "${first.x}"]},
        retryCount=0,
    ),
    task("set", "SET_VARIABLE", inputParameters={"v": 1}),
    task(
        "choice",
        "SWITCH",
        evaluatorType="value-param",
        expression="which",
        inputParameters={"which": "${first.output.which}"},
        decisionCases={"x": [task("case_x", "NOOP")]},
        defaultCase=[
            task("case_d", "INLINE", inputParameters={"evaluatorType": "javascript", "expression": "1 + 1"})
        ],
    ),
    task(
        "fork", "FORK_JOIN", forkTasks=[[task("left", "SIMPLE")], [task("right", "WAIT", inputParameters={})]]
    ),
    task("join", "JOIN", joinOn=["left", "right"]),
    task(
        "loop",
        "DO_WHILE",
        loopCondition="if ($.loop['iteration'] < 2) { true; } else { false; }",
        loopOver=[task("inside", "SIMPLE", optional=True)],
    ),
    task("jq", "JSON_JQ_TRANSFORM", inputParameters={"queryExpression": ".x", "x": [1]}),
    task(
        "dynamic_fork",
        "FORK_JOIN_DYNAMIC",
        inputParameters={
            "tasks": [{"name": "d", "taskReferenceName": "d1", "type": "SIMPLE"}],
            "inputs": {"d1": {}},
        },
        dynamicForkTasksParam="tasks",
        dynamicForkTasksInputParamName="inputs",
    ),
    task("dynamic_join", "JOIN"),
    task("dynamic", "DYNAMIC", inputParameters={"kind": "NOOP"}, dynamicTaskNameParam="kind"),
    task(
        "sub",
        "SUB_WORKFLOW",
        subWorkflowParam={
            "name": "inner",
            "workflowDefinition": {"name": "inner", "tasks": [task("in", "NOOP")]},
        },
    ),
    task("person", "HUMAN"),
    task("end", "TERMINATE", inputParameters={"terminationStatus": "COMPLETED"}),
]
"""One of most types, one after the other; the changes below are made to a few of them in a row."""

leaves: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "x", "first", "${first.output.x}", "${", "${workflow.input}", "$.x", "\0", "é" * 300]
    ),
    st.sampled_from(sorted(SYSTEM_TYPES)),
    st.sampled_from(["1 +", "while (true) {}", "$.first.output", "[", "2 seconds", "2026-01-01"]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abx"), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(st.integers(0, len(WHOLE) - 1))
    length = draw(st.integers(1, 4))
    made: dict[str, Any] = {
        "name": f"nearly_{next(_serial)}",
        "version": 1,
        "schemaVersion": 2,
        "tasks": copy.deepcopy(WHOLE[start : start + length]),
        "outputParameters": {"o": "${first.output}"},
        "timeoutSeconds": 0,
    }
    for _ in range(draw(st.integers(0, CHANGES_MAX))):
        _change(draw, made)
    return made


def _change(draw: st.DrawFn, node: Any) -> None:
    """Replace, remove or add one member, somewhere below."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        inner = node[key]
        if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
            node = inner
            continue
        kind = draw(st.sampled_from(["replace", "replace", "remove", "double", "add"]))
        if kind == "replace":
            node[key] = draw(values)
        elif kind == "remove":
            del node[key]
        elif isinstance(node, list):
            node.append(copy.deepcopy(inner))
        else:
            node[draw(st.sampled_from(["optional", "type", "retryCount", "startDelay", "joinOn", "x"]))] = (
                draw(values)
            )
        return


def test_nearly_right_definitions(http: httpx.Client) -> None:
    """Each is registered or refused in words; a registered one starts, moves, ends and goes."""
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(definitions())
    def run(definition: dict[str, Any]) -> None:
        outcomes[_outcome(http, definition)] += 1

    run()

    assert outcomes.keys() >= {"refused", "COMPLETED"}


def _outcome(http: httpx.Client, definition: dict[str, Any]) -> str:
    registered = _foreseen(http.post("/metadata/workflow", json=definition))
    if registered.status_code != httpx.codes.OK:
        return "refused"
    started = _foreseen(http.post("/workflow", json={"name": definition["name"], "input": {}}))
    if started.status_code != httpx.codes.OK:
        return "not started"
    status = _driven(http, started.text)
    if status not in ENDED:
        # What waited for the server itself may have completed meanwhile.
        ended = _foreseen(http.delete(f"/workflow/{started.text}"))
        assert ended.status_code in {httpx.codes.OK, httpx.codes.CONFLICT}
    assert _foreseen(http.delete(f"/workflow/{started.text}/remove")).status_code == httpx.codes.OK
    return status


def _driven(http: httpx.Client, workflow_id: str) -> str:
    """Complete whatever waits for somebody; the workflow moves each time, or waits for time to pass."""
    for _ in range(ROUNDS_MAX):
        found = _foreseen(http.get(f"/workflow/{workflow_id}")).json()
        if found["status"] in ENDED:
            return str(found["status"])
        waiting = [each for each in found["tasks"] if each["status"] in OPEN]
        assert waiting, f"RUNNING, and nothing is open: {found}"
        mine = [
            each for each in waiting if each["taskType"] not in SYSTEM_TYPES or each["taskType"] in BY_HAND
        ]
        if not mine:
            return "waits"
        for each in mine:
            body = {"workflowInstanceId": workflow_id, "taskId": each["taskId"], "status": "COMPLETED"}
            _foreseen(http.post("/tasks", json=body | {"outputData": {"which": "x"}}))
    return "goes on"


def _foreseen(answer: httpx.Response) -> httpx.Response:
    unforeseen = OUR_BUG in answer.text or answer.status_code > httpx.codes.INTERNAL_SERVER_ERROR
    assert not unforeseen, f"{answer.status_code} {answer.text}"
    return answer
