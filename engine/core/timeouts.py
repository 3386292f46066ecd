"""Which timeout of a task is over, and the texts upstream gives for it.

Source: conductor-oss/conductor, DeciderService.checkTaskTimeout and its siblings.
"""

from __future__ import annotations

from msgspec import Struct

from engine.core.limits import lane_of
from engine.core.model import TaskDef, TimeoutPolicy
from engine.core.records import Lease, QueueEntry, Task


class Expired(Struct, kw_only=True, frozen=True):
    """A timeout that is over. `policy` None: the response timeout, which no policy softens."""

    reason: str
    policy: TimeoutPolicy | None


def expired(task: Task, policy: TaskDef, *, lease: Lease | None, now_ms: int) -> Expired | None:
    """The first timeout that is over, in upstream's order: total, run, poll, response.

    ALERT_ONLY ends nothing for the first three; the response timeout holds under every policy.
    """
    enforced = policy.timeout_policy is not TimeoutPolicy.ALERT_ONLY
    held = lease is not None and lease.held
    started_ms = (lease.start_ms if lease is not None else 0) or task.state.start_time
    total_s = policy.total_timeout_seconds if enforced else 0
    spent_s = (now_ms - task.links.first_scheduled_ms) // 1000
    if total_s > 0 and now_ms >= task.links.first_scheduled_ms + total_s * 1000:
        return Expired(
            reason=f"Task {policy.name}/{task.id} exceeded total timeout of {total_s} seconds "
            f"(elapsed {spent_s} seconds across all attempts including retry delays). "
            f"Timeout policy: {policy.timeout_policy}",
            policy=policy.timeout_policy,
        )
    run_s = policy.timeout_seconds if enforced else 0
    if run_s > 0 and started_ms and now_ms >= started_ms + run_s * 1000:
        elapsed_s = (now_ms - started_ms) // 1000
        return Expired(
            reason=f"Task timed out after {elapsed_s} seconds. Timeout configured as {run_s} seconds. "
            f"Timeout policy configured to {policy.timeout_policy}",
            policy=policy.timeout_policy,
        )
    poll_s = (policy.poll_timeout_seconds or 0) if enforced else 0
    since_ms = task.head.scheduled_time + task.head.start_delay_in_seconds * 1000
    if poll_s > 0 and not held and now_ms >= since_ms + (poll_s + task.state.callback_after_seconds) * 1000:
        elapsed_s = (now_ms - since_ms) // 1000
        return Expired(
            reason=f"Task poll timed out after {elapsed_s} seconds. "
            f"Poll timeout configured as {poll_s} seconds. "
            f"Timeout policy configured to {policy.timeout_policy}",
            policy=policy.timeout_policy,
        )
    response_s = policy.response_timeout_seconds
    if lease is not None and held and response_s > 0 and now_ms >= lease.update_ms + response_s * 1000:
        return Expired(
            reason=f"responseTimeout: {response_s} exceeded for the taskId: {task.id} "
            f"with Task Definition: {policy.name}",
            policy=None,
        )
    return None


def queue_entry(task: Task, policy: TaskDef | None, *, queue: str, due_ms: int) -> QueueEntry:
    """The queue entry of a worker's task, with every bound its definition sets."""
    entry = QueueEntry(
        task_id=task.id,
        workflow_id=task.head.workflow_instance_id,
        queue=queue,
        priority=task.head.workflow_priority,
        due_ms=due_ms,
        def_name=task.head.task_def_name,
        lane=lane_of(task, policy),
    )
    if policy is None:
        return entry
    ignore = policy.timeout_policy is TimeoutPolicy.ALERT_ONLY
    entry.response_ms = policy.response_timeout_seconds * 1000
    if not ignore:
        entry.run_ms = policy.timeout_seconds * 1000
        if policy.total_timeout_seconds > 0:
            entry.total_by_ms = task.links.first_scheduled_ms + policy.total_timeout_seconds * 1000
        if policy.poll_timeout_seconds:
            delay_s = (
                policy.poll_timeout_seconds
                + task.state.callback_after_seconds
                + task.head.start_delay_in_seconds
            )
            entry.poll_by_ms = task.head.scheduled_time + delay_s * 1000
    return entry


def queue_name(task: Task) -> str:
    """`[domain:]taskType[@executionNameSpace][-isolationGroupId]`."""
    head = task.head
    name = head.task_type if not head.domain else f"{head.domain}:{head.task_type}"
    if head.execution_name_space:
        name += f"@{head.execution_name_space}"
    if head.isolation_group_id:
        name += f"-{head.isolation_group_id}"
    return name
