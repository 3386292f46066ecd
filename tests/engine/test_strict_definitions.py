"""Warnings of definitions at registration: told, or refused when the settings say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine.core.errors import InvalidRequestError
from engine.services.options import Options

NOOP = {"name": "n", "taskReferenceName": "n", "type": "NOOP"}
LONE_JOIN = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["nobody"]}
CHILD = {
    "name": "s",
    "taskReferenceName": "s",
    "type": "SUB_WORKFLOW",
    "subWorkflowParam": {"name": "not_yet", "version": 1},
}


def body(*tasks: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"name": "w", "version": 1, "tasks": list(tasks)})


async def test_warnings_are_told_and_nothing_is_refused(farm: Any) -> None:
    """A plain engine registers what looks wrong; validation names the place and what to do."""
    await farm.engine.metadata.register_workflow(body(NOOP, LONE_JOIN))

    warnings = await farm.engine.metadata.validate_workflow(body(NOOP, LONE_JOIN))

    assert {warning["path"] for warning in warnings} == {"tasks[1]"}
    assert any("nobody" in warning["message"] for warning in warnings)


async def test_a_strict_engine_refuses_warnings(reopen: Callable[..., Any]) -> None:
    """Registering, replacing and validating all refuse, each with its own paths."""
    farm = reopen(Options(strict_definitions=True))

    with pytest.raises(InvalidRequestError) as registered:
        await farm.engine.metadata.register_workflow(body(NOOP, LONE_JOIN))
    with pytest.raises(InvalidRequestError) as replaced:
        await farm.engine.metadata.update_workflows(b"[" + body(NOOP, LONE_JOIN) + b"]")
    with pytest.raises(InvalidRequestError):
        await farm.engine.metadata.validate_workflow(body(NOOP, LONE_JOIN))

    assert {path for path, _, _ in registered.value.problems} == {"registerWorkflowDef.arg0.tasks[1]"}
    assert {path for path, _, _ in replaced.value.problems} == {"updateWorkflowDef.arg0[0].tasks[1]"}
    assert await farm.engine.metadata.workflow_defs() == []


async def test_a_strict_engine_takes_names_not_registered_yet(reopen: Callable[..., Any]) -> None:
    """Definitions that need each other can be registered one after the other."""
    farm = reopen(Options(strict_definitions=True))

    await farm.engine.metadata.register_workflow(body(CHILD))

    assert [warning["path"] for warning in await farm.engine.metadata.validate_workflow(body(CHILD))] != []
