"""Event handlers: what one is, which payload it looks at, and the words of its actions filled in. Pure.

Source: upstream's EventHandler, DefaultEventProcessor and SimpleActionProcessor. There terminate_workflow and
update_workflow_variables are accepted and fail; here they work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from engine.core.errors import InvalidRequestError
from engine.core.expressions import Template, compile_template
from engine.core.facts import name_uuid
from engine.core.model import MalformedBodyError
from engine.core.values import DEPTH_MAX

INVALID = "Validation failed, check below errors for detail."
ACTIONS_MAX = 100
NAME_CHARS_MAX = 255
BODY_BYTES_MAX = 1024 * 1024
"""A handler as JSON; all of them are kept in memory."""
MEMBERS_DEPTH = 4
"""A handler, its actions, one of them, what it says: below stands what the author wrote."""

ActionKind = Literal[
    "start_workflow",
    "complete_task",
    "fail_task",
    "terminate_workflow",
    "update_workflow_variables",
    "start_agent",
]


class StartWorkflowAction(Struct, kw_only=True, rename="camel"):
    """Starts a workflow; input, correlation id and domains may hold expressions over the payload."""

    name: str | UnsetType = UNSET
    version: int | UnsetType = UNSET
    correlation_id: str | UnsetType = UNSET
    input: dict[str, Any] | UnsetType = UNSET
    task_to_domain: dict[str, str] | UnsetType = UNSET


class TaskAction(Struct, kw_only=True, rename="camel"):
    """Ends a task, named by its id or by workflow and reference."""

    workflow_id: str | UnsetType = UNSET
    task_ref_name: str | UnsetType = UNSET
    task_id: str | UnsetType = UNSET
    output: dict[str, Any] | UnsetType = UNSET
    reason_for_incompletion: str | UnsetType = UNSET


class TerminateWorkflowAction(Struct, kw_only=True, rename="camel"):
    workflow_id: str | UnsetType = UNSET
    termination_reason: str | UnsetType = UNSET


class UpdateVariablesAction(Struct, kw_only=True, rename="camel"):
    """Sets variables of a workflow; with `append_array` a list is appended to the list that is there."""

    workflow_id: str | UnsetType = UNSET
    variables: dict[str, Any] | UnsetType = UNSET
    append_array: bool | UnsetType = UNSET


class EventAction(Struct, kw_only=True):
    """One thing to do; the member named like the action says how."""

    action: ActionKind
    start_workflow: StartWorkflowAction | UnsetType = UNSET
    complete_task: TaskAction | UnsetType = UNSET
    fail_task: TaskAction | UnsetType = UNSET
    terminate_workflow: TerminateWorkflowAction | UnsetType = UNSET
    update_workflow_variables: UpdateVariablesAction | UnsetType = UNSET
    start_agent: dict[str, Any] | UnsetType = UNSET
    expandInlineJSON: bool = False  # noqa: N815 - the wire's spelling, which no rule of renaming gives


class EventHandler(Struct, kw_only=True, rename="camel"):
    """The wire's EventHandler: what to do when an event's payload meets a condition."""

    name: str | UnsetType = UNSET
    event: str | UnsetType = UNSET
    condition: str | UnsetType = UNSET
    evaluator_type: str | UnsetType = UNSET
    active: bool = False
    actions: list[EventAction] = []


class EventExecution(Struct, kw_only=True, rename="camel"):
    """The wire's EventExecution: what became of one action of one handler for one message.

    Its id is `MESSAGE_N` with the action's position; a payload that the condition passed over ends in `_0`.
    """

    id: str
    message_id: str
    name: str
    event: str
    created: int
    status: Literal["IN_PROGRESS", "COMPLETED", "FAILED", "SKIPPED"]
    action: ActionKind | UnsetType = UNSET
    output: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(EventHandler)


def decode_handler(body: bytes) -> EventHandler:
    """Read a handler; explicit nulls mean nothing was said.

    Raises:
        MalformedBodyError: no JSON, an unknown action, or a member of the wrong type.
        InvalidRequestError: larger than BODY_BYTES_MAX.
    """
    if len(body) > BODY_BYTES_MAX:
        raise InvalidRequestError(
            f"an event handler has at most {BODY_BYTES_MAX} bytes; this one has {len(body)}"
        )
    try:
        return msgspec.convert(_without_nulls(msgspec.json.decode(body), 0), EventHandler)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise MalformedBodyError(f"The event handler does not fit: {error}") from error


def stored_handler(body: bytes) -> EventHandler:
    """Read back what was stored."""
    return _decoder.decode(body)


def check_handler(handler: EventHandler, operation: str) -> None:
    """Refuse a handler that upstream refuses; `operation` is its method's name, which the paths begin with.

    Raises:
        InvalidRequestError: all problems at once; or parameters are nested too deep.
    """
    problems = []
    if not handler.name:
        problems.append((f"{operation}.arg0.name", "Missing event handler name", None))
    elif len(handler.name) > NAME_CHARS_MAX or not handler.name.isprintable():
        text = f"An event handler's name has at most {NAME_CHARS_MAX} printable characters"
        problems.append((f"{operation}.arg0.name", text, None))
    if not handler.event:
        problems.append((f"{operation}.arg0.event", "Missing event location", None))
    elif not handler.event.isprintable():
        problems.append((f"{operation}.arg0.event", "An event's name has printable characters only", None))
    if not handler.actions:
        text = "No actions specified. Please specify at-least one action"
        problems.append((f"{operation}.arg0.actions", text, None))
    elif len(handler.actions) > ACTIONS_MAX:
        text = f"An event handler has at most {ACTIONS_MAX} actions"
        problems.append((f"{operation}.arg0.actions", text, None))
    if problems:
        raise InvalidRequestError(INVALID, tuple(problems))
    compile_handler(handler)


# ------------------------------------------------------------------------------------ payloads
def read_payload(payload: bytes) -> Any:
    """The payload's value; one that is not JSON is a text."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return payload.decode(errors="replace")


