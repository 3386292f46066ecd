"""The types that the server runs itself, written in the official SDK's own words."""

from __future__ import annotations

from typing import Any

import pytest
from conductor.client.configuration.configuration import Configuration
from conductor.client.http.models import StartWorkflowRequest
from conductor.client.orkes_clients import OrkesClients
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.do_while_task import LoopTask
from conductor.client.workflow.task.dynamic_task import DynamicTask
from conductor.client.workflow.task.event_task import ConductorEventTask
from conductor.client.workflow.task.http_task import HttpInput, HttpMethod, HttpTask
from conductor.client.workflow.task.human_task import HumanTask
from conductor.client.workflow.task.inline import InlineTask
from conductor.client.workflow.task.json_jq_task import JsonJQTask
from conductor.client.workflow.task.kafka_publish import KafkaPublishTask
from conductor.client.workflow.task.kafka_publish_input import KafkaPublishInput
from conductor.client.workflow.task.pull_workflow_messages_task import PullWorkflowMessagesTask
from conductor.client.workflow.task.set_variable_task import SetVariableTask
from conductor.client.workflow.task.start_workflow_task import StartWorkflowTask
from conductor.client.workflow.task.switch_task import SwitchTask
from conductor.client.workflow.task.wait_task import WaitUntilTask

from tests.cli.conftest import Serving
from tests.wire.conftest import Wire, eventually

pytestmark = [
    pytest.mark.server,
    # The SDK reads the members it has deprecated itself whenever it writes or reads a definition.
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),
]


def test_the_sdks_words_for_the_servers_types_work(server: Serving, wire: Wire) -> None:
    """Registered, started and read through the SDK; what each type gives reaches the output."""
    clients = OrkesClients(Configuration(base_url=server.url))
    executor, name = clients.get_workflow_executor(), wire.name("server_types")
    noop = {"name": "n", "taskReferenceName": "n", "type": "NOOP"}
    wire.post("/metadata/workflow", {"name": wire.name("other"), "tasks": [noop]})
    workflow: Any = ConductorWorkflow(executor=executor, name=name, version=1)
    jq = JsonJQTask("jq", ".l | add")
    jq.input_parameters["l"] = [1, 2, 3]
    kafka = KafkaPublishTask(
        "kafka",
        KafkaPublishInput(
            bootstrap_servers="127.0.0.1:9", topic="t", value="v", request_timeout_ms="200", max_block_ms="10"
        ),
    )
    kafka.optional = True
    dynamic = DynamicTask("NOOP", "dynamic")
    switch = SwitchTask("switch", "${jq.output.result}", use_javascript=False)
    switch.switch_case("6", [InlineTask("six", "'six'")])
    start = StartWorkflowRequest(name=wire.name("other"), input={"a": 1})
    request = HttpInput(
        HttpMethod.GET, f"{server.url}/health", headers={"X-A": ["1"]}, accept=["application/json"]
    )
    workflow >> jq >> HttpTask("http", request) >> ConductorEventTask("event", "told") >> switch
    workflow >> SetVariableTask("variables").input_parameter("v", "${six.output.result}") >> dynamic
    workflow >> WaitUntilTask("wait", "2020-01-01 00:00 UTC") >> LoopTask("loop", 2, [InlineTask("i", "1")])
    workflow >> StartWorkflowTask("start", wire.name("other"), start, 1) >> kafka
    workflow >> PullWorkflowMessagesTask("pull", 2) >> HumanTask("human")
    workflow.output_parameters(
        {
            "jq": "${jq.output.result}",
            "http": "${http.output.response.statusCode}",
            "event": "${event.output.event_produced}",
            "v": "${workflow.variables.v}",
            "rounds": "${loop.output.iteration}",
            "kafka": "${kafka.status}",
            "pulled": "${pull.output.count}",
        }
    )
    workflow.register(overwrite=True)

    workflow_id = clients.get_workflow_client().start_workflow(StartWorkflowRequest(name=name, version=1))
    wire.post(f"/workflow/{workflow_id}/messages", {"say": "hello"})
    eventually(
        lambda: "human" in {one["referenceTaskName"] for one in wire.workflow(workflow_id)["tasks"]},
        "the last task",
    )
    wire.post(f"/tasks/{workflow_id}/human/COMPLETED", {"signed": True})
    found = wire.ended(workflow_id)

    assert found["status"] == "COMPLETED", found.get("reasonForIncompletion")
    assert found["output"] == {
        "jq": 6,
        "http": 200,
        "event": f"conductor:{name}:told",
        "v": "six",
        "rounds": 2,
        "kafka": "COMPLETED_WITH_ERRORS",
        "pulled": 1,
    }
