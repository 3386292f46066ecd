"""What follows an attempt that ended without success: a pure decision.

Source: conductor-oss/conductor, DeciderService.retry. Ours cannot overflow: delays are capped at 2^31 - 1
seconds.
"""

from __future__ import annotations

from msgspec import Struct

from engine.core.graph import CONTAINER_TYPES
from engine.core.model import RetryLogic, TaskDef, WorkflowTask
from engine.core.records import Task
from engine.core.statuses import TASK_RETRIABLE, TaskStatus, WorkflowStatus

DELAY_SECONDS_MAX = 2**31 - 1


class RetryAttempt(Struct, kw_only=True, frozen=True):
    """Try again after `delay_ms`; `delay_seconds` is what the wire shows, without the jitter."""

    delay_seconds: int
    delay_ms: int


class Forgive(Struct, kw_only=True, frozen=True):
    """Optional: the task counts as COMPLETED_WITH_ERRORS and the flow goes on."""


class Tolerate(Struct, kw_only=True, frozen=True):
    """Permissive: the task stays failed, the flow goes on, and the workflow fails at its end."""


class FailWorkflow(Struct, kw_only=True, frozen=True):
    status: WorkflowStatus
    reason: str


Decision = RetryAttempt | Forgive | Tolerate | FailWorkflow

_WORKFLOW_END = {
    TaskStatus.CANCELED: WorkflowStatus.TERMINATED,
    TaskStatus.TIMED_OUT: WorkflowStatus.TIMED_OUT,
}


def after_failure(
    task: Task, step: WorkflowTask, *, reason: str | None, now_ms: int, jitter_ms: int
) -> Decision:
    """Choose what follows.

    Args:
        task: the attempt that ended unsuccessfully; its `retry_count` is 0 for the first.
        step: its WorkflowTask, the frozen task definition included.
        reason: why it ended, None when nobody said.
        now_ms: the caller's clock.
        jitter_ms: drawn by the caller from 0 to backoffJitterMs.
    """
    policy = step.task_definition
    limit = (
        step.retry_count
        if step.retry_count is not None
        else (policy.retry_count if policy is not None else 0)
    )
    exhausted = (
        task.status not in TASK_RETRIABLE
        or task.head.task_type in CONTAINER_TYPES
        or task.head.retry_count >= limit
        or policy is None
    )
    end = _WORKFLOW_END.get(task.status, WorkflowStatus.FAILED)
    if exhausted or policy is None:
        if step.optional:
            return Forgive()
        if step.permissive:
            return Tolerate()
        text = "null" if reason is None else reason
        return FailWorkflow(
            status=end, reason=f"Task {task.id} failed with status: {end} and reason: '{text}'"
        )
    spent_s = (now_ms - task.links.first_scheduled_ms) // 1000
    if policy.total_timeout_seconds > 0 and spent_s >= policy.total_timeout_seconds:
        if step.optional:
            return Forgive()
        if step.permissive:
            return Tolerate()
        return FailWorkflow(
            status=end,
            reason=f"Task {task.id}/{policy.name} exceeded total timeout of "
            f"{policy.total_timeout_seconds} seconds (elapsed {spent_s} seconds across all attempts). "
            "No further retries will be attempted.",
        )
    delay_s = delay_seconds(policy, task.head.retry_count)
    return RetryAttempt(delay_seconds=delay_s, delay_ms=delay_s * 1000 + jitter_ms)


def delay_seconds(policy: TaskDef, retry_count: int) -> int:
    """The pause before the attempt that follows attempt `retry_count` (0 for the first)."""
    base = policy.retry_delay_seconds
    if policy.retry_logic is RetryLogic.LINEAR_BACKOFF:
        base *= policy.backoff_scale_factor * (retry_count + 1)
    elif policy.retry_logic is RetryLogic.EXPONENTIAL_BACKOFF:
        base *= 2 ** min(retry_count, 63)
    if policy.max_retry_delay_seconds > 0:
        base = min(base, policy.max_retry_delay_seconds)
    return max(0, min(base, DELAY_SECONDS_MAX))
