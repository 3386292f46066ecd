"""Bodies that are broken, too large, or would break a later reader."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.server

TOO_LARGE = 1_100_000  # the test server takes a million bytes


@pytest.fixture
def leased(api: Any) -> dict[str, Any]:
    """A task in a worker's hands."""
    api.start(api.define(api.simple("a"), outputParameters={"all": "${a.output}"}))
    task: dict[str, Any] = api.poll("a")
    return task


def result(task: dict[str, Any], output: bytes) -> bytes:
    ids = b'"workflowInstanceId":"%s","taskId":"%s"' % (
        task["workflowInstanceId"].encode(),
        task["taskId"].encode(),
    )
    return b'{%s,"status":"COMPLETED","outputData":%s}' % (ids, output)


@pytest.mark.parametrize(
    "output",
    [
        b'{"a":"\xff"}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":1,}',
        b'{"a":NaN}',
        b"[1]",
        b'"text"',
    ],
    ids=["utf8", "exponent", "digits", "deep", "very-deep", "comma", "nan", "list", "text"],
)
def test_unreadable_output_is_refused(api: Any, leased: dict[str, Any], output: bytes) -> None:
    """What no reader could read again is refused with 500 and a sentence, and the task stays open."""
    answer = api.call("POST", "/api/tasks", content=result(leased, output))

    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert answer.json()["message"]
    assert api.get(f"/tasks/{leased['taskId']}").json()["status"] == "IN_PROGRESS"


@pytest.mark.parametrize(
    "path", ["/api/workflow", "/api/tasks", "/api/tasks/update-v2", "/api/metadata/workflow"]
)
@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'"x"', b"\xff\xfe"])
def test_malformed_bodies(api: Any, path: str, body: bytes) -> None:
    """A body that is not a JSON object is a 500 with one sentence, as upstream answers."""
    answer = api.call("POST", path, content=body)

    assert answer.status_code == 500
    assert set(answer.json()) == {"status", "message", "instance", "retryable"}


def test_definition_that_nobody_could_read_is_refused(api: Any) -> None:
    """A definition nested beyond what readers take is refused before it is stored."""
    nested = "[" * 400 + "]" * 400
    body = f'{{"name":"{api.name("deep")}","tasks":[],"metadata":{{"m":{nested}}}}}'

    answer = api.call("POST", "/api/metadata/workflow", content=body)

    assert answer.status_code == 500
    assert "nests deeper than 250 levels" in answer.json()["message"]


def test_declared_oversized_body(api: Any) -> None:
    """A body over the bound is refused with 413 and the bound in the sentence; the server goes on."""
    for path in ("/api/workflow", "/api/metadata/workflow"):
        answer = api.call("POST", path, content=b"x" * TOO_LARGE)

        assert answer.status_code == 413
        assert "1000000 bytes" in answer.json()["message"]
    assert api.call("GET", "/healthz").status_code == 200


def test_streamed_oversized_body(api: Any) -> None:
    """A body that does not say how long it is, is cut off at the same bound."""

    def pieces() -> Iterator[bytes]:
        for _ in range(TOO_LARGE // 50_000 + 1):
            yield b"x" * 50_000

    for path in ("/api/tasks", "/api/workflow/bulk/terminate"):
        assert api.call("POST", path, content=pieces()).status_code == 413


def test_unknown_and_null_members(api: Any, leased: dict[str, Any]) -> None:
    """Unknown members are ignored and nulls mean the default."""
    answer = api.report(
        leased,
        outputData=None,
        logs=None,
        callbackAfterSeconds=None,
        extendLease=None,
        supportsCancellation=True,
    )

    assert (answer.status_code, answer.text) == (200, leased["taskId"])
    assert api.get(f"/tasks/{leased['taskId']}").json()["outputData"] == {}


def test_names_are_percent_decoded(api: Any) -> None:
    """A name with a blank and an umlaut works in paths and queries, hot routes included."""
    name = api.define(api.simple("a") | {"name": "größe " + api.token}, name="mit blank ü")

    started = api.post(f"/workflow/{name}", {"x": "ü"}, params={"correlationId": "a b+c"})
    polled = api.get("/tasks/poll/größe " + api.token, params={"workerid": "wörker"})

    assert started.status_code == 200
    assert polled.json()["workflowInstanceId"] == started.text
    assert polled.json()["workerId"] == "wörker"
    assert api.workflow(started.text)["correlationId"] == "a b+c"


@pytest.mark.parametrize("path", ["/api/workflow", "/api/metadata/workflow"])
def test_client_that_goes_away_half_way(api: Any, path: str) -> None:
    """Half a body does nothing, and the server goes on."""
    name = api.define(api.simple("a"))
    body = f'{{"name":"{name}","input":{{}}}}'
    with socket.create_connection(api.server.address) as quitter:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) + 1}\r\n\r\n"
        quitter.sendall((head + body).encode())

    assert api.call("GET", "/healthz").status_code == 200
    assert api.get("/workflow/search", params={"query": f"workflowType={name}"}).json()["totalHits"] == 0
