"""Tags that people put on definitions and secrets to group them; the engine does not act on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from engine.core.errors import ConflictError, InvalidRequestError
from engine.ports.documents import DocumentStore
from engine.ports.system import Clock

KIND = "tags"
TAGS_MAX = 100
TEXT_CHARS_MAX = 500
ATTEMPTS_MAX = 20


class Tag(Struct, kw_only=True, frozen=True):
    """A key with a value. `type` is METADATA or RATE_LIMIT in the official clients."""

    key: str = ""
    type: str = "METADATA"
    value: str | int | float | bool | None = None


Change = Callable[[list[Tag]], list[Tag]]


class Tags:
    """Tags by what they are on: a kind such as `workflow`, `task` or `secret`, and a name."""

    def __init__(self, documents: DocumentStore, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def of(self, what: str, name: str) -> list[Tag]:
        document = await self._documents.get(KIND, f"{what}:{name}")
        return [] if document is None else msgspec.json.decode(document.body, type=list[Tag])

    async def all(self) -> list[Tag]:
        """Every tag there is, each once."""
        found: dict[Tag, None] = {}
        for document in await self._documents.list(KIND):
            found |= dict.fromkeys(msgspec.json.decode(document.body, type=list[Tag]))
        return list(found)

    async def add(self, what: str, name: str, tags: Sequence[Tag]) -> None:
        """Add tags; one of the same key, type and value stays as it is.

        Raises:
            InvalidRequestError: a tag has no key, or they are too many.
        """
        await self._change(what, name, lambda before: list(dict.fromkeys([*before, *tags])))

    async def set(self, what: str, name: str, tags: Sequence[Tag]) -> None:
        """Put these in place of all others."""
        await self._change(what, name, lambda _: list(dict.fromkeys(tags)))

    async def remove(self, what: str, name: str, tags: Sequence[Tag]) -> None:
        """Remove the tags of the same key, type and value."""
        keys = {(tag.key, tag.type, str(tag.value)) for tag in tags}
        await self._change(
            what, name, lambda before: [t for t in before if (t.key, t.type, str(t.value)) not in keys]
        )

    async def _change(self, what: str, name: str, change: Change) -> None:
        for _ in range(ATTEMPTS_MAX):
            document = await self._documents.get(KIND, f"{what}:{name}")
            before = [] if document is None else msgspec.json.decode(document.body, type=list[Tag])
            tags = change(before)
            _check(tags)
            body, revision = msgspec.json.encode(tags), 0 if document is None else document.revision
            now_ms = self._clock.now_ms()
            if await self._documents.put(KIND, f"{what}:{name}", body, at_ms=now_ms, expect=revision):
                return
        raise ConflictError(f"The tags of {what} {name} are being changed by others; try again")


def _check(tags: Sequence[Tag]) -> None:
    if len(tags) > TAGS_MAX:
        raise InvalidRequestError(f"At most {TAGS_MAX} tags fit on one thing; there would be {len(tags)}")
    for tag in tags:
        if not tag.key:
            raise InvalidRequestError("A tag needs a key")
        if max(len(tag.key), len(tag.type), len(str(tag.value))) > TEXT_CHARS_MAX:
            raise InvalidRequestError(f"A tag's key, type and value have at most {TEXT_CHARS_MAX} characters")
