"""Where clients put inputs and outputs that they do not want in a request, and the engine reads them."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

Operation = Literal["READ", "WRITE"]


class Held(Struct, kw_only=True, frozen=True):
    """A payload as the store has it; `body` is None when it is larger than the reader's bound."""

    size_bytes: int
    body: bytes | None = None


class PayloadStore(Protocol):
    """Bytes under paths that the engine makes (`engine.core.payloads.PATH`).

    Every method raises StoreAwayError when the store cannot be reached or refuses.
    """

    async def url(self, path: str, operation: Operation, *, now_ms: int, lasts_ms: int) -> str:
        """Where a client without credentials may PUT (WRITE) or GET (READ) that one payload for a while.

        Args:
            path: of the payload; for READ it need not exist.
            operation: what the address is good for.
            now_ms: Unix milliseconds.
            lasts_ms: how long the address is good.

        Returns:
            a URL; one that begins with `/` is a path on this server.
        """
        ...

    async def read(self, path: str, *, bytes_max: int) -> Held | None:
        """A payload of at most `bytes_max`; None when there is none of that path."""
        ...

    async def remove(self, path: str) -> None:
        """Delete a payload; one that is not there is no error."""
        ...

    async def remove_before(self, instant_ms: int, *, count_max: int) -> int:
        """Delete up to `count_max` payloads last written before `instant_ms`; gives how many."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class ServedPayloads(Protocol):
    """A store whose addresses lead to this server, which then asks it."""

    async def allows(self, path: str, operation: Operation, *, expires_ms: int, signature: str) -> bool:
        """Whether `url` made that address; whether it has expired is the caller's to judge.

        Raises:
            StoreAwayError: it cannot be told.
        """
        ...

    async def write(self, path: str, body: bytes) -> None:
        """Keep a payload, whole or not at all; one of the same path is replaced.

        Raises:
            StoreFullError: the disk is full. StoreAwayError: the folder refuses.
        """
        ...
