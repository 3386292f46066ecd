"""Workflow and task definitions: records and their JSON form in one.

Field names are snake_case here and Conductor's camelCase on the wire. A record is frozen: derive with
`msgspec.structs.replace` or `map_tasks`. `None` is left out when written; 0, false and empty collections
are kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.core.errors import RefusedError

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
FreeMap = dict[str, Any]


class MalformedBodyError(RefusedError):
    """The document is not JSON, or a field has the wrong type; the message names the field."""

    status, code = 500, "MALFORMED_BODY"


class RetryLogic(StrEnum):
    FIXED = "FIXED"
    EXPONENTIAL_BACKOFF = "EXPONENTIAL_BACKOFF"
    LINEAR_BACKOFF = "LINEAR_BACKOFF"


class TimeoutPolicy(StrEnum):
    RETRY = "RETRY"
    TIME_OUT_WF = "TIME_OUT_WF"
    ALERT_ONLY = "ALERT_ONLY"


class WorkflowTimeoutPolicy(StrEnum):
    TIME_OUT_WF = "TIME_OUT_WF"
    ALERT_ONLY = "ALERT_ONLY"


class Record(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """A wire record; see `wire` for how it is written."""


class Auditable(Record, frozen=True):
    owner_app: str | None = None
    create_time: Int64 = 0
    update_time: Int64 = 0
    created_by: str | None = None
    updated_by: str | None = None


class RateLimitConfig(Record, frozen=True):
    rate_limit_key: str | None = None
    concurrent_exec_limit: Int32 = 0
    policy: Literal["QUEUE", "REJECT"] = "QUEUE"


class SchemaDef(Auditable, frozen=True):
    name: str = ""
    version: Int32 = 1
    type: Literal["JSON", "AVRO", "PROTOBUF"] | None = None
    data: FreeMap | None = None
    external_ref: str | None = None


class CacheConfig(Record, frozen=True):
    key: str | None = None
    ttl_in_second: Int32 = 0


class StateChangeEvent(Record, frozen=True):
    type: str | None = None
    payload: FreeMap | None = None


class TaskDef(Auditable, frozen=True):
    """How tasks of one name are retried, timed out and limited; delays and timeouts in seconds."""

    name: str = ""
    description: str | None = None
    retry_count: Int32 = 3
    timeout_seconds: Int64 = 0
    timeout_policy: TimeoutPolicy = TimeoutPolicy.TIME_OUT_WF
    retry_logic: RetryLogic = RetryLogic.FIXED
    retry_delay_seconds: Int32 = 60
    backoff_scale_factor: Int32 = 1
    max_retry_delay_seconds: Int32 = 0
    backoff_jitter_ms: Int32 = 0
    response_timeout_seconds: Int64 = 3600
    total_timeout_seconds: Int64 = 0
    poll_timeout_seconds: Int32 | None = None
    concurrent_exec_limit: Int32 | None = None
    rate_limit_per_frequency: Int32 | None = None
    rate_limit_frequency_in_seconds: Int32 | None = None
    partitions: Int32 | None = None  # ours: lanes of the queue, see core/limits.py
    partition_by: str | None = None  # ours: `${...}` over the task's input; tasks of one value share a lane
    input_keys: list[str] = []
    output_keys: list[str] = []
    input_template: FreeMap = {}
    runtime_metadata: list[str] = []
    isolation_group_id: str | None = None
    execution_name_space: str | None = None
    owner_email: str | None = None
    base_type: str | None = None
    task_status_listener_enabled: bool = True
    input_schema: SchemaDef | None = None
    output_schema: SchemaDef | None = None
    enforce_schema: bool = False


class SubWorkflowParams(Record, frozen=True):
    """Which workflow a SUB_WORKFLOW task starts.

    `workflow_definition` is a definition or a text that is one `${...}` expression. An inline definition
    decides `name` and `version`, whatever was given beside it.
    """

    name: str = ""
    version: Int32 | None = None
    task_to_domain: dict[str, str] | None = None
    workflow_definition: "WorkflowDef | str | None" = None
    idempotency_key: str | None = None
    idempotency_strategy: Literal["FAIL", "RETURN_EXISTING", "FAIL_ON_RUNNING"] | None = None
    priority: Any = None

    def __post_init__(self) -> None:
        inline = self.workflow_definition
        if isinstance(inline, WorkflowDef):
            msgspec.structs.force_setattr(self, "name", inline.name)
            msgspec.structs.force_setattr(self, "version", inline.version)
        elif inline is not None and not (inline.startswith("${") and inline.endswith("}")):
            msg = "workflowDefinition must be a workflow definition or one expression, ${...}"
            raise ValueError(msg)


class WorkflowTask(Record, frozen=True):
    """One step of a definition; which fields matter depends on `type`, a free text."""

    name: str = ""
    task_reference_name: str = ""
    description: str | None = None
    input_parameters: FreeMap = {}
    type: str = "SIMPLE"
    dynamic_task_name_param: str | None = None
    case_value_param: str | None = None
    case_expression: str | None = None
    script_expression: str | None = None
    decision_cases: dict[str, list["WorkflowTask"]] = {}
    dynamic_fork_join_tasks_param: str | None = None
    dynamic_fork_tasks_param: str | None = None
    dynamic_fork_tasks_input_param_name: str | None = None
    default_case: list["WorkflowTask"] = []
    fork_tasks: list[list["WorkflowTask"]] = []
    start_delay: Int32 = 0
    sub_workflow_param: SubWorkflowParams | None = None
    join_on: list[str] = []
    sink: str | None = None
    optional: bool = False
    task_definition: TaskDef | None = None
    rate_limited: bool | None = None
    default_exclusive_join_task: list[str] = []
    async_complete: bool = False
    loop_condition: str | None = None
    loop_over: list["WorkflowTask"] = []
    items: str | None = None
    retry_count: Int32 | None = None
    evaluator_type: str | None = None
    expression: str | None = None
    on_state_change: dict[str, list[StateChangeEvent]] = {}
    join_status: str | None = None
    join_mode: Literal["SYNC", "ASYNC"] | None = None
    cache_config: CacheConfig | None = None
    permissive: bool = False
    metadata: FreeMap = {}


class WorkflowDef(Auditable, frozen=True):
    """A workflow definition, version 2 of the schema; `timeout_seconds` 0 means none."""

    name: str = ""
    description: str | None = None
    version: Int32 = 1
    tasks: list[WorkflowTask] = []
    input_parameters: list[str] = []
    output_parameters: FreeMap = {}
    failure_workflow: str | None = None
    failure_workflow_version: Int32 | None = None
    schema_version: Int32 = 2
    restartable: bool = True
    workflow_status_listener_enabled: bool = False
    workflow_status_listener_sink: str | None = None
    owner_email: str | None = None
    timeout_policy: WorkflowTimeoutPolicy = WorkflowTimeoutPolicy.ALERT_ONLY
    timeout_seconds: Int64 = 0
    variables: FreeMap = {}
    input_template: FreeMap = {}
    rate_limit_config: RateLimitConfig | None = None
    input_schema: SchemaDef | None = None
    output_schema: SchemaDef | None = None
    enforce_schema: bool = True
    metadata: FreeMap = {}
    cache_config: CacheConfig | None = None
    masked_fields: list[str] = []


R = TypeVar("R", bound=Record)
Body = bytes | bytearray | memoryview | str | Mapping[str, Any]


def decode_workflow_def(data: Body) -> WorkflowDef:
    """Read one definition from JSON text or an already parsed object.

    Unknown fields are ignored; a null becomes the field's default (zero where Java has a primitive).

    Raises:
        MalformedBodyError: not JSON, not an object, or a field of the wrong type.
    """
    return decode(data, WorkflowDef)


def decode_workflow_defs(data: Body | list[Any]) -> list[WorkflowDef]:
    """Read a list of definitions; otherwise as `decode_workflow_def`."""
    return _decode_list(data, WorkflowDef)


def decode_task_def(data: Body) -> TaskDef:
    """Read one task definition; otherwise as `decode_workflow_def`."""
    return decode(data, TaskDef)


def decode_task_defs(data: Body | list[Any]) -> list[TaskDef]:
    """Read a list of task definitions; otherwise as `decode_workflow_def`."""
    return _decode_list(data, TaskDef)


def decode(data: Body, kind: type[R]) -> R:
    """Read one record of `kind` (any record of this module); otherwise as `decode_workflow_def`."""
    try:
        if isinstance(data, Mapping):
            return msgspec.convert(data, kind)
        return _decoder(kind).decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # The second reading drops explicit nulls; it is also what words the error.
        return _from_object(_parse(data), kind, "")


def encode(record: Record | list[Record] | list[TaskDef] | list[WorkflowDef]) -> bytes:
    """Write a record, or a list of them, as JSON with `None` fields left out."""
    return msgspec.json.encode(_wire_value(record))


def wire(record: Record) -> dict[str, Any]:
    """Build the JSON object of a record: camelCase keys, `None` left out, free maps not copied."""
    out: dict[str, Any] = {}
    for attribute, name, nested, when_null in _plan(type(record)):
        value = getattr(record, attribute)
        if value is None:
            value = when_null
            if value is None:
                continue
        out[name] = _wire_value(value) if nested else value
    return out


def children(task: WorkflowTask) -> list[list[WorkflowTask]]:
    """Give the task lists a container holds, in the order they are declared; none for other types."""
    if task.type in {"SWITCH", "DECISION"}:
        return [*task.decision_cases.values(), task.default_case]
    if task.type == "FORK_JOIN":
        return task.fork_tasks
    if task.type == "DO_WHILE":
        return [task.loop_over]
    return []


def iter_tasks(tasks: Iterable[WorkflowTask]) -> Iterator[WorkflowTask]:
    """Walk tasks and everything inside them, containers before their contents."""
    for task in tasks:
        yield task
        for inner in children(task):
            yield from iter_tasks(inner)


def collect_tasks(definition: WorkflowDef) -> list[WorkflowTask]:
    """List every task of a definition in pre-order; inline sub-workflows are not entered."""
    return list(iter_tasks(definition.tasks))


def map_tasks(definition: WorkflowDef, change: Callable[[WorkflowTask], WorkflowTask]) -> WorkflowDef:
    """Derive a definition in which every task, contents first, is replaced by what `change` makes of it."""
    return msgspec.structs.replace(definition, tasks=_map_list(definition.tasks, change))


def _map_list(
    tasks: list[WorkflowTask], change: Callable[[WorkflowTask], WorkflowTask]
) -> list[WorkflowTask]:
    out = []
    for task in tasks:
        if task.type in {"SWITCH", "DECISION"}:
            cases = {key: _map_list(inner, change) for key, inner in task.decision_cases.items()}
            default = _map_list(task.default_case, change)
            task = msgspec.structs.replace(task, decision_cases=cases, default_case=default)
        elif task.type == "FORK_JOIN":
            branches = [_map_list(inner, change) for inner in task.fork_tasks]
            task = msgspec.structs.replace(task, fork_tasks=branches)
        elif task.type == "DO_WHILE":
            task = msgspec.structs.replace(task, loop_over=_map_list(task.loop_over, change))
        out.append(change(task))
    return out


# What a null prints as, where upstream's getter answers a number instead of nothing.
_NULL_PRINTS = {"rate_limit_per_frequency": 0, "rate_limit_frequency_in_seconds": 1}
# Java's primitives with another default than zero: an explicit null reads as zero, an absent member does not.
_NULL_READS: dict[type[Any], dict[str, Any]] = {
    WorkflowDef: {"restartable": False},
    TaskDef: {"retryCount": 0, "retryDelaySeconds": 0},
}
_plans: dict[type[Record], list[tuple[str, str, bool, int | None]]] = {}
_decoders: dict[type[Record], msgspec.json.Decoder[Any]] = {}


def _plan(kind: type[Record]) -> list[tuple[str, str, bool, int | None]]:
    plan = _plans.get(kind)
    if plan is None:
        hints = get_type_hints(kind)
        names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
        plan = _plans[kind] = [
            (attribute, name, _holds_record(hints[attribute]), _NULL_PRINTS.get(attribute))
            for attribute, name in names
        ]
    return plan


def _holds_record(hint: Any) -> bool:
    if isinstance(hint, type) and not get_args(hint):
        return issubclass(hint, Record)
    return any(_holds_record(part) for part in get_args(hint) if part is not Ellipsis)


def _wire_value(value: Any) -> Any:
    if isinstance(value, Record):
        return wire(value)
    if isinstance(value, list):
        return [_wire_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _wire_value(item) for key, item in value.items()}
    return value


def _decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return decoder


def _parse(data: Any) -> Any:
    if not isinstance(data, bytes | bytearray | memoryview | str):
        return data
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise MalformedBodyError("the body is nested too deeply; flatten it") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedBodyError(f"the body is not valid JSON: {error}") from error


def _from_object(value: Any, kind: type[R], where: str) -> R:
    try:
        return msgspec.convert(_without_nulls(value, kind), kind)
    except RecursionError as error:
        raise MalformedBodyError("the body is nested too deeply; flatten it") from error
    except (msgspec.ValidationError, ValueError) as error:
        raise MalformedBodyError(f"{where}{error}") from error


def _decode_list(data: Any, kind: type[R]) -> list[R]:
    items = _parse(data)
    if not isinstance(items, list):
        raise MalformedBodyError("the body must be a list of definitions")
    return [_from_object(item, kind, f"element {index}: ") for index, item in enumerate(items)]


def _without_nulls(value: Any, hint: Any) -> Any:
    """Drop null fields of records, at any depth; free maps keep theirs."""
    if isinstance(hint, type) and not get_args(hint):
        if not (issubclass(hint, Record) and isinstance(value, Mapping)):
            return value
        hints = get_type_hints(hint)
        fields = {name: hints[attribute] for attribute, name, _, _ in _plan(hint)}
        zeros = _NULL_READS.get(hint, {})
        return {
            key: zeros[key] if item is None and key in zeros else _without_nulls(item, fields[key])
            for key, item in value.items()
            if key in fields and (item is not None or key in zeros or type(None) in get_args(fields[key]))
        }
    origin, parts = get_origin(hint), get_args(hint)
    if origin is list and isinstance(value, list):
        return [_without_nulls(item, parts[0]) for item in value]
    if origin is dict and isinstance(value, Mapping):
        return {key: _without_nulls(item, parts[1]) for key, item in value.items()}
    if origin in {Union, UnionType}:
        record = next((part for part in parts if _holds_record(part)), None)
        return value if record is None else _without_nulls(value, record)
    return value
