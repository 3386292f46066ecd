"""Where clients may put payloads that are too large for a request."""

from __future__ import annotations

from fastapi import Response

from api.conductor.deps import json_answer
from engine.core.errors import InvalidRequestError

OPERATIONS = ("READ", "WRITE")
PAYLOAD_TYPES = ("WORKFLOW_INPUT", "WORKFLOW_OUTPUT", "TASK_INPUT", "TASK_OUTPUT")


def external_location(path: str, operation: str, payload_type: str) -> Response:
    """Answer `{}`, which tells a client to send the payload in the request.

    Raises:
        InvalidRequestError: an unknown operation or payload type; letter case does not matter.
    """
    del path
    for name, value, known in (
        ("operation", operation, OPERATIONS),
        ("payloadType", payload_type, PAYLOAD_TYPES),
    ):
        if value.upper() not in known:
            raise InvalidRequestError(f'{name} is "{value}"; it must be one of {", ".join(known)}')
    return json_answer(b"{}")
