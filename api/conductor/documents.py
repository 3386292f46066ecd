"""Small documents beside workflows: schemas, tags, secrets and environment values."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Response
from starlette.exceptions import HTTPException

from api.bodies import decode
from api.conductor.deps import (
    BodyDep,
    DocumentDep,
    EngineDep,
    Int32Path,
    empty,
    encoded,
    json_answer,
    json_list,
    text,
)
from api.conductor.openapi import EMPTY, TEXT, returns, returns_list, returns_schema, takes
from api.errors import ForbiddenError
from engine.core.errors import NotFoundError
from engine.core.model import MalformedBodyError, SchemaDef, encode
from engine.core.model import decode as decode_record
from engine.services.tags import Tag

router = APIRouter(prefix="/api")

_SCHEMAS: list[Any] = ["schemas"]
_TAGS: list[Any] = ["tags"]
_SECRETS: list[Any] = ["secrets and environment"]
_NAMES = returns_schema({"type": "array", "items": {"type": "string"}})
_VALUE: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}
}
_TAG_LIST = takes({"type": "array", "items": {"$ref": "#/components/schemas/Tag"}})
_ONE_TAG = takes("Tag")

_read_tag = msgspec.json.Decoder(Tag)
_read_tags = msgspec.json.Decoder(list[Tag])
_read_any = msgspec.json.Decoder(Any)


async def _tagged(what: Annotated[str, Path(description="`task` or `workflow`: a definition.")]) -> str:
    if what not in ("task", "workflow"):
        raise HTTPException(404)
    return what


Tagged = Annotated[str, Depends(_tagged)]


# ------------------------------------------------------------------------------------------------ schemas
@router.post(
    "/schema",
    tags=_SCHEMAS,
    responses=EMPTY,
    openapi_extra=takes({"type": "array", "items": {"$ref": "#/components/schemas/SchemaDef"}}),
)
async def put_schemas(engine: EngineDep, body: DocumentDep) -> Response:
    """Register or replace schemas: a list, or one."""
    value = decode(_read_any, body)
    items: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise MalformedBodyError("The request body must be a schema, or a list of schemas")
    await engine.schema_registry.put([decode_record(item, SchemaDef) for item in items])
    return empty()


@router.get("/schema", tags=_SCHEMAS, responses=returns_list("SchemaDef"))
async def schemas(engine: EngineDep) -> Response:
    """All versions of all schemas."""
    return json_list([encode(schema) for schema in await engine.schema_registry.all()])


@router.get("/schema/{name}", tags=_SCHEMAS, responses=returns("SchemaDef"))
async def newest_schema(engine: EngineDep, name: str) -> Response:
    """The newest version of a schema."""
    return json_answer(encode(await engine.schema_registry.get(name)))


@router.get("/schema/{name}/{version}", tags=_SCHEMAS, responses=returns("SchemaDef"))
async def schema(engine: EngineDep, name: str, version: Int32Path) -> Response:
    """One version of a schema."""
    return json_answer(encode(await engine.schema_registry.get(name, version)))


@router.delete("/schema/{name}", tags=_SCHEMAS, responses=EMPTY)
async def delete_schemas(engine: EngineDep, name: str) -> Response:
    """Delete every version of a schema."""
    await engine.schema_registry.delete(name)
    return empty()


@router.delete("/schema/{name}/{version}", tags=_SCHEMAS, responses=EMPTY)
async def delete_schema(engine: EngineDep, name: str, version: Int32Path) -> Response:
    """Delete one version of a schema."""
    await engine.schema_registry.delete(name, version)
    return empty()


# ------------------------------------------------------------------------------------------------ tags
@router.get("/metadata/tags", tags=_TAGS, responses=returns_list("Tag"))
async def all_tags(engine: EngineDep) -> Response:
    """Every tag that is on anything, each once."""
    return encoded(await engine.tags.all())


@router.get("/metadata/{what}/{name}/tags", tags=_TAGS, responses=returns_list("Tag"))
async def tags_of(engine: EngineDep, what: Tagged, name: str) -> Response:
    """The tags of a workflow's or task's definition."""
    return encoded(await engine.tags.of(what, name))


@router.post("/metadata/{what}/{name}/tags", tags=_TAGS, responses=EMPTY, openapi_extra=_ONE_TAG)
async def add_tag(engine: EngineDep, body: BodyDep, what: Tagged, name: str) -> Response:
    """Add a tag."""
    await engine.tags.add(what, name, [decode(_read_tag, body)])
    return empty()


@router.put("/metadata/{what}/{name}/tags", tags=_TAGS, responses=EMPTY, openapi_extra=_TAG_LIST)
async def set_tags(engine: EngineDep, body: BodyDep, what: Tagged, name: str) -> Response:
    """Put these tags in place of all others."""
    await engine.tags.set(what, name, _tags(body))
    return empty()


@router.delete("/metadata/{what}/{name}/tags", tags=_TAGS, responses=EMPTY, openapi_extra=_ONE_TAG)
async def remove_tag(engine: EngineDep, body: BodyDep, what: Tagged, name: str) -> Response:
    """Remove a tag."""
    await engine.tags.remove(what, name, [decode(_read_tag, body)])
    return empty()


# ------------------------------------------------------------------------------------------------ secrets
@router.get("/secrets", tags=_SECRETS, responses=_NAMES)
@router.post("/secrets", tags=_SECRETS, responses=_NAMES)
async def secret_names(engine: EngineDep) -> Response:
    """Names of the secrets that expressions may use."""
    return encoded(await engine.secrets.names())


@router.get("/secrets-v2", tags=_SECRETS, responses=returns_list("TaggedName"))
async def secrets_with_tags(engine: EngineDep) -> Response:
    """The same with the tags of each."""
    names = await engine.secrets.names()
    return encoded([{"name": name, "tags": await engine.tags.of("secret", name)} for name in names])


@router.get("/secrets/{key}", tags=_SECRETS, responses={403: {"description": "Values are not shown"}})
async def secret(engine: EngineDep, key: str) -> Response:
    """Refused: values go to the tasks that name them, and nowhere else."""
    raise ForbiddenError(f"The value of secret {key} is not shown; a task's input may name it")


@router.put("/secrets/{key}", tags=_SECRETS, responses=EMPTY, openapi_extra=_VALUE)
async def put_secret(engine: EngineDep, body: BodyDep, key: str) -> Response:
    """Store a secret, sealed: the body is its value, as text or as a JSON string."""
    await engine.secrets.put(key, text_of(body))
    return empty()


@router.delete("/secrets/{key}", tags=_SECRETS, responses=EMPTY)
async def delete_secret(engine: EngineDep, key: str) -> Response:
    """Delete a stored secret."""
    if not await engine.secrets.delete(key):
        raise NotFoundError(f"No such secret found by name: {key}")
    return empty()


@router.get("/secrets/{key}/exists", tags=_SECRETS, responses=returns_schema({"type": "boolean"}))
async def secret_exists(engine: EngineDep, key: str) -> Response:
    """Whether there is a secret of that name."""
    return encoded(key in await engine.secrets.names())


@router.get("/secrets/{key}/tags", tags=_SECRETS, responses=returns_list("Tag"))
async def secret_tags(engine: EngineDep, key: str) -> Response:
    """The tags of a secret."""
    return encoded(await engine.tags.of("secret", key))


@router.put("/secrets/{key}/tags", tags=_SECRETS, responses=EMPTY, openapi_extra=_TAG_LIST)
async def add_secret_tags(engine: EngineDep, body: BodyDep, key: str) -> Response:
    """Add tags to a secret."""
    await engine.tags.add("secret", key, _tags(body))
    return empty()


@router.delete("/secrets/{key}/tags", tags=_SECRETS, responses=EMPTY, openapi_extra=_TAG_LIST)
async def remove_secret_tags(engine: EngineDep, body: BodyDep, key: str) -> Response:
    """Remove tags from a secret."""
    await engine.tags.remove("secret", key, _tags(body))
    return empty()


# ------------------------------------------------------------------------------------------------ environment
@router.get("/environment", tags=_SECRETS, responses=returns_list("EnvironmentVariable"))
async def environment(engine: EngineDep) -> Response:
    """What expressions read as `${workflow.env.NAME}`."""
    found = await engine.environment.all()
    return encoded([{"name": name, "value": value} for name, value in found.items()])


@router.get("/environment/{key}", tags=_SECRETS, responses=TEXT)
async def environment_value(engine: EngineDep, key: str) -> Response:
    """One value; empty when there is none."""
    value = await engine.environment.value(key)
    return empty() if value is None else text(value)


@router.put("/environment/{key}", tags=_SECRETS, responses=EMPTY, openapi_extra=_VALUE)
async def put_environment_value(engine: EngineDep, body: BodyDep, key: str) -> Response:
    """Store a value: the body, as text or as a JSON string."""
    await engine.environment.put(key, text_of(body))
    return empty()


@router.delete("/environment/{key}", tags=_SECRETS, responses=EMPTY)
async def delete_environment_value(engine: EngineDep, key: str) -> Response:
    """Delete a stored value."""
    if not await engine.environment.delete(key):
        raise NotFoundError(f"No such environment variable found by name: {key}")
    return empty()


def _tags(body: bytes) -> list[Tag]:
    return decode(_read_tags, body)


def text_of(body: bytes) -> str:
    """A text sent bare, or (as the official clients do) as a JSON string."""
    try:
        if body.startswith(b'"'):
            return msgspec.json.decode(body, type=str)
        return body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBodyError("The value must be UTF-8 text, or a JSON string") from error
