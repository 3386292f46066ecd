"""Workflow and task definitions: register, read, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from engine.core.errors import ConflictError, InvalidRequestError, NotFoundError
from engine.core.model import (
    MalformedBodyError,
    TaskDef,
    WorkflowDef,
    decode_task_def,
    decode_task_defs,
    decode_workflow_def,
    decode_workflow_defs,
    encode,
)
from engine.core.validation import Problem, validate_task_def, validate_workflow_def
from engine.core.warnings import Known, definition_warnings, names_in
from engine.ports.stores import MetadataStore
from engine.ports.system import Clock
from engine.services.definitions import Definitions

INVALID = "Validation failed, check below errors for detail."

__all__ = ["MalformedBodyError", "Metadata"]


class Metadata:
    def __init__(
        self,
        store: MetadataStore,
        definitions: Definitions,
        clock: Clock,
        *,
        strict: bool = False,
    ) -> None:
        """`strict`: a definition with a warning of its own is refused like one with a problem."""
        self._store = store
        self._strict = strict
        self._definitions = definitions
        self._clock = clock

    # ------------------------------------------------------------------------------------ workflows
    async def register_workflow(self, body: bytes, *, overwrite: bool = False) -> None:
        """One WorkflowDef as JSON.

        Raises:
            MalformedBodyError: no JSON or a field of the wrong type.
            InvalidRequestError: all problems at once.
            ConflictError: name and version exist and `overwrite` is false.
        """
        definition = decode_workflow_def(body)
        self._check({"registerWorkflowDef.arg0": definition})
        now_ms = self._clock.now_ms()
        if overwrite:
            definition = replace(definition, update_time=now_ms)
        else:
            definition = replace(definition, create_time=now_ms)
        if not await self._put(definition, replace_existing=overwrite):
            raise ConflictError(f"Workflow with {definition.name}.{definition.version} already exists!")

    async def update_workflows(self, body: bytes) -> list[str]:
        """Upsert a list of WorkflowDefs; returns their names in order. One invalid refuses the whole call."""
        definitions = decode_workflow_defs(body)
        if not definitions:
            raise InvalidRequestError(
                INVALID, (("updateWorkflowDef.arg0", "WorkflowDefList is empty", None),)
            )
        self._check({f"updateWorkflowDef.arg0[{i}]": d for i, d in enumerate(definitions)})
        for definition in definitions:
            await self._put(replace(definition, update_time=self._clock.now_ms()), replace_existing=True)
        return [definition.name for definition in definitions]

    async def validate_workflow(self, body: bytes) -> list[dict[str, str]]:
        """Warnings {path, message} of an acceptable definition. Raises InvalidRequestError."""
        definition = decode_workflow_def(body)
        self._check({"validateWorkflowDef.arg0": definition})
        found = await self.warnings_of(definition)
        return [{"path": problem.path, "message": problem.message} for problem in found]

    async def warnings_of(self, definition: WorkflowDef, *, path: str = "") -> list[Problem]:
        """What can never run or looks wrong, names that nobody registered included."""
        asked = names_in(definition)
        tasks = [name for name in asked.tasks if await self._store.get_task_def(name) is not None]
        workflows = [
            (name, version)
            for name, version in asked.workflows
            if name == definition.name or await self._store.get_workflow_def(name, version) is not None
        ]
        known = Known(tasks=frozenset(tasks), workflows=frozenset(workflows))
        return definition_warnings(
            definition, path=path, js_problem=self._definitions.js_problem, known=known
        )

    async def workflow_def(self, name: str, version: int | None = None) -> bytes:
        """Wire JSON. Raises NotFoundError."""
        body = await self._store.get_workflow_def(name, version)
        if body is None:
            shown = "null" if version is None else version
            raise NotFoundError(f"No such workflow found by name: {name}, version: {shown}")
        return body

    async def workflow_defs(self, name: str | None = None) -> list[bytes]:
        return await self._store.list_workflow_defs(name)

    async def workflow_summaries(self) -> dict[str, list[dict[str, Any]]]:
        """Name -> [{name, version, createTime, updateTime}], ascending by version."""
        summaries: dict[str, list[dict[str, Any]]] = {}
        for body in await self._store.list_workflow_defs():
            full = msgspec.json.decode(body)
            summary = {
                key: full[key] for key in ("name", "version", "createTime", "updateTime") if key in full
            }
            summaries.setdefault(full["name"], []).append(summary)
        return summaries

    async def latest_workflow_defs(self) -> list[bytes]:
        latest: dict[str, bytes] = {}
        for body in await self._store.list_workflow_defs():
            latest[msgspec.json.decode(body)["name"]] = body  # ascending by version: the last one stays
        return list(latest.values())

    async def delete_workflow(self, name: str, version: int) -> None:
        if not await self._store.delete_workflow_def(name, version):
            raise NotFoundError(f"No such workflow definition: {name} version: {version}")
        self._definitions.forget()

    async def _put(self, definition: WorkflowDef, *, replace_existing: bool) -> bool:
        written = await self._store.put_workflow_def(
            definition.name, definition.version, encode(definition), replace=replace_existing
        )
        self._definitions.forget()
        return written

    def _check(self, definitions: Mapping[str, WorkflowDef]) -> None:
        """Refuse the call when any definition has a problem; keys are the prefixes of the problems' paths."""
        problems: list[Problem] = []
        for prefix, definition in definitions.items():
            problems += validate_workflow_def(
                definition,
                path=prefix,
                js_problem=self._definitions.js_problem,
                env_names=self._definitions.environment,
            )
            if self._strict:
                # Names are left out: definitions that need each other are registered one after the other.
                problems += definition_warnings(
                    definition, path=prefix, js_problem=self._definitions.js_problem
                )
        _refuse(problems)

    # ------------------------------------------------------------------------------------ tasks
    async def register_tasks(self, body: bytes) -> None:
        """A list of TaskDefs as JSON, upserted."""
        definitions = decode_task_defs(body)
        if not definitions:
            raise InvalidRequestError(
                INVALID, (("registerTaskDef.arg0", "TaskDefList cannot be empty or null", None),)
            )
        _refuse(
            [
                problem
                for index, definition in enumerate(definitions)
                for problem in validate_task_def(definition, path=f"registerTaskDef.arg0[{index}]")
            ]
        )
        await self._put_tasks(
            [
                # Who created it comes from the server's own context, which knows nobody yet.
                replace(d, created_by="", create_time=self._clock.now_ms(), update_time=0)
                for d in definitions
            ]
        )

    async def update_task(self, body: bytes) -> None:
        """One TaskDef. Raises NotFoundError."""
        definition = decode_task_def(body)
        _refuse(validate_task_def(definition, path="updateTaskDef.arg0"))
        existing = await self._store.get_task_def(definition.name)
        if existing is None:
            raise NotFoundError(f"No such task by name {definition.name}")
        before = decode_task_def(existing)
        changed = replace(
            definition,
            update_time=self._clock.now_ms(),
            create_time=before.create_time,
            created_by=before.created_by,
        )
        await self._put_tasks([changed])

    async def task_def(self, name: str) -> bytes:
        body = await self._store.get_task_def(name)
        if body is None:
            raise NotFoundError(f"No such taskType found by name: {name}")
        return body

    async def task_defs(self) -> list[bytes]:
        return await self._store.list_task_defs()

    async def delete_task(self, name: str) -> None:
        if not await self._store.delete_task_def(name):
            raise NotFoundError("No such task definition")
        self._definitions.forget()

    async def _put_tasks(self, definitions: Sequence[TaskDef]) -> None:
        await self._store.put_task_defs([(definition.name, encode(definition)) for definition in definitions])
        self._definitions.forget()


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise InvalidRequestError(INVALID, tuple((p.path, p.message, p.invalid_value) for p in problems))
