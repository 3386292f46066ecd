"""A workflow whose id somebody was told can be read, even before it exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from engine.core.errors import NotFoundError
from engine.testing.story import child, task

if TYPE_CHECKING:
    from .conftest import Farm


async def test_a_child_can_be_read_as_soon_as_its_parent_names_it(farm: Farm) -> None:
    """It is started by a message that follows its parent's step; a reader waits for that."""
    await farm.register(task("inner"), name="child")
    await farm.register(child("sub"))
    workflow_id = await farm.start()
    parent: Any = msgspec.json.decode(await farm.engine.executions.workflow(workflow_id))

    found = msgspec.json.decode(await farm.engine.executions.workflow(parent["tasks"][0]["subWorkflowId"]))

    assert found["parentWorkflowId"] == workflow_id


async def test_an_unknown_workflow_is_unknown_at_once(farm: Farm) -> None:
    """Nothing is under way to it."""
    with pytest.raises(NotFoundError, match="No such workflow found by id: nobody"):
        await farm.engine.executions.workflow("nobody")
