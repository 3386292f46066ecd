"""The contract of MetadataStore, one test a promise.

A store's test subclasses MetadataStoreContract and supplies the fixtures `metadata` (a fresh one) and
`reopen_metadata` (close it and open it again on the same data).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from engine.ports.stores import MetadataStore


class MetadataStoreContract:
    """All promises of the port.

    Attributes:
        durable: what was acknowledged is there when the store is opened again.
    """

    durable: ClassVar[bool]

    async def test_a_workflow_definition_is_put_once(self, metadata: MetadataStore) -> None:
        """Without `replace` an existing version stays as it is, and the answer says so."""
        assert await metadata.put_workflow_def("a", 1, b"first", replace=False)
        assert not await metadata.put_workflow_def("a", 1, b"second", replace=False)
        assert await metadata.get_workflow_def("a", 1) == b"first"

    async def test_a_workflow_definition_is_replaced(self, metadata: MetadataStore) -> None:
        """With `replace` the new body holds, whether there was one or not."""
        assert await metadata.put_workflow_def("a", 1, b"first", replace=True)
        assert await metadata.put_workflow_def("a", 1, b"second", replace=True)
        assert await metadata.get_workflow_def("a", 1) == b"second"

    async def test_the_highest_version_is_the_default(self, metadata: MetadataStore) -> None:
        """Highest as a number, whatever the order of writing."""
        for version in (2, 10, 9):
            await metadata.put_workflow_def("a", version, b"v%d" % version, replace=False)
        assert await metadata.get_workflow_def("a") == b"v10"
        assert await metadata.get_workflow_def("a", 3) is None
        assert await metadata.get_workflow_def("b") is None

    async def test_workflow_definitions_by_name_and_version(self, metadata: MetadataStore) -> None:
        """Listed by name, then version, all or of one name."""
        for name, version in (("b", 1), ("a", 10), ("a", 9)):
            await metadata.put_workflow_def(name, version, b"%s%d" % (name.encode(), version), replace=False)
        assert await metadata.list_workflow_defs() == [b"a9", b"a10", b"b1"]
        assert await metadata.list_workflow_defs("a") == [b"a9", b"a10"]
        assert await metadata.list_workflow_defs("c") == []

    async def test_a_workflow_definition_is_deleted(self, metadata: MetadataStore) -> None:
        """One version only; the answer says whether it was there."""
        for version in (1, 2):
            await metadata.put_workflow_def("a", version, b"v%d" % version, replace=False)
        assert await metadata.delete_workflow_def("a", 2)
        assert not await metadata.delete_workflow_def("a", 2)
        assert await metadata.get_workflow_def("a") == b"v1"

    async def test_task_definitions(self, metadata: MetadataStore) -> None:
        """Put together, replaced by name, listed by name, deleted once."""
        await metadata.put_task_defs([("b", b"b1"), ("a", b"a1")])
        await metadata.put_task_defs([("a", b"a2")])
        await metadata.put_task_defs([])
        assert (await metadata.get_task_def("a"), await metadata.get_task_def("c")) == (b"a2", None)
        assert await metadata.list_task_defs() == [b"a2", b"b1"]
        assert await metadata.delete_task_def("a")
        assert not await metadata.delete_task_def("a")
        assert await metadata.list_task_defs() == [b"b1"]

    async def test_what_is_acknowledged_outlives_the_store(
        self, metadata: MetadataStore, reopen_metadata: Callable[[], Awaitable[MetadataStore]]
    ) -> None:
        """After a reopen a durable store tells the same as before, any other starts empty."""
        await metadata.put_workflow_def("a", 1, b"a1", replace=False)
        await metadata.put_task_defs([("t", b"t1")])

        again = await reopen_metadata()

        listed = (await again.list_workflow_defs(), await again.list_task_defs())
        assert listed == (([b"a1"], [b"t1"]) if self.durable else ([], []))
