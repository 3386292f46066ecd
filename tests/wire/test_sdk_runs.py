"""The official Python SDK beyond the plain calls: synchronous runs, signals, tests, documents, bulk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conductor.client.configuration.configuration import Configuration
from conductor.client.http.api.task_resource_api import TaskResourceApi
from conductor.client.http.api.workflow_bulk_resource_api import WorkflowBulkResourceApi
from conductor.client.http.api.workflow_resource_api import WorkflowResourceApi
from conductor.client.http.api_client import ApiClient
from conductor.client.http.models import StartWorkflowRequest, TaskDef
from conductor.client.http.models.correlation_ids_search_request import CorrelationIdsSearchRequest
from conductor.client.http.models.schema_def import SchemaDef, SchemaType
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.models.task_result_status import TaskResultStatus
from conductor.client.http.models.workflow_state_update import WorkflowStateUpdate
from conductor.client.http.models.workflow_test_request import WorkflowTestRequest
from conductor.client.http.rest import ApiException
from conductor.client.orkes.models.metadata_tag import MetadataTag
from conductor.client.orkes_clients import OrkesClients

from tests.cli.conftest import Serving
from tests.wire.conftest import Wire

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def settings(server: Serving) -> Iterator[Configuration]:
    """Its connections are ours to close."""
    made = Configuration(base_url=server.url)
    with httpx.Client() as connection:
        made.http_connection = connection
        yield made


class Runs:
    """The SDK's clients, and definitions with names of their own for each test."""

    def __init__(self, settings: Configuration, wire: Wire) -> None:
        clients = OrkesClients(settings)
        api = ApiClient(settings)
        self.workflows = clients.get_workflow_client()
        self.tasks = clients.get_task_client()
        self.metadata = clients.get_metadata_client()
        self.schemas = clients.get_schema_client()
        self.secrets = clients.get_secret_client()
        self.workflow_api = WorkflowResourceApi(api)
        self.task_api = TaskResourceApi(api)
        self.bulk = WorkflowBulkResourceApi(api)
        self.wire = wire

    def define(self, *tasks: dict[str, Any], **members: Any) -> str:
        name = self.wire.name("w")
        self.wire.post("/metadata/workflow", {"name": name, "version": 1, "tasks": list(tasks)} | members)
        return name

    def simple(self, ref: str = "a") -> dict[str, Any]:
        return {"name": self.wire.name("task"), "taskReferenceName": ref, "type": "SIMPLE", "retryCount": 0}

    def start(self, name: str, **given: Any) -> str:
        return str(self.workflows.start_workflow(StartWorkflowRequest(name=name, version=1, **given)))


@pytest.fixture
def runs(settings: Configuration, wire: Wire) -> Runs:
    return Runs(settings, wire)


def noop(ref: str = "n") -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": "NOOP"}


def wait(ref: str = "x", **inputs: Any) -> dict[str, Any]:
    return {"name": ref, "taskReferenceName": ref, "type": "WAIT", "inputParameters": inputs}


# ------------------------------------------------------------------------------------------ synchronous runs
def test_execute(runs: Runs) -> None:
    """Both of the SDK's synchronous starts answer with the finished run."""
    name = runs.define(noop(), outputParameters={"y": "${workflow.input.x}"})
    request = StartWorkflowRequest(name=name, version=1, input={"x": 1})

    plain = runs.workflows.execute_workflow(request, request_id="r1", wait_for_seconds=10)
    chosen = runs.workflows.execute_workflow_with_return_strategy(request, wait_for_seconds=10)

    assert (plain.status, plain.output, plain.request_id) == ("COMPLETED", {"y": 1}, "r1")
    assert (chosen.status.value, chosen.output, chosen.response_type) == (
        "COMPLETED",
        {"y": 1},
        "TARGET_WORKFLOW",
    )


