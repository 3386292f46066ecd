"""The statements on definitions, for any database. SQLAlchemy writes the SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.expression import ClauseElement

from engine.adapters.sql.tables import task_def, workflow_def


def compiled(statement: ClauseElement, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """The text and parameters of a statement, to run on a connection of our own."""
    made = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return str(made), dict(made.params)


def workflow_def_body(name: str, version: int | None) -> Select[Any]:
    found = select(workflow_def.c.body).where(workflow_def.c.name == name)
    if version is not None:
        return found.where(workflow_def.c.version == version)
    return found.order_by(workflow_def.c.version.desc()).limit(1)


def workflow_def_bodies(name: str | None) -> Select[Any]:
    found = select(workflow_def.c.body).order_by(workflow_def.c.name, workflow_def.c.version)
    return found if name is None else found.where(workflow_def.c.name == name)


def task_def_body(name: str) -> Select[Any]:
    return select(task_def.c.body).where(task_def.c.name == name)


def task_def_bodies() -> Select[Any]:
    return select(task_def.c.body).order_by(task_def.c.name)
