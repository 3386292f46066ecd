"""What a task must say for its type, in the words clients of the wire know."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC

from engine.core.durations import parse_duration_seconds, parse_until_ms
from engine.core.model import TaskDef, WorkflowTask
from engine.core.values import to_text


@dataclass(frozen=True, slots=True)
class Context:
    """What the rules look up outside a definition.

    Attributes:
        js_problem: says why a text is no JavaScript, None when it is.
        task_def: finds a registered task definition by name.
        env_names: environment variables, which expressions may name instead of tasks.
    """

    js_problem: Callable[[str], str | None] = lambda _source: None
    task_def: Callable[[str], TaskDef | None] = lambda _name: None
    env_names: Collection[str] = ()


def type_problems(task: WorkflowTask, context: Context) -> list[str]:
    """List what a task lacks for its type; types without rules, unknown ones too, lack nothing."""
    rule = _TYPE_RULES.get(task.type)
    return [] if rule is None else list(rule(task, context))


def _required(field: str, task: WorkflowTask) -> str:
    return f"{field} field is required for taskType: {task.type} taskName: {task.name}"


def _event(task: WorkflowTask, _context: Context) -> Iterator[str]:
    if task.sink is None:
        yield _required("sink", task)


def _no_cases(task: WorkflowTask) -> Iterator[str]:
    if not task.decision_cases:
        yield f"decisionCases should have atleast one task for taskType: {task.type} taskName: {task.name}"


def _no_script(source: str, task: WorkflowTask, context: Context) -> Iterator[str]:
    problem = context.js_problem(source)
    if problem is not None:
        yield f"Expression is not well formatted: {problem}, taskType: {task.type} taskName {task.name}"


def _decision(task: WorkflowTask, context: Context) -> Iterator[str]:
    if task.case_value_param is None and task.case_expression is None:
        yield _required("caseValueParam or caseExpression", task)
    yield from _no_cases(task)
    if task.case_expression is not None:
        yield from _no_script(task.case_expression, task, context)


def _switch(task: WorkflowTask, context: Context) -> Iterator[str]:
    if task.evaluator_type is None:
        yield _required("evaluatorType", task)
    elif task.expression is None:
        yield _required("expression", task)
    yield from _no_cases(task)
    if task.evaluator_type == "javascript" and task.expression is not None:
        yield from _no_script(task.expression, task, context)


def _dynamic(task: WorkflowTask, _context: Context) -> Iterator[str]:
    if task.dynamic_task_name_param is None:
        yield _required("dynamicTaskNameParam", task)


def _dynamic_fork(task: WorkflowTask, _context: Context) -> Iterator[str]:
    tasks, inputs = task.dynamic_fork_tasks_param, task.dynamic_fork_tasks_input_param_name
    if "forkTaskInputs" in task.input_parameters:
        return
    if task.dynamic_fork_join_tasks_param is not None:
        if tasks is not None or inputs is not None:
            yield (
                "dynamicForkJoinTasksParam or combination of dynamicForkTasksInputParamName and"
                " dynamicForkTasksParam cam be used for"
                f" taskType: {task.type} taskName: {task.name}"
            )
        return
    if tasks is None:
        yield _required("dynamicForkTasksParam", task)
    if inputs is None:
        yield _required("dynamicForkTasksInputParamName", task)


def _fork(task: WorkflowTask, _context: Context) -> Iterator[str]:
    if not task.fork_tasks:
        yield f"forkTasks should have atleast one task for taskType: {task.type} taskName: {task.name}"


def _parameter(
    *accepted: str, named: str, in_template: str
) -> Callable[[WorkflowTask, Context], Iterator[str]]:
    def rule(task: WorkflowTask, context: Context) -> Iterator[str]:
        definition = task.task_definition or context.task_def(task.name)
        given = any(key in task.input_parameters for key in accepted)
        if not given and (definition is None or in_template not in definition.input_template):
            yield _required(named, task)

    return rule


def _terminate(task: WorkflowTask, _context: Context) -> Iterator[str]:
    if task.optional:
        yield f"terminate task cannot be optional, taskName: {task.name}"
    if task.input_parameters.get("terminationStatus") not in {"COMPLETED", "FAILED", "TERMINATED"}:
        yield (
            "terminate task must have an terminationStatus parameter and must be set to COMPLETED or FAILED,"
            f" taskName: {task.name}"
        )


def _loop(task: WorkflowTask, _context: Context) -> Iterator[str]:
    if task.loop_condition is None:
        yield _required("loopCondition", task)
    if not task.loop_over:
        yield _required("loopOver", task)


def _sub_workflow(task: WorkflowTask, _context: Context) -> Iterator[str]:
    if task.sub_workflow_param is None:
        yield _required("subWorkflowParam", task)


def _wait(task: WorkflowTask, _context: Context) -> Iterator[str]:
    duration, until = (
        to_text("" if task.input_parameters.get(key) is None else task.input_parameters[key])
        for key in ("duration", "until")
    )
    if duration.strip() and until.strip():
        yield "Both 'duration' and 'until' specified. Please provide only one input"
    try:
        if duration.strip() and not duration.startswith("${"):
            parse_duration_seconds(duration)
    except ValueError:
        yield "Either date or duration is passed as null "
    try:
        if until.strip() and not duration.strip() and not until.startswith("${"):
            # Any zone name passes here; the time zone database is asked when the task runs.
            parse_until_ms(until, zone=UTC, find_zone=lambda _name: UTC)
    except ValueError:
        yield "Unable to parse date "


_TYPE_RULES: dict[str, Callable[[WorkflowTask, Context], Iterator[str]]] = {
    "EVENT": _event,
    "DECISION": _decision,
    "SWITCH": _switch,
    "DYNAMIC": _dynamic,
    "FORK_JOIN_DYNAMIC": _dynamic_fork,
    "FORK_JOIN": _fork,
    "HTTP": _parameter(
        "http_request",
        "uri",
        "method",
        named="inputParameters.http_request or inputParameters.uri",
        in_template="http_request",
    ),
    "KAFKA_PUBLISH": _parameter(
        "kafka_request", named="inputParameters.kafka_request", in_template="kafka_request"
    ),
    "JSON_JQ_TRANSFORM": _parameter(
        "queryExpression", named="inputParameters.queryExpression", in_template="queryExpression"
    ),
    "TERMINATE": _terminate,
    "DO_WHILE": _loop,
    "SUB_WORKFLOW": _sub_workflow,
    "WAIT": _wait,
}
