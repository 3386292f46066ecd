"""Inputs and outputs that go round the requests, through a real server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from conductor.client.configuration.configuration import Configuration
from conductor.client.http.api.task_resource_api import TaskResourceApi
from conductor.client.http.api_client import ApiClient
from conductor.client.http.models import StartWorkflowRequest
from conductor.client.orkes_clients import OrkesClients

from engine.core.payloads import PAYLOAD_BYTES_MAX, path_of

pytestmark = pytest.mark.server

NOWHERE = path_of("TASK_OUTPUT", 1, 1)


def place(api: Any, payload_type: str, operation: str = "WRITE", path: str = "") -> dict[str, str]:
    resource = "workflow" if payload_type.startswith("WORKFLOW") else "tasks"
    query = {"path": path, "operation": operation, "payloadType": payload_type}
    answer = api.get(f"/{resource}/externalstoragelocation", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found


def kept(api: Any, payload_type: str, document: dict[str, Any]) -> str:
    """PUT a document as a client does; answers its path."""
    there = place(api, payload_type)
    assert httpx.put(there["uri"], json=document).status_code == 200
    return there["path"]


def test_documents_go_round_the_requests(api: Any) -> None:
    """The input of a start and the output of a task: the next task's expressions see both inline.

    The document is what the server shows; a path would only make clients fetch what they hold.
    """
    second = api.simple("b", inputParameters={"of": "${workflow.input.name}", "got": "${a.output.n}"})
    flow = api.define(api.simple("a"), second, outputParameters={"n": "${a.output.n}"})
    path = kept(api, "WORKFLOW_INPUT", {"name": "Ada", "text": "x" * 2_000_000})
    fetched = httpx.get(place(api, "WORKFLOW_INPUT", "READ", path)["uri"]).json()
    workflow_id = api.start(flow, externalInputPayloadStoragePath=path)
    output = kept(api, "TASK_OUTPUT", {"n": 7})

    first = api.report(api.poll("a"), externalOutputPayloadStoragePath=output)
    polled = api.poll("b")
    shown = api.workflow(workflow_id)

    assert fetched["name"] == "Ada"
    assert first.status_code == 200, first.text
    assert polled["inputData"] == {"of": "Ada", "got": 7}
    assert (shown["input"]["name"], shown["tasks"][0]["outputData"]) == ("Ada", {"n": 7})
    assert not shown.get("externalInputPayloadStoragePath")
    assert not shown["tasks"][0].get("externalOutputPayloadStoragePath")


def test_an_input_of_null_beside_a_path(api: Any) -> None:
    """Clients that send their input elsewhere may send null in its place; an inline input wins."""
    flow = api.define(api.simple("a"))
    path = kept(api, "WORKFLOW_INPUT", {"n": 1})

    request = {"name": flow, "externalInputPayloadStoragePath": path}
    ids = [api.post("/workflow", request | {"input": given}).text for given in (None, {"n": 2})]

    assert [api.workflow(one)["input"] for one in ids] == [{"n": 1}, {"n": 2}]


def test_a_repeated_report_whose_payload_is_gone(api: Any) -> None:
    """Is accepted and changes nothing; for an open task the same path is an error that says what to do."""
    flow = api.define(api.simple("a"))
    workflow_id = api.start(flow)
    task = api.poll("a")

    early = api.report(task, externalOutputPayloadStoragePath=NOWHERE)
    api.report(task, outputData={"n": 1})
    late = api.report(task, externalOutputPayloadStoragePath=NOWHERE)

    assert early.status_code == 404
    assert "PUT it to the uri of /externalstoragelocation first" in early.json()["message"]
    assert late.status_code == 200
    assert api.workflow(workflow_id)["tasks"][0]["outputData"] == {"n": 1}


@pytest.mark.parametrize("path", ["x.json", "../key", "task_output/../key"])
def test_a_path_that_no_server_makes(api: Any, path: str) -> None:
    """400, whatever asks for it, and the member is named."""
    flow = api.define(api.simple("a"))
    start = api.post("/workflow", {"name": flow, "externalInputPayloadStoragePath": path})
    query = {"path": path, "operation": "READ", "payloadType": "TASK_OUTPUT"}
    read = api.get("/tasks/external-storage-location", params=query)

    assert (start.status_code, read.status_code) == (400, 400)
    assert start.json()["message"].startswith("externalInputPayloadStoragePath is ")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"[1]", 400, "must be a JSON object"),
        (b"", 400, "is not valid JSON"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", 500, "nests deeper than 250 levels"),
        (b" " * (PAYLOAD_BYTES_MAX + 1), 413, "larger than 10485760 bytes"),
    ],
    ids=["list", "nothing", "deep", "large"],
)
def test_what_cannot_be_a_payload_is_refused(api: Any, body: bytes, status: int, says: str) -> None:
    """When it is PUT, by a sentence; nothing is kept then."""
    there = place(api, "TASK_OUTPUT")

    answer = httpx.put(there["uri"], content=body, timeout=20)
    read = httpx.get(place(api, "TASK_OUTPUT", "READ", there["path"])["uri"])

    assert answer.status_code == status
    assert says in answer.json()["message"]
    assert read.status_code == 404


def test_an_address_cannot_be_bent(api: Any) -> None:
    """Its signature is for one path and one use; without one the parameter is named."""
    uri = place(api, "TASK_OUTPUT")["uri"]
    wrong = uri.replace("task_output", "task_input")

    answers = [httpx.get(uri), httpx.put(wrong, json={}), httpx.put(uri[:-1], json={})]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert "it has expired; ask /externalstoragelocation" in answers[0].json()["message"]
    assert api.call("GET", urlsplit(uri).path).status_code == 500


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
def test_the_official_sdk_goes_round_the_request(api: Any) -> None:
    """Its Python client asks for a place, and starts a workflow with the path of what was put there."""
    flow = api.define(api.simple("a"))
    configuration = Configuration(base_url=api.server.url)
    tasks = TaskResourceApi(ApiClient(configuration))
    clients = OrkesClients(configuration)

    found = tasks.get_external_storage_location1("", "WRITE", "WORKFLOW_INPUT")
    assert httpx.put(found.uri, json={"n": 1}).status_code == 200
    request = StartWorkflowRequest(name=flow, external_input_payload_storage_path=found.path)
    workflow_id = clients.get_workflow_client().start_workflow(request)

    assert api.workflow(workflow_id)["input"] == {"n": 1}