def test_execute_until_blocked_then_signal(runs: Runs) -> None:
    """A run blocked on a WAIT is answered with that task; signals complete it, with and without waiting."""
    name = runs.define(wait("x", i=1), wait("y"), wait("z"))
    request = StartWorkflowRequest(name=name, version=1, input={})

    blocked = runs.workflows.execute_workflow_with_return_strategy(request, return_strategy="BLOCKING_TASK")
    workflow_id = blocked.workflow_id
    again = runs.task_api.signal_workflow_task_sync(
        workflow_id, "COMPLETED", {"a": 1}, return_strategy="BLOCKING_TASK"
    )
    runs.task_api.signal_workflow_task_async(workflow_id, "COMPLETED", {"b": 2})
    last = runs.task_api.signal_workflow_task_sync(workflow_id, "COMPLETED", {"c": 3})

    assert (blocked.reference_task_name, blocked.input) == ("x", {"i": 1})
    assert again.reference_task_name == "y"
    assert (last.status.value, last.output) == ("COMPLETED", {"c": 3})


def test_a_definition_is_tested(runs: Runs) -> None:
    """The SDK's test call runs the definition with the results it is given."""
    name = runs.define(runs.simple(), outputParameters={"y": "${a.output.y}"})
    request = WorkflowTestRequest(
        name=name, version=1, task_ref_to_mock_output={"a": [{"status": "COMPLETED", "output": {"y": 7}}]}
    )

    tested = runs.workflows.test_workflow(request)

    assert (tested.status, tested.output) == ("COMPLETED", {"y": 7})


# ------------------------------------------------------------------------------------------ running workflows
def test_variables_state_and_messages(runs: Runs) -> None:
    """Variables are set, a task is reported together with them, a message reaches its task."""
    pull = {"name": "p", "taskReferenceName": "p", "type": "PULL_WORKFLOW_MESSAGES"}
    name = runs.define(runs.simple(), pull, outputParameters={"v": "${workflow.variables}"})
    workflow_id = runs.start(name)
    result = TaskResult(
        task_id="", workflow_instance_id=workflow_id, status=TaskResultStatus.COMPLETED, output_data={"y": 1}
    )
    update = WorkflowStateUpdate(task_reference_name="a", task_result=result, variables={"b": 2})

    runs.workflows.update_variables(workflow_id, {"a": 1})
    run = runs.workflows.update_state(
        workflow_id, update, wait_until_task_ref_names=["a"], wait_for_seconds=10
    )
    message_id = runs.workflows.send_message(workflow_id, {"m": 1})

    assert (run.status, run.variables) == ("RUNNING", {"a": 1, "b": 2})
    found = runs.workflows.get_workflow(workflow_id)
    assert (found.status, found.output) == ("COMPLETED", {"v": {"a": 1, "b": 2}})
    [message] = found.tasks[1].output_data["messages"]
    assert (message["id"], message["payload"]) == (message_id, {"m": 1})


def test_reset_jump_and_skip(runs: Runs) -> None:
    """A postponed task becomes due, and a jump goes on elsewhere, as the SDK's resource API asks for it."""
    workflow_id = runs.start(runs.define(runs.simple("a"), runs.simple("b"), runs.simple("c")))
    task = runs.tasks.poll_task(runs.wire.name("task"))
    result = TaskResult(
        task_id=task.task_id, workflow_instance_id=workflow_id, status=TaskResultStatus.IN_PROGRESS
    )
    result.callback_after_seconds = 300
    runs.tasks.update_task(result)

    runs.workflow_api.reset_workflow(workflow_id)
    again = runs.tasks.poll_task(runs.wire.name("task"))
    runs.workflow_api.jump_to_task({}, workflow_id, task_reference_name="c")
    runs.tasks.update_task_by_ref_name(workflow_id, "c", "COMPLETED", {})

    assert again.task_id == task.task_id
    found = runs.workflows.get_workflow(workflow_id)
    assert found.status == "COMPLETED"
    assert [(each.reference_task_name, each.status) for each in found.tasks] == [
        ("a", "SKIPPED"),
        ("c", "COMPLETED"),
    ]


