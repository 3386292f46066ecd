"""The HTTP task's call, against a real server: what it sends, what it reads, where it may not go."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.adapters.calls import http
from engine.adapters.calls.addresses import allowed, parse_networks
from engine.adapters.calls.http import HttpCaller
from engine.ports.calls import CallResult
from engine.testing.http_peer import Answer, HttpPeer

TEXT = {"Content-Type": "text/plain"}


@pytest.fixture
async def peer() -> AsyncIterator[HttpPeer]:
    async with HttpPeer() as peer:
        yield peer


async def call(caller: HttpCaller | None = None, **request: Any) -> CallResult:
    used = caller or HttpCaller()
    try:
        return await used.call({"http_request": {"method": "GET", **request}})
    finally:
        await used.aclose()


async def test_a_json_answer_becomes_the_output(peer: HttpPeer) -> None:
    """Body, headers with all their values, status and phrase."""
    peer.answers["/x"] = [Answer(body=b'{"n": 3, "l": [1, null]}', headers={"X-Kit": "1"})]

    result = await call(uri=f"{peer.url}/x?a=1&a=2")

    response = result.output["response"]
    assert (str(result.status), result.reason) == ("COMPLETED", None)
    assert response["body"] == {"n": 3, "l": [1, None]}
    assert (response["statusCode"], response["reasonPhrase"]) == (200, "OK")
    assert response["headers"]["X-Kit"] == ["1"]
    assert peer.heard[0].target == "/x?a=1&a=2"
    assert peer.heard[0].headers["host"] == peer.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("body", "read"),
    [(b"", None), (b"7", 7.0), (b"true", "true"), (b'"t"', "t"), (b"<a>", "<a>"), (b"[1]", [1])],
)
async def test_answers_are_read_as_upstream_reads_them(peer: HttpPeer, body: bytes, read: Any) -> None:
    """Numbers are doubles, other scalars their text, what is no JSON stays text, nothing is null."""
    peer.answers["/"] = [Answer(body=body, headers=TEXT)]

    result = await call(uri=f"{peer.url}/")

    found = result.output["response"]["body"]
    assert (found, type(found)) == (read, type(read))


async def test_everything_of_the_request_is_sent(peer: HttpPeer) -> None:
    """Method, headers without null ones, body, accept and contentType."""
    await call(
        uri=f"{peer.url}/p",
        method="post",
        headers={"X-A": 1, "X-Null": None},
        body={"k": [1]},
        accept=["text/plain", "application/json"],
        contentType="application/vnd.kit+json",
    )

    [heard] = peer.heard
    assert (heard.method, heard.body) == ("POST", b'{"k":[1]}')
    assert (heard.headers["x-a"], "x-null" in heard.headers) == ("1", False)
    assert heard.headers["accept"] == "text/plain, application/json"
    assert heard.headers["content-type"] == "application/vnd.kit+json"


async def test_text_and_forms_are_sent_as_such(peer: HttpPeer) -> None:
    """A text body goes as it is; an object under the form's content type as a form."""
    await call(uri=peer.url, method="PUT", body="plain", contentType="text/plain")
    await call(uri=peer.url, method="POST", body={"a": "x y", "b": 1}, contentType=http.FORM)

    assert [heard.body for heard in peer.heard] == [b"plain", b"a=x+y&b=1"]


async def test_a_failure_says_status_and_body(peer: HttpPeer) -> None:
    """The output is the same text: clients look for it there."""
    peer.answers["/no"] = [Answer(status="404 Not Found", body=b'{"why":"kit says no"}')]

    result = await call(uri=f"{peer.url}/no")

    said = f'java.lang.Exception: 404 Not Found on GET request for "{peer.url}/no": "{{"why":"kit says no"}}"'
    assert str(result.status) == "FAILED"
    assert result.reason == f"Failed to invoke HTTP task due to: {said}"
    assert result.output == {"response": said}


async def test_a_redirect_is_not_followed(peer: HttpPeer) -> None:
    """It fails with the answer as output, so that the author sees where it pointed."""
    peer.answers["/r"] = [Answer(status="302 Found", headers={"Location": "/else"}, body=b"")]

    result = await call(uri=f"{peer.url}/r")

    assert (str(result.status), result.reason) == ("FAILED", "No response from the remote service")
    assert result.output["response"]["headers"]["Location"] == ["/else"]
    assert len(peer.heard) == 1


