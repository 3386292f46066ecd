"""What makes a definition unacceptable, in the words clients of the wire know, and what is merely doubtful.

All problems are found at once. A problem's path is the given prefix and a bean path, such as
`registerWorkflowDef.arg0.tasks[0].decisionCases[x].<map value>[0].name`.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from engine.core.expressions import SYSTEM_PARAMETERS
from engine.core.jsonpath import PathSyntaxError, compile_path
from engine.core.limits import partition_problems
from engine.core.model import TaskDef, WorkflowDef, WorkflowTask, children, collect_tasks
from engine.core.task_rules import Context, type_problems
from engine.core.values import DEPTH_MAX

PRIORITY_MAX = 99
SCRIPT_LANGUAGES = frozenset({"javascript", "graaljs"})
EVALUATORS = SCRIPT_LANGUAGES | {"value-param"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and the refused value if it is a number or a text."""

    path: str
    message: str
    invalid_value: str | None = None


def validate_workflow_def(
    definition: WorkflowDef,
    *,
    path: str = "",
    js_problem: Callable[[str], str | None] | None = None,
    task_def: Callable[[str], TaskDef | None] | None = None,
    env_names: Collection[str] = (),
    owner_email_mandatory: bool = False,
) -> list[Problem]:
    """List everything for which a workflow definition is refused; the empty list accepts it.

    Args:
        definition: as decoded.
        path: prefix of the problems' paths, such as `registerWorkflowDef.arg0`.
        js_problem: see `Context`; without it scripts are not checked.
        task_def: see `Context`; without it only embedded definitions count.
        env_names: see `Context`.
        owner_email_mandatory: refuse definitions without an owner.
    """
    context = Context(
        js_problem=js_problem or (lambda _source: None),
        task_def=task_def or (lambda _name: None),
        env_names=env_names,
    )
    problems = [*_own_fields(definition, owner_email_mandatory=owner_email_mandatory)]
    problems += _task_list(definition.tasks, "tasks", context)
    too_deep = [*_nesting(definition)]
    problems += [Problem("", message) for message in too_deep]
    problems += [Problem("", message) for message in _repeated_references(definition)]
    problems += [*_refused_evaluators(definition)]
    if not too_deep:
        problems += [Problem("", message) for message in _input_references(definition, context)]
    return prefixed(problems, path)


def validate_task_def(
    definition: TaskDef, *, path: str = "", owner_email_mandatory: bool = False
) -> list[Problem]:
    """List everything for which a task definition is refused; arguments as above."""
    d = definition
    problems = []
    if not d.name:
        problems.append(Problem("name", "TaskDef name cannot be null or empty"))
    if d.retry_count < 0:
        problems.append(Problem("retryCount", "TaskDef retryCount: 0 must be >= 0", str(d.retry_count)))
    if d.response_timeout_seconds < 1:
        text = f"TaskDef responseTimeoutSeconds: {d.response_timeout_seconds} should be minimum 1 second"
        problems.append(Problem("responseTimeoutSeconds", text, str(d.response_timeout_seconds)))
    if d.poll_timeout_seconds is not None and d.poll_timeout_seconds < 0:
        text = "TaskDef pollTimeoutSeconds: 0 must be >= 0"
        problems.append(Problem("pollTimeoutSeconds", text, str(d.poll_timeout_seconds)))
    if d.backoff_scale_factor < 1:
        text = "Backoff scale factor. Applicable for LINEAR_BACKOFF"
        problems.append(Problem("backoffScaleFactor", text, str(d.backoff_scale_factor)))
    problems += [Problem(member, text) for member, text in partition_problems(d)]
    if owner_email_mandatory and not d.owner_email:
        problems.append(Problem("ownerEmail", "ownerEmail cannot be empty"))
    if d.timeout_seconds > 0 and d.response_timeout_seconds > d.timeout_seconds:
        text = (
            f"TaskDef: {d.name} responseTimeoutSeconds: {d.response_timeout_seconds}"
            f" must be less than timeoutSeconds: {d.timeout_seconds}"
        )
        problems.append(Problem("", text))
    if d.timeout_seconds > d.total_timeout_seconds > 0:
        text = (
            f"TaskDef: {d.name} timeoutSeconds: {d.timeout_seconds}"
            f" must be less than or equal to totalTimeoutSeconds: {d.total_timeout_seconds}"
        )
        problems.append(Problem("", text))
    return prefixed(problems, path)


def validate_start(name: str | None, priority: int | None, *, path: str = "") -> list[Problem]:
    """List everything for which a start request is refused, apart from its inline definition."""
    problems = []
    if not name:
        problems.append(Problem("name", "Workflow name cannot be null or empty"))
    if priority is not None and priority < 0:
        problems.append(Problem("priority", f"priority: {priority} should be minimum 0", str(priority)))
    if priority is not None and priority > PRIORITY_MAX:
        text = f"priority: {priority} should be maximum {PRIORITY_MAX}"
        problems.append(Problem("priority", text, str(priority)))
    return prefixed(problems, path)


def _refused_evaluators(definition: WorkflowDef) -> Iterator[Problem]:
    """Upstream needs an extra module for Python; nobody serves it here, so nothing with it could run."""
    for list_path, tasks in task_lists(definition.tasks, "tasks"):
        for at, task in enumerate(tasks):
            inline = task.input_parameters.get("evaluatorType") if task.type == "INLINE" else None
            if "python" in (inline, task.evaluator_type if task.type == "SWITCH" else None):
                text = (
                    f"evaluatorType python of task {task.task_reference_name} is not served;"
                    " use javascript, or a worker's task for Python"
                )
                yield Problem(f"{list_path}[{at}]", text, "python")


