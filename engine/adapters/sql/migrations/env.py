"""Alembic's entry: run the revisions on the connection that upgrade.py opened."""

from __future__ import annotations

from alembic import context

from engine.adapters.sql.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite alters tables by copying them
)
context.run_migrations()
