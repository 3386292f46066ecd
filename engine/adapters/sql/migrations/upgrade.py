"""Running Alembic from inside the program: no ini file, no command line."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, delete, event, insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from engine.adapters.sql.migrations import marker
from engine.adapters.sql.tables import document
from engine.core.errors import StoreError

LOCK_WAIT_S_MAX = 60
"""How long one process waits for another that upgrades the same database."""


def upgrade_sqlite(path: Path) -> None:
    """Upgrade the SQLite database at `path` to the newest revision, whole or not at all."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": LOCK_WAIT_S_MAX})

    @event.listens_for(engine, "connect")
    def _leave_transactions_to_us(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Immediate, so that the second of two processes waits here and then finds nothing to do.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            upgrade(connection)
    finally:
        engine.dispose()


def upgrade(connection: Connection) -> None:
    """Upgrade within the caller's transaction.

    Raises:
        StoreError: the database has a revision this version does not know.
    """
    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"written by a newer version of Showrunner; upgrade, or use another database ({error})"
        ) from error
    forget = delete(document).where(document.c.kind == "schema", document.c.name == "compatible")
    connection.execute(forget)
    connection.execute(
        insert(document).values(kind="schema", name="compatible", revision=1, at_ms=0, body=marker())
    )


def configuration() -> Config:
    """Where Alembic finds the revisions."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def newest() -> str | None:
    """The newest revision among the scripts."""
    return ScriptDirectory.from_config(configuration()).get_current_head()