async def test_an_unavailable_server_is_asked_once_more(
    peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As upstream's HTTP client does, below the task's own retries."""
    monkeypatch.setattr(http, "REPEAT_AFTER_S", 0.01)
    peer.answers["/f"] = [Answer(status="503 Service Unavailable"), Answer()]
    peer.answers["/g"] = [Answer(status="503 Service Unavailable")]

    assert str((await call(uri=f"{peer.url}/f")).status) == "COMPLETED"
    assert str((await call(uri=f"{peer.url}/g")).status) == "FAILED"
    assert len(peer.heard) == 4


async def test_a_silent_server_is_given_up(peer: HttpPeer) -> None:
    """readTimeOut counts in milliseconds."""
    peer.answers["/slow"] = [Answer(held=True)]

    result = await call(uri=f"{peer.url}/slow", readTimeOut=50)

    assert "read timed out" in (result.reason or "")


async def test_a_response_has_a_bound(peer: HttpPeer) -> None:
    """What is larger is not read to its end."""
    peer.answers["/big"] = [Answer(body=b"x" * 5_000, headers=TEXT)]

    result = await call(HttpCaller(response_bytes_max=1_000), uri=f"{peer.url}/big")

    assert "larger than 1000 bytes" in (result.reason or "")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"uri": None}, "Missing HTTP URI.  See documentation for HttpTask for required input parameters"),
        ({"uri": "http://h", "method": None}, "No HTTP method specified"),
        ({"uri": "http://h", "method": "FETCH"}, "FETCH is no HTTP method"),
        ({"uri": "nowhere"}, "must begin with http:// or https://"),
        ({"uri": "ftp://127.0.0.1/x"}, "must begin with http:// or https://"),
        ({"uri": "http://127.0.0.1:99999/"}, "Failed to invoke HTTP task due to"),
        ({"uri": "http://127.0.0.1:9/"}, "I/O error on GET request"),
        ({"uri": "http://no-such-host.invalid/"}, "I/O error on GET request"),
        ({"uri": "http://h", "headers": "x"}, "headers must be an object"),
        ({"uri": "http://h", "headers": {"X": "a\nb"}}, "Failed to invoke HTTP task due to"),
        ({"uri": "http://h", "readTimeOut": "soon"}, "timeouts are whole milliseconds, not soon"),
        ({"uri": "http://[::1", "method": "GET"}, "Failed to invoke HTTP task due to"),
        ({"uri": {"a": 1}}, "Failed to invoke HTTP task due to"),
        ({"uri": "http://h", "accept": {"a": 1}}, "Failed to invoke HTTP task due to"),
    ],
)
async def test_a_bad_request_is_one_sentence(request_: dict[str, Any], said: str) -> None:
    """Whatever the author wrote, the task fails and says what to change."""
    result = await call(**request_)

    assert str(result.status) == "FAILED"
    assert said in (result.reason or "")


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "100.100.100.200",
        "0.0.0.0",
        "2852039166",  # 169.254.169.254 as one number
    ],
)
async def test_metadata_services_are_out_of_reach(host: str) -> None:
    """Link-local and metadata addresses are refused, however they are written; nothing is sent."""
    result = await call(uri=f"http://{host}/latest/meta-data", connectionTimeOut=1_000)

    assert "may not be reached by tasks of this server" in (result.reason or "")


async def test_a_list_of_networks_narrows_what_is_reached(peer: HttpPeer) -> None:
    """SHOWRUNNER_HTTP_TASK_NETWORKS: what is not in a listed network is refused by its resolved address."""
    outside = await call(HttpCaller(networks=parse_networks("10.0.0.0/8")), uri=peer.url)
    inside = await call(HttpCaller(networks=parse_networks("10.0.0.0/8, 127.0.0.0/8")), uri=peer.url)

    assert "may not be reached" in (outside.reason or "")
    assert str(inside.status) == "COMPLETED"
    assert len(peer.heard) == 1


def test_listed_networks_never_open_what_is_always_refused() -> None:
    """Even the widest list leaves metadata addresses closed."""
    everything = parse_networks("0.0.0.0/0, ::/0")

    assert allowed(ipaddress.ip_address("192.168.1.1"), everything)
    assert not allowed(ipaddress.ip_address("169.254.169.254"), everything)
    assert not allowed(ipaddress.ip_address("fd00:ec2::254"), everything)
    assert not allowed(ipaddress.ip_address("64:ff9b::a9fe:a9fe"), everything)
