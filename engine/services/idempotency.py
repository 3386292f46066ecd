"""Starts with an idempotency key: one execution for one key, on however many servers and through crashes."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from engine.core import events as ev
from engine.core.errors import InvalidRequestError
from engine.core.graph import Graph
from engine.core.idempotency import KEY_CHARS_MAX, Strategy, keyed_id, used_already
from engine.core.statuses import WORKFLOW_OPEN
from engine.ports.documents import DocumentStore
from engine.ports.stores import ExecutionStore
from engine.ports.system import Clock
from engine.services.mailboxes import Mailboxes

KIND = "idempotency"
"""Documents of keys that were used again after their execution had ended; others need none."""


class Generation(Struct, kw_only=True):
    """How often a key was used again. `name` and `key` are there for people who look."""

    name: str
    key: str
    generation: int


class KeyedStarts:
    def __init__(
        self, store: ExecutionStore, documents: DocumentStore, *, mailboxes: Mailboxes, clock: Clock
    ) -> None:
        self._store = store
        self._documents = documents
        self._mailboxes = mailboxes
        self._clock = clock

    async def start(
        self,
        graph: Graph,
        start: ev.Start,
        *,
        key: str,
        strategy: Strategy,
        before: Callable[[str], Awaitable[None]] | None = None,
        owner_task_id: str | None = None,
    ) -> tuple[str, bool]:
        """Start an execution unless its key is taken.

        Args:
            graph: what to start.
            start: how; its idempotency key is `key`.
            key: the caller's.
            strategy: what to do when the key is taken.
            before: told the id of an execution that is about to be started.
            owner_task_id: the task that starts a child; one it has started already is its own.

        Returns:
            the id, and whether this call (or an earlier one of the owner) started it.

        Raises:
            ConflictError: the key is taken and the strategy refuses that. InvalidRequestError: the key is too
                long.
        """
        if len(key) > KEY_CHARS_MAX:
            raise InvalidRequestError(
                f"idempotencyKey has {len(key)} characters; at most {KEY_CHARS_MAX} fit"
            )
        name = graph.definition.name
        while True:
            generation, revision = await self._generation(name, key)
            workflow_id = keyed_id(name, key, generation)
            if before is None or await self._store.load(workflow_id) is None:
                if before is not None:
                    await before(workflow_id)
                if (await self._mailboxes.create(workflow_id, graph, start)).changed:
                    return workflow_id, True
            if owner_task_id is not None and await self._owned(workflow_id, owner_task_id):
                return workflow_id, True
            if strategy is Strategy.RETURN_EXISTING:
                return workflow_id, False
            stored = await self._store.load(workflow_id)
            if stored is None:
                continue  # removed this very moment: the key is free again
            running = stored.header.status in WORKFLOW_OPEN
            if running or strategy is Strategy.FAIL:
                raise used_already(name, key, workflow_id, running=running)
            await self._next(name, key, generation + 1, revision)

    async def _owned(self, workflow_id: str, task_id: str) -> bool:
        stored = await self._store.load(workflow_id)
        return stored is not None and stored.header.parent_task_id == task_id

    async def _generation(self, name: str, key: str) -> tuple[int, int]:
        document = await self._documents.get(KIND, _document_name(name, key))
        if document is None:
            return 0, 0
        return msgspec.json.decode(document.body, type=Generation).generation, document.revision

    async def _next(self, name: str, key: str, generation: int, revision: int) -> None:
        """Go on to a new generation; whoever is second finds it and meets the first in the insert."""
        body = msgspec.json.encode(Generation(name=name, key=key, generation=generation))
        await self._documents.put(
            KIND, _document_name(name, key), body, at_ms=self._clock.now_ms(), expect=revision
        )


def _document_name(name: str, key: str) -> str:
    return hashlib.blake2b(f"{len(name)}:{name}:{key}".encode(), digest_size=20).hexdigest()
