"""What an acceptable definition says that can never run, or is probably not what its author meant.

Such definitions are accepted, because upstream accepts them and people's definitions must keep working; a
warning has the path of the place, what is wrong there, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from msgspec import Struct

from engine.core.expressions import SYSTEM_PARAMETERS, compile_template
from engine.core.graph import SYSTEM_TYPES
from engine.core.loop_warnings import loop_doubts
from engine.core.model import WorkflowDef, WorkflowTask, WorkflowTimeoutPolicy, collect_tasks
from engine.core.scope import WORKFLOW_KEYS
from engine.core.task_rules import Context, type_problems
from engine.core.validation import (
    EVALUATORS,
    SCRIPT_LANGUAGES,
    Problem,
    deeper_than_allowed,
    prefixed,
    reference_names,
    task_lists,
    validate_task_def,
)

FORKS = frozenset({"FORK_JOIN", "FORK_JOIN_DYNAMIC"})
_KNOWN_MEMBERS = frozenset({*WORKFLOW_KEYS, "secrets", "env"})


class Known(Struct, kw_only=True, frozen=True):
    """What is registered, as far as it was looked up; see `names_in` for what to look up.

    Attributes:
        tasks: names of task definitions. workflows: (name, version), the version None for "any".
    """

    tasks: Collection[str]
    workflows: Collection[tuple[str, int | None]]


def definition_warnings(
    definition: WorkflowDef,
    *,
    path: str = "",
    js_problem: Callable[[str], str | None] | None = None,
    known: Known | None = None,
) -> list[Problem]:
    """List the warnings of a definition that validation accepts.

    Args:
        definition: as decoded.
        path: prefix of the warnings' paths.
        js_problem: says why a text is no JavaScript; without it scripts are not read.
        known: what is registered; without it names of tasks and workflows are not doubted.
    """
    context = Context(js_problem=js_problem or (lambda _source: None))
    refs = reference_names(definition)
    # A dynamic fork makes reference names at run time, so that none can be called unknown.
    dynamic = any(task.type == "FORK_JOIN_DYNAMIC" for task in collect_tasks(definition))
    readable = None if dynamic else refs
    problems = [*_own_doubts(definition, readable, known)]
    for list_path, tasks in task_lists(definition.tasks, "tasks"):
        problems += _order_doubts(tasks, list_path, refs)
        for at, task in enumerate(tasks):
            found = [*_task_doubts(task, context), *_missing_inputs(task), *loop_doubts(task)]
            if ".loopOver" in list_path:
                found += type_problems(task, context)
            found += _reading_doubts(task, readable, nested="." in list_path)
            if known is not None:
                found += _unregistered(task, known)
            problems += [Problem(f"{list_path}[{at}]", text) for text in found]
    return prefixed(problems, path)


def names_in(definition: WorkflowDef) -> Known:
    """The names that `Known` should answer for: workers' tasks, and workflows to start."""
    tasks: set[str] = set()
    workflows: set[tuple[str, int | None]] = set()
    for task in collect_tasks(definition):
        if task.type == "SIMPLE" and task.task_definition is None:
            tasks.add(task.name)
        params = task.sub_workflow_param
        if params is not None and params.workflow_definition is None and _literal(params.name):
            workflows.add((params.name, params.version or None))
    failure = definition.failure_workflow
    if failure and not failure.startswith("$"):
        workflows.add((failure, definition.failure_workflow_version))
    return Known(tasks=tasks, workflows=workflows)


# ------------------------------------------------------------------------------------------- the whole
def _own_doubts(
    definition: WorkflowDef, refs: Collection[str] | None, known: Known | None
) -> Iterator[Problem]:
    for key, value in definition.output_parameters.items():
        for text in _unknown(key, value, refs):
            yield Problem(f"outputParameters.{key}", text)
    if (
        definition.timeout_seconds > 0
        and definition.timeout_policy is WorkflowTimeoutPolicy.ALERT_ONLY
        and definition.timeout_seconds < FOR_EVER_S
    ):
        text = "timeoutSeconds ends nothing under the policy ALERT_ONLY; set timeoutPolicy to TIME_OUT_WF"
        yield Problem("timeoutSeconds", text)
    for task in definition.tasks:
        params = task.sub_workflow_param
        if task.type == "SUB_WORKFLOW" and params is not None and params.name == definition.name:
            text = (
                f"sub-workflow {task.task_reference_name} always starts this workflow again, without end; "
                "put it behind a SWITCH"
            )
            yield Problem("tasks", text)
    failure = definition.failure_workflow
    if known is not None and failure and not failure.startswith("$"):
        asked = (failure, definition.failure_workflow_version)
        text = f"the failureWorkflow {failure} is not registered; register it before a run fails"
        yield from [] if asked in known.workflows else [Problem("failureWorkflow", text)]


