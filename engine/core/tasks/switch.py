"""SWITCH and the legacy DECISION: choose a list of tasks by a value or a script."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from engine.core.facts import FactsMissingError, ScriptFact, ScriptOutcome
from engine.core.mapping import Mapper, Source, new_task
from engine.core.records import Task
from engine.core.statuses import TaskStatus, WorkflowStatus
from engine.core.step import EndWorkflow, Step
from engine.core.values import switch_text

SCRIPT_LANGUAGES = frozenset({"javascript", "graaljs"})


def script(step: Step, language: str, source: str, bindings: dict[str, Any]) -> ScriptOutcome:
    """The outcome of a script. Raises FactsMissingError until somebody has run it."""
    fact = ScriptFact(language, source, msgspec.json.encode(bindings))
    outcome = step.view.scripts.get(fact)
    if outcome is None:
        raise FactsMissingError([fact])
    return outcome


class Switch:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        evaluator = source.workflow_task.evaluator_type or ""
        if evaluator != "value-param" and evaluator not in SCRIPT_LANGUAGES:
            raise EndWorkflow(WorkflowStatus.FAILED, f"No evaluator registered for type: {evaluator}")
        return [
            new_task(step, source, task_type="SWITCH", task_def_name="SWITCH", status=TaskStatus.IN_PROGRESS)
        ]

    def run(self, step: Step, task: Task) -> Task | None:
        definition = step.workflow_task(task)
        evaluator, expression = definition.evaluator_type or "", definition.expression or ""
        given = step.document(task.head.input_data)
        if evaluator == "value-param":
            return _chosen(step, task, given, given.get(expression))
        outcome = script(step, evaluator, expression, given)
        if outcome.error is not None:
            return step.move(task, TaskStatus.FAILED, reason=outcome.error)
        return _chosen(step, task, given, outcome.value)


class Decision:
    def create(self, step: Step, source: Source, mapper: Mapper) -> list[Task]:
        return [
            new_task(
                step, source, task_type="DECISION", task_def_name="DECISION", status=TaskStatus.IN_PROGRESS
            )
        ]

    def run(self, step: Step, task: Task) -> Task | None:
        definition = step.workflow_task(task)
        given = step.document(task.head.input_data)
        if not definition.case_expression:
            return _chosen(step, task, given, given.get(definition.case_value_param or ""))
        outcome = script(step, "javascript", definition.case_expression, given)
        if outcome.error is not None:
            raise EndWorkflow(
                WorkflowStatus.FAILED, f"Error while evaluating script: {definition.case_expression}"
            )
        return _chosen(step, task, given, outcome.value)


def _chosen(step: Step, task: Task, given: dict[str, Any], value: object) -> Task:
    """Note the case in the task's input, as clients expect to find it there, and end the task."""
    case = switch_text(value)
    noted = {"case": case} if task.head.task_type == "DECISION" else {**given, "case": case}
    if branch_of(step, task.links.base_ref, case):
        noted["hasChildren"] = "true"
    output: dict[str, Any] = {"caseOutput": [case]}
    if task.head.task_type == "SWITCH":
        output = {"evaluationResult": [case], "selectedCase": case}
    head = replace(task.head, input_data=Raw(msgspec.json.encode(noted)))
    task = step.put(replace(task, head=head), head=True)
    return step.move(task, TaskStatus.COMPLETED, output=Raw(msgspec.json.encode(output)))


def branch_of(step: Step, ref: str, case: str) -> tuple[str, ...]:
    """References of the chosen list. An empty case of a SWITCH runs nothing, of a DECISION the default."""
    node = step.graph.nodes[ref]
    if case in node.cases and (node.cases[case] or node.type == "SWITCH"):
        return node.cases[case]
    return node.default


def chosen_case(step: Step, task: Task) -> str:
    """The case a finished SWITCH or DECISION took."""
    value = step.document(task.head.input_data).get("case")
    return value if isinstance(value, str) else switch_text(value)
