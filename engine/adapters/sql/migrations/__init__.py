"""The schema's history, and bringing a database to its newest state when it is opened.

A database that is current costs one read; Alembic is imported only when there is something to do.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.core.errors import StoreError

HEAD = "0003"
"""The newest revision in versions/; a test compares it with what Alembic finds there."""


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Apply the revisions the database at `path` lacks; several processes may do so at once.

    Raises:
        StoreError: the database has a revision this version does not know.
    """
    if _revision(connection) == HEAD:
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