def test_bulk(runs: Runs) -> None:
    """Pause, resume, terminate, retry and restart in bulk; what fails is named."""
    name = runs.define(runs.simple())
    ids = [runs.start(name) for _ in range(3)]

    paused = runs.bulk.pause_workflow(ids)
    resumed = runs.bulk.resume_workflow([*ids, "nobody"])
    ended = runs.bulk.terminate(ids, reason="enough")
    retried = runs.bulk.retry(ids[:1])
    restarted = runs.bulk.restart(ids[1:])

    assert sorted(paused.bulk_successful_results) == sorted(ids)
    assert list(resumed.bulk_error_results) == ["nobody"]
    assert sorted(ended.bulk_successful_results) == sorted(ids)
    assert (retried.bulk_successful_results, sorted(restarted.bulk_successful_results)) == (
        ids[:1],
        sorted(ids[1:]),
    )
    assert {runs.workflows.get_workflow_status(each).status for each in ids} == {"RUNNING"}


# ------------------------------------------------------------------------------------------ finding
def test_searches(runs: Runs) -> None:
    """Workflows and tasks are found by queries; many correlation ids by one call."""
    name = runs.define(runs.simple())
    first, second = (runs.start(name, correlation_id=f"{name}-{i}") for i in (1, 2))
    batch = CorrelationIdsSearchRequest(correlation_ids=[f"{name}-1", f"{name}-2"], workflow_names=[name])

    workflows = runs.workflows.search(query=f"workflowType IN ({name}) AND status=RUNNING")
    tasks = runs.task_api.search1(query=f"taskDefName={runs.wire.name('task')}", free_text="*")
    correlated = runs.workflows.get_by_correlation_ids_in_batch(batch)

    assert {each.workflow_id for each in workflows.results} == {first, second}
    assert (tasks.total_hits, {each.workflow_id for each in tasks.results}) == (2, {first, second})
    assert [each.workflow_id for each in correlated[f"{name}-2"]] == [second]


# ------------------------------------------------------------------------------------------ documents
def test_schemas(runs: Runs) -> None:
    """Register, read, list and delete; a data that is no JSON Schema is refused."""
    name = runs.wire.name("schema")
    data = {"type": "object", "required": ["x"]}
    for version in (1, 2):
        runs.schemas.register_schema(SchemaDef(name=name, version=version, type=SchemaType.JSON, data=data))

    found = runs.schemas.get_schema(name, 2)

    assert (found.name, found.version, found.data) == (name, 2, data)
    assert [each.version for each in runs.schemas.get_all_schemas() if each.name == name] == [1, 2]
    runs.schemas.delete_schema(name, 1)
    runs.schemas.delete_schema_by_name(name)
    with pytest.raises(ApiException) as gone:
        runs.schemas.get_schema(name, 2)
    with pytest.raises(ApiException) as refused:
        runs.schemas.register_schema(SchemaDef(name=name, type=SchemaType.JSON, data={"type": "thing"}))
    assert (gone.value.status, refused.value.status) == (404, 400)


def test_tags(runs: Runs) -> None:
    """Tags of workflow and task definitions: added, set, listed, removed."""
    name = runs.define(runs.simple())
    runs.metadata.register_task_def(TaskDef(name=runs.wire.name("task")))
    owner, team = MetadataTag("owner", "ada"), MetadataTag("team", "video")

    runs.metadata.add_workflow_tag(owner, name)
    runs.metadata.add_workflow_tag(team, name)
    runs.metadata.delete_workflow_tag(owner, name)
    runs.metadata.setTaskTags([owner, team], runs.wire.name("task"))
    runs.metadata.setWorkflowRateLimit(3, name)

    assert [(tag.key, tag.value) for tag in runs.metadata.get_workflow_tags(name)][:1] == [("team", "video")]
    assert len(runs.metadata.getTaskTags(runs.wire.name("task"))) == 2
    assert runs.metadata.getWorkflowRateLimit(name) == 3


def test_secrets(runs: Runs) -> None:
    """Names and tags are listed; a value is never given back."""
    name = runs.wire.name("secret")
    runs.secrets.set_secret_tags([MetadataTag("owner", "ada")], name)

    assert [tag.value for tag in runs.secrets.get_secret_tags(name)] == ["ada"]
    assert runs.secrets.secret_exists(name) is False
    assert isinstance(runs.secrets.list_all_secret_names(), set)
    with pytest.raises(ApiException) as refused:
        runs.secrets.get_secret(name)
    assert refused.value.status == 403
