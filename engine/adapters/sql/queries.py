"""The statements that are not hot, for any database: search and definitions. SQLAlchemy writes the SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, or_, select
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.expression import ClauseElement

from engine.adapters.sql.tables import task_def, workflow, workflow_def, workflow_payload
from engine.core.search import NEWEST_FIRST, Clause, SearchQuery

_ESCAPE = "\\"


def compiled(statement: ClauseElement, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """The text and parameters of a statement, to run on a connection of our own."""
    made = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return str(made), dict(made.params)


def search_count(query: SearchQuery) -> Select[Any]:
    return select(func.count()).select_from(_searched(query)).where(_condition(query))


def search_page(query: SearchQuery) -> Select[Any]:
    """header, input, output of one page."""
    order = [
        workflow.c[column].desc() if descending else workflow.c[column].asc()
        for column, descending in query.sort or NEWEST_FIRST
    ]
    return (
        select(workflow.c.header, workflow_payload.c.input, workflow_payload.c.output)
        .select_from(
            workflow.join(workflow_payload, workflow.c.workflow_id == workflow_payload.c.workflow_id)
        )
        .where(_condition(query))
        .order_by(*order, workflow.c.workflow_id)
        .limit(query.size)
        .offset(query.start)
    )


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


def _searched(query: SearchQuery) -> Any:
    if not query.free_text:
        return workflow
    return workflow.join(workflow_payload, workflow.c.workflow_id == workflow_payload.c.workflow_id)


def _condition(query: SearchQuery) -> ColumnElement[bool]:
    conditions = [_clause(clause) for clause in query.clauses]
    if query.free_text:
        pattern = f"%{_literal(query.free_text)}%"
        searched: list[ColumnElement[Any]] = [
            workflow.c.workflow_id,
            workflow.c.name,
            workflow.c.correlation_id,
            workflow.c.reason,
            cast(workflow_payload.c.input, Text),
            cast(workflow_payload.c.output, Text),
        ]
        conditions.append(or_(*(column.ilike(pattern, escape=_ESCAPE) for column in searched)))
    return and_(True, *conditions)


def _clause(clause: Clause) -> ColumnElement[bool]:
    column = workflow.c[clause.column]
    value = clause.values[0] if clause.values else None
    match clause.op:
        case "=":
            return column == value
        case "!=":
            return column != value
        case "<":
            return column < value
        case "<=":
            return column <= value
        case ">":
            return column > value
        case ">=":
            return column >= value
        case "IN":
            return column.in_(clause.values)
        case "NOT IN":
            return column.not_in(clause.values)
        case "LIKE":
            return column.ilike(_literal(str(value)).replace("*", "%"), escape=_ESCAPE)


def _literal(text: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return text
