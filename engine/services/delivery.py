"""The copy of a task that a worker gets: secrets filled in, runtime metadata added. It is never stored."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from engine.core.graph import SYSTEM_TYPES, Graph, decode_workflow_task
from engine.core.records import QueueEntry, Task
from engine.services.documents import task_json
from engine.services.secrets import Environment, Secrets


class Delivery:
    def __init__(self, secrets: Secrets, environment: Environment) -> None:
        self._secrets = secrets
        self._environment = environment

    async def document(self, task: Task, graph: Graph, entry: QueueEntry) -> bytes:
        """The wire's Task as JSON bytes."""
        if task.head.task_type in SYSTEM_TYPES:
            return task_json(task, graph, entry=entry)  # the server's own workers fill in theirs at the call
        given = task.head.input_data
        filled = (await self._secrets.filled(given)).document
        if filled is not given:
            task = replace(task, head=replace(task.head, input_data=filled))
        body = task_json(task, graph, entry=entry)
        names = _runtime_metadata(task, graph)
        if not names:
            return body
        found = {name: await self._metadata(name) for name in names}
        known = msgspec.json.encode({name: text for name, text in found.items() if text is not None})
        return body[:-1] + b',"runtimeMetadata":' + known + b"}" if known != b"{}" else body

    async def _metadata(self, name: str) -> str | None:
        secret = await self._secrets.value(name)
        return await self._environment.value(name) if secret is None else secret


def _runtime_metadata(task: Task, graph: Graph) -> list[str]:
    """Names that the task definition asks for (upstream: TaskDef.runtimeMetadata)."""
    if task.links.in_def:
        definition = graph.nodes[task.links.base_ref].task
    elif task.links.workflow_task is not None:
        definition = decode_workflow_task(task.links.workflow_task)
    else:
        return []
    policy = definition.task_definition
    return [] if policy is None else policy.runtime_metadata
