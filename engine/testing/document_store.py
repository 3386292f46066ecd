"""The contract of DocumentStore, one test a promise.

A store's test subclasses DocumentStoreContract and supplies the fixture `documents`, a fresh one.
"""

from __future__ import annotations

import asyncio

from engine.ports.documents import Document, DocumentStore


class DocumentStoreContract:
    """All promises of the port."""

    async def test_a_put_is_read_back(self, documents: DocumentStore) -> None:
        """The document comes back whole, with its revision and its writer's time."""
        assert await documents.put("schedule", "nightly", b"{}", at_ms=7) == 1
        assert await documents.get("schedule", "nightly") == Document(
            kind="schedule", name="nightly", revision=1, at_ms=7, body=b"{}"
        )
        assert await documents.get("schedule", "daily") is None
        assert await documents.get("secret", "nightly") is None

    async def test_every_put_is_a_new_revision(self, documents: DocumentStore) -> None:
        """Revisions count up from 1, of each document for itself."""
        assert [await documents.put("k", "a", b"%d" % n, at_ms=n) for n in range(3)] == [1, 2, 3]
        assert await documents.put("k", "b", b"", at_ms=0) == 1
        assert await documents.get("k", "a") == Document(kind="k", name="a", revision=3, at_ms=2, body=b"2")

    async def test_a_put_against_a_revision(self, documents: DocumentStore) -> None:
        """It writes only over the revision named; 0 stands for none."""
        assert await documents.put("k", "a", b"1", at_ms=0, expect=1) == 0
        assert await documents.put("k", "a", b"1", at_ms=0, expect=0) == 1
        assert await documents.put("k", "a", b"2", at_ms=0, expect=0) == 0
        assert await documents.put("k", "a", b"2", at_ms=0, expect=1) == 2
        assert await documents.put("k", "a", b"3", at_ms=0, expect=1) == 0
        found = await documents.get("k", "a")
        assert found is not None
        assert (found.revision, found.body) == (2, b"2")

    async def test_one_of_many_writers_wins(self, documents: DocumentStore) -> None:
        """Of puts against one revision at the same time exactly one succeeds."""
        for expect in range(3):
            puts = [documents.put("k", "a", b"%d" % n, at_ms=n, expect=expect) for n in range(8)]
            assert sorted(await asyncio.gather(*puts)) == [0] * 7 + [expect + 1]

    async def test_a_deleted_document_is_gone(self, documents: DocumentStore) -> None:
        """The answer says whether it was there, and the name may be used anew."""
        await documents.put("k", "a", b"1", at_ms=0)
        assert await documents.delete("k", "a")
        assert not await documents.delete("k", "a")
        assert await documents.get("k", "a") is None
        assert await documents.put("k", "a", b"2", at_ms=0, expect=0) == 1

    async def test_lists_are_in_the_order_of_names(self, documents: DocumentStore) -> None:
        """By code point, either way, from a name on, up to a bound, of one kind and prefix."""
        for name in ("b", "a/2", "a/10", "B", "a", "\u00e9", "a_x", "a%x"):
            await documents.put("k", name, b"", at_ms=0)
        await documents.put("other", "a/3", b"", at_ms=0)

        async def names(**how: object) -> list[str]:
            return [found.name for found in await documents.list("k", **how)]  # type: ignore[arg-type]  # any mix

        everything = ["B", "a", "a%x", "a/10", "a/2", "a_x", "b", "\u00e9"]
        assert await names() == everything
        assert await names(descending=True) == everything[::-1]
        assert await names(prefix="a/") == ["a/10", "a/2"]
        assert await names(prefix="a%") == ["a%x"]
        assert await names(after="a/10", limit=2) == ["a/2", "a_x"]
        assert await names(after="a_x", limit=2, descending=True) == ["a/2", "a/10"]
        assert await names(prefix="z") == []
