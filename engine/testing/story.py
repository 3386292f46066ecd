"""A World with the verbs a test tells a story in, and short words for definitions."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from engine.core import events as ev
from engine.core.decider import Applied
from engine.core.model import TaskDef
from engine.core.records import Task
from engine.core.statuses import TaskStatus
from engine.testing.world import World

Definition = dict[str, Any]


class Story(World):
    """Tasks are named by reference; the newest attempt is meant."""

    @classmethod
    def of(cls, *tasks: Definition, defs: list[TaskDef] | None = None, **members: Any) -> Story:
        """A workflow `story` of these tasks, not started yet; `members` are others of its definition."""
        definition = {"name": "story", "version": 1, "tasks": list(tasks), **members}
        return cls(definition, task_defs={one.name: one for one in defs or []})

    def begun(self, **given: Any) -> Story:
        """Start it with this input."""
        self.start(given)
        return self

    # ------------------------------------------------------------------------------------ what happens
    def done(self, ref: str, **output: Any) -> Applied:
        """A worker completes the task."""
        return self._told(self.report(self.newest(ref).id, TaskStatus.COMPLETED, output))

    def fails(
        self, ref: str, reason: str | None = "it broke", *, status: TaskStatus = TaskStatus.FAILED
    ) -> Applied:
        """A worker reports a failure."""
        return self._told(replace(self.report(self.newest(ref).id, status), reason=reason))

    def works_on(self, ref: str) -> None:
        """A worker takes the task from its queue."""
        self.poll(self.newest(ref).id)

    def passes(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def deadline(self, ref: str) -> Applied:
        """The task's queue entry reaches its next deadline."""
        entry = self.queue[self.newest(ref).id]
        self.now_ms = max(self.now_ms, entry.deadline_ms())
        return self._told(ev.DeadlinePassed(task_id=entry.task_id, entry=entry))

    def timer(self, key: str) -> Applied:
        """A timer fires at its instant; `key` is `workflow` or a task's reference."""
        timer = self.timers[key if key == "workflow" else self.newest(key).id]
        self.now_ms = max(self.now_ms, timer.due_ms)
        return self._told(ev.TimerFired(key=timer.key, kind=timer.kind))

    def tells(self, event: ev.Event) -> Applied:
        """Any other event; a refusal is raised."""
        return self._told(event)

    def _told(self, event: ev.Event) -> Applied:
        [outcome] = self.post(event)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    # ------------------------------------------------------------------------------------ what is seen
    @property
    def shown(self) -> list[str]:
        """`ref STATUS` of every task, by seq."""
        return [f"{task.ref} {task.status}" for task in self.listed()]

    @property
    def state(self) -> str:
        return "" if self.header is None else str(self.header.status)

    @property
    def why(self) -> str | None:
        return None if self.header is None else self.header.reason

    @property
    def result(self) -> Any:
        return msgspec.json.decode(self.output)

    def input_of(self, ref: str) -> Any:
        return msgspec.json.decode(self.newest(ref).head.input_data)

    def output_of(self, ref: str) -> Any:
        return msgspec.json.decode(self.newest(ref).output)

    def reason_of(self, ref: str) -> str | None:
        return reason(self.newest(ref))

    def attempts(self, ref: str) -> list[Task]:
        return [task for task in self.listed() if task.ref == ref]


def reason(task: Task) -> str | None:
    """Why a task ended as it did, None when nobody said."""
    said = task.state.reason_for_incompletion
    return None if said is UNSET else said


# ---------------------------------------------------------------------------------------- definitions
def task(ref: str, kind: str = "SIMPLE", **members: Any) -> Definition:
    """Any task; its name is its reference unless given."""
    return {"name": ref, "taskReferenceName": ref, "type": kind, **members}


def fork(ref: str, *branches: list[Definition]) -> Definition:
    return task(ref, "FORK_JOIN", forkTasks=list(branches))


def join(ref: str, *joined: str) -> Definition:
    return task(ref, "JOIN", joinOn=list(joined))


def dynamic(ref: str, **given: Any) -> Definition:
    """A dynamic fork whose input is `given`; `tasks` and `inputs` name the branches and what they get."""
    names = {"dynamicForkTasksParam": "tasks", "dynamicForkTasksInputParamName": "inputs"}
    return task(ref, "FORK_JOIN_DYNAMIC", inputParameters=given, **names)


def loop(ref: str, times: int, *body: Definition, **members: Any) -> Definition:
    """A loop of so many iterations."""
    condition = f"$.{ref}['iteration'] < {times}"
    return task(ref, "DO_WHILE", loopCondition=condition, loopOver=list(body), **members)


def switch(ref: str, on: Any, cases: dict[str, list[Definition]], *default: Definition) -> Definition:
    """A SWITCH on a value or an expression."""
    return task(
        ref,
        "SWITCH",
        evaluatorType="value-param",
        expression="on",
        inputParameters={"on": on},
        decisionCases=cases,
        defaultCase=list(default),
    )


def child(ref: str, **members: Any) -> Definition:
    return task(ref, "SUB_WORKFLOW", subWorkflowParam={"name": "child", "version": 1}, **members)
