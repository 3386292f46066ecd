"""All documents of one kind, decoded, in memory; a change on any server is seen by the next look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
import structlog

from engine.core.errors import EngineError
from engine.ports.documents import Document, DocumentStore
from engine.ports.system import Clock

log = structlog.get_logger(__name__)

T = TypeVar("T")

REVISIONS = "documents_changed"
"""The kind whose documents count the changes of other kinds, by their names."""
REREAD_MS_MAX = 60_000
"""Read again after so long, should a server have died between a change and its count."""
BODY = b"{}"


class CachedDocuments(Generic[T]):
    """Reads a kind whole and keeps it until its count of changes moves.

    For kinds that are read far more often than written; whoever writes one calls `changed` afterwards.
    """

    def __init__(
        self, documents: DocumentStore, kind: str, decode: Callable[[Document], T], clock: Clock
    ) -> None:
        self._documents = documents
        self._kind = kind
        self._decode = decode
        self._clock = clock
        self._kept: dict[str, tuple[Document, T]] = {}
        self._all: dict[str, T] = {}
        self._count = -1
        self._read_ms = 0

    async def all(self) -> dict[str, T]:
        """By name, in order. Every call asks the store for the count of changes, usually for nothing else.

        Raises:
            StoreError: the store cannot be read.
        """
        marker = await self._documents.get(REVISIONS, self._kind)
        count = 0 if marker is None else marker.revision
        now_ms = self._clock.now_ms()
        if count != self._count or now_ms - self._read_ms >= REREAD_MS_MAX:
            kept: dict[str, tuple[Document, T]] = {}
            for document in await self._documents.list(self._kind):
                before = self._kept.get(document.name)
                if before is not None and before[0] == document:
                    kept[document.name] = before
                    continue
                try:
                    kept[document.name] = (document, self._decode(document))
                except (EngineError, msgspec.MsgspecError) as error:
                    # Written by another version, perhaps; it must not take the others along.
                    log.warning("document_unreadable", kind=self._kind, name=document.name, error=str(error))
            self._kept = kept
            self._all = {name: value for name, (_, value) in kept.items()}
            # The count was read before the documents: a change between the two is seen again, not missed.
            self._count, self._read_ms = count, now_ms
        return self._all

    async def changed(self) -> None:
        """A document of the kind was put or deleted: every server reads the kind again."""
        await self._documents.put(REVISIONS, self._kind, BODY, at_ms=self._clock.now_ms())
