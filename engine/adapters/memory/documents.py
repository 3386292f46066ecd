"""DocumentStore in a dict."""

from __future__ import annotations

from engine.ports.documents import Document


class MemoryDocumentStore:
    """DocumentStore that forgets with its process."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], Document] = {}

    async def get(self, kind: str, name: str) -> Document | None:
        return self._documents.get((kind, name))

    async def put(self, kind: str, name: str, body: bytes, *, at_ms: int, expect: int | None = None) -> int:
        before = self._documents.get((kind, name))
        revision = 0 if before is None else before.revision
        if expect is not None and expect != revision:
            return 0
        self._documents[kind, name] = Document(
            kind=kind, name=name, revision=revision + 1, at_ms=at_ms, body=bytes(body)
        )
        return revision + 1

    async def delete(self, kind: str, name: str) -> bool:
        return self._documents.pop((kind, name), None) is not None

    async def list(
        self,
        kind: str,
        *,
        prefix: str = "",
        after: str = "",
        limit: int | None = None,
        descending: bool = False,
    ) -> list[Document]:
        def wanted(name: str) -> bool:
            beyond = not after or (name < after if descending else name > after)
            return name.startswith(prefix) and beyond

        found = [document for (of, name), document in self._documents.items() if of == kind and wanted(name)]
        found.sort(key=lambda document: document.name, reverse=descending)
        return found[:limit]
