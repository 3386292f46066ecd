"""The schema's history, and bringing a database to its newest state when it is opened.

A database that is current costs one read; Alembic is imported only when there is something to do.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.core.errors import StoreError

HEAD = "0005"
"""The newest revision in versions/; a test compares it with what Alembic finds there."""

COMPATIBLE_FROM = "0004"
"""The oldest schema whose servers may go on working on this one. Later revisions that only add leave it."""

FIND_MARKER = "SELECT body FROM document WHERE kind = 'schema' AND name = 'compatible'"


def marker() -> bytes:
    """What a database says about who may use it: its schema, and the oldest that servers must know."""
    return f"{HEAD} {COMPATIBLE_FROM}".encode()


def may_be_used(revision: str, marker: bytes | None) -> bool:
    """Whether this version may work on a database that a newer one left at `revision`."""
    written, _, oldest = (marker or b"").decode(errors="replace").partition(" ")
    return written == revision and bool(oldest) and oldest <= HEAD


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Apply the revisions the database at `path` lacks; several processes may do so at once.

    Raises:
        StoreError: a newer version wrote the database, and this one cannot work with it.
    """
    found = _revision(connection)
    if found == HEAD:
        return
    if found is not None and found > HEAD and may_be_used(found, _marker(connection)):
        return
    from engine.adapters.sql.migrations.upgrade import upgrade_sqlite

    upgrade_sqlite(path)
    if (revision := _revision(connection)) != HEAD:
        raise StoreError(f"the database is at schema {revision} after its upgrade to {HEAD}")


def _revision(connection: sqlite3.Connection) -> str | None:
    named = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    if named is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _marker(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute(FIND_MARKER).fetchone()
    return None if row is None else bytes(row[0])
