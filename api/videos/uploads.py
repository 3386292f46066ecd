"""Receives an upload: the form is read as it arrives; the file goes to disk and hash, never into memory."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from api.videos.errors import ProblemError
from api.videos.files import MediaFolder
from api.videos.models import FieldError

BLOCK_BYTES = 1 << 20
"""One write. Of each upload at most about two blocks are in memory."""
OPTIONS_BYTES_MAX = 64 * 1024
FILENAME_CHARS_MAX = 255
PARTS = ("file", "options", "sha256")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bounds of one upload.

    Attributes:
        file_bytes_max: the largest file.
        disk_free_bytes_min: left free on the disk, because the database and the workers need room too.
        idle_ms_max: a client that sends nothing for so long is gone.
    """

    file_bytes_max: int
    disk_free_bytes_min: int
    idle_ms_max: int


@dataclass(frozen=True, slots=True)
class Received:
    """A whole upload under its temporary name: bytes, lower-case hex hash, the uploader's file name."""

    size: int
    sha256: str
    filename: str
    options: bytes


class Body:
    """A request's body that remembers whether all of it was read.

    Args:
        receive: the ASGI callable.
        idle_ms_max: longest silence.
    """

    def __init__(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], idle_ms_max: int) -> None:
        self._receive = receive
        self._idle_s = idle_ms_max / 1000
        self.started = False
        self.ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            ClientDisconnect: the client went away, or was silent for too long.
        """
        while not self.ended:
            self.started = True
            try:
                message = await asyncio.wait_for(self._receive(), self._idle_s)
            except TimeoutError as error:
                self.ended = True
                raise ClientDisconnect from error
            if message["type"] == "http.disconnect":
                self.ended = True
                raise ClientDisconnect
            self.ended = not message.get("more_body", False)
            if message.get("body"):
                yield message["body"]


class _Sink:
    """The file under its temporary name; the methods block and run in a thread."""

    def __init__(self, folder: MediaFolder, video_id: str, limits: UploadLimits) -> None:
        self._folder = folder
        self._path = folder.part(video_id)
        self._limits = limits
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self.size = 0

    def write(self, block: bytes) -> None:
        """Append; raises ProblemError `disk_full` or `too_large`."""
        self.size += len(block)
        if self.size > self._limits.file_bytes_max:
            raise too_large(self._limits.file_bytes_max)
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("xb", buffering=0)
            self._hash.update(block)
            view = memoryview(block)
            while view:
                view = view[self._file.write(view) :]
            require_room(self._folder, self._limits, 0)
        except OSError as error:
            if error.errno in _FULL:
                raise disk_full() from error
            raise

    def finish(self) -> str:
        """Make it durable; answers the hash."""
        if self._file is None:
            raise ProblemError(
                "empty_file", "the uploaded file has no bytes; choose the file again and send it whole"
            )
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno in _FULL:
                raise disk_full() from error
            raise
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Form:
    """A multipart body in the making: a finished `options` part, and file bytes that gather in `pending`."""

    def __init__(self, boundary: bytes) -> None:
        self.pending = bytearray()
        self.options: bytes | None = None
        self.sha256: str | None = None
        self.file_seen = False
        self.filename = ""
        self.ended = False
        self._name = ""
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._text = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._value,
                "on_header_end": self._header,
                "on_headers_finished": self._headers,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse a piece; raises ProblemError for a form that is malformed or has parts we do not know."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise ProblemError("malformed_body", f"the multipart form cannot be read: {error}") from error

    def take(self) -> bytes:
        block = bytes(self.pending)
        self.pending.clear()
        return block

    def _begin(self) -> None:
        self._name, self._disposition = "", b""
        self._text.clear()

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name, self._header_value = b"", b""

    def _headers(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        self._name = parameters.get(b"name", b"").decode("utf-8", "replace")
        match self._name:
            case "file" if self.file_seen:
                raise ProblemError(
                    "invalid_request", "the form has two parts named file; send one video a request"
                )
            case "file":
                self.file_seen = True
                self.filename = clean_filename(parameters.get(b"filename", b"").decode("utf-8", "replace"))
            case "options" if self.options is not None:
                raise ProblemError("invalid_request", "the form has two parts named options; send one")
            case "sha256" if self.sha256 is not None:
                raise ProblemError("invalid_request", "the form has two parts named sha256; send one")
            case "options" | "sha256":
                pass
            case other:
                raise ProblemError(
                    "invalid_request",
                    f"the form has a part named {other[:80]!r}; only file, options and sha256 are known here",
                    errors=[FieldError(path=other[:80], message="unknown part", accepted=list(PARTS))],
                )

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self.pending += data[start:end]
            return
        self._text += data[start:end]
        if len(self._text) > OPTIONS_BYTES_MAX:
            raise ProblemError(
                "too_large", f"the part {self._name} may have {OPTIONS_BYTES_MAX} bytes at most"
            )

    def _end(self) -> None:
        if self._name == "options":
            self.options = bytes(self._text)
        elif self._name == "sha256":
            self.sha256 = _announced(bytes(self._text))

    def _finish(self) -> None:
        self.ended = True


def _announced(text: bytes) -> str:
    said = text.decode("ascii", "replace").strip().lower()
    if not _SHA256.fullmatch(said):
        raise ProblemError(
            "invalid_request",
            "sha256: must be 64 hexadecimal digits",
            errors=[FieldError(path="sha256", message="must be 64 hexadecimal digits")],
        )
    return said


def boundary_of(content_type: str) -> bytes:
    """The form's boundary; raises ProblemError when the header has none."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise ProblemError("malformed_body", "the Content-Type header names no multipart boundary")
    return boundary


