"""Names of events: `type:queue`. The type says who carries the event, the rest which of its queues."""

from __future__ import annotations

CONDUCTOR = "conductor"
"""The type of the internal queue."""
QUEUE_TYPES = (CONDUCTOR, "kafka", "redis", "sqs")
"""Types an event may have; those but the first need a broker in the server's settings."""


def event_of(sink: str, *, workflow_name: str, ref: str) -> str:
    """The event that an EVENT task with this sink publishes.

    Args:
        sink: `conductor`, `conductor:NAME`, or `TYPE:QUEUE` of a broker.
        workflow_name: the task's workflow; events of the internal queue carry it.
        ref: the task's reference, which names the event when the sink does not.

    Raises:
        ValueError: no queue has that name; the text is the task's reason.

    Source: upstream's Event task; the texts for unknown types are ours.
    """
    kind, _, queue = sink.partition(":")
    if kind == CONDUCTOR:
        return f"{CONDUCTOR}:{workflow_name}:{queue or ref}"
    if sink.startswith(CONDUCTOR) or not queue:
        raise ValueError(f"Invalid / Unsupported sink specified: {sink}")
    if kind not in QUEUE_TYPES:
        raise ValueError(f"Unsupported queue type {kind} in sink {sink}; use one of {', '.join(QUEUE_TYPES)}")
    return sink


def split_event(event: str) -> tuple[str, str]:
    """Type and queue of an event's name; the type is empty when there is no colon."""
    kind, colon, queue = event.partition(":")
    return (kind, queue) if colon else ("", event)
