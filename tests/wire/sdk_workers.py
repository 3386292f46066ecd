"""Workers written with the official SDK, as its users write them, run by its TaskHandler.

    python -m tests.wire.sdk_workers SERVER_URL

works until it is killed. Each worker is a process of its own.
"""

# mypy: disable-error-code="untyped-decorator"
# The SDK has no type hints; its decorators are what this module is about.

# No postponed annotations here: the SDK converts a worker's input by the annotations themselves.

import sys
import threading
from typing import Any

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.context.task_context import get_task_context
from conductor.client.http.models.task_def import TaskDef
from conductor.client.worker.exception import NonRetryableException
from conductor.client.worker.worker_task import worker_task

# The SDK looks once a second whether a heartbeat is due, and one is due after 0.8 of the response timeout: at
# 4 of the 5 seconds.
RESPONSE_TIMEOUT_S = 5
LONG_WORK_S = 6.5


@worker_task(task_definition_name="sdk_greet", poll_interval_millis=10, worker_id="greeter", thread_count=4)
def greet(name: str) -> str:
    get_task_context().add_log(f"greeting {name}")
    return f"Hello {name}"


@worker_task(task_definition_name="sdk_reverse", poll_interval_millis=10)
async def reverse(text: str) -> dict[str, Any]:
    return {"text": text[::-1]}


@worker_task(
    task_definition_name="sdk_fails",
    poll_interval_millis=10,
    register_task_def=True,
    task_def=TaskDef(name="sdk_fails", retry_count=1, retry_delay_seconds=0),
)
def fails(*, broken_for_good: bool) -> dict[str, Any]:
    attempt = get_task_context().get_retry_count()
    if broken_for_good:
        raise NonRetryableException("the lens is broken")
    if attempt == 0:
        raise RuntimeError("not the first time")
    return {"attempt": attempt}


@worker_task(
    task_definition_name="sdk_leased",
    poll_interval_millis=10,
    lease_extend_enabled=True,
    register_task_def=True,
    task_def=TaskDef(name="sdk_leased", response_timeout_seconds=RESPONSE_TIMEOUT_S, retry_count=0),
)
def leased() -> dict[str, Any]:
    """Work for longer than the response timeout; the SDK's heartbeats keep the task."""
    threading.Event().wait(LONG_WORK_S)
    return {"done": True}


def main() -> None:
    with TaskHandler(configuration=Configuration(base_url=sys.argv[1])) as handler:
        handler.start_processes()
        handler.join_processes()


if __name__ == "__main__":
    main()