def expand(value: Any, depth: int = 0) -> Any:
    """The same value with every text that is a JSON object or list replaced by what it says."""
    if depth >= DEPTH_MAX:
        return value
    if isinstance(value, dict):
        return {key: expand(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, depth + 1) for item in value]
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return expand(msgspec.json.decode(value), depth + 1)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


# ------------------------------------------------------------------------------------ actions
class CompiledAction(Struct, kw_only=True, frozen=True):
    """An action with its expressions parsed.

    Attributes:
        template: over the members that may hold expressions.
        reads_environment: some of them name `workflow.env.X`.
    """

    kind: ActionKind
    expand: bool
    template: Template
    reads_environment: bool
    workflow_name: str = ""
    workflow_version: int | None = None
    append_array: bool = False


class CompiledHandler(Struct, kw_only=True, frozen=True):
    """A handler ready to meet events."""

    name: str
    event: str
    active: bool
    condition: str
    evaluator: str
    actions: tuple[CompiledAction, ...]


def compile_handler(handler: EventHandler) -> CompiledHandler:
    return CompiledHandler(
        name=handler.name or "",
        event=handler.event or "",
        active=handler.active,
        condition=handler.condition or "",
        evaluator=handler.evaluator_type or "",
        actions=tuple(_compile(action) for action in handler.actions),
    )


def _compile(action: EventAction) -> CompiledAction:
    given = getattr(action, action.action)
    template: dict[str, Any]
    if isinstance(given, StartWorkflowAction):
        template = {"input": given.input or {}, "taskToDomain": given.task_to_domain or "${taskToDomain}"}
        if given.correlation_id is not UNSET:
            template["correlationId"] = given.correlation_id
    elif isinstance(given, TaskAction):
        template = {
            "workflowId": given.workflow_id or None,
            "taskId": given.task_id or None,
            "taskRefName": given.task_ref_name or None,
            "reasonForIncompletion": given.reason_for_incompletion or None,
            **(given.output or {}),
        }
    else:
        template = {} if given is UNSET else _without_nulls(msgspec.to_builtins(given), 0)
    starts = given if isinstance(given, StartWorkflowAction) else StartWorkflowAction()
    return CompiledAction(
        kind=action.action,
        expand=action.expandInlineJSON,
        template=_over_payload(template),
        reads_environment=_ENVIRONMENT in msgspec.json.encode(template),
        workflow_name=starts.name or "",
        workflow_version=starts.version or None,
        append_array=isinstance(given, UpdateVariablesAction) and given.append_array is True,
    )


_ENVIRONMENT = b"workflow.env."
# `${` of an expression over the payload: not escaped, and not one of the server's own stores.
_HOLE = re.compile(r"(?<!\$)\$\{\s*(?!workflow\.(?:secrets|env)\.)(?:\$\.?)?(?=(.)?)", re.DOTALL)
_ROOT = "event.body"


def _over_payload(value: Any) -> Template:
    """Compile a template whose expressions begin at the payload: `${a.b}`, `${$.a}` and `${$}` all do."""
    return compile_template(_rooted(value, 0))


def _rooted(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _HOLE.sub(_root, value)
    if depth >= DEPTH_MAX:
        return value  # the compiler refuses it
    if isinstance(value, dict):
        return {key: _rooted(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_rooted(item, depth + 1) for item in value]
    return value


def _root(hole: re.Match[str]) -> str:
    ends_name = hole[1] in {"}", "[", None}
    return "${" + _ROOT + ("" if ends_name else ".")


class PayloadScope:
    """The Scope of an action's expressions: the payload, and the names of the environment."""

    def __init__(self, payload: Any, environment: Mapping[str, str]) -> None:
        self._event = {"body": payload}
        self._environment = environment

    def task(self, ref: str) -> Mapping[str, Any] | None:
        return self._event if ref == "event" else None

    def workflow(self) -> Mapping[str, Any]:
        return {}

    def env(self, name: str) -> str | None:
        return self._environment.get(name)


def workflow_id_of(handler: str, message_id: str, position: int) -> str:
    """The id of the workflow an action starts: the same, however often the message is delivered."""
    return name_uuid(f"event workflow\n{handler}\n{message_id}\n{position}")


def _without_nulls(value: Any, depth: int) -> Any:
    """Drop null members of the record itself; maps of the author (input, output, variables) keep theirs."""
    if isinstance(value, dict) and depth < MEMBERS_DEPTH:
        return {
            key: item if key in {"input", "output", "variables"} else _without_nulls(item, depth + 1)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list) and depth < MEMBERS_DEPTH:
        return [_without_nulls(item, depth + 1) for item in value]
    return value
