"""Payloads as files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.adapters.payloads.files import FilePayloads
from engine.core.errors import StoreAwayError
from engine.ports.payloads import Operation, PayloadStore
from engine.testing.payloads import BODY, FAR_MS, OTHER, PATH, PayloadStoreContract


@pytest.fixture
def store(tmp_path: Path) -> FilePayloads:
    return FilePayloads(tmp_path / "payloads")


@pytest.fixture
def away(tmp_path: Path) -> FilePayloads:
    (tmp_path / "blocked").write_text("no folder")
    return FilePayloads(tmp_path / "blocked")


class TestFiles(PayloadStoreContract):
    """The contract."""

    @staticmethod
    async def put(store: PayloadStore, path: str, body: bytes) -> None:
        """What the route does; tests/api goes through it."""
        assert isinstance(store, FilePayloads)
        await store.write(path, body)


async def _signed(store: FilePayloads, operation: Operation) -> tuple[int, str]:
    query = parse_qs(urlsplit(await store.url(PATH, operation, now_ms=1_000, lasts_ms=500)).query)
    return int(query["expires"][0]), query["signature"][0]


async def test_a_signature_is_for_one_use(store: FilePayloads) -> None:
    """Another path, another operation, another instant: not allowed."""
    expires_ms, signature = await _signed(store, "WRITE")

    async def allowed(path: str, operation: Operation, at_ms: int) -> bool:
        return await store.allows(path, operation, expires_ms=at_ms, signature=signature)

    assert expires_ms == 1_500
    assert await allowed(PATH, "WRITE", expires_ms)
    assert not await allowed(PATH, "READ", expires_ms)
    assert not await allowed(OTHER, "WRITE", expires_ms)
    assert not await allowed(PATH, "WRITE", expires_ms + 1)
    assert not await store.allows(PATH, "WRITE", expires_ms=expires_ms, signature="ü")


async def test_processes_of_one_folder_share_the_key(store: FilePayloads, tmp_path: Path) -> None:
    """An address made by one is accepted by the other; the key is its owner's to read."""
    expires_ms, signature = await _signed(store, "READ")

    other = FilePayloads(tmp_path / "payloads")
    stranger = FilePayloads(tmp_path / "elsewhere")

    assert await other.allows(PATH, "READ", expires_ms=expires_ms, signature=signature)
    assert not await stranger.allows(PATH, "READ", expires_ms=expires_ms, signature=signature)
    assert (tmp_path / "payloads" / "key").stat().st_mode & 0o077 == 0


async def test_a_write_that_fails_leaves_nothing(store: FilePayloads, tmp_path: Path) -> None:
    """Neither a half-written file nor one aside; here a folder stands where the file belongs."""
    (tmp_path / "payloads" / PATH).mkdir(parents=True)

    with pytest.raises(StoreAwayError, match="cannot be used"):
        await store.write(PATH, BODY)

    assert [each.name for each in (tmp_path / "payloads" / "task_output").iterdir()] == [Path(PATH).name]


async def test_the_key_and_what_a_crash_left(store: FilePayloads, tmp_path: Path) -> None:
    """Half-written files are removed by age like the others, the key never."""
    await _signed(store, "WRITE")
    await store.write(PATH, BODY)
    (tmp_path / "payloads" / "task_output" / ".part-1").write_bytes(b"{")

    assert await store.remove_before(FAR_MS, count_max=10) == 2
    assert (tmp_path / "payloads" / "key").exists()
