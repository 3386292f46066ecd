"""Compiled definitions: registered ones ready to start, and frozen ones by their content hash."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from engine.core.errors import InvariantError
from engine.core.graph import SYSTEM_TYPES, Graph, compile_definition
from engine.core.model import (
    SubWorkflowParams,
    TaskDef,
    WorkflowDef,
    WorkflowTask,
    collect_tasks,
    decode_task_def,
    decode_workflow_def,
    map_tasks,
)
from engine.ports.stores import ExecutionStore, MetadataStore

GRAPHS_KEPT_MAX = 500
"""Compiled definitions kept in memory; a definition of ten tasks takes some 30 KB."""


class Definitions:
    """Compiled definitions, kept by content.

    Attributes:
        environment: names that expressions may use without a task of that name; see
            EngineSettings.environment_names.
        js_problem: says why a text is no JavaScript.
    """

    def __init__(
        self,
        executions: ExecutionStore,
        metadata: MetadataStore,
        *,
        environment: Mapping[str, str],
        js_problem: Callable[[str], str | None],
    ) -> None:
        self.environment = environment
        self.js_problem = js_problem
        self._executions = executions
        self._metadata = metadata
        self._by_hash: OrderedDict[str, Graph] = OrderedDict()
        self._registered: dict[tuple[str, int | None], Graph | None] = {}
        self._on_forget: list[Callable[[], None]] = []

    def on_forget(self, hook: Callable[[], None]) -> None:
        """Call `hook` whenever definitions have changed."""
        self._on_forget.append(hook)

    def forget(self) -> None:
        """A workflow or task definition changed: resolve registered ones anew."""
        self._registered.clear()
        for hook in self._on_forget:
            hook()

    async def registered(self, name: str, version: int | None) -> Graph | None:
        """A registered definition, its task definitions filled in; the highest version when None (or 0)."""
        key = (name, version or None)
        if key not in self._registered:
            body = await self._metadata.get_workflow_def(name, version or None)
            graph = None if body is None else await self.compile(decode_workflow_def(body))
            if len(self._registered) >= GRAPHS_KEPT_MAX:
                self._registered.clear()
            self._registered[key] = graph
        return self._registered[key]

    async def compile(self, definition: WorkflowDef) -> Graph:
        """Fill in the task definitions as they are now and compile; that is what an execution keeps."""
        names = {task.name for task in collect_tasks(definition) if task.task_definition is None}
        known = {name: await self.task_def(name) for name in sorted(names)}
        newest = {name: await self._newest(name) for name in sorted(_unversioned(definition))}
        filled = map_tasks(definition, lambda task: _fill(_versioned(task, newest), known))
        return self._keep(compile_definition(filled))

    async def _newest(self, name: str) -> int | None:
        body = await self._metadata.get_workflow_def(name, None)
        return None if body is None else decode_workflow_def(body).version

    async def frozen(self, definition_hash: str) -> Graph:
        """The definition an execution was started with.

        Raises:
            InvariantError: the store has the execution but not its definition.
        """
        graph = self._by_hash.get(definition_hash)
        if graph is None:
            body = await self._executions.definition(definition_hash)
            if body is None:
                raise InvariantError(f"the definition {definition_hash} is missing from the store")
            graph = self._keep(compile_definition(decode_workflow_def(body)))
        else:
            self._by_hash.move_to_end(definition_hash)
        return graph

    async def task_def(self, name: str) -> TaskDef | None:
        body = await self._metadata.get_task_def(name)
        return None if body is None else decode_task_def(body)

    def _keep(self, graph: Graph) -> Graph:
        kept = self._by_hash.setdefault(graph.hash, graph)
        self._by_hash.move_to_end(graph.hash)
        if len(self._by_hash) > GRAPHS_KEPT_MAX:
            self._by_hash.popitem(last=False)
        return kept


def _unversioned(definition: WorkflowDef) -> set[str]:
    """Names of sub-workflows without a version: an execution keeps the one that is newest at its start."""
    params = [task.sub_workflow_param for task in collect_tasks(definition) if task.type == "SUB_WORKFLOW"]
    return {
        one.name for one in params if one is not None and one.name and _open(one) and "${" not in one.name
    }


def _open(params: SubWorkflowParams) -> bool:
    return not params.version and params.workflow_definition is None


def _versioned(task: WorkflowTask, newest: dict[str, int | None]) -> WorkflowTask:
    params = task.sub_workflow_param
    if task.type != "SUB_WORKFLOW" or params is None or not _open(params):
        return task
    version = newest.get(params.name)
    return task if version is None else replace(task, sub_workflow_param=replace(params, version=version))


def _fill(task: WorkflowTask, known: dict[str, TaskDef | None]) -> WorkflowTask:
    """Upstream's MetadataMapperService: the registered definition, else one made up for the name."""
    if task.task_definition is not None:
        return task
    found = known.get(task.name)
    if found is None:
        found = TaskDef(name=task.name)
        if task.type in SYSTEM_TYPES or task.type == "DYNAMIC":
            found = replace(found, retry_count=0, response_timeout_seconds=0)
    return replace(task, task_definition=found)
