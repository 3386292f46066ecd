"""A real HTTP server on the loopback: it answers as a test says and keeps what it heard."""

from __future__ import annotations

import asyncio
from typing import Self

import msgspec
from msgspec import Struct


class Heard(Struct, kw_only=True):
    """One request. Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Answer(Struct, kw_only=True):
    """What to answer: `held` keeps the client waiting until the peer's `release` is set."""

    status: str = "200 OK"
    headers: dict[str, str] = msgspec.field(default_factory=lambda: {"Content-Type": "application/json"})
    body: bytes = b"{}"
    held: bool = False


class HttpPeer:
    """`async with HttpPeer() as peer`: answers `answers[path]`, else 200 with an empty object.

    Attributes:
        answers: by path without query; of a list each is given once, the last for ever.
        heard: requests so far. left: a client hung up while it was held.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.heard: list[Heard] = []
        self._arrived = asyncio.Event()
        self.release = asyncio.Event()
        self.left = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        if self._server is None:
            raise RuntimeError("the peer is not open")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def has_heard(self, count: int) -> None:
        """Wait until so many requests have come."""
        while len(self.heard) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release.set()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await self._read(reader)
            self.heard.append(request)
            self._arrived.set()
            answer = self._answer(request.target.split("?")[0])
            if answer.held:
                gone = asyncio.ensure_future(reader.read(1))
                free = asyncio.ensure_future(self.release.wait())
                await asyncio.wait({gone, free}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not free.done():
                    self.left.set()
                gone.cancel()
                free.cancel()
            headers = {**answer.headers, "Content-Length": str(len(answer.body)), "Connection": "close"}
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {answer.status}\r\n{head}\r\n".encode() + answer.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Heard:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        pairs = (line.split(":", 1) for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Heard(method=method, target=target, headers=headers, body=body)

    def _answer(self, path: str) -> Answer:
        listed = self.answers.get(path)
        if not listed:
            return Answer()
        return listed.pop(0) if len(listed) > 1 else listed[0]
