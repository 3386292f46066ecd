"""Schemas of inputs and outputs, by name and version: registered, read, deleted.

Source of shapes: the protocol's SchemaDef; `type` JSON is the one whose data is checked.
"""

from __future__ import annotations

from collections.abc import Sequence

import jsonschema
from jsonschema.validators import validator_for
from msgspec.structs import replace

from engine.core.errors import InvalidRequestError, NotFoundError
from engine.core.model import SchemaDef, decode, encode
from engine.ports.documents import DocumentStore
from engine.ports.system import Clock

KIND = "schema"
SCHEMA_BYTES_MAX = 256 * 1024
SCHEMAS_PER_CALL_MAX = 100
NAME_CHARS_MAX = 200
VERSION_MAX = 2**31 - 1


def schema_name(name: str, version: int) -> str:
    """The document of one version of a schema."""
    return f"{name}:{version}"


class SchemaRegistry:
    def __init__(self, documents: DocumentStore, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def put(self, schemas: Sequence[SchemaDef]) -> None:
        """Register or replace schemas; one that is unfit refuses the whole call.

        Raises:
            InvalidRequestError: names every problem.
        """
        if len(schemas) > SCHEMAS_PER_CALL_MAX:
            raise InvalidRequestError(
                f"Register at most {SCHEMAS_PER_CALL_MAX} schemas in a call; there are {len(schemas)}"
            )
        problems = [
            (f"schemas[{index}].{field}", text, None)
            for index, schema in enumerate(schemas)
            for field, text in _problems(schema)
        ]
        if problems:
            raise InvalidRequestError("Validation failed, check below errors for detail.", tuple(problems))
        now_ms = self._clock.now_ms()
        for schema in schemas:
            before = await self._stored(schema.name, schema.version)
            created_ms = now_ms if before is None else before.create_time
            updated_ms = 0 if before is None else now_ms
            stored = replace(schema, create_time=created_ms, update_time=updated_ms)
            name = schema_name(schema.name, schema.version)
            await self._documents.put(KIND, name, encode(stored), at_ms=now_ms)

    async def get(self, name: str, version: int | None = None) -> SchemaDef:
        """One schema; the newest version when None.

        Raises:
            NotFoundError: nobody registered it.
        """
        if version is not None:
            found = await self._stored(name, version)
        else:
            versions = await self._versions(name)
            found = max(versions, key=lambda schema: schema.version, default=None)
        if found is None:
            raise _unknown(name, version)
        return found

    async def all(self) -> list[SchemaDef]:
        """Every version of every schema, by name, then version."""
        documents = await self._documents.list(KIND)
        found = [
            decode(document.body, SchemaDef) for document in documents if ":" in document.name
        ]  # the store keeps a marker of its own there
        return sorted(found, key=lambda schema: (schema.name, schema.version))

    async def delete(self, name: str, version: int | None = None) -> None:
        """Delete one version, or all when None.

        Raises:
            NotFoundError: there is none.
        """
        versions = [version] if version is not None else [one.version for one in await self._versions(name)]
        deleted = [await self._documents.delete(KIND, schema_name(name, one)) for one in versions]
        if not any(deleted):
            raise _unknown(name, version)

    async def _versions(self, name: str) -> list[SchemaDef]:
        documents = await self._documents.list(KIND, prefix=f"{name}:")
        return [decode(document.body, SchemaDef) for document in documents]

    async def _stored(self, name: str, version: int) -> SchemaDef | None:
        document = await self._documents.get(KIND, schema_name(name, version))
        return None if document is None else decode(document.body, SchemaDef)


def _unknown(name: str, version: int | None) -> NotFoundError:
    shown = "" if version is None else f", version: {version}"
    return NotFoundError(f"No such schema found by name: {name}{shown}")


def _problems(schema: SchemaDef) -> list[tuple[str, str]]:
    found = []
    if not schema.name or len(schema.name) > NAME_CHARS_MAX or ":" in schema.name:
        found.append(("name", f"A schema's name has 1 to {NAME_CHARS_MAX} characters and no colon"))
    if not 1 <= schema.version <= VERSION_MAX:
        found.append(("version", f"version is {schema.version}; it must be 1 or more"))
    if schema.type is None:
        found.append(("type", "type is missing; it must be JSON, AVRO or PROTOBUF"))
    if len(encode(schema)) > SCHEMA_BYTES_MAX:
        found.append(("data", f"The schema is larger than {SCHEMA_BYTES_MAX} bytes"))
    elif schema.type == "JSON" and schema.data is not None:
        text = _json_schema_problem(schema.data)
        if text is not None:
            found.append(("data", text))
    return found


def _json_schema_problem(data: dict[str, object]) -> str | None:
    """What is wrong with a JSON Schema, in a sentence; None when nothing is."""
    try:
        validator_for(data).check_schema(data)
    except jsonschema.SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path) or "the schema"
        return f"Not a JSON Schema: {where}: {error.message[:300]}"
    except RecursionError:
        return "Not a JSON Schema: it nests too deeply"
    return None
