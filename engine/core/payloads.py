"""How large inputs and outputs may be, in upstream's words. They are kept inline up to that size.

Source of bounds and texts: conductor-oss/conductor, ExternalPayloadStorageUtils.
"""

from __future__ import annotations

from msgspec import Raw

from engine.core.errors import InvalidRequestError

PAYLOAD_KB_MAX = 10_240
"""One workflow input or task output as JSON (upstream: max*PayloadSizeThreshold)."""

NOT_KEPT = "{member}: this server keeps no payloads elsewhere; send the document itself in the request"
"""`/externalstoragelocation` answers no place, so no client of this server has one to name."""


def check_input(name: str, given: Raw) -> None:
    """Refuse a workflow input that is too large."""
    size = len(memoryview(given))
    if size > PAYLOAD_KB_MAX * 1024:
        raise InvalidRequestError(
            f"The input payload size: {size} of workflow: {name} is greater than the permissible limit: "
            f"{PAYLOAD_KB_MAX * 1024} bytes"
        )


def output_problem(workflow_id: str, task_id: str, output: Raw) -> str | None:
    """Why a task's output cannot be kept, None when it can: then the task fails for good without it."""
    size = len(memoryview(output))
    if size <= PAYLOAD_KB_MAX * 1024:
        return None
    return (
        f"The payload size: {size} of task: {task_id} in workflow: {workflow_id}  is greater than the "
        f"permissible limit: {PAYLOAD_KB_MAX * 1024} bytes"
    )
