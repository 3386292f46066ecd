"""Conductor's wire, from the worker's side: a client, and a host that runs worker functions.

Written from the protocol alone, so that the same workers serve any server that speaks it.
"""

from media_workers.sdk.client import ConductorClient
from media_workers.sdk.context import Cancellation, CancelReason, Resources, TaskContext
from media_workers.sdk.errors import (
    SdkError,
    ServerRefusedError,
    ServerUnavailableError,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
)
from media_workers.sdk.host import HostTimings, PoolSpec, WorkerHost
from media_workers.sdk.models import (
    Progress,
    Record,
    Task,
    TaskDef,
    TaskResult,
    TaskStatus,
    Workflow,
    WorkflowTask,
)
from media_workers.sdk.runner import run_task
from media_workers.sdk.worker import AnyWorker, Worker, decode_input, worker

__all__ = [
    "AnyWorker",
    "CancelReason",
    "Cancellation",
    "ConductorClient",
    "HostTimings",
    "PoolSpec",
    "Progress",
    "Record",
    "Resources",
    "SdkError",
    "ServerRefusedError",
    "ServerUnavailableError",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskDef",
    "TaskFailed",
    "TaskRejected",
    "TaskResult",
    "TaskStatus",
    "Worker",
    "WorkerHost",
    "Workflow",
    "WorkflowTask",
    "decode_input",
    "run_task",
    "worker",
]
