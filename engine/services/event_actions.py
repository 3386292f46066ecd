"""What event handlers do: start, complete, fail, terminate, set variables. Each may be done again safely.

Source of outputs and texts: upstream's SimpleActionProcessor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Raw

from engine.core import events as ev
from engine.core.errors import InvalidRequestError
from engine.core.event_handlers import CompiledAction, CompiledHandler, PayloadScope, expand, workflow_id_of
from engine.core.records import Task
from engine.ports.stores import ExecutionStore
from engine.services.executions import Executions, StartRequest, TaskUpdate
from engine.services.mailboxes import Mailboxes
from engine.services.secrets import STORED_ENVIRONMENT, Environment

Choose = Callable[[str], Awaitable[str]]

MESSAGE_ID, EVENT_NAME = "conductor.event.messageId", "conductor.event.name"


class EventActions:
    """Carries out one action of a handler for one message."""

    def __init__(
        self,
        store: ExecutionStore,
        executions: Executions,
        mailboxes: Mailboxes,
        environment: Environment,
    ) -> None:
        self._store = store
        self._executions = executions
        self._mailboxes = mailboxes
        self._environment = environment

    async def run(
        self, handler: CompiledHandler, position: int, *, message_id: str, payload: Any, choose: Choose
    ) -> dict[str, Any]:
        """Do it; gives the output that is recorded.

        Args:
            handler: whose action it is.
            position: of the action in the handler.
            message_id: of the message.
            payload: its value.
            choose: keeps the id of the task that the action means, and gives the one kept first: a reference
                may mean another task when the message comes again.

        Raises:
            StoreError: perhaps done, perhaps not; do it again.
            RefusedError: it cannot be done.
        """
        action = handler.actions[position]
        seen = expand(payload) if action.expand else payload
        environment = await self._environment.all() if action.reads_environment else {}
        named = {STORED_ENVIRONMENT + name: value for name, value in environment.items()}
        given: dict[str, Any] = action.template.evaluate(PayloadScope(seen, named))
        told = {MESSAGE_ID: message_id, EVENT_NAME: handler.event}
        match action.kind:
            case "start_workflow":
                workflow_id = workflow_id_of(handler.name, message_id, position)
                return await self._start(action, given, told, workflow_id)
            case "complete_task":
                return await self._end_task("COMPLETED", given, told, choose)
            case "fail_task":
                return await self._end_task("FAILED", given, told, choose)
            case "terminate_workflow":
                target = _workflow_id(action, given)
                reason = given.get("terminationReason")
                await self._executions.terminate(target, None if reason is None else str(reason))
                return {"workflowId": target}
            case "update_workflow_variables":
                return await self._set_variables(action, given)
            case _:
                raise InvalidRequestError(f"Action not supported {action.kind} for event {handler.event}")

    async def _start(
        self, action: CompiledAction, given: dict[str, Any], told: dict[str, str], workflow_id: str
    ) -> dict[str, Any]:
        domains = given.get("taskToDomain")
        correlation_id = given.get("correlationId")
        request = StartRequest(
            name=action.workflow_name,
            version=action.workflow_version,
            input=given["input"] | told,
            correlation_id=None if correlation_id is None else str(correlation_id),
            task_to_domain=(
                {str(key): str(value) for key, value in domains.items()}
                if isinstance(domains, dict)
                else None
            ),
        )
        event = told[EVENT_NAME]
        return {"workflowId": await self._executions.start(request, workflow_id=workflow_id, event=event)}

    async def _end_task(
        self, status: str, given: dict[str, Any], told: dict[str, str], choose: Choose
    ) -> dict[str, Any]:
        task_id, ref, workflow_id = (_text(given.get(key)) for key in ("taskId", "taskRefName", "workflowId"))
        task: Task | None = None
        if task_id:
            task = (await self._store.tasks_by_id([task_id])).get(task_id)
        elif workflow_id and ref:
            if await self._store.load(workflow_id) is None:
                return given | {"error": f"No workflow found with ID: {workflow_id}"}
            task = await self._by_ref(workflow_id, ref, choose)
        if task is None:
            shown = ", ".join(
                f"{what}: {value or 'null'}"
                for what, value in (("taskId", task_id), ("reference name", ref), ("workflowId", workflow_id))
            )
            return given | {"error": f"No task found with {shown}"}
        await self._executions.update(
            TaskUpdate(
                workflow_instance_id=task.head.workflow_instance_id,
                task_id=task.id,
                status=status,
                reason_for_incompletion=_text(given.get("reasonForIncompletion")) or None,
                output_data=Raw(msgspec.json.encode(given | told)),
            )
        )
        return given

    async def _by_ref(self, workflow_id: str, ref: str, choose: Choose) -> Task | None:
        """The newest of a loop's iterations, else the task of just that reference."""
        newest = await self._store.latest(workflow_id, [ref])
        found = newest.get(ref) or (await self._store.by_ref(workflow_id, [ref])).get(ref)
        if found is None:
            return None
        chosen = await choose(found.id)
        return found if chosen == found.id else (await self._store.tasks_by_id([chosen])).get(chosen)

    async def _set_variables(self, action: CompiledAction, given: dict[str, Any]) -> dict[str, Any]:
        target = _workflow_id(action, given)
        variables = given.get("variables")
        if not isinstance(variables, dict):
            raise InvalidRequestError("update_workflow_variables.variables: an object of names and values")
        body = Raw(msgspec.json.encode(variables))
        await self._mailboxes.submit(target, ev.SetVariables(variables=body, append=action.append_array))
        return {"workflowId": target, "variables": variables}


def _workflow_id(action: CompiledAction, given: dict[str, Any]) -> str:
    found = _text(given.get("workflowId"))
    if not found:
        raise InvalidRequestError(f"{action.kind}.workflowId: the event names no workflow")
    return found


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _texts(given: dict[Any, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in given.items()}