FOR_EVER_S = 10 * 365 * 24 * 3600
"""A workflow timeout from here on is no timeout that somebody waits for."""


# ---------------------------------------------------------------------------------- the order of tasks
def _order_doubts(tasks: list[WorkflowTask], path: str, refs: Collection[str]) -> Iterator[Problem]:
    for at, task in enumerate(tasks):
        ref = task.task_reference_name
        before = tasks[at - 1] if at else None
        after = tasks[at + 1].type if at + 1 < len(tasks) else None
        if task.type in FORKS and after != "JOIN":
            text = f"fork {ref} is not followed by a JOIN; put one right behind it"
            yield Problem(f"{path}[{at}]", text)
        if task.type == "JOIN" and (before is None or before.type not in FORKS):
            text = f"join {ref} follows no fork; put it right behind one"
            yield Problem(f"{path}[{at}]", text)
        if task.type in ("JOIN", "EXCLUSIVE_JOIN"):
            yield from (Problem(f"{path}[{at}]", text) for text in _join_doubts(task, before, refs))
        if before is not None and any(_always_ends(earlier) for earlier in tasks[:at]):
            text = f"task {ref} is never reached: what stands before it always ends the workflow; remove it"
            yield Problem(f"{path}[{at}]", text)


def _join_doubts(task: WorkflowTask, fork: WorkflowTask | None, refs: Collection[str]) -> Iterator[str]:
    ref = task.task_reference_name
    dynamic = fork is not None and fork.type == "FORK_JOIN_DYNAMIC"
    for named in (*task.join_on, *task.default_exclusive_join_task):
        if named not in refs and "${" not in named and not dynamic:
            yield f"join {ref} waits for {named}, but no task has this reference name"
    if task.type == "JOIN" and fork is not None and fork.type == "FORK_JOIN":
        for branch in fork.fork_tasks:
            sure = {one.task_reference_name for one in branch}
            inside = {one.task_reference_name for one in collect_tasks(WorkflowDef(tasks=branch))}
            for named in task.join_on:
                if named in inside - sure:
                    yield (
                        f"join {ref} waits for {named}, which runs only if a SWITCH, fork or loop of its "
                        "branch comes to it; join the last task of the branch instead"
                    )


def _always_ends(task: WorkflowTask) -> bool:
    """Whether nothing behind the task can run."""
    if task.type == "TERMINATE":
        return True
    if task.type in ("SWITCH", "DECISION"):
        lists = [*task.decision_cases.values(), task.default_case]
        return all(any(_always_ends(inner) for inner in branch) for branch in lists)
    return False


# ---------------------------------------------------------------------------------------- single tasks
def _task_doubts(task: WorkflowTask, context: Context) -> Iterator[str]:
    ref = task.task_reference_name
    params = task.sub_workflow_param
    if params is not None and not params.name and params.workflow_definition is None:
        yield f"sub-workflow {ref} names no workflow; give subWorkflowParam a name or a workflowDefinition"
    if task.type == "SWITCH" and task.evaluator_type not in {*EVALUATORS, "python", None}:
        yield f"switch {ref} has the evaluatorType {task.evaluator_type}, which nothing evaluates"
    language, source = _script(task)
    if source and "${" not in source and language in SCRIPT_LANGUAGES:
        problem = context.js_problem(source)
        if problem is not None:
            yield f"the script of {ref} cannot be read: {problem}"
    meant = re.sub(r"[^A-Z]+", "_", task.type.upper()).strip("_")
    if task.type not in SYSTEM_TYPES and (meant in SYSTEM_TYPES or task.type == "FORK"):
        name = "FORK_JOIN" if meant == "FORK" else meant
        yield f"type {task.type} of {ref} is a worker's task; write {name} for the server's type"
    if task.type == "FORK_JOIN" and any(not branch for branch in task.fork_tasks):
        yield f"fork {ref} has an empty branch; remove it, it does nothing"
    if task.retry_count is not None and task.retry_count < 0:
        yield f"retryCount of {ref} is {task.retry_count}; 0 means none"
    if task.task_definition is not None:
        for problem_of_def in validate_task_def(task.task_definition):
            yield f"taskDefinition of {ref}: {problem_of_def.message}"


