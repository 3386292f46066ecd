"""The wire's records as a worker sees them: only the fields a worker reads or writes.

Unknown fields are ignored, so that the same worker talks to any server of the protocol.
"""

from enum import StrEnum

import msgspec

REASON_CHARS_MAX = 500  # the wire cuts longer reasons; cutting here keeps the sentence's start


class TaskStatus(StrEnum):
    """Every status a task can have on the wire."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN_PROGRESS"
    CANCELED = "CANCELED"
    FAILED = "FAILED"
    FAILED_WITH_TERMINAL_ERROR = "FAILED_WITH_TERMINAL_ERROR"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED = "SKIPPED"


OPEN_STATUSES = frozenset({TaskStatus.SCHEDULED, TaskStatus.IN_PROGRESS})


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what travels: immutable, camelCase on the wire."""


class HandBack(Record, frozen=True, kw_only=True):
    """What a worker leaves on a task that it gives back."""

    handed_back: int = 0


class Task(Record, frozen=True, kw_only=True):
    """A delivered task.

    `input_data` and `output_data` stay raw: the worker function's own type decodes them.
    Times on the wire are epoch milliseconds, the response timeout is seconds (0 = never).
    """

    task_id: str
    task_type: str
    workflow_instance_id: str
    status: TaskStatus
    input_data: msgspec.Raw = msgspec.Raw(b"{}")
    output_data: msgspec.Raw = msgspec.Raw(b"{}")
    reference_task_name: str = ""
    task_def_name: str = ""
    worker_id: str | None = None
    retry_count: int = 0
    poll_count: int = 0
    response_timeout_seconds: int = 0
    domain: str | None = None

    @property
    def handed_back(self) -> int:
        """How often workers gave this task back unworked; such deliveries are not held against it."""
        try:
            return msgspec.json.decode(self.output_data, type=HandBack).handed_back
        except msgspec.DecodeError:
            return 0


class TaskResult(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker says about a task; `output_data` replaces what the task had."""

    workflow_instance_id: str
    task_id: str
    worker_id: str
    status: TaskStatus
    output_data: msgspec.Raw | dict[str, object] = {}
    reason_for_incompletion: str | None = None
    callback_after_seconds: int = 0
    extend_lease: bool = False


class Progress(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How far a task is; shown to people, never decided upon.

    Attributes:
        fraction: 0 to 1.
        fps: frames a second now.
        speed: media seconds a wall second.
        eta_seconds: at this speed.
        message: one short phrase.
    """

    fraction: float = 0.0
    fps: float | None = None
    speed: float | None = None
    eta_seconds: float | None = None
    message: str | None = None


class Workflow(Record, frozen=True, kw_only=True):
    """The part of an execution that a worker may need: what the whole job was asked to do."""

    workflow_id: str
    status: str = ""
    workflow_name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    tasks: list[Task] = []


class ErrorResponse(Record, frozen=True, kw_only=True):
    """The server's error body."""

    status: int = 0
    message: str | None = None


class TaskDef(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Retry and timeout policy of one task type; delays and timeouts are seconds (0 = none)."""

    name: str
    description: str | None = None
    owner_email: str | None = None
    retry_count: int = 3
    retry_logic: str = "FIXED"
    retry_delay_seconds: int = 60
    max_retry_delay_seconds: int = 0
    backoff_scale_factor: int = 1
    backoff_jitter_ms: int = 0
    timeout_seconds: int = 0
    timeout_policy: str = "TIME_OUT_WF"
    response_timeout_seconds: int = 3600
    total_timeout_seconds: int = 0
    concurrent_exec_limit: int | None = None
    input_keys: list[str] = []
    output_keys: list[str] = []


class WorkflowTask(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One branch of a dynamic fork: which type runs under which name."""

    name: str
    task_reference_name: str
    type: str = "SIMPLE"
    input_parameters: dict[str, object] = {}
