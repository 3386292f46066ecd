"""Documents that are too large, or lie elsewhere: what becomes of the request that brings them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.adapters.payloads.files import FilePayloads
from engine.core.errors import InvalidRequestError, StoreAwayError
from engine.core.payloads import PAYLOAD_BYTES_MAX, PAYLOAD_KB_MAX, path_of
from engine.services.executions import StartRequest, TaskUpdate
from engine.services.options import Options
from engine.testing.story import task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen

HERE = path_of("TASK_OUTPUT", 1, 2)
TOO_LARGE = "x" * (PAYLOAD_KB_MAX * 1024)


async def test_an_input_beyond_the_bound_starts_nothing(farm: Farm) -> None:
    """In upstream's words."""
    await farm.register(task("a"))

    with pytest.raises(InvalidRequestError, match="of workflow: flow is greater than the permissible limit"):
        await farm.start(text=TOO_LARGE)


async def test_an_output_beyond_the_bound_fails_its_task_for_good(farm: Farm) -> None:
    """The output is dropped, and the reason says how large it was."""
    await farm.register(task("a"))
    workflow_id = await farm.start()

    await farm.report((await farm.poll("a"))[0], text=TOO_LARGE)

    [shown] = (await farm.workflow(workflow_id))["tasks"]
    assert (shown["status"], shown["outputData"]) == ("FAILED_WITH_TERMINAL_ERROR", {})
    assert f"limit: {PAYLOAD_KB_MAX * 1024} bytes" in shown["reasonForIncompletion"]


async def test_without_a_store_a_document_said_to_lie_elsewhere_is_refused(farm: Farm) -> None:
    """Rather than taken for an empty one: the server names no place to put it."""
    assert await farm.engine.payloads.location("WRITE", "TASK_OUTPUT", "") is None
    await farm.register(task("a"))
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")

    request = StartRequest(name="flow", external_input_payload_storage_path="p.json")
    with pytest.raises(InvalidRequestError, match="externalInputPayloadStoragePath: this server keeps no"):
        await farm.engine.executions.start(request)
    with pytest.raises(InvalidRequestError, match="externalOutputPayloadStoragePath: this server keeps no"):
        await farm.engine.executions.update(
            TaskUpdate(
                workflow_instance_id=workflow_id,
                task_id=polled["taskId"],
                status="COMPLETED",
                external_output_payload_storage_path="p.json",
            )
        )


def naming(polled: dict[str, str], path: str = HERE) -> TaskUpdate:
    return TaskUpdate(
        workflow_instance_id=polled["workflowInstanceId"],
        task_id=polled["taskId"],
        status="COMPLETED",
        external_output_payload_storage_path=path,
    )


async def test_a_payload_beyond_the_bound(reopen: Reopen, tmp_path: Path) -> None:
    """Is as good as a document of that size in the request: the task fails, the start is refused."""
    store = FilePayloads(tmp_path / "payloads")
    farm = reopen(payloads=store)
    await farm.register(task("a"))
    workflow_id = await farm.start()
    await store.write(HERE, b" " * (PAYLOAD_BYTES_MAX + 1))

    await farm.engine.executions.update(naming((await farm.poll("a"))[0]))
    with pytest.raises(InvalidRequestError, match=f"payload size: {PAYLOAD_BYTES_MAX + 1} of workflow: flow"):
        await farm.engine.executions.start(
            StartRequest(name="flow", external_input_payload_storage_path=HERE)
        )

    [shown] = (await farm.workflow(workflow_id))["tasks"]
    assert (shown["status"], shown["outputData"]) == ("FAILED_WITH_TERMINAL_ERROR", {})


@pytest.mark.parametrize(
    ("body", "says"),
    [(b"[1]", "must be a JSON object"), (b'{"a": \xff}', "is not valid JSON"), (b'{"a":' * 300, "JSON")],
    ids=["list", "bytes", "cut off"],
)
async def test_a_payload_that_is_no_document(reopen: Reopen, tmp_path: Path, body: bytes, says: str) -> None:
    """The report is refused and the task stays open: the client may put another and report again."""
    store = FilePayloads(tmp_path / "payloads")
    farm = reopen(payloads=store)
    await farm.register(task("a"))
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")
    await store.write(HERE, body)

    with pytest.raises(InvalidRequestError, match=f"externalOutputPayloadStoragePath: .*{says}"):
        await farm.engine.executions.update(naming(polled))
    await store.write(HERE, b'{"n": 1}')
    await farm.engine.executions.update(naming(polled))

    assert (await farm.workflow(workflow_id))["output"] == {"n": 1}


async def test_a_store_that_is_away(reopen: Reopen, tmp_path: Path) -> None:
    """The report fails as one that may be repeated; nothing has changed, and the repeat succeeds."""
    (tmp_path / "payloads").write_text("in the way")
    store = FilePayloads(tmp_path / "payloads")
    farm = reopen(payloads=store)
    await farm.register(task("a"))
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")

    with pytest.raises(StoreAwayError) as failure:
        await farm.engine.executions.update(naming(polled))
    (tmp_path / "payloads").unlink()
    await store.write(HERE, b'{"n": 1}')
    await farm.engine.executions.update(naming(polled))

    assert (failure.value.status, failure.value.retryable) == (503, True)
    assert (await farm.workflow(workflow_id))["output"] == {"n": 1}


async def test_payloads_go_by_age(reopen: Reopen, tmp_path: Path) -> None:
    """What was put there too long ago is removed; the workflow keeps the document it was read into."""
    store = FilePayloads(tmp_path / "payloads")
    farm = reopen(Options(keep_payloads_ms=60_000), payloads=store)
    await farm.register(task("a"))
    await store.write(HERE, b'{"n": 1}')
    workflow_id = await farm.engine.executions.start(
        StartRequest(name="flow", external_input_payload_storage_path=HERE)
    )
    put_s = farm.clock.now_ms() / 1000
    os.utime(tmp_path / "payloads" / HERE, (put_s, put_s))

    await farm.engine.payloads.step()
    young = await store.read(HERE, bytes_max=100)
    farm.clock.advance(61)
    again_ms = await farm.engine.payloads.step()

    assert young is not None
    assert await store.read(HERE, bytes_max=100) is None
    assert again_ms is not None
    assert again_ms > farm.clock.now_ms()
    assert (await farm.workflow(workflow_id))["input"] == {"n": 1}


async def test_an_address_expires(reopen: Reopen, tmp_path: Path) -> None:
    """After its time nothing can be put or fetched with it."""
    farm = reopen(payloads=FilePayloads(tmp_path / "payloads"))
    place = await farm.engine.payloads.location("WRITE", "TASK_OUTPUT", "ignored")
    assert place is not None
    query = dict(part.split("=") for part in place.uri.partition("?")[2].split("&"))
    given: dict[str, Any] = {"expires_ms": int(query["expires"]), "signature": query["signature"]}

    in_time = await farm.engine.payloads.put(place.path, b"{}", **given)
    farm.clock.advance(15 * 60 + 1)
    too_late = await farm.engine.payloads.put(place.path, b"{}", **given)

    assert (in_time, too_late) == (True, False)
