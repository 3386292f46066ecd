"""Events: taken from workflows and brokers, given to every active handler, each action recorded once.

Delivery is at least once. Whoever carries a message (the outbox for the internal queue, its broker for any
other) delivers it again while `deliver` fails, and is the only one that does. A repeat is harmless: an action
that is recorded is not done again, and one that was done without being recorded changes nothing the second
time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Literal

import msgspec
import structlog
from msgspec import UNSET

from engine.core.errors import EngineError, StoreError
from engine.core.event_handlers import CompiledHandler, EventExecution, expand, read_payload
from engine.core.event_queues import CONDUCTOR, QUEUE_TYPES, split_event
from engine.core.model import MalformedBodyError
from engine.core.values import is_true
from engine.ports.brokers import Broker
from engine.ports.documents import DocumentStore
from engine.ports.scripts import ScriptCall, ScriptRunner
from engine.ports.system import Clock
from engine.services.event_actions import EventActions
from engine.services.event_handlers import EventHandlers

log = structlog.get_logger(__name__)

RECORD_KIND, WAITING_KIND = "event_execution", "event_waiting"
RECORD_OUTPUT_BYTES_MAX = 64 * 1024
"""A record's output that is larger is left out of it."""
PAGE_MAX = 500
"""Records read at once."""
SEPARATOR = "\x1f"


