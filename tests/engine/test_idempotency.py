"""Starts with an idempotency key: one execution for one key, whoever asks and whatever breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from engine.core.errors import ConflictError, InvalidRequestError, StoreError
from engine.core.idempotency import KEY_CHARS_MAX, Strategy
from engine.core.model import MalformedBodyError
from engine.services.executions import StartRequest
from engine.services.options import Options
from engine.testing.story import task

if TYPE_CHECKING:
    from .conftest import Farm, Reopen


async def _start(farm: Farm, strategy: str | None, key: str = "k", name: str = "flow", **given: Any) -> str:
    request = StartRequest(
        name=name,
        input=given,
        idempotency_key=key,
        idempotency_strategy=strategy,
    )
    return await farm.engine.executions.start(request)


async def test_return_existing_answers_the_execution_that_has_the_key(farm: Farm) -> None:
    """Running or ended, it is the same one, with the input of the first start."""
    await farm.register(task("a"))
    first = await _start(farm, "RETURN_EXISTING", n=1)

    again = await _start(farm, "RETURN_EXISTING", n=2)
    await farm.report((await farm.poll("a"))[0])
    after_its_end = await _start(farm, "RETURN_EXISTING")

    assert [again, after_its_end] == [first, first]
    shown = await farm.workflow(first)
    assert (shown["input"], shown["idempotencyKey"]) == ({"n": 1}, "k")


async def test_fail_refuses_a_used_key_and_names_the_execution(farm: Farm) -> None:
    """409, also when the execution has ended."""
    await farm.register(task("a"))
    first = await _start(farm, "FAIL")
    await farm.report((await farm.poll("a"))[0])

    with pytest.raises(ConflictError, match=f"idempotency key k exists already: {first}"):
        await _start(farm, "FAIL")


async def test_fail_on_running_starts_anew_once_the_execution_has_ended(farm: Farm) -> None:
    """The key then stands for the newest execution, for every strategy."""
    await farm.register(task("a"))
    first = await _start(farm, "FAIL_ON_RUNNING")
    with pytest.raises(ConflictError, match=f"is still running: {first}"):
        await _start(farm, "FAIL_ON_RUNNING")
    await farm.report((await farm.poll("a"))[0])

    second = await _start(farm, "FAIL_ON_RUNNING")

    assert second != first
    assert await _start(farm, "RETURN_EXISTING") == second
    with pytest.raises(ConflictError, match=f"is still running: {second}"):
        await _start(farm, "FAIL_ON_RUNNING")


async def test_a_key_belongs_to_one_workflow(farm: Farm) -> None:
    """Another workflow may use the same key; where a name ends and a key begins is no question."""
    await farm.register(task("a"))
    for name in ("ab", "a"):
        definition = {"name": name, "version": 1, "tasks": [task("t")]}
        await farm.engine.metadata.register_workflow(msgspec.json.encode(definition), overwrite=True)

    ids = [await _start(farm, "FAIL", name=name, key=key) for name, key in (("ab", "c"), ("a", "bc"))]

    assert len({*ids, await _start(farm, "FAIL", key="c")}) == 3


@pytest.mark.parametrize("strategy", ["FAIL", "RETURN_EXISTING", "FAIL_ON_RUNNING"])
async def test_of_many_starts_on_two_servers_one_wins(reopen: Reopen, strategy: str) -> None:
    """The workflow's own row is the unique index, so there is no moment between looking and writing."""
    one, two = reopen(), reopen()
    await one.register(task("a"))

    said = await asyncio.gather(*[_start(f, strategy) for f in (one, two) * 5], return_exceptions=True)

    ids = {answer for answer in said if isinstance(answer, str)}
    refused = [answer for answer in said if isinstance(answer, ConflictError)]
    assert len(ids) == 1
    assert len(refused) == (0 if strategy == "RETURN_EXISTING" else 9)
    assert len(await one.poll("a", count=10)) == 1


async def test_a_start_repeated_after_the_store_gave_no_answer_finds_the_first(farm: Farm) -> None:
    """The write that nobody heard of was made, and the repeat does not start another."""
    await farm.register(task("a"))
    farm.store.faults.append("fails")
    with pytest.raises(StoreError):
        await _start(farm, "RETURN_EXISTING")
    farm.store.faults.append("written")

    first = await _start(farm, "RETURN_EXISTING")

    assert await _start(farm, "RETURN_EXISTING") == first
    assert len(await farm.poll("a", count=10)) == 1


async def test_a_removed_execution_frees_its_key(farm: Farm) -> None:
    """What is gone cannot be returned."""
    await farm.register(task("a"))
    first = await _start(farm, "FAIL")
    await farm.engine.executions.terminate(first, "enough")
    await farm.engine.executions.remove(first)

    await _start(farm, "FAIL")

    assert len(await farm.poll("a", count=10)) == 1


async def test_without_a_strategy_a_key_is_only_kept(farm: Farm) -> None:
    """As on a Conductor server, whose clients repeat keys."""
    await farm.register(task("a"))

    assert await _start(farm, None) != await _start(farm, None)


async def test_a_setting_gives_keys_without_a_strategy_their_meaning(reopen: Reopen) -> None:
    """For whoever wants every key to count."""
    farm = reopen(Options(key_strategy=Strategy.RETURN_EXISTING))
    await farm.register(task("a"))

    assert await _start(farm, None) == await _start(farm, None)


async def test_what_is_no_strategy_or_no_key_is_refused(farm: Farm) -> None:
    """The sentence says which are, and how long a key may be."""
    await farm.register(task("a"))

    with pytest.raises(MalformedBodyError, match="must be one of FAIL, RETURN_EXISTING, FAIL_ON_RUNNING"):
        await _start(farm, "MAYBE")
    with pytest.raises(InvalidRequestError, match=f"at most {KEY_CHARS_MAX}"):
        await _start(farm, "FAIL", key="k" * (KEY_CHARS_MAX + 1))
