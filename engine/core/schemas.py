"""JSON Schemas that definitions name: which are enforced, and what a check of a task's document says.

The check itself is a fact: a schema may hold patterns that never end, so it runs where scripts run.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from engine.core.facts import FactsMissingError, SchemaFact, ScriptFact
from engine.core.model import SchemaDef
from engine.core.records import Task
from engine.core.step import Step

SCHEMA_LANGUAGE = "json-schema"


class Schema(Struct, kw_only=True, frozen=True):
    """A schema to enforce: its JSON text, or name and version of a registered one."""

    name: str
    version: int
    text: str | None


def enforced(schema: SchemaDef | None) -> Schema | None:
    """What of a SchemaDef can be enforced; Avro, Protobuf and outside references cannot."""
    if schema is None or schema.type not in (None, "JSON") or (schema.data is None and not schema.name):
        return None
    text = None if schema.data is None else msgspec.json.encode(schema.data).decode()
    return Schema(name=schema.name, version=schema.version, text=text)


def input_problem(step: Step, task: Task) -> str | None:
    """Why a worker's task cannot be given out: its input does not fit its definition's inputSchema."""
    policy = step.task_def(task)
    if policy is None or not policy.enforce_schema or policy.input_schema is None:
        return None
    found = problem(step, enforced(policy.input_schema), task.head.input_data)
    return None if found is None else f"The input does not fit the schema of task {policy.name}: {found}"


def output_problem(step: Step, task: Task, output: Raw) -> str | None:
    """Why a result is none: it does not fit the task definition's outputSchema."""
    policy = step.task_def(task)
    if policy is None or not policy.enforce_schema or policy.output_schema is None:
        return None
    found = problem(step, enforced(policy.output_schema), output)
    return None if found is None else f"The output does not fit the schema of task {policy.name}: {found}"


def problem(step: Step, schema: Schema | None, document: Raw) -> str | None:
    """What of a document does not fit, in one line; None when it fits or nothing is to be enforced.

    Raises:
        FactsMissingError: the schema or the outcome of the check is not in the view.
    """
    if schema is None:
        return None
    text = schema.text
    if text is None:
        fact = SchemaFact(schema.name, schema.version)
        if fact not in step.view.schemas:
            raise FactsMissingError([fact])
        text = step.view.schemas[fact]
    if text is None:
        return None
    check = ScriptFact(SCHEMA_LANGUAGE, text, bytes(document))
    outcome = step.view.scripts.get(check)
    if outcome is None:
        raise FactsMissingError([check])
    return "; ".join(f"{path} {what}" for path, what in problems_of(outcome.value, outcome.error)) or None


def problems_of(value: Any, error: str | None) -> list[tuple[str, str]]:
    """The outcome of a check as path and text of each problem; a check that failed is one."""
    if error is not None:
        return [("$", error)]
    return [(str(path), str(what)) for path, what in value or []]