class EventBus:
    """Publishes and delivers events.

    Attributes:
        handlers: what acts on them.
        brokers: by the type that event names begin with; the internal queue is not among them.
    """

    def __init__(
        self,
        documents: DocumentStore,
        handlers: EventHandlers,
        actions: EventActions,
        *,
        scripts: ScriptRunner,
        clock: Clock,
        brokers: Mapping[str, Broker] | None = None,
    ) -> None:
        self._documents = documents
        self.handlers = handlers
        self._actions = actions
        self._scripts = scripts
        self._clock = clock
        self.brokers: Mapping[str, Broker] = brokers or {}

    async def publish(self, event: str, payload: bytes, message_id: str) -> None:
        """Hand an event to its queue; one of the internal queue is delivered here.

        An event of the internal queue that no active handler wants is kept for one to come; see event_upkeep.

        Raises:
            StoreError: it is not done; do it again, with the same id.
        """
        kind, queue = split_event(event)
        if kind != CONDUCTOR:
            await self._broker(event, kind).publish(queue, message_id, payload)
            return
        if not await self.handlers.active(event):
            name = waiting_name(event, message_id)
            await self._documents.put(WAITING_KIND, name, payload, at_ms=self._clock.now_ms())
            if not await self.handlers.active(event):
                return
            # A handler came between the two looks.
            await self._documents.delete(WAITING_KIND, name)
        await self.deliver(event, payload, message_id)

    def _broker(self, event: str, kind: str) -> Broker:
        broker = self.brokers.get(kind)
        if broker is None:
            known = kind in QUEUE_TYPES
            hint = f"name one with SHOWRUNNER_EVENTS_{kind.upper()}" if known else "there is no such type"
            raise StoreError(f"event {event}: no broker of type {kind} is connected; {hint}")
        return broker

    async def deliver(self, event: str, payload: bytes, message_id: str) -> None:
        """Have every active handler of an event act on a message.

        Raises:
            StoreError: some action is not known to be done; deliver the message again.
        """
        handlers = await self.handlers.active(event)
        if not handlers:
            return
        value = read_payload(payload)
        await _all(self._handle(handler, value, message_id) for handler in handlers)

    async def _handle(self, handler: CompiledHandler, payload: Any, message_id: str) -> None:
        if handler.condition:
            first = await self._recorded(handler, f"{message_id}_0")
            if first is not None and first.action is UNSET:
                return  # passed over before
            holds, problem = (True, None) if first is not None else await self._holds(handler, payload)
            if problem is not None:
                log.warning("event_condition_failed", handler=handler.name, event_name=handler.event)
                await self._record(handler, message_id, "FAILED", {"exception": problem})
                return
            if not holds:
                output = {"msg": payload, "condition": handler.condition}
                await self._record(handler, message_id, "SKIPPED", output)
                return
        await _all(self._act(handler, at, payload, message_id) for at in range(len(handler.actions)))

    async def _holds(self, handler: CompiledHandler, payload: Any) -> tuple[bool, str | None]:
        """Whether the condition holds, and why that cannot be said."""
        seen = expand(payload)
        if handler.evaluator == "value-param":
            return is_true(seen.get(handler.condition) if isinstance(seen, dict) else None), None
        if handler.evaluator == "python":
            return False, "evaluatorType python is not served; write the condition in javascript"
        bindings = msgspec.json.encode(seen)
        result = await self._scripts.run(
            ScriptCall(language="javascript", source=handler.condition, bindings=bindings)
        )
        return is_true(result.value), result.error

    async def _act(self, handler: CompiledHandler, position: int, payload: Any, message_id: str) -> None:
        before = await self._recorded(handler, f"{message_id}_{position}")
        if before is not None and before.status != "IN_PROGRESS":
            return

        async def choose(task_id: str) -> str:
            kept = before
            if kept is None:
                await self._record(handler, message_id, "IN_PROGRESS", {"taskId": task_id}, position)
                kept = await self._recorded(handler, f"{message_id}_{position}")
            chosen = {} if kept is None else kept.output
            return str(chosen.get("taskId") or task_id)

        try:
            output = await self._actions.run(
                handler, position, message_id=message_id, payload=payload, choose=choose
            )
        except StoreError:
            raise
        except (EngineError, MalformedBodyError) as error:
            log.warning(
                "event_action_failed", handler=handler.name, event_name=handler.event, reason=str(error)
            )
            await self._record(handler, message_id, "FAILED", {"exception": str(error)}, position)
            return
        await self._record(handler, message_id, "COMPLETED", output, position)

    # ------------------------------------------------------------------------------------ records
    async def _recorded(self, handler: CompiledHandler, execution_id: str) -> EventExecution | None:
        found = await self._documents.get(RECORD_KIND, _record_name(handler, execution_id))
        return None if found is None else msgspec.json.decode(found.body, type=EventExecution)

    async def _record(
        self,
        handler: CompiledHandler,
        message_id: str,
        status: Literal["IN_PROGRESS", "COMPLETED", "FAILED", "SKIPPED"],
        output: dict[str, Any],
        position: int | None = None,
    ) -> None:
        """Keep what became of one action, unless that is known; without a position, of the whole message."""
        now_ms = self._clock.now_ms()
        record = EventExecution(
            id=f"{message_id}_{position or 0}",
            message_id=message_id,
            name=handler.name,
            event=handler.event,
            created=now_ms,
            status=status,
            action=UNSET if position is None else handler.actions[position].kind,
            output=output,
        )
        body = msgspec.json.encode(record)
        if len(body) > RECORD_OUTPUT_BYTES_MAX:
            record.output = {"omitted": f"the output has {len(body)} bytes, too many to be kept"}
            body = msgspec.json.encode(record)
        name = _record_name(handler, record.id)
        if await self._documents.put(RECORD_KIND, name, body, at_ms=now_ms, expect=0):
            return
        before = await self._documents.get(RECORD_KIND, name)
        if before is not None and b'"status":"IN_PROGRESS"' in before.body and status != "IN_PROGRESS":
            await self._documents.put(RECORD_KIND, name, body, at_ms=now_ms, expect=before.revision)

    async def records(self, handler: str, *, limit: int = PAGE_MAX) -> list[bytes]:
        """Wire JSON of a handler's records, by event and message."""
        found = await self._documents.list(RECORD_KIND, prefix=handler + SEPARATOR, limit=limit)
        return [document.body for document in found]


def waiting_name(event: str, message_id: str) -> str:
    return event + SEPARATOR + message_id


def _record_name(handler: CompiledHandler, execution_id: str) -> str:
    return SEPARATOR.join((handler.name, handler.event, execution_id))


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it; raise what went wrong only when nothing is under way any more."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
