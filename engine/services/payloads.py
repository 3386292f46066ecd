"""Payloads that clients put elsewhere: where to, what is read from there, and their end.

What a start or a result names is read before the step, so a workflow only knows the document itself. The
payload is a vehicle: it outlives its use only for clients that repeat themselves, and is removed by age.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import Raw, Struct

from engine.core.errors import InvalidRequestError, NotFoundError
from engine.core.payloads import KINDS, NOT_KEPT, PAYLOAD_BYTES_MAX, PAYLOAD_KB_MAX, is_path, path_of
from engine.core.validation import deeper_than_allowed
from engine.ports.notifier import Notifier
from engine.ports.payloads import Operation, PayloadStore, ServedPayloads
from engine.ports.system import Chance, Clock

ADDRESS_MS = 15 * 60_000
"""How long an address of a payload is good."""
NESTING_MAX = 250
"""Containers within containers, as in the body of a request."""
BATCH_MAX = 500
"""Payloads deleted in one go."""
PAUSE_MS = 100
LOOK_EVERY_MS = 60_000
"""Between two goes: after a full one, and after one that found less."""


class Location(Struct, kw_only=True, frozen=True):
    """Where a payload may be PUT or fetched, and the path that names it in a start or a result."""

    uri: str
    path: str


class Fetched(Struct, kw_only=True, frozen=True):
    """A payload's size, and its JSON object unless it is over the bound."""

    size_bytes: int
    document: Raw


class ExternalPayloads:
    """The engine's side of a payload store.

    Args:
        store: None: clients send documents in their requests.
        keep_ms: payloads so old are deleted; None keeps them all. Of several servers one deletes.
    """

    def __init__(
        self,
        store: PayloadStore | None,
        clock: Clock,
        chance: Chance,
        *,
        notifier: Notifier,
        keep_ms: int | None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._notifier = notifier
        self._keep_ms = keep_ms

    async def location(self, operation: Operation, kind: str, path: str) -> Location | None:
        """An address that is good for ADDRESS_MS; None when the server keeps no payloads elsewhere.

        Args:
            operation: WRITE makes a new path and leaves `path` aside, READ is about `path`.
            kind: one of KINDS.
            path: of a payload.

        Raises:
            InvalidRequestError: READ of a path that no server makes. StoreAwayError: try again later.
        """
        if self._store is None:
            return None
        if kind not in KINDS:
            raise InvalidRequestError(f'payloadType is "{kind}"; it must be one of {", ".join(KINDS)}')
        if operation == "WRITE":
            path = path_of(kind, self._chance.seed(), self._chance.seed())
        elif not is_path(path):
            raise InvalidRequestError(_no_path("path", path))
        now_ms = self._clock.now_ms()
        uri = await self._store.url(path, operation, now_ms=now_ms, lasts_ms=ADDRESS_MS)
        return Location(uri=uri, path=path)

    async def fetch(self, path: str, *, member: str) -> Fetched:
        """Read a payload that a request names.

        Args:
            path: of the payload.
            member: the request's member, for sentences.

        Raises:
            InvalidRequestError: no path of a payload, or no JSON object. NotFoundError: nothing is kept
                there. StoreAwayError: try again later.
        """
        if self._store is None:
            raise InvalidRequestError(NOT_KEPT.format(member=member))
        if not is_path(path):
            raise InvalidRequestError(_no_path(member, path))
        held = await self._store.read(path, bytes_max=PAYLOAD_BYTES_MAX)
        if held is None:
            raise NotFoundError(
                f"{member}: no payload is kept at {path}; PUT it to the uri of /externalstoragelocation "
                "first (payloads are deleted after a while)"
            )
        if held.body is None:
            return Fetched(size_bytes=held.size_bytes, document=Raw(b"{}"))
        problem = await asyncio.to_thread(_problem, held.body)
        if problem is not None:
            raise InvalidRequestError(f"{member}: the payload at {path} {problem}")
        return Fetched(size_bytes=held.size_bytes, document=Raw(held.body))

    # ------------------------------------------------------------------------------------ served by us
    async def put(self, path: str, body: bytes, *, expires_ms: int, signature: str) -> bool:
        """Keep a payload; False when the address is none of ours, or has expired.

        Raises:
            InvalidRequestError: no JSON object. StoreFullError, StoreAwayError: nothing was kept.
        """
        served = await self._served(path, "WRITE", expires_ms, signature)
        if served is None:
            return False
        problem = await asyncio.to_thread(_problem, body)
        if problem is not None:
            raise InvalidRequestError(f"The payload {problem}")
        await served.write(path, body)
        return True

    async def get(self, path: str, *, expires_ms: int, signature: str) -> bytes | None:
        """A payload; None when the address is none of ours, or has expired.

        Raises:
            NotFoundError: nothing is kept there.
        """
        if self._store is None or await self._served(path, "READ", expires_ms, signature) is None:
            return None
        held = await self._store.read(path, bytes_max=PAYLOAD_BYTES_MAX)
        if held is None or held.body is None:
            raise NotFoundError(f"No payload is kept at {path}")
        return held.body

    async def _served(
        self, path: str, operation: Operation, expires_ms: int, signature: str
    ) -> ServedPayloads | None:
        if not is_path(path) or not isinstance(self._store, ServedPayloads):
            return None
        if not await self._store.allows(path, operation, expires_ms=expires_ms, signature=signature):
            return None
        return self._store if self._clock.now_ms() <= expires_ms else None

    # ------------------------------------------------------------------------------------ their end
    async def step(self) -> int | None:
        """Delete a batch of old payloads; gives the next instant to look, None for never."""
        if self._store is None or self._keep_ms is None:
            return None
        now_ms = self._clock.now_ms()
        if not self._notifier.is_mine("payloads"):
            return now_ms + LOOK_EVERY_MS
        removed = await self._store.remove_before(now_ms - self._keep_ms, count_max=BATCH_MAX)
        return now_ms + (PAUSE_MS if removed == BATCH_MAX else LOOK_EVERY_MS)

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()


def _problem(body: bytes) -> str | None:
    """Why a document cannot be used, None when it can."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"is not valid JSON: {error}"
    except RecursionError:
        return f"nests deeper than {NESTING_MAX} levels; flatten it"
    if not isinstance(value, dict):
        return "must be a JSON object"
    if deeper_than_allowed(value, NESTING_MAX):
        return f"nests deeper than {NESTING_MAX} levels; flatten it"
    return None


def _no_path(member: str, path: str) -> str:
    return (
        f'{member} is "{path[:200]}"; it must be the path that /externalstoragelocation answered with '
        f"operation=WRITE, for a payload of at most {PAYLOAD_KB_MAX} KB"
    )
