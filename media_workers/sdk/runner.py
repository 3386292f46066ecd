"""Runs one delivered task and says what became of it."""

import msgspec
import structlog

from media_workers.procs.errors import MissingBinaryError
from media_workers.sdk.context import TaskContext
from media_workers.sdk.errors import (
    SdkError,
    ServerUnavailableError,
    TaskCancelled,
    TaskError,
    TaskFailed,
    TaskRejected,
)
from media_workers.sdk.models import REASON_CHARS_MAX, Task, TaskResult, TaskStatus
from media_workers.sdk.worker import AnyWorker
from media_workers.storage import DiskFullError, StorageError

_log = structlog.get_logger(__name__)

# An attempt that was delivered this often and never answered takes its worker down with it.
DELIVERIES_MAX = 5


def run_task(worker: AnyWorker, ctx: TaskContext) -> TaskResult | None:
    """Run the worker's function on the context's task.

    Returns:
        what to report, or None when the run was cancelled and there is nothing to say.
    """
    task = ctx.task
    try:
        _refuse_poison(task)
        output = worker.run(task.input_data, ctx)
        ctx.check_cancelled()
        return _result(ctx, TaskStatus.COMPLETED, msgspec.Raw(msgspec.json.encode(output)))
    except TaskCancelled:
        return None
    except Exception as error:  # noqa: BLE001 - whatever a worker function raises must end as a result
        if ctx.cancelled.is_set():
            return None
        return _failure(ctx, _as_task_error(task, error))


def hand_back(task: Task, worker_id: str) -> TaskResult:
    """The answer that puts a task back into its queue, at once and without using up an attempt."""
    return TaskResult(
        workflow_instance_id=task.workflow_instance_id,
        task_id=task.task_id,
        worker_id=worker_id,
        status=TaskStatus.IN_PROGRESS,
        output_data={"handedBack": task.handed_back + 1},
    )


def _refuse_poison(task: Task) -> None:
    deliveries = task.poll_count - task.handed_back
    if deliveries > DELIVERIES_MAX:
        raise TaskRejected(
            "poison_task",
            f"this task was started {deliveries} times without an answer, and is not started again; "
            "its workers probably died while working on it",
        )


def _as_task_error(task: Task, error: Exception) -> TaskError:
    match error:
        case TaskError():
            return error
        case DiskFullError():
            return TaskFailed("disk_full", str(error))
        case StorageError():
            return TaskFailed("storage_error", str(error))
        case MissingBinaryError():
            return TaskFailed("missing_binary", str(error))
        case ServerUnavailableError():
            return TaskFailed("server_unavailable", f"the worker could not ask the server: {error}")
        case SdkError():
            return TaskFailed("server_refused", str(error))
        case _:
            _log.error("task_crashed", task_id=task.task_id, task_type=task.task_type, exc_info=error)
            return TaskFailed(
                "internal_error",
                f"{task.task_type} stopped on an unexpected {type(error).__name__}; "
                f"the log of the worker has the details",
            )


def _failure(ctx: TaskContext, error: TaskError) -> TaskResult:
    output = {
        **error.output,
        "error": {"code": error.code, "message": error.message, "retryable": error.retryable},
    }
    status = TaskStatus.FAILED if error.retryable else TaskStatus.FAILED_WITH_TERMINAL_ERROR
    return _result(ctx, status, output, error.message)


def _result(
    ctx: TaskContext, status: TaskStatus, output: msgspec.Raw | dict[str, object], reason: str | None = None
) -> TaskResult:
    return TaskResult(
        workflow_instance_id=ctx.task.workflow_instance_id,
        task_id=ctx.task.task_id,
        worker_id=ctx.worker_id,
        status=status,
        output_data=output,
        reason_for_incompletion=None if reason is None else _cut(reason),
    )


def _cut(reason: str) -> str:
    return reason if len(reason) <= REASON_CHARS_MAX else reason[: REASON_CHARS_MAX - 1] + "…"
