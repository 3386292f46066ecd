"""What every PayloadStore promises; a test class subclasses it with the fixtures `store` and `away`."""

from __future__ import annotations

import httpx
import pytest

from engine.core.errors import StoreError
from engine.core.payloads import path_of
from engine.ports.payloads import Held, PayloadStore
from engine.testing.services import ManualClock

PATH = path_of("TASK_OUTPUT", 1, 2)
OTHER = path_of("WORKFLOW_INPUT", 1, 2)
BODY = '{"text": "Grüße"}'.encode()
FAR_MS = 2**42
"""An instant in the year 2109: everything was written before it."""


class PayloadStoreContract:
    """The fixture `store` gives an empty store, `away` one that cannot be reached.

    `put(store, path, body)` is what a client does with the address for WRITE.
    """

    @staticmethod
    async def put(store: PayloadStore, path: str, body: bytes) -> None:
        """PUT as a client would, with nothing but the address."""
        url = await store.url(path, "WRITE", now_ms=ManualClock().now_ms(), lasts_ms=60_000)
        async with httpx.AsyncClient() as client:
            (await client.put(url, content=body)).raise_for_status()

    async def test_what_was_put_is_read(self, store: PayloadStore) -> None:
        """Byte for byte, and one of another path does not matter."""
        await self.put(store, PATH, BODY)
        await self.put(store, OTHER, b"{}")

        assert await store.read(PATH, bytes_max=100) == Held(size_bytes=len(BODY), body=BODY)

    async def test_a_second_put_replaces_the_first(self, store: PayloadStore) -> None:
        """A client repeats a PUT whose answer it never saw."""
        await self.put(store, PATH, b'{"n": 1}')
        await self.put(store, PATH, BODY)

        assert await store.read(PATH, bytes_max=100) == Held(size_bytes=len(BODY), body=BODY)

    async def test_what_is_not_there_is_none(self, store: PayloadStore) -> None:
        """Never put, or removed; removing what is not there is no error."""
        await self.put(store, PATH, BODY)
        await store.remove(PATH)
        await store.remove(PATH)

        assert await store.read(PATH, bytes_max=100) is None
        assert await store.read(OTHER, bytes_max=100) is None

    async def test_what_is_too_large_is_only_measured(self, store: PayloadStore) -> None:
        """A reader's bound is kept."""
        await self.put(store, PATH, BODY)

        assert await store.read(PATH, bytes_max=len(BODY) - 1) == Held(size_bytes=len(BODY))

    async def test_old_ones_are_removed_a_few_at_a_time(self, store: PayloadStore) -> None:
        """Those written before the instant, up to the bound; an empty store has none."""
        assert await store.remove_before(FAR_MS, count_max=10) == 0
        for number in range(3):
            await self.put(store, path_of("TASK_OUTPUT", number, 0), BODY)

        removed = [
            await store.remove_before(0, count_max=10),
            await store.remove_before(FAR_MS, count_max=2),
            await store.remove_before(FAR_MS, count_max=2),
        ]

        assert removed == [0, 2, 1]

    @pytest.mark.parametrize("path", ["", "../key", "task_output/../../x.json", f"/{PATH}", f"{PATH}\n"])
    async def test_foreign_paths_reach_nothing(self, store: PayloadStore, path: str) -> None:
        """Only paths that the engine makes are looked at."""
        with pytest.raises(StoreError):
            await store.read(path, bytes_max=100)
        with pytest.raises(StoreError):
            await store.remove(path)

    async def test_a_store_that_is_away_says_so(self, away: PayloadStore) -> None:
        """As an error after which the same call may be made again."""
        with pytest.raises(StoreError) as failure:
            await away.read(PATH, bytes_max=100)
        assert failure.value.retryable
