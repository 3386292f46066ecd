"""How large inputs and outputs may be, in upstream's words, and the paths of those that lie elsewhere.

Source of bounds and texts: conductor-oss/conductor, ExternalPayloadStorageUtils.
"""

from __future__ import annotations

import re

from engine.core.errors import InvalidRequestError

PAYLOAD_KB_MAX = 10_240
"""One workflow input or task output as JSON (upstream: max*PayloadSizeThreshold)."""
PAYLOAD_BYTES_MAX = PAYLOAD_KB_MAX * 1024

NOT_KEPT = "{member}: this server keeps no payloads elsewhere; send the document itself in the request"

KINDS = ("WORKFLOW_INPUT", "WORKFLOW_OUTPUT", "TASK_INPUT", "TASK_OUTPUT")
"""ExternalPayloadStorage.PayloadType: what a payload is."""

PATH = re.compile(rf"(?:{'|'.join(kind.lower() for kind in KINDS)})/[0-9a-f]{{32}}\.json", re.ASCII)
"""A payload's path: its kind, and a name that nobody can guess."""


def path_of(kind: str, first: int, second: int) -> str:
    """A new path, made of two fresh 64-bit numbers."""
    return f"{kind.lower()}/{first:016x}{second:016x}.json"


def is_path(path: str) -> bool:
    """Whether a server of this kind can have made the path; nothing else may reach a store."""
    return PATH.fullmatch(path) is not None


def check_input(name: str, size_bytes: int) -> None:
    """Refuse a workflow input that is too large."""
    if size_bytes > PAYLOAD_BYTES_MAX:
        raise InvalidRequestError(
            f"The input payload size: {size_bytes} of workflow: {name} is greater than the permissible "
            f"limit: {PAYLOAD_BYTES_MAX} bytes"
        )


def output_problem(workflow_id: str, task_id: str, size_bytes: int) -> str | None:
    """Why a task's output cannot be kept, None when it can: then the task fails for good without it."""
    if size_bytes <= PAYLOAD_BYTES_MAX:
        return None
    return (
        f"The payload size: {size_bytes} of task: {task_id} in workflow: {workflow_id}  is greater than the "
        f"permissible limit: {PAYLOAD_BYTES_MAX} bytes"
    )