def _script(task: WorkflowTask) -> tuple[str, str]:
    match task.type:
        case "DO_WHILE":
            return "javascript", task.loop_condition or ""
        case "SWITCH" if task.evaluator_type == "graaljs":
            return "graaljs", task.expression or ""
        case "LAMBDA":
            script = task.input_parameters.get("scriptExpression")
            return "javascript", f"(function(){{{script}\n}})()" if isinstance(script, str) else ""
        case "INLINE":
            given = task.input_parameters
            return str(given.get("evaluatorType") or "javascript"), str(given.get("expression") or "")
        case _:
            return "", ""


def _missing_inputs(task: WorkflowTask) -> Iterator[str]:
    """Fields that name a member of the task's own input, which does not have it."""
    names: dict[str, str | None] = {}
    match task.type:
        case "DYNAMIC":
            names["dynamicTaskNameParam"] = task.dynamic_task_name_param
        case "FORK_JOIN_DYNAMIC" if "forkTaskInputs" not in task.input_parameters:
            names["dynamicForkTasksParam"] = task.dynamic_fork_tasks_param
            names["dynamicForkTasksInputParamName"] = task.dynamic_fork_tasks_input_param_name
            names["dynamicForkJoinTasksParam"] = task.dynamic_fork_join_tasks_param
        case "SWITCH" if task.evaluator_type == "value-param":
            names["expression"] = task.expression
        case "DECISION" if task.case_expression is None:
            names["caseValueParam"] = task.case_value_param
        case _:
            return
    template = task.task_definition.input_template if task.task_definition is not None else {}
    for member, name in names.items():
        if name and name not in task.input_parameters and name not in template:
            yield (
                f"{member} of {task.task_reference_name} names the input {name}, which its inputParameters "
                "do not have; add it"
            )


def _unregistered(task: WorkflowTask, known: Known) -> Iterator[str]:
    if task.type == "SIMPLE" and task.task_definition is None and task.name not in known.tasks:
        yield (
            f"task {task.name} is not registered: its attempts follow the defaults (3 retries after 60 s, "
            "a response within an hour); register a task definition"
        )
    params = task.sub_workflow_param
    if params is None or params.workflow_definition is not None or not _literal(params.name):
        return
    if (params.name, params.version or None) not in known.workflows:
        version = f" version {params.version}" if params.version else ""
        yield f"workflow {params.name}{version} is not registered; register it before this one runs"


def _literal(name: str) -> bool:
    return bool(name) and "${" not in name


# ---------------------------------------------------------------------------------------- what is read
def _reading_doubts(task: WorkflowTask, refs: Collection[str] | None, *, nested: bool) -> Iterator[str]:
    """Unknown names in expressions; those of a top-level task's inputs are refused, not doubted."""
    for key, value in task.input_parameters.items():
        yield from _unknown(key, value, refs if nested else None)
    params = task.sub_workflow_param
    if params is not None:
        given = {"name": params.name, "taskToDomain": params.task_to_domain, "priority": params.priority}
        for key, value in given.items():
            yield from _unknown(f"subWorkflowParam.{key}", value, refs)
    if task.sink is not None:
        yield from _unknown("sink", task.sink, refs)
    if task.items is not None:
        yield from _unknown("items", task.items, refs)


def _unknown(key: str, value: Any, refs: Collection[str] | None) -> Iterator[str]:
    """`refs` None: task references cannot be told, members of the workflow can."""
    if deeper_than_allowed(value):
        return
    template = compile_template(value)
    if refs is not None:
        for ref in sorted(template.refs - set(refs) - SYSTEM_PARAMETERS):
            yield f"{key} reads {ref}, but no task has this reference name"
    for member in sorted(template.reads_workflow - _KNOWN_MEMBERS):
        if re.fullmatch(r"[A-Za-z]\w*", member):
            yield (
                f"{key} reads workflow.{member}, which a workflow does not have; "
                f"it has {', '.join(WORKFLOW_KEYS)}"
            )
