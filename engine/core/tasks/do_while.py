"""DO_WHILE: runs its body again while a condition holds.

The loop's progress (iteration, open tasks) lives in the workflow header, so an iteration costs the same
however many went before. The loop's output, which holds the outputs of every iteration, is put together when
it is read: at its end, or for a condition that asks for more than the iteration number.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core.facts import FactsMissingError, LoopTasksFact
from engine.core.mapping import Mapper, Source, new_task, want
from engine.core.records import LoopState, Task, iteration_in
from engine.core.scope import StepScope
from engine.core.statuses import TASK_SUCCESSFUL, TaskStatus
from engine.core.step import Place, Step, Wanted
from engine.core.tasks.switch import script
from engine.core.values import is_true

_NAMES = re.compile(r"\$(?:\.([A-Za-z_][A-Za-z0-9_]*)|\[\s*['\"]([^'\"]+)['\"]\s*\])")
_ITERATION = re.compile(r"^\s*(?:\.iteration\b|\[\s*['\"]iteration['\"]\s*\])")
_WHOLE = re.compile(r"\$(?![.\[]|\{)|\$\[\s*[^'\"\s]")


class DoWhile:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        task = new_task(step, source, task_type="DO_WHILE", status=TaskStatus.IN_PROGRESS)
        step.header.loops[task.ref] = LoopState(task_id=task.id, iteration=0, open=0)
        return [task]

    def run(self, step: Step, task: Task) -> Task | None:
        """Only an empty list ends it at once; the first iteration is asked for by `begin`."""
        items = list_items(step, task)
        if items is not None and not items:
            del step.header.loops[task.ref]
            return step.move(task, TaskStatus.COMPLETED, output=Raw(b'{"iteration":0}'))
        return None


def begin(step: Step, task: Task) -> list[Wanted]:
    """Start the first iteration of a loop just created."""
    return _start_iteration(step, task, 1)


def iteration_done(step: Step, loop_ref: str) -> tuple[Task | None, list[Wanted]]:
    """Every task of the running iteration is final: go round again or end.

    Returns:
        the ended DO_WHILE task, or None with what the next iteration begins with.
    """
    state = step.header.loops[loop_ref]
    task = step.task(state.task_id)
    failed = _failed_in(step, loop_ref, state.iteration)
    if failed is not None:
        return _end(step, task, TaskStatus.FAILED, f"{failed} "), []
    _forget_rounds(step, task, state.iteration)
    items = list_items(step, task)
    condition = step.workflow_task(task).loop_condition or ""
    again = items is None or state.iteration < len(items)
    if again and (items is None or condition.strip()):
        outcome = script(step, "javascript", condition, _bindings(step, task, condition))
        if outcome.error is not None:
            text = f"Unable to evaluate condition {condition}, exception {outcome.error}"
            return _end(step, task, TaskStatus.FAILED_WITH_TERMINAL_ERROR, text), []
        again = is_true(outcome.value)
    if again:
        return None, _start_iteration(step, task, state.iteration + 1)
    return _end(step, task, TaskStatus.COMPLETED, None), []


def _forget_rounds(step: Step, task: Task, iteration: int) -> None:
    """Delete the tasks of the round that `keepLastN` does not keep any more; earlier ones went before it."""
    keep = step.document(task.head.input_data).get("keepLastN")
    if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1 or iteration <= keep:
        return
    suffix = f"{task.links.suffix}__{iteration - keep}"
    tolerated = set(step.header.permissive_failures.values())
    for old in _round_tasks(step, task.links.base_ref, suffix):
        if old.id not in tolerated:
            step.drop(old)


def _round_tasks(step: Step, loop_base: str, suffix: str) -> list[Task]:
    """Every attempt of every task of one round of a loop, those of loops inside it included.

    They are found by name, so that a round costs the same however many tasks the workflow has.
    """
    body = [node for node in step.graph.nodes.values() if node.loop == loop_base]
    newest = step.by_refs([node.ref + suffix for node in body])
    forked = [
        name + suffix
        for task in newest.values()
        if task.head.task_type == "FORK"
        for name in step.document(task.head.input_data).get("forkedTasks") or []
    ]
    newest |= step.by_refs(forked)
    found: list[Task] = []
    for task in newest.values():
        attempt: Task | None = task
        while attempt is not None:
            found.append(attempt)
            before = attempt.head.retried_task_id
            attempt = step.task(before) if isinstance(before, str) else None
        if task.head.task_type == "DO_WHILE":
            for inner in range(1, task.head.iteration + 1):
                found += _round_tasks(step, task.links.base_ref, f"{suffix}__{inner}")
    return found


def list_items(step: Step, task: Task) -> list[Any] | None:
    """What a list loop goes over; None for a counted loop."""
    definition = step.workflow_task(task)
    if definition.items:
        from engine.core.expressions import compile_template

        value = compile_template(definition.items).evaluate(StepScope(step, task.id, step.view.environment))
    elif "_items" in definition.input_parameters:
        value = step.document(task.head.input_data).get("_items")
    else:
        return None
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def loop_output(step: Step, task: Task, iteration: int) -> dict[str, Any]:
    """The whole output: {"iteration": n, "1": {ref: output}, ...}. Raises FactsMissingError."""
    output: dict[str, Any] = {"iteration": iteration}
    for item in _loop_tasks(step, task.ref):
        if item.links.loop == task.ref and item.status in TASK_SUCCESSFUL:
            output.setdefault(str(iteration_in(item.links.suffix)), {})[item.links.base_ref] = item.output
    items = list_items(step, task)
    if items is not None and 0 < iteration <= len(items):
        output |= {"loopIndex": iteration - 1, "loopItem": items[iteration - 1]}
    return output


def _loop_tasks(step: Step, loop_ref: str) -> list[Task]:
    view = step.view
    if not (step.creating or step.remove_all or view.all_known):
        raise FactsMissingError([LoopTasksFact(loop_ref)])
    return [task for task in step.all_tasks() if task.links.loop == loop_ref]


def _start_iteration(step: Step, task: Task, iteration: int) -> list[Wanted]:
    node = step.graph.nodes[task.links.base_ref]
    state = step.header.loops[task.ref]
    step.header.loops[task.ref] = replace(state, iteration=iteration)
    step.touched = True
    items = list_items(step, task)
    if items is not None:
        current = {"iteration": iteration, "loopIndex": iteration - 1, "loopItem": items[iteration - 1]}
        step.put(replace(step.task(task.id), output=Raw(msgspec.json.encode(current))))
    place = Place(loop=task.ref, suffix=f"{task.links.suffix}__{iteration}", iteration=iteration)
    return [want(step, node.body[0], place)]


def _failed_in(step: Step, loop_ref: str, iteration: int) -> str | None:
    for task_id in step.header.permissive_failures.values():
        task = step.task(task_id)
        if (
            task.links.loop == loop_ref
            and iteration_in(task.links.suffix) == iteration
            and task.status not in TASK_SUCCESSFUL
        ):
            reason = task.state.reason_for_incompletion
            return reason if isinstance(reason, str) else "null"
    return None


def _bindings(step: Step, task: Task, condition: str) -> dict[str, Any]:
    """What the condition sees: the loop's input, its output, and the newest output of each task it names."""
    state = step.header.loops[task.ref]
    base = task.links.base_ref
    names: set[str] | None = None if _WHOLE.search(condition) else set()
    iteration_only = names is not None
    for match in _NAMES.finditer(condition):
        name = match.group(1) or match.group(2)
        if names is not None:
            names.add(name)
        if name == base and not _ITERATION.match(condition[match.end() :]):
            iteration_only = False
    bindings: dict[str, Any] = dict(step.document(task.head.input_data))
    bindings[base] = (
        {"iteration": state.iteration} if iteration_only else loop_output(step, task, state.iteration)
    )
    items = list_items(step, task)
    if items is not None and 0 < state.iteration <= len(items):
        bindings |= {"loopIndex": state.iteration - 1, "loopItem": items[state.iteration - 1]}
    for node in step.graph.inside(base):
        if names is None or node.ref in names:
            newest = step.latest(node.ref)
            if newest is not None:
                bindings[node.ref] = newest.output
    return bindings


def _end(step: Step, task: Task, status: TaskStatus, reason: str | None) -> Task:
    iteration = step.header.loops[task.ref].iteration
    output = loop_output(step, task, iteration)
    del step.header.loops[task.ref]
    task = step.put(replace(task, head=replace(task.head, iteration=iteration)), head=True)
    return step.move(task, status, reason=reason, output=Raw(msgspec.json.encode(output)))
