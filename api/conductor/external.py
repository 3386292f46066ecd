"""Payloads that are too large for a request: where clients may put them, and the door to those kept here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from api.bodies import read_body, readable
from api.conductor.deps import INT64_MAX, EngineDep, PayloadType, empty, encoded, json_answer
from api.conductor.openapi import EMPTY, returns, returns_schema, takes
from api.errors import ForbiddenError
from engine.core.errors import InvalidRequestError
from engine.core.payloads import KINDS, PAYLOAD_BYTES_MAX
from engine.ports.payloads import Operation

router = APIRouter(prefix="/api")

OPERATIONS = ("READ", "WRITE")
_OBJECT = {"type": "object"}
_TAGS: list[Any] = ["payloads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The path of a payload kept here, and what shows that we gave it out."""

    kind: str
    name: str
    expires: Annotated[int, Query(ge=0, le=INT64_MAX, description="Unix milliseconds; as it was given.")]
    signature: Annotated[str, Query(description="As it was given.")]

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.name}"


AddressDep = Annotated[Address, Depends()]


@router.get("/workflow/externalstoragelocation", tags=_TAGS, responses=returns("ExternalLocation"))
@router.get("/workflow/external-storage-location", tags=_TAGS, responses=returns("ExternalLocation"))
@router.get("/tasks/externalstoragelocation", tags=_TAGS, responses=returns("ExternalLocation"))
@router.get("/tasks/external-storage-location", tags=_TAGS, responses=returns("ExternalLocation"))
async def payload_location(
    request: Request, engine: EngineDep, path: str, operation: str, payload_type: PayloadType
) -> Response:
    """Where a payload may be PUT (`WRITE`: at a new path) or fetched (`READ`), for 15 minutes.

    A start or a result names the path as externalInputPayloadStoragePath or
    externalOutputPayloadStoragePath. The answer is empty when the server keeps no payloads elsewhere.
    """
    for name, value, known in (
        ("operation", operation, OPERATIONS),
        ("payloadType", payload_type, KINDS),
    ):
        if value.upper() not in known:
            raise InvalidRequestError(f'{name} is "{value}"; it must be one of {", ".join(known)}')
    wanted = cast("Operation", operation.upper())
    found = await engine.payloads.location(wanted, payload_type.upper(), path)
    if found is None:
        return json_answer(b"{}")
    base = request.app.state.public_url or str(request.base_url)
    uri = base.rstrip("/") + found.uri if found.uri.startswith("/") else found.uri
    return encoded(msgspec.structs.replace(found, uri=uri))


@router.put(
    "/payloads/{kind}/{name}",
    tags=_TAGS,
    responses=EMPTY | {403: {"description": "No such address"}},
    openapi_extra=takes(_OBJECT),
)
async def put_payload(request: Request, engine: EngineDep, address: AddressDep) -> Response:
    """Keep a payload, a JSON object of at most 10,240 KB, at an address of `externalstoragelocation`."""
    body = readable(await read_body(request.scope, request.receive, PAYLOAD_BYTES_MAX))
    if not await engine.payloads.put(
        address.path, body, expires_ms=address.expires, signature=address.signature
    ):
        raise _unknown_address()
    return empty()


@router.get(
    "/payloads/{kind}/{name}",
    tags=_TAGS,
    responses=returns_schema(_OBJECT) | {403: {"description": "No such address"}},
)
async def get_payload(engine: EngineDep, address: AddressDep) -> Response:
    """A payload, at an address of `externalstoragelocation`."""
    found = await engine.payloads.get(address.path, expires_ms=address.expires, signature=address.signature)
    if found is None:
        raise _unknown_address()
    return json_answer(found)


def _unknown_address() -> ForbiddenError:
    return ForbiddenError(
        "This is no address of a payload, or it has expired; ask /externalstoragelocation for a new one"
    )
