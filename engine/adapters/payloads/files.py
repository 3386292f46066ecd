"""Payloads as files in a folder of this server, which serves them under signed addresses that expire.

The key of the signatures lies in the folder, so that all processes of one data folder accept each other's.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from engine.core.errors import StoreAwayError, StoreError, StoreFullError
from engine.core.payloads import is_path
from engine.ports.payloads import Held, Operation

T = TypeVar("T")

ROUTE = "/api/payloads/"
"""The address of a payload is this, its path and the query of `url`."""
KEY_BYTES = 32
ASIDE = ".part-"
"""Begins the names of files that are still being written."""


class FilePayloads:
    """PayloadStore and ServedPayloads on a folder, which is made when it is first needed.

    Args:
        folder: of nothing but payloads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key: bytes | None = None

    async def url(self, path: str, operation: Operation, *, now_ms: int, lasts_ms: int) -> str:
        expires_ms = now_ms + lasts_ms
        signature = await _in_thread(lambda: self._sign(path, operation, expires_ms))
        return f"{ROUTE}{path}?expires={expires_ms}&signature={signature}"

    async def allows(self, path: str, operation: Operation, *, expires_ms: int, signature: str) -> bool:
        expected = await _in_thread(lambda: self._sign(path, operation, expires_ms))
        return hmac.compare_digest(expected.encode(), signature.encode())

    async def read(self, path: str, *, bytes_max: int) -> Held | None:
        def load() -> Held | None:
            try:
                with self._file(path).open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    return Held(size_bytes=size, body=file.read(size) if size <= bytes_max else None)
            except FileNotFoundError:
                return None

        return await _in_thread(load)

    async def write(self, path: str, body: bytes) -> None:
        def keep() -> None:
            final = self._file(path)
            final.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(final, body)

        await _in_thread(keep)

    async def remove(self, path: str) -> None:
        await _in_thread(lambda: self._file(path).unlink(missing_ok=True))

    async def remove_before(self, instant_ms: int, *, count_max: int) -> int:
        def sweep() -> int:
            removed = 0
            for entry in self._entries():
                if removed == count_max:
                    break
                if entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000 < instant_ms:
                    Path(entry.path).unlink(missing_ok=True)
                    removed += 1
            return removed

        return await _in_thread(sweep)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        # Also what a crash left half-written.
        if not self._folder.is_dir():
            return
        for kind in self._folder.iterdir():
            if kind.is_dir():
                with os.scandir(kind) as entries:
                    yield from entries

    def _file(self, path: str) -> Path:
        if not is_path(path):
            raise StoreAwayError("a payload's path is none that this server made")
        return self._folder / path

    def _sign(self, path: str, operation: Operation, expires_ms: int) -> str:
        if self._key is None:
            self._key = self._kept_key()
        text = f"{operation}\n{path}\n{expires_ms}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def _kept_key(self) -> bytes:
        file = self._folder / "key"
        if not file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            aside = self._folder / f"{ASIDE}{secrets.token_hex(8)}"
            aside.touch(mode=0o600)
            try:
                _write_synced(aside, "wb", secrets.token_bytes(KEY_BYTES))
                file.hardlink_to(aside)
            except FileExistsError:
                pass  # another process of this folder was first
            finally:
                aside.unlink()
        return file.read_bytes()


def _write_whole(final: Path, body: bytes) -> None:
    aside = final.with_name(f"{ASIDE}{secrets.token_hex(8)}")
    try:
        _write_synced(aside, "xb", body)
        aside.replace(final)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _write_synced(path: Path, mode: Literal["wb", "xb"], body: bytes) -> None:
    with path.open(mode) as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise _worded(error) from error


def _worded(error: OSError) -> StoreError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError("the disk under the payloads' folder is full; free space on it")
    return StoreAwayError(f"the payloads' folder cannot be used: {error.strerror}")
