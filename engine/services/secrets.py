"""Secrets and stored environment values: kept as documents, given by the operator, filled in at delivery.

A secret stands in the stored input of a task as `${workflow.secrets.NAME}`. Its value goes into the copy that
a worker polls or a call uses, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
import structlog
from msgspec import Raw, Struct

from engine.core.errors import ConflictError, InvalidRequestError
from engine.core.secrets import secret_names, substitute_secrets
from engine.ports.documents import DocumentStore
from engine.ports.sealing import Sealer
from engine.ports.system import Clock

log = structlog.get_logger(__name__)

SECRET_KIND, ENVIRONMENT_KIND = "secret", "environment"
VALUE_BYTES_MAX = 64 * 1024
STORED_ENVIRONMENT = "workflow.env."
"""Prefix of stored values among the names that expressions may read."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
_MARK = b"${workflow.secrets."


class Filled(Struct, kw_only=True, frozen=True):
    """A document with its secrets. `values` are theirs, to be kept out of whatever is said about it."""

    document: Raw
    values: frozenset[str] = frozenset()

    def redacted(self, text: str) -> str:
        """The text with `***` in place of every value."""
        for value in sorted(self.values, key=len, reverse=True):
            text = text.replace(value, "***")
        return text


class Secrets:
    """The secrets of a server: those given with the process, then the stored ones."""

    def __init__(
        self, documents: DocumentStore, clock: Clock, *, fixed: Mapping[str, str], sealer: Sealer | None
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._fixed = fixed
        self._sealer = sealer

    async def names(self) -> list[str]:
        return sorted({*self._fixed, *(d.name for d in await self._documents.list(SECRET_KIND))})

    async def value(self, name: str) -> str | None:
        """A secret's text; None when there is none, or none that this server can open."""
        if name in self._fixed:
            return self._fixed[name]
        document = await self._documents.get(SECRET_KIND, name)
        if document is None:
            return None
        try:
            if self._sealer is None:
                raise ValueError(f"secret {name}: this server has no key; set SHOWRUNNER_SECRETS_KEY")
            return self._sealer.unseal(name, document.body)
        except ValueError as error:
            log.error("secret_not_opened", name=name, reason=str(error))  # noqa: TRY400 - no traceback: it is the key
            return None

    async def put(self, name: str, text: str) -> None:
        """Store a secret, sealed.

        Raises:
            InvalidRequestError: name or value is unfit, or the server has no key. ConflictError: the operator
                gave it with the process.
        """
        checked(name, text, what="secret")
        if name in self._fixed:
            raise ConflictError(f"The secret {name} is set in the server's environment; change it there")
        if self._sealer is None:
            raise InvalidRequestError("Secrets cannot be stored without a key: set SHOWRUNNER_SECRETS_KEY")
        body = self._sealer.seal(name, text)
        await self._documents.put(SECRET_KIND, name, body, at_ms=self._clock.now_ms())

    async def delete(self, name: str) -> bool:
        """Whether a stored one was there."""
        return await self._documents.delete(SECRET_KIND, name)

    async def filled(self, document: Raw) -> Filled:
        """A copy of a JSON document with its references to secrets replaced."""
        if _MARK not in bytes(document):
            return Filled(document=document)
        value = msgspec.json.decode(document)
        found = {name: await self.value(name) for name in secret_names(value)}
        copy = Raw(msgspec.json.encode(substitute_secrets(value, found.get)))
        return Filled(document=copy, values=frozenset(text for text in found.values() if text))


class Environment:
    """Values of `${workflow.env.NAME}`: those given with the process, then the stored ones."""

    def __init__(self, documents: DocumentStore, clock: Clock, *, fixed: Mapping[str, str]) -> None:
        self._documents = documents
        self._clock = clock
        self._fixed = {
            name.removeprefix(STORED_ENVIRONMENT): value
            for name, value in fixed.items()
            if name.startswith(STORED_ENVIRONMENT)
        }

    async def all(self) -> dict[str, str]:
        stored = {d.name: d.body.decode() for d in await self._documents.list(ENVIRONMENT_KIND)}
        return dict(sorted({**stored, **self._fixed}.items()))

    async def value(self, name: str) -> str | None:
        if name in self._fixed:
            return self._fixed[name]
        document = await self._documents.get(ENVIRONMENT_KIND, name)
        return None if document is None else document.body.decode()

    async def put(self, name: str, text: str) -> None:
        """Store a value.

        Raises:
            InvalidRequestError: name or value is unfit. ConflictError: the operator gave it with the process.
        """
        checked(name, text, what="environment value")
        if name in self._fixed:
            raise ConflictError(f"{name} is set in the server's environment; change it there")
        await self._documents.put(ENVIRONMENT_KIND, name, text.encode(), at_ms=self._clock.now_ms())

    async def delete(self, name: str) -> bool:
        """Whether a stored one was there."""
        return await self._documents.delete(ENVIRONMENT_KIND, name)


def checked(name: str, text: str, *, what: str) -> None:
    """Refuse what cannot be a name in an expression, and values beyond the bound."""
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"{name[:200]!r} cannot name a {what}: use 1 to 200 letters, digits, underscores and hyphens"
        )
    size = len(text.encode())
    if size > VALUE_BYTES_MAX:
        raise InvalidRequestError(f"The {what} {name} has {size} bytes; at most {VALUE_BYTES_MAX} fit")