def clean_filename(name: str) -> str:
    """The uploader's file name for people: no folders, no control characters, bounded. Never a path."""
    # Browsers write a quote in a file name as %22.
    last = name.replace("\\", "/").rsplit("/", 1)[-1].replace("%22", '"')
    return "".join(ch for ch in last if ch.isprintable()).strip()[:FILENAME_CHARS_MAX]


def too_large(bytes_max: int) -> ProblemError:
    return ProblemError(
        "too_large", f"the file is larger than the {bytes_max} bytes that this server accepts"
    )


def disk_full() -> ProblemError:
    return ProblemError(
        "disk_full",
        "the server's media disk has no room for this file; free some space there, then upload it again",
    )


def require_room(folder: MediaFolder, limits: UploadLimits, bytes_wanted: int) -> None:
    """Raises ProblemError `disk_full` unless so many bytes fit with the reserve left over."""
    if folder.free_bytes() < bytes_wanted + limits.disk_free_bytes_min:
        raise disk_full()


def require_acceptable_length(length: int, folder: MediaFolder, limits: UploadLimits) -> None:
    """Judge a request by its declared length, before the body is asked for.

    Raises:
        ProblemError: `too_large` or `disk_full`.
    """
    if length > limits.file_bytes_max + 2 * OPTIONS_BYTES_MAX:
        raise too_large(limits.file_bytes_max)
    require_room(folder, limits, length)


@asynccontextmanager
async def receive_form(
    body: Body,
    boundary: bytes,
    *,
    video_id: str,
    folder: MediaFolder,
    limits: UploadLimits,
    on_options: Callable[[bytes], Awaitable[None]],
) -> AsyncIterator[Received]:
    """Read a form with `file`, `options` and `sha256` to its end; yields the upload under its temporary name.

    Whatever is left under that name when the block ends is removed: rename it inside.

    Args:
        body: the request's body.
        boundary: from `boundary_of`.
        video_id: names the folder.
        folder: where the file goes.
        limits: bounds.
        on_options: judges the options as soon as they are read; it raises to refuse the upload.

    Raises:
        ProblemError: the form, the file or the disk is at fault.
        ClientDisconnect: the client went away first.
    """
    form, sink = _Form(boundary), _Sink(folder, video_id, limits)
    judged = False
    try:
        async for chunk in body.chunks():
            form.feed(chunk)
            if form.options is not None and not judged:
                await on_options(form.options)
                judged = True
            if len(form.pending) >= BLOCK_BYTES:
                await _finished(sink.write, form.take())
        if not form.ended:
            raise ProblemError(
                "malformed_body", "the multipart form ends before its last boundary; send it whole"
            )
        if not form.file_seen:
            raise ProblemError("missing_file", "the form has no part named file; put the video there")
        if form.pending:
            await _finished(sink.write, form.take())
        sha256 = await _finished(sink.finish)
        if form.sha256 is not None and form.sha256 != sha256:
            raise ProblemError(
                "checksum_mismatch",
                f"the file has the sha256 {sha256}, not the announced {form.sha256}; send it again",
                errors=[FieldError(path="sha256", message="is not the file's")],
            )
        yield Received(size=sink.size, sha256=sha256, filename=form.filename, options=form.options or b"{}")
    finally:
        sink.close()
        folder.drop_part(video_id)


async def _finished(work: Callable[..., Any], *args: Any) -> Any:
    """Run blocking work in a thread; a cancelled request waits too: the file must not be closed under it."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
