"""Brings a step the facts it lacks, from the store, the definitions and the script runner."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from engine.core import facts as f
from engine.core.records import Task
from engine.ports.scripts import ScriptCall, ScriptRunner
from engine.ports.stores import ExecutionStore
from engine.services.definitions import Definitions
from engine.services.schema_checks import SchemaChecks
from engine.services.secrets import Environment


class FactLoader:
    def __init__(
        self,
        store: ExecutionStore,
        definitions: Definitions,
        scripts: ScriptRunner,
        environment: Environment | None = None,
        schemas: SchemaChecks | None = None,
    ) -> None:
        self._schemas = schemas
        self._store = store
        self._environment = environment
        self._definitions = definitions
        self._scripts = scripts

    def view(self, workflow_id: str) -> f.View:
        """An empty view of a workflow."""
        view = f.View(workflow_id)
        view.environment = self._definitions.environment
        return view

    async def header(self, view: f.View) -> bool:
        """Load what every step needs; False when the store has no such workflow."""
        stored = await self._store.load(view.workflow_id)
        if stored is None:
            return False
        view.header, view.row_version, view.input = stored.header, stored.row_version, stored.input
        view.graph = await self._definitions.frozen(stored.header.definition_hash)
        return True

    async def current(self, view: f.View) -> bool:
        """Whether the view is at the version that the store has."""
        stored = await self._store.load(view.workflow_id)
        return stored is not None and stored.row_version == view.row_version

    async def tasks(self, view: f.View, task_ids: Sequence[str]) -> None:
        """Load tasks by id; those of other workflows and unknown ones are left out."""
        for task in (await self._store.tasks_by_id(task_ids)).values():
            if task.head.workflow_instance_id == view.workflow_id:
                keep(view, task)

    async def recorded(self, workflow_id: str, event_ids: Collection[str]) -> bool:
        """Whether the history holds one of these events; reads all of it, so only for rare moments."""
        return any(row.event_id in event_ids for row in await self._store.history(workflow_id))

    async def load(self, view: f.View, facts: Sequence[f.Fact]) -> None:
        latest = [fact.base_ref for fact in facts if isinstance(fact, f.LatestFact)]
        if latest:
            found = await self._store.latest(view.workflow_id, latest)
            for base_ref in latest:
                view.latest[base_ref] = found[base_ref].id if base_ref in found else None
            for task in found.values():
                keep(view, task)
        task_ids = [fact.task_id for fact in facts if isinstance(fact, f.TaskFact)]
        if task_ids:
            await self.tasks(view, task_ids)
        await self._run_scripts(view, [fact for fact in facts if isinstance(fact, f.ScriptFact)])
        for fact in facts:
            await self._one(view, fact)

    async def _run_scripts(self, view: f.View, facts: Sequence[f.ScriptFact]) -> None:
        """Scripts of one pass run side by side: a slow one is waited for once."""
        calls = [
            ScriptCall(language=fact.language, source=fact.source, bindings=fact.bindings) for fact in facts
        ]
        results = await asyncio.gather(*[self._scripts.run(call) for call in calls])
        for fact, result in zip(facts, results, strict=True):
            view.scripts[fact] = f.ScriptOutcome(
                value=result.value, error=result.error, timed_out=result.timed_out
            )

    async def _one(self, view: f.View, fact: f.Fact) -> None:
        match fact:
            case f.RefsFact(refs):
                found = await self._store.by_ref(view.workflow_id, refs)
                for ref in refs:
                    view.refs[ref] = found[ref].id if ref in found else None
                for task in found.values():
                    keep(view, task)
            case f.OpenTasksFact():
                for task in await self._store.open_tasks(view.workflow_id):
                    keep(view, task)
                view.open_known = True
            case f.EntriesFact():
                view.entries = await self._store.entries_of(view.workflow_id)
            case f.AllTasksFact() | f.LoopTasksFact():
                for task in await self._store.tasks(view.workflow_id):
                    keep(view, task)
                    view.latest[task.links.base_ref] = view.refs[task.ref] = (
                        task.id
                    )  # by seq: the newest stays
                view.all_known = view.open_known = True
            case f.DefinitionFact(name, version):
                view.definitions[fact] = await self._definitions.registered(name, version)
            case f.TaskDefFact(name):
                view.task_defs[name] = await self._definitions.task_def(name)
            case f.DomainsFact(task_type):
                marks = await self._store.poll_marks(task_type)
                view.domains[task_type] = {
                    mark.domain: mark.at_ms for mark in sorted(marks, key=lambda m: m.at_ms)
                }
            case f.EnvironmentFact(name):
                value = None if self._environment is None else await self._environment.value(name)
                view.stored_environment[name] = value
            case f.SchemaFact(name, version):
                known = None if self._schemas is None else await self._schemas.registered(name, version)
                view.schemas[fact] = known
            case _:
                pass


def keep(view: f.View, task: Task) -> None:
    """Put a task into the view; what the view knows already is newer or equal."""
    view.tasks.setdefault(task.id, task)