def prefixed(problems: list[Problem], path: str) -> list[Problem]:
    unique = dict.fromkeys(problems)
    return [Problem(".".join(filter(None, (path, p.path))), p.message, p.invalid_value) for p in unique]


def _own_fields(definition: WorkflowDef, *, owner_email_mandatory: bool) -> Iterator[Problem]:
    if not definition.name:
        yield Problem("name", "WorkflowDef name cannot be null or empty")
    if not definition.tasks:
        yield Problem("tasks", "WorkflowTask list cannot be empty")
    if definition.schema_version != 2:  # the only one that is left
        text = "workflowDef schemaVersion: 2 is only supported"
        yield Problem("schemaVersion", text, str(definition.schema_version))
    if owner_email_mandatory and not definition.owner_email:
        yield Problem("ownerEmail", "ownerEmail cannot be empty")


def _task_list(tasks: list[WorkflowTask], path: str, context: Context) -> Iterator[Problem]:
    """Check tasks and those in their branches; those in loops are only doubted, as upstream skips them."""
    for at, task in enumerate(tasks):
        here = f"{path}[{at}]"
        if not task.name:
            yield Problem(f"{here}.name", "WorkflowTask name cannot be empty or null")
        if not task.task_reference_name:
            text = "WorkflowTask taskReferenceName name cannot be empty or null"
            yield Problem(f"{here}.taskReferenceName", text)
        yield from (Problem(here, text) for text in type_problems(task, context))
        for key, inner in task.decision_cases.items():
            yield from _task_list(inner, f"{here}.decisionCases[{key}].<map value>", context)
        yield from _task_list(task.default_case, f"{here}.defaultCase", context)
        for branch, inner in enumerate(task.fork_tasks):
            yield from _task_list(inner, f"{here}.forkTasks[{branch}].<list element>", context)


def _nesting(definition: WorkflowDef) -> Iterator[str]:
    for task in collect_tasks(definition):
        if deeper_than_allowed(task.input_parameters):
            yield (
                f"inputParameters of task {task.task_reference_name} may be nested {DEPTH_MAX} levels deep;"
                " flatten them"
            )
    if deeper_than_allowed(definition.output_parameters):
        yield f"outputParameters may be nested {DEPTH_MAX} levels deep; flatten them"


def deeper_than_allowed(value: Any, levels_max: int = DEPTH_MAX) -> bool:
    level = [value]
    for _ in range(levels_max + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def _repeated_references(definition: WorkflowDef) -> Iterator[str]:
    seen: set[str] = set()
    for ref in (task.task_reference_name for task in collect_tasks(definition)):
        if ref and ref in seen:
            yield (
                f"taskReferenceName: {ref} should be unique across tasks for a given workflowDefinition:"
                f" {definition.name}"
            )
        seen.add(ref)


def reference_names(definition: WorkflowDef) -> frozenset[str]:
    return frozenset(task.task_reference_name for task in collect_tasks(definition))


# Where a text is cut to find its expressions; of nested ones only the innermost comes out whole.
_PIECES = re.compile(r"(?=(?<!\$)\$\{)|(?<=\})")


def _input_references(definition: WorkflowDef, context: Context) -> Iterator[str]:
    """Check what top-level tasks read; deeper ones are only doubted, as upstream skips them."""
    known = reference_names(definition)
    for task in definition.tasks:
        for key, text in _strings("", task.input_parameters):
            for piece in _PIECES.split(text):
                if piece.startswith("${") and piece.endswith("}"):
                    yield from _reference_problem(piece[2:-1], (task.name, key, text), known, context)


def _strings(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """List the strings of a value, each with the nearest key above it."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(key, item)


def _reference_problem(
    path: str, place: tuple[str, str, str], known: Collection[str], context: Context
) -> Iterator[str]:
    task_name, key, text = place
    try:
        compile_path(path)
    except PathSyntaxError:
        yield f"key: {key} input parameter value: {path} is not valid"
        return
    if path in context.env_names or path in SYSTEM_PARAMETERS:
        return
    ref = path.split(".", 1)[0]
    if ref != "workflow" and ref not in known:
        yield (
            f"taskReferenceName: {ref} for given task: {task_name} input value: {key}"
            f" of input parameter: {text} is not defined in workflow definition."
        )


def task_lists(tasks: list[WorkflowTask], path: str) -> Iterator[tuple[str, list[WorkflowTask]]]:
    """List every list of tasks in a definition, with its path."""
    yield path, tasks
    for at, task in enumerate(tasks):
        here = f"{path}[{at}]"
        names = {
            "SWITCH": [*(f"decisionCases[{key}].<map value>" for key in task.decision_cases), "defaultCase"],
            "FORK_JOIN": [f"forkTasks[{branch}].<list element>" for branch in range(len(task.fork_tasks))],
            "DO_WHILE": ["loopOver"],
        }
        named = names.get("SWITCH" if task.type == "DECISION" else task.type, [])
        for name, inner in zip(named, children(task), strict=True):
            yield from task_lists(inner, f"{here}.{name}")
