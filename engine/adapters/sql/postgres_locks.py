"""Advisory locks: what several servers must do one after another. A lock is a number made of a name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

_LOCK = "SELECT pg_advisory_xact_lock(number) FROM unnest($1::int8[]) AS wanted(number)"


def lock_number(kind: str, name: str = "") -> int:
    """The number, of 64 bits, that all servers know the thing by."""
    digest = hashlib.blake2b(f"showrunner\0{kind}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


async def lock(connection: Any, kind: str, names: Iterable[str]) -> None:
    """Take the locks until the transaction ends; in one order, so that nobody waits in a circle."""
    numbers = sorted({lock_number(kind, name) for name in names})
    if numbers:
        await connection.execute(_LOCK, numbers)
