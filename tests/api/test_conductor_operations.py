"""Bulk calls, search, skipping: routes that do more than pass a call on."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.server

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_bulk_errors_do_not_stop_the_others(api: Any) -> None:
    """A bulk call answers per id, in order, and an unknown one is its own error."""
    name = api.define(api.simple("a"))
    ids = [api.start(name), api.start(name)]

    answer = api.put("/workflow/bulk/pause", [ids[0], UNKNOWN, ids[1], ids[0]])

    assert answer.json() == {
        "bulkErrorResults": {UNKNOWN: f"No such workflow found by id: {UNKNOWN}"},
        "bulkSuccessfulResults": ids,
    }
    assert [api.workflow(i)["status"] for i in ids] == ["PAUSED", "PAUSED"]


def test_bulk_search_answers_whole_workflows(api: Any) -> None:
    """Bulk search answers the workflows themselves, without tasks when told so."""
    workflow_id = api.start(api.define(api.simple("a")))

    answer = api.post("/workflow/bulk/search", [workflow_id], params={"includeTasks": "false"})

    [found] = answer.json()["bulkSuccessfulResults"]
    assert (found["workflowId"], found["tasks"]) == (workflow_id, [])


def test_search_pages_and_counts(api: Any) -> None:
    """Search counts every match, returns the page, and v2 answers whole workflows."""
    name = api.define(api.simple("a"))
    ids = [api.start(name) for _ in range(3)]
    query = {"query": f"workflowType='{name}'", "sort": "startTime:ASC", "size": 2}

    summaries = api.get("/workflow/search", params=query).json()
    workflows = api.get("/workflow/search-v2", params=query).json()

    assert (summaries["totalHits"], workflows["totalHits"]) == (3, 3)
    assert len(summaries["results"]) == 2
    assert {s["workflowType"] for s in summaries["results"]} == {name}
    assert {s["workflowId"] for s in summaries["results"]} <= set(ids)
    assert all(w["workflowDefinition"]["name"] == name and w["tasks"] == [] for w in workflows["results"])


@pytest.mark.parametrize(
    ("flags", "hits"),
    [
        ({"classifier": "workflow"}, 1),
        ({"classifier": "agent"}, 0),
        ({"classifier": "agent,workflow"}, 1),
        ({"topLevelOnly": "true"}, 1),
    ],
)
def test_search_flags(api: Any, flags: dict[str, str], hits: int) -> None:
    """Every workflow here is of the plain classifier; topLevelOnly leaves out children only."""
    name = api.define(api.simple("a"))
    api.start(name)

    found = api.get("/workflow/search", params={"query": f"workflowType={name}"} | flags).json()

    assert found["totalHits"] == hits


@pytest.mark.parametrize("in_body", [True, False])
def test_skip_takes_output_from_body_or_query(api: Any, *, in_body: bool) -> None:
    """The skipped task's output is given in the body, or bound from the query as upstream does."""
    name = api.define(
        api.simple("a"), api.simple("b"), api.simple("c", inputParameters={"from_b": "${b.output.x}"})
    )
    workflow_id = api.start(name)
    if in_body:
        answer = api.put(f"/workflow/{workflow_id}/skiptask/b", {"taskOutput": {"x": "v"}})
    else:
        answer = api.put(f"/workflow/{workflow_id}/skiptask/b", params={"taskOutput[x]": "v"})
    api.report(api.poll("a"))

    assert answer.status_code == 200
    assert api.poll("c")["inputData"] == {"from_b": "v"}


def test_correlated_answers_every_id(api: Any) -> None:
    """The map has a member for each id asked for, also for one without workflows."""
    name = api.define(api.simple("a"))
    workflow_id = api.start(name, correlationId="c1")

    found = api.post(f"/workflow/{name}/correlated", ["c1", "c2"]).json()

    assert [w["workflowId"] for w in found["c1"]] == [workflow_id]
    assert found["c2"] == []


def test_validate_names_what_looks_wrong_or_nothing(api: Any) -> None:
    """A sound definition validates to an empty body, a doubtful one to its warnings; neither is stored."""
    noop = {"name": "n", "taskReferenceName": "n", "type": "NOOP"}
    sound = {"name": api.name("only_checked"), "tasks": [noop]}
    doubtful = sound | {"outputParameters": {"x": "${nobody.output.x}"}}

    answer = api.post("/metadata/workflow/validate", sound)
    warned = api.post("/metadata/workflow/validate", doubtful)

    assert (answer.status_code, answer.content) == (200, b"")
    assert [each["path"] for each in warned.json()["warnings"]] == ["outputParameters.x"]
    assert api.get(f"/metadata/workflow/{api.name('only_checked')}").status_code == 404


def test_queue_sizes_follow_the_polls(api: Any) -> None:
    """A waiting task is counted in its queue, a leased one as held."""
    api.start(api.define(api.simple("a")))
    queue = api.name("a")
    waiting = api.get("/tasks/queue/sizes", params={"taskType": queue}).json()
    api.poll("a")
    held = api.get("/tasks/queue/all/verbose").json()[queue]

    assert waiting == {queue: 1}
    assert held == {"a": {"size": 0, "uacked": 1}}
    assert api.post(f"/tasks/queue/requeue/{queue}", {}).text == "1"


def test_a_long_bulk_call_does_all_of_it(api: Any) -> None:
    """More workflows than are worked on at once: every one is done, in order, unknown ones named."""
    name = api.define(api.simple("a"))
    started = [api.start(name) for _ in range(3)]
    unknown = [f"nobody-{number}" for number in range(150)]
    ids = [started[0], *unknown[:100], started[1], *unknown[100:], started[2]]

    ended = api.post("/workflow/bulk/terminate", ids).json()
    removed = api.call("DELETE", "/api/workflow/bulk/remove", json=ids).json()

    assert ended["bulkSuccessfulResults"] == started
    assert removed["bulkSuccessfulResults"] == started
    assert list(removed["bulkErrorResults"]) == unknown
    assert api.get(f"/workflow/{started[0]}").status_code == 404
