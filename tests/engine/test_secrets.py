"""Secrets stand literally in what is stored and as values in what is delivered; stored values are plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec import Raw

from engine.adapters.system.sealing import FernetSealer
from engine.core.errors import ConflictError, InvalidRequestError
from engine.core.model import TaskDef
from engine.services.options import Options
from engine.services.secrets import SECRET_KIND
from engine.testing.story import Story, task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen

LITERAL = "${workflow.secrets.KEY}"


def _options(*keys: str) -> Options:
    return Options(fixed_secrets={"FIXED": "f!xed"}, sealer=FernetSealer(keys) if keys else None)


@pytest.fixture
def farm(reopen: Reopen) -> Farm:
    return reopen(_options("a long random text"))


async def test_a_worker_gets_the_secret_and_nobody_else_sees_it(farm: Farm) -> None:
    """The stored task, the workflow and the store's bytes keep the reference."""
    await farm.engine.secrets.put("KEY", "s3cret")
    await farm.register(task("a", inputParameters={"k": LITERAL, "u": f"https://x/?k={LITERAL}"}))
    workflow_id = await farm.start()

    [polled] = await farm.poll("a")

    assert polled["inputData"] == {"k": "s3cret", "u": "https://x/?k=s3cret"}
    shown = await farm.workflow(workflow_id)
    assert shown["tasks"][0]["inputData"]["k"] == LITERAL
    written = msgspec.json.encode([write for group in farm.store.groups for write in group], enc_hook=str)
    assert b"s3cret" not in written


async def test_secrets_of_the_process_come_first_and_cannot_be_changed(farm: Farm) -> None:
    """The operator's word wins, and the sentence says where to change it."""
    await farm.register(task("a", inputParameters={"k": "${workflow.secrets.FIXED}"}))
    await farm.start()

    with pytest.raises(ConflictError, match="set in the server's environment"):
        await farm.engine.secrets.put("FIXED", "mine")

    assert (await farm.poll("a"))[0]["inputData"] == {"k": "f!xed"}
    await farm.engine.secrets.put("KEY", "v")
    assert await farm.engine.secrets.names() == ["FIXED", "KEY"]


async def test_stored_secrets_are_sealed_and_bound_to_their_name(farm: Farm) -> None:
    """Neither reading the store nor moving a sealed text to another name gives anything away."""
    await farm.engine.secrets.put("KEY", "s3cret")
    document = await farm.engine.documents.get(SECRET_KIND, "KEY")
    assert document is not None
    assert b"s3cret" not in document.body

    await farm.engine.documents.put(SECRET_KIND, "OTHER", document.body, at_ms=0)

    assert await farm.engine.secrets.value("KEY") == "s3cret"
    assert await farm.engine.secrets.value("OTHER") is None


async def test_keys_can_be_changed_one_after_the_other(reopen: Reopen) -> None:
    """The first key seals, every one opens; a server with neither sees nothing and says so."""
    old, both, new = (reopen(_options(*keys)) for keys in (("one",), ("two", "one"), ("two",)))
    await old.engine.secrets.put("KEY", "v")

    assert await both.engine.secrets.value("KEY") == "v"
    assert await new.engine.secrets.value("KEY") is None
    await both.engine.secrets.put("KEY", "v")
    assert await new.engine.secrets.value("KEY") == "v"


async def test_without_a_key_nothing_is_stored(reopen: Reopen) -> None:
    """Better refused than kept in the clear."""
    farm = reopen()

    with pytest.raises(InvalidRequestError, match="set SHOWRUNNER_SECRETS_KEY"):
        await farm.engine.secrets.put("KEY", "v")


@pytest.mark.parametrize("name", ["", "a.b", "ä", "x" * 201, "a b"])
async def test_names_that_no_expression_can_use_are_refused(farm: Farm, name: str) -> None:
    """A dot begins a path."""
    with pytest.raises(InvalidRequestError, match="cannot name a secret"):
        await farm.engine.secrets.put(name, "v")
    with pytest.raises(InvalidRequestError, match="at most 65536 fit"):
        await farm.engine.secrets.put("KEY", "v" * 65_537)


async def test_what_is_said_about_a_call_keeps_its_secrets_out(farm: Farm) -> None:
    """Texts about a filled document can be redacted."""
    await farm.engine.secrets.put("KEY", "s3cret")

    filled = await farm.engine.secrets.filled(Raw(msgspec.json.encode({"k": LITERAL})))

    assert filled.redacted("no answer from https://x/?k=s3cret") == "no answer from https://x/?k=***"


async def test_runtime_metadata_names_what_a_worker_needs(farm: Farm) -> None:
    """Names of the task definition, from secrets and stored values; unknown ones are left out."""
    await farm.engine.secrets.put("KEY", "s3cret")
    await farm.engine.environment.put("REGION", "eu")
    policy = TaskDef(name="a", runtime_metadata=["KEY", "REGION", "NONE"])
    await farm.register(task("a"), defs=[policy])
    workflow_id = await farm.start()

    [polled] = await farm.poll("a")

    assert polled["runtimeMetadata"] == {"KEY": "s3cret", "REGION": "eu"}
    assert "runtimeMetadata" not in (await farm.workflow(workflow_id))["tasks"][0]


async def test_stored_environment_values_are_read_when_a_task_is_made(farm: Farm) -> None:
    """A change counts from the next task on, on every server."""
    await farm.register(*[task(ref, inputParameters={"r": "${workflow.env.REGION}"}) for ref in ("a", "b")])
    await farm.engine.environment.put("REGION", "eu")
    await farm.start()

    [first] = await farm.poll("a")
    await farm.engine.environment.put("REGION", "us")
    await farm.report(first)
    [second] = await farm.poll("b")

    assert [first["inputData"], second["inputData"]] == [{"r": "eu"}, {"r": "us"}]
    assert await farm.engine.environment.all() == {"REGION": "us"}
    assert await farm.engine.environment.delete("REGION")
    assert not await farm.engine.environment.delete("REGION")


def test_a_value_that_nobody_stored_is_null() -> None:
    """And the names of the process come before the stored ones."""
    story = Story.of(task("a", inputParameters={"x": "${workflow.env.X}", "y": "${workflow.env.Y}"}))
    story.environment = {"X": "1"}

    story.begun()

    assert story.input_of("a") == {"x": "1", "y": None}
