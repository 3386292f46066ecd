"""What the routes of the Conductor surface share: engine, bounded bodies, lenient parameters, answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import msgspec
from fastapi import Depends, Path, Query, Request, Response
from msgspec import Raw
from pydantic import BeforeValidator
from pydantic_core import PydanticUseDefault

from api.bodies import decode, read_body, readable
from api.errors import JSON, BadParameterError
from api.hot import HotRoutes
from engine.bootstrap import Engine
from engine.core.errors import InvalidRequestError
from engine.core.model import MalformedBodyError

_read_raw = msgspec.json.Decoder(Raw)

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _hot(request: Request) -> HotRoutes:
    hot: HotRoutes = request.app.state.hot
    return hot


async def _shipped(request: Request) -> frozenset[tuple[str, int]]:
    shipped: frozenset[tuple[str, int]] = request.app.state.shipped_workflows
    return shipped


async def _body(request: Request) -> bytes:
    return await read_body(request.scope, request.receive, request.app.state.body_bytes_max)


async def _document(request: Request) -> bytes:
    return readable(await _body(request))


EngineDep = Annotated[Engine, Depends(_engine)]
HotDep = Annotated[HotRoutes, Depends(_hot)]
ShippedDep = Annotated[frozenset[tuple[str, int]], Depends(_shipped)]
BodyDep = Annotated[bytes, Depends(_body)]
DocumentDep = Annotated[bytes, Depends(_document)]


def _blank_is_default(value: Any) -> Any:
    # Clients send `version=` for "no version".
    if value == "":
        raise PydanticUseDefault
    return value


_LENIENT = BeforeValidator(_blank_is_default)
IntQuery = Annotated[int, _LENIENT, Query(ge=-INT32_MAX - 1, le=INT32_MAX)]
VersionQuery = Annotated[int | None, _LENIENT, Query(ge=-INT32_MAX - 1, le=INT32_MAX)]
StartTime = Annotated[int | None, _LENIENT, Query(alias="startTime", ge=0, le=INT64_MAX)]
EndTime = Annotated[int | None, _LENIENT, Query(alias="endTime", ge=0, le=INT64_MAX)]
Int32Path = Annotated[int, Path(ge=-INT32_MAX - 1, le=INT32_MAX)]

# Flags and names under the wire's own spelling.
UseLatestDefinitions = Annotated[bool, _LENIENT, Query(alias="useLatestDefinitions")]
ResumeSubworkflowTasks = Annotated[bool, _LENIENT, Query(alias="resumeSubworkflowTasks")]
ArchiveWorkflow = Annotated[bool, _LENIENT, Query(alias="archiveWorkflow")]
IncludeTasks = Annotated[bool, _LENIENT, Query(alias="includeTasks")]
IncludeClosed = Annotated[bool, _LENIENT, Query(alias="includeClosed")]
IncludeOutput = Annotated[bool, _LENIENT, Query(alias="includeOutput")]
IncludeVariables = Annotated[bool, _LENIENT, Query(alias="includeVariables")]
TopLevelOnly = Annotated[bool, _LENIENT, Query(alias="topLevelOnly")]
Overwrite = Annotated[bool, _LENIENT]
TaskType = Annotated[str, Query(alias="taskType")]
TaskTypes = Annotated[list[str] | None, Query(alias="taskType")]
PayloadType = Annotated[str, Query(alias="payloadType")]


def object_of(body: bytes) -> Raw:
    """A body that must be a JSON object, as it is.

    Raises:
        MalformedBodyError: absent, no JSON, or something else than an object.
    """
    value = decode(_read_raw, body)
    if bytes(memoryview(value)[:1]) != b"{":
        raise MalformedBodyError("The request body must be a JSON object")
    return value


def json_answer(body: bytes) -> Response:
    return Response(body, media_type=JSON)


def encoded(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type=JSON)


def json_list(items: Iterable[bytes]) -> Response:
    """A list of values that are JSON already."""
    return Response(b"[" + b",".join(items) + b"]", media_type=JSON)


def search_result(total: int, items: Iterable[bytes]) -> Response:
    head = b'{"totalHits":%d,"results":[' % total
    return Response(head + b",".join(items) + b"]}", media_type=JSON)


def text(value: str) -> Response:
    """A bare value, without quotes."""
    return Response(value, media_type="text/plain")


def empty() -> Response:
    return Response()


def nothing() -> Response:
    return Response(status_code=204)


SEARCH_SIZE_MAX = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParameters:
    """The query of a search."""

    start: IntQuery = 0
    size: IntQuery = 100
    sort: str = ""
    free_text: Annotated[str, Query(alias="freeText")] = "*"
    query: str = ""

    def checked(self, operation: str) -> Search:
        """What the engine's searches take.

        Args:
            operation: upstream's method name, which its error paths begin with.

        Raises:
            InvalidRequestError: the page is too large. BadParameterError: it is negative.
        """
        if self.size > SEARCH_SIZE_MAX:
            problem = f"Cannot return more than {SEARCH_SIZE_MAX} workflows. Please use pagination."
            raise InvalidRequestError(problem, ((f"{operation}.arg1", problem, str(self.size)),))
        not_negative(start=self.start, size=self.size)
        return Search(
            query=self.query, free_text=self.free_text, sort=self.sort, start=self.start, size=self.size
        )


class Search(TypedDict):
    """Arguments of the engine's searches."""

    query: str
    free_text: str
    sort: str
    start: int
    size: int


SearchDep = Annotated[SearchParameters, Depends()]


def split_commas(values: list[str] | None) -> list[str]:
    """A repeatable parameter, whose values may also be lists with commas."""
    return [part for value in values or () for part in value.split(",") if part]


def not_negative(**values: int) -> None:
    for name, value in values.items():
        if value < 0:
            raise BadParameterError(f"{name} must not be negative; it is {value}")
