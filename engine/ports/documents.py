"""Small named documents that are neither executions nor definitions: event handlers, schedules, secrets.

One table serves them all. What changes with every step of a workflow does not belong here.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Document(Struct, kw_only=True, frozen=True):
    """One stored document.

    Attributes:
        revision: 1 when it was created, and one more with every put.
        at_ms: the time its last writer gave.
        body: the writer's bytes, usually JSON.
    """

    kind: str
    name: str
    revision: int
    at_ms: int
    body: bytes


class DocumentStore(Protocol):
    """Documents by kind and name, each with a revision; the contract is DocumentStoreContract.

    Writing against a revision also makes a lease: whoever's put succeeds has it.
    """

    async def get(self, kind: str, name: str) -> Document | None: ...

    async def put(self, kind: str, name: str, body: bytes, *, at_ms: int, expect: int | None = None) -> int:
        """Create or replace a document.

        Args:
            kind: what it is, e.g. `schedule`; each kind belongs to one service.
            name: unique within the kind.
            body: stored as it is.
            at_ms: the writer's time.
            expect: None = whatever is there; 0 = only when there is none; n = only over revision n.

        Returns:
            the document's new revision; 0 when `expect` did not hold: nothing was written then.

        Raises:
            StoreError: nothing was written.
        """
        ...

    async def delete(self, kind: str, name: str) -> bool:
        """Whether it was there. A name that is put again starts at revision 1."""
        ...

    async def list(
        self,
        kind: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        descending: bool = False,
    ) -> list[Document]:
        """Documents of a kind in the order of their names (by code point), from `after` on, exclusive."""
        ...
