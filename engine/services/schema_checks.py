"""Schemas held against inputs: where their text comes from, and what a start with a bad input is told."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from engine.core.errors import InvalidRequestError
from engine.core.graph import Graph
from engine.core.model import SchemaDef, decode
from engine.core.schemas import SCHEMA_LANGUAGE, enforced, problems_of
from engine.ports.documents import DocumentStore
from engine.ports.scripts import ScriptCall, ScriptRunner
from engine.services.schema_registry import KIND, schema_name


class SchemaChecks:
    def __init__(self, documents: DocumentStore, scripts: ScriptRunner) -> None:
        self._documents = documents
        self._scripts = scripts

    async def registered(self, name: str, version: int) -> str | None:
        """JSON text of a registered schema's data; None when there is none."""
        document = await self._documents.get(KIND, schema_name(name, version))
        if document is None:
            return None
        data = decode(document.body, SchemaDef).data
        return None if data is None else msgspec.json.encode(data).decode()

    async def check_start(self, graph: Graph, given: Raw) -> None:
        """Hold a workflow's input against its definition's inputSchema, if that is to be enforced.

        Raises:
            InvalidRequestError: it does not fit; the problems say where and what.
        """
        definition = graph.definition
        schema = enforced(definition.input_schema) if definition.enforce_schema else None
        if schema is None:
            return
        text = schema.text
        if text is None:
            text = await self.registered(schema.name, schema.version)
        if text is None:
            return  # a name that nobody registered; upstream starts such a workflow, too
        call = ScriptCall(language=SCHEMA_LANGUAGE, source=text, bindings=bytes(given))
        result = await self._scripts.run(call)
        problems = tuple(
            (f"startWorkflow.arg0.input{path.removeprefix('$')}", what, None)
            for path, what in problems_of(result.value, result.error)
        )
        if problems:
            raise InvalidRequestError(
                f"The input of workflow {definition.name} does not fit its schema.", problems
            )
