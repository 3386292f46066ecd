"""Idempotency keys of starts: which workflow id a key stands for, and when a used key refuses a start.

The id follows from workflow name, key and generation, so that the workflow's own row is the unique index: two
starts with one key, on two servers, meet in one insert. Only FAIL_ON_RUNNING goes on to further generations.
"""

from __future__ import annotations

from enum import StrEnum

from engine.core.errors import ConflictError
from engine.core.facts import name_uuid
from engine.core.model import MalformedBodyError

KEY_CHARS_MAX = 1_000


class Strategy(StrEnum):
    """What a start does when an execution of that workflow with its key exists."""

    FAIL = "FAIL"
    RETURN_EXISTING = "RETURN_EXISTING"
    FAIL_ON_RUNNING = "FAIL_ON_RUNNING"


def strategy_of(text: str | None) -> Strategy | None:
    """Read a strategy as the wire has it; None when there is none.

    Raises:
        MalformedBodyError: it is none of the three.
    """
    if not text:
        return None
    try:
        return Strategy(text)
    except ValueError as error:
        known = ", ".join(Strategy)
        raise MalformedBodyError(f'idempotencyStrategy is "{text}"; it must be one of {known}') from error


def keyed_id(name: str, key: str, generation: int) -> str:
    """The id of the execution that a key stands for; a generation is one use of the key."""
    return name_uuid(f"idempotency:{len(name)}:{name}:{key}:{generation}")


def used_already(name: str, key: str, workflow_id: str, *, running: bool) -> ConflictError:
    """The refusal of a start whose key is taken."""
    state = "is still running" if running else "exists already"
    return ConflictError(f"Workflow {name} with idempotency key {key} {state}: {workflow_id}")
