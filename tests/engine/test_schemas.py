"""enforceSchema: what does not fit is refused where it comes in, with the place and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from engine.core.errors import InvalidRequestError
from engine.core.model import SchemaDef, TaskDef
from engine.services.schema_registry import KIND, schema_name
from engine.testing.story import child, task

if TYPE_CHECKING:
    from .conftest import Farm

SHAPE: dict[str, Any] = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
SCHEMA = {"name": "s", "version": 1, "type": "JSON", "data": SHAPE}


def _policy(**members: list[str]) -> TaskDef:
    schema = SchemaDef(name="s", type="JSON", data=SHAPE)
    on = members["on"]
    return TaskDef(
        name="a",
        retry_count=3,
        enforce_schema=True,
        input_schema=schema if "input_schema" in on else None,
        output_schema=schema if "output_schema" in on else None,
    )


async def test_a_start_with_a_bad_input_is_refused(farm: Farm) -> None:
    """Every place that does not fit is named; the values are not repeated."""
    await farm.register(task("a"), inputSchema=SCHEMA)

    with pytest.raises(InvalidRequestError, match="input of workflow flow does not fit") as refused:
        await farm.start(n="secret")

    [(path, what, _)] = refused.value.problems
    assert (path, what) == ("startWorkflow.arg0.input.n", 'does not fit type: "integer"')
    await farm.start(n=1)


async def test_nothing_is_enforced_unless_asked(farm: Farm) -> None:
    """enforceSchema false, a schema nobody registered, a schema that is not JSON: all start."""
    for members in (
        {"inputSchema": SCHEMA, "enforceSchema": False},
        {"inputSchema": {"name": "unknown", "type": "JSON"}},
        {"inputSchema": {"name": "s", "type": "AVRO", "data": SHAPE}},
    ):
        await farm.register(task("a"), **members)
        await farm.start(n="x")


async def test_a_registered_schema_is_found_by_name_and_version(farm: Farm) -> None:
    """The newest registration of that version counts."""
    body = msgspec.json.encode(SCHEMA)
    await farm.engine.documents.put(KIND, schema_name("s", 1), body, at_ms=0)
    await farm.register(task("a"), inputSchema={"name": "s", "version": 1, "type": "JSON"})

    with pytest.raises(InvalidRequestError):
        await farm.start()


async def test_a_bad_output_fails_its_task_for_good(farm: Farm) -> None:
    """No attempt follows: the worker would say the same again."""
    await farm.register(task("a"), task("z"), defs=[_policy(on=["output_schema"])])
    workflow_id = await farm.start()

    await farm.report((await farm.poll("a"))[0], m=1)

    shown = await farm.workflow(workflow_id)
    assert [(one["status"], one["reasonForIncompletion"]) for one in shown["tasks"]] == [
        (
            "FAILED_WITH_TERMINAL_ERROR",
            "The output does not fit the schema of task a: $ 'n' is a required property",
        )
    ]
    assert shown["status"] == "FAILED"


async def test_a_fitting_output_goes_on_and_a_failure_is_not_looked_at(farm: Farm) -> None:
    """A failed attempt's output is whatever it was."""
    await farm.register(task("a", retryCount=1), task("z"), defs=[_policy(on=["output_schema"])])
    workflow_id = await farm.start()
    [polled] = await farm.poll("a")
    await farm.report(polled, "FAILED", m=1)
    farm.clock.advance(60)

    await farm.report((await farm.poll("a"))[0], n=1)

    assert await farm.shown(workflow_id) == ["a FAILED", "a COMPLETED", "z SCHEDULED"]


async def test_a_task_with_a_bad_input_is_never_given_out(farm: Farm) -> None:
    """It fails when it is made."""
    given = {"n": "${workflow.input.n}"}
    await farm.register(task("a", inputParameters=given), defs=[_policy(on=["input_schema"])])

    workflow_id = await farm.start(n="x")

    assert await farm.shown(workflow_id) == ["a FAILED_WITH_TERMINAL_ERROR"]
    assert await farm.poll("a") == []


async def test_a_workflow_with_a_bad_output_fails(farm: Farm) -> None:
    """It shows the output that did not fit."""
    await farm.register(task("z", "NOOP"), outputSchema=SCHEMA, outputParameters={"n": "${workflow.input.n}"})

    workflow_id = await farm.start(n="x")

    shown = await farm.workflow(workflow_id)
    assert (shown["status"], shown["output"]) == ("FAILED", {"n": "x"})
    assert "does not fit the workflow's schema" in shown["reasonForIncompletion"]


async def test_a_child_with_a_bad_input_fails_its_task(farm: Farm) -> None:
    """The parent's task says why, as a start over HTTP would."""
    kid = {"name": "child", "version": 1, "tasks": [task("k")], "inputSchema": SCHEMA}
    await farm.engine.metadata.register_workflow(msgspec.json.encode(kid), overwrite=True)
    await farm.register(child("c", inputParameters={"n": "x"}))

    workflow_id = await farm.start()
    await farm.settle()

    [shown] = (await farm.workflow(workflow_id))["tasks"]
    assert shown["status"] == "FAILED"
    assert 'input.n: does not fit type: "integer"' in shown["reasonForIncompletion"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"$ref": "http://example.com/other"}, "refers to http://example.com/other"),
        ({"type": 7}, "the schema is none"),
        ({"properties": {"n": {"pattern": "["}}}, "the schema is none"),
    ],
)
async def test_a_schema_that_cannot_be_used_says_so(farm: Farm, data: dict[str, Any], said: str) -> None:
    """Nothing is fetched from anywhere."""
    await farm.register(task("a"), inputSchema={**SCHEMA, "data": data})

    with pytest.raises(InvalidRequestError) as refused:
        await farm.start(n=1)

    assert said in refused.value.problems[0][1]


async def test_a_pattern_without_end_is_ended(farm: Farm) -> None:
    """The check runs where scripts run, under their limit, and holds nobody else up."""
    await farm.register(
        task("a"), inputSchema={**SCHEMA, "data": {"properties": {"n": {"pattern": "(a+)+$"}}}}
    )

    with pytest.raises(InvalidRequestError) as refused:
        await farm.start(n="a" * 40 + "!")

    assert "interrupted" in refused.value.problems[0][1]
