"""Workflow and task definitions: register, read, delete."""

from __future__ import annotations

from typing import Any


class Metadata:
    async def register_workflow(self, body: bytes, *, overwrite: bool = False) -> None:
        """One WorkflowDef as JSON. Raises MalformedBodyError, InvalidRequestError (all problems at once), ConflictError."""

    async def update_workflows(self, body: bytes) -> list[str]:
        """A list of WorkflowDefs, upserted; returns their names in order. An invalid one refuses the whole call."""
        raise NotImplementedError

    async def validate_workflow(self, body: bytes) -> list[dict[str, str]]:
        """Warnings {path, message} of an acceptable definition. Raises InvalidRequestError."""
        raise NotImplementedError

    async def workflow_def(self, name: str, version: int | None = None) -> bytes:
        """Wire JSON. Raises NotFoundError."""
        raise NotImplementedError

    async def workflow_defs(self, name: str | None = None) -> list[bytes]:
        raise NotImplementedError

    async def workflow_summaries(self) -> dict[str, list[dict[str, Any]]]:
        """name -> [{name, version, createTime, updateTime}], ascending by version."""
        raise NotImplementedError

    async def latest_workflow_defs(self) -> list[bytes]:
        raise NotImplementedError

    async def delete_workflow(self, name: str, version: int) -> None: ...

    async def register_tasks(self, body: bytes) -> None:
        """A list of TaskDefs as JSON, upserted."""

    async def update_task(self, body: bytes) -> None:
        """One TaskDef. Raises NotFoundError."""

    async def task_def(self, name: str) -> bytes:
        raise NotImplementedError

    async def task_defs(self) -> list[bytes]:
        raise NotImplementedError

    async def delete_task(self, name: str) -> None: ...
