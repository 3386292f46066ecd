"""Workflow definitions made by chance, out of every type the engine runs: for properties and the simulator.

Who calls brings the chance: `pick(options)` chooses one of a sequence. So the same definitions can be drawn
by Hypothesis, which shrinks them, or follow from a seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from engine.core.model import RetryLogic, TaskDef

T = TypeVar("T")
Definition = dict[str, Any]

TASK_DEFS = {
    "steady": TaskDef(name="steady", retry_count=1, retry_delay_seconds=0),
    "frail": TaskDef(name="frail", retry_count=0),
    "patient": TaskDef(
        name="patient",
        retry_count=2,
        retry_delay_seconds=5,
        retry_logic=RetryLogic.EXPONENTIAL_BACKOFF,
        timeout_seconds=50,
        response_timeout_seconds=20,
    ),
}
"""What workers of generated definitions are told; a SIMPLE task is named after one of them."""

SIMPLE_TYPES = ("SIMPLE", "SIMPLE", "WAIT", "INLINE", "SET_VARIABLE", "SUB_WORKFLOW", "HUMAN")
SERVER_TYPES = (
    "EVENT",
    "HTTP",
    "JSON_JQ_TRANSFORM",
    "PULL_WORKFLOW_MESSAGES",
    "START_WORKFLOW",
)
NESTING_TYPES = ("FORK_JOIN", "SWITCH", "DO_WHILE", "FORK_JOIN_DYNAMIC")


class Pick(Protocol):
    def __call__(self, options: Sequence[T], /) -> T: ...


def definition(
    pick: Pick, *, name: str = "generated", depth: int = 2, child: str = "child", server: bool = False
) -> Definition:
    """A definition of up to three tasks in a list, nested `depth` deep.

    Args:
        pick: chooses one of a sequence.
        name: the definition's name; its version is 1.
        depth: how deep forks, switches and loops may contain each other.
        child: the registered definition that its sub-workflows run.
        server: take types in that speak to the outside, EXCLUSIVE_JOINs, and loops that forget rounds.
    """
    return {"name": name, "version": 1, "tasks": _Maker(pick, child, server=server).tasks(depth)}


def wide_fork(branches: int) -> list[Definition]:
    """A dynamic fork of equal branches and its JOIN: many results that come together."""
    fork = {"name": "wide", "taskReferenceName": "wide", "type": "FORK_JOIN_DYNAMIC"}
    return [dynamic_fork(fork, branches), _join(fork)]


def parent_of(child: str) -> list[Definition]:
    """A sub-workflow behind a worker's task: one that is surely reached, and starts late."""
    first = {"name": "steady", "taskReferenceName": "before", "type": "SIMPLE"}
    inner = {"name": child, "taskReferenceName": "inner", "type": "SUB_WORKFLOW"}
    return [first, {**inner, "subWorkflowParam": {"name": child, "version": 1}}]


def dynamic_fork(base: Definition, branches: int) -> Definition:
    """A dynamic fork over so many tasks that workers do."""
    ref = base["taskReferenceName"]
    tasks = [{"name": "steady", "taskReferenceName": f"{ref}b{n}", "type": "SIMPLE"} for n in range(branches)]
    return {
        **base,
        "dynamicForkTasksParam": "tasks",
        "dynamicForkTasksInputParamName": "inputs",
        "inputParameters": {"tasks": tasks, "inputs": {}},
    }


class _Maker:
    def __init__(self, pick: Pick, child: str, *, server: bool) -> None:
        self.pick = pick
        self.server = server
        self.types = SIMPLE_TYPES + SERVER_TYPES if server else SIMPLE_TYPES
        self.child = child
        self.serial: Iterator[int] = itertools.count(1)

    def tasks(self, depth: int) -> list[Definition]:
        made: list[Definition] = []
        for _ in range(self.pick((1, 2, 3))):
            made += self.task(depth)
        return made

    def task(self, depth: int) -> list[Definition]:
        """One task, with its JOIN where it has one."""
        ref = f"t{next(self.serial)}"
        kind = self.pick(self.types + NESTING_TYPES if depth else self.types)
        base: Definition = {"name": ref, "taskReferenceName": ref, "type": kind}
        match kind:
            case "FORK_JOIN":
                return self._fork(base, depth)
            case "FORK_JOIN_DYNAMIC":
                return [dynamic_fork(base, self.pick((0, 1, 2, 3, 4))), _join(base)]
            case "SWITCH":
                return self._switch(base, depth)
            case "DO_WHILE":
                times = self.pick((1, 2, 3))
                body = self.tasks(depth - 1)
                keep = {"keepLastN": self.pick((0, 1, 2))} if self.server else {}
                condition = f"$.{ref}['iteration'] < {times}"
                return [{**base, "loopCondition": condition, "loopOver": body, "inputParameters": keep}]
        return [{**base, **self._members(kind)}]

    def _members(self, kind: str) -> Definition:
        match kind:
            case "SIMPLE":
                flags: Definition = self.pick(({}, {}, {}, {"optional": True}, {"permissive": True}))
                return {**flags, "name": self.pick(sorted(TASK_DEFS))}
            case "WAIT":
                return {"inputParameters": self.pick(({"duration": "3 seconds"}, {}))}
            case "INLINE":
                return {"inputParameters": {"evaluatorType": "javascript", "expression": "1"}}
            case "SET_VARIABLE":
                return {"inputParameters": {"seen": "${workflow.variables.seen}"}}
            case "SUB_WORKFLOW":
                return {"subWorkflowParam": {"name": self.child, "version": 1}}
            case "EVENT":
                return {"sink": self.pick(("conductor", "nowhere")), "optional": True}
            case "HTTP":
                return {"inputParameters": {"uri": "http://h"}, "asyncComplete": self.pick((False, True))}
            case "JSON_JQ_TRANSFORM":
                return {"inputParameters": {"queryExpression": "."}}
            case "PULL_WORKFLOW_MESSAGES":
                return {"inputParameters": {"blocking": self.pick((False, True))}}
            case "START_WORKFLOW":
                return {"inputParameters": {"startWorkflow": {"name": self.child}}}
        return {}

    def _fork(self, base: Definition, depth: int) -> list[Definition]:
        parts = [self.tasks(depth - 1) for _ in range(self.pick((1, 2, 3)))]
        joined = [part[-1]["taskReferenceName"] for part in parts]
        return [{**base, "forkTasks": parts}, _join(base, joinOn=joined)]

    def _switch(self, base: Definition, depth: int) -> list[Definition]:
        switch = {
            **base,
            "inputParameters": {"k": self.pick((1, 2, 3))},
            "evaluatorType": "value-param",
            "expression": "k",
            "decisionCases": {"1": self.tasks(depth - 1), "2": []},
            "defaultCase": self.tasks(depth - 1),
        }
        if not (self.server and self.pick((False, True))):
            return [switch]
        ref = f"{base['taskReferenceName']}x"
        named = [
            part[-1]["taskReferenceName"] for part in (switch["decisionCases"]["1"], switch["defaultCase"])
        ]
        exclusive = {"name": ref, "taskReferenceName": ref, "type": "EXCLUSIVE_JOIN", "joinOn": named}
        return [switch, {**exclusive, "defaultExclusiveJoinTask": [base["taskReferenceName"]]}]


def _join(fork: Definition, **members: Any) -> Definition:
    ref = f"{fork['taskReferenceName']}j"
    return {"name": ref, "taskReferenceName": ref, "type": "JOIN", **members}
