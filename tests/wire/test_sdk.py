"""The official Python SDK against a real server: its clients here, its decorated workers in processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conductor.client.configuration.configuration import Configuration
from conductor.client.http.models import RerunWorkflowRequest, SkipTaskRequest, StartWorkflowRequest, TaskDef
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.models.task_result_status import TaskResultStatus
from conductor.client.http.rest import ApiException
from conductor.client.orkes_clients import OrkesClients
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.do_while_task import LoopTask
from conductor.client.workflow.task.dynamic_fork_task import DynamicForkTask
from conductor.client.workflow.task.fork_task import ForkTask
from conductor.client.workflow.task.inline import InlineTask
from conductor.client.workflow.task.join_task import JoinTask
from conductor.client.workflow.task.set_variable_task import SetVariableTask
from conductor.client.workflow.task.simple_task import SimpleTask
from conductor.client.workflow.task.sub_workflow_task import SubWorkflowTask
from conductor.client.workflow.task.switch_task import SwitchTask
from conductor.client.workflow.task.terminate_task import TerminateTask, WorkflowStatus
from conductor.client.workflow.task.wait_task import WaitTask

from tests.cli.conftest import Serving
from tests.wire.conftest import Wire, child, eventually

pytestmark = [
    pytest.mark.server,
    # The SDK reads the members it has deprecated itself whenever it writes or reads a definition.
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),
]


class Sdk:
    """The SDK's clients of one server, with names of its own for each test."""

    def __init__(self, server: Serving, wire: Wire) -> None:
        clients = OrkesClients(Configuration(base_url=server.url))
        self.metadata = clients.get_metadata_client()
        self.workflows = clients.get_workflow_client()
        self.tasks = clients.get_task_client()
        self.executor = clients.get_workflow_executor()
        self.name = wire.name

    def workflow(self, name: str = "w") -> Any:
        """A definition to be built with the SDK's own words."""
        return ConductorWorkflow(executor=self.executor, name=self.name(name), version=1)

    def simple(self, ref: str, **inputs: Any) -> Any:
        """A task that only this test polls."""
        task = SimpleTask(task_def_name=self.name("task"), task_reference_name=ref)
        task.input_parameters.update(inputs)
        return task

    def one_task(self) -> str:
        """Register a workflow of one task `a`, without retries; answers its name."""
        self.metadata.register_task_def(TaskDef(name=self.name("task"), retry_count=0))
        definition = self.workflow()
        definition >> self.simple("a", x=definition.input("x"))
        definition.output_parameters({"y": "${a.output.y}"})
        definition.register(overwrite=True)
        return self.name("w")

    def start(self, name: str, **given: Any) -> str:
        return str(self.workflows.start_workflow(StartWorkflowRequest(name=name, version=1, **given)))

    def poll(self) -> Any:
        task = self.tasks.poll_task(self.name("task"), worker_id="sdk-worker")
        assert task is not None
        return task

    def finish(self, task: Any, status: str = "COMPLETED", **output: Any) -> None:
        result = TaskResult(
            task_id=task.task_id,
            workflow_instance_id=task.workflow_instance_id,
            status=TaskResultStatus(status),
            output_data=output,
            worker_id="sdk-worker",
        )
        assert self.tasks.update_task(result) == task.task_id

    def status(self, workflow_id: str) -> str:
        return str(self.workflows.get_workflow_status(workflow_id).status)


@pytest.fixture
def sdk(server: Serving, wire: Wire) -> Sdk:
    return Sdk(server, wire)


@pytest.fixture(scope="module")
def decorated_workers(
    server: Serving, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The SDK's TaskHandler with a process for each worker; each has registered its definition and polls."""
    types = {f"sdk_{name}" for name in ("greet", "reverse", "fails", "leased")}

    def all_poll() -> bool:
        return types <= {each["queueName"] for each in Wire(http).get("/tasks/queue/polldata/all")}

    with child(tmp_path_factory.mktemp("sdk"), "-m", "tests.wire.sdk_workers", server.url):
        eventually(all_poll, "a poll of every worker")
        yield


@pytest.fixture(scope="module")
def long_work(http: httpx.Client, decorated_workers: None) -> str:
    """A workflow that takes seconds, started first so that it runs beside the other tests."""
    wire = Wire(http)
    task = {"name": "sdk_leased", "taskReferenceName": "leased", "type": "SIMPLE"}
    wire.post("/metadata/workflow", {"name": wire.name("long"), "tasks": [task]})
    return wire.start(wire.name("long"), {})


# ------------------------------------------------------------------------------------------ decorator workers
@pytest.mark.usefixtures("long_work")
def test_decorated_workers_complete_a_workflow(sdk: Sdk, wire: Wire) -> None:
    """A definition in the SDK's DSL, registered and started through it, runs on plain and async workers."""
    definition = sdk.workflow()
    greet = SimpleTask("sdk_greet", "greet").input_parameter("name", definition.input("name"))
    left = SimpleTask("sdk_reverse", "left").input_parameter("text", greet.output("result"))
    right = SimpleTask("sdk_greet", "right").input_parameter("name", "Grace")
    last = SimpleTask("sdk_reverse", "last").input_parameter("text", left.output("text"))
    definition >> greet >> [[left], [right]] >> last
    definition.output_parameters(
        {"left": left.output("text"), "right": right.output("result"), "last": last.text}
    )
    definition.register(overwrite=True)

    workflow_id = sdk.start(sdk.name("w"), input={"name": "Ada"}, correlation_id="c-1")
    wire.ended(workflow_id)

    found = sdk.workflows.get_workflow(workflow_id)
    assert found.status == "COMPLETED"
    assert found.output == {"left": "adA olleH", "right": "Hello Grace", "last": "Hello Ada"}
    assert found.correlation_id == "c-1"
    tasks = {task.reference_task_name: task for task in found.tasks}
    assert tasks["greet"].output_data == {"result": "Hello Ada"}
    assert tasks["greet"].worker_id == "greeter"
    assert [log.log for log in sdk.tasks.get_task_logs(tasks["greet"].task_id)] == ["greeting Ada"]


@pytest.mark.usefixtures("decorated_workers")
def test_a_decorated_worker_that_fails(sdk: Sdk, wire: Wire) -> None:
    """NonRetryableException ends the workflow with the worker's sentence; no second attempt."""
    definition = sdk.workflow()
    definition >> SimpleTask("sdk_fails", "fails").input_parameter("broken_for_good", value=True)
    definition.register(overwrite=True)

    found = wire.ended(sdk.start(sdk.name("w")))

    assert found["status"] == "FAILED"
    [task] = found["tasks"]
    assert (task["status"], task["reasonForIncompletion"]) == (
        "FAILED_WITH_TERMINAL_ERROR",
        "the lens is broken",
    )


@pytest.mark.usefixtures("decorated_workers")
def test_a_decorated_worker_is_tried_again(sdk: Sdk, wire: Wire) -> None:
    """The definition that the SDK registers for its worker is used: one retry, which succeeds."""
    definition = sdk.workflow()
    definition >> SimpleTask("sdk_fails", "fails").input_parameter("broken_for_good", value=False)
    definition.register(overwrite=True)

    found = wire.ended(sdk.start(sdk.name("w")))

    assert (found["status"], found["output"]) == ("COMPLETED", {"attempt": 1})
    assert [task["status"] for task in found["tasks"]] == ["FAILED", "COMPLETED"]
    assert sdk.metadata.get_task_def("sdk_fails").retry_count == 1


# ------------------------------------------------------------------------------------------ definitions
def test_task_definitions(sdk: Sdk) -> None:
    """Register, read, list, change and unregister a task definition."""
    name = sdk.name("task")
    sdk.metadata.register_task_def(
        TaskDef(name=name, retry_count=2, retry_logic="EXPONENTIAL_BACKOFF", owner_email="a@example.com")
    )

    found = sdk.metadata.get_task_def(name)
    sdk.metadata.update_task_def(
        TaskDef(name=name, retry_count=5, timeout_seconds=60, response_timeout_seconds=30)
    )
    changed = sdk.metadata.get_task_def(name)

    assert (found.retry_count, found.retry_logic) == (2, "EXPONENTIAL_BACKOFF")
    assert (found.response_timeout_seconds, found.owner_email) == (3600, "a@example.com")
    assert (changed.retry_count, changed.timeout_seconds) == (5, 60)
    assert name in [each.name for each in sdk.metadata.get_all_task_defs()]
    sdk.metadata.unregister_task_def(name)
    with pytest.raises(ApiException) as refused:
        sdk.metadata.get_task_def(name)
    assert refused.value.status == 404


def test_workflow_definitions(sdk: Sdk) -> None:
    """Register, read, list, conflict, overwrite and unregister a workflow definition."""
    name = sdk.one_task()

    found = sdk.metadata.get_workflow_def(name)

    assert (found.name, found.version, found.schema_version) == (name, 1, 2)
    assert [task.task_reference_name for task in found.tasks] == ["a"]
    assert found.output_parameters == {"y": "${a.output.y}"}
    assert name in [each.name for each in sdk.metadata.get_all_workflow_defs()]
    with pytest.raises(ApiException) as conflict:
        sdk.metadata.register_workflow_def(found, overwrite=False)
    assert (conflict.value.status, conflict.value.message) == (409, f"Workflow with {name}.1 already exists!")
    found.description = "another"
    sdk.metadata.update_workflow_def(found, overwrite=True)
    assert sdk.metadata.get_workflow_def(name, 1).description == "another"
    sdk.metadata.unregister_workflow_def(name, 1)
    with pytest.raises(ApiException) as gone:
        sdk.metadata.get_workflow_def(name)
    assert gone.value.status == 404


def test_the_dsl(sdk: Sdk) -> None:
    """The DSL's forks, switches, loops, variables, sub-workflows, scripts, waits and terminations run."""
    kid = sdk.workflow("kid")
    kid >> InlineTask("twice", "(function(){ return $.n * 2; })()", {"n": "${workflow.input.n}"})
    kid.output_parameters({"n": "${twice.output.result}"})
    kid.register(overwrite=True)
    definition = sdk.workflow()
    keep = SetVariableTask("keep")
    keep.input_parameters.update({"seen": "${workflow.input.n}"})
    branches = [
        [SubWorkflowTask("child", sdk.name("kid"), 1).input_parameter("n", 4)],
        [InlineTask("plus", "$.n + 1", {"n": "${workflow.variables.seen}"})],
    ]
    switch = SwitchTask("which", "${workflow.input.kind}")
    switch.switch_case("wait", [WaitTask("pause", wait_for_seconds=1)])
    switch.default_case([TerminateTask("stop", WorkflowStatus.FAILED, "no such kind")])
    loop = LoopTask("loop", 3, [InlineTask("round", "$.i", {"i": "${loop.output.iteration}"})])
    definition >> keep >> ForkTask("fork", branches) >> JoinTask("join", ["child", "plus"]) >> switch >> loop
    definition.output_parameters(
        {"child": "${child.output.n}", "plus": "${plus.output.result}", "rounds": "${loop.output.iteration}"}
    )
    definition.register(overwrite=True)

    good = sdk.start(sdk.name("w"), input={"n": 1, "kind": "wait"})
    bad = sdk.start(sdk.name("w"), input={"n": 1, "kind": "other"})

    eventually(lambda: sdk.status(good) != "RUNNING" and sdk.status(bad) != "RUNNING", "both ends")
    found, failed = sdk.workflows.get_workflow(good), sdk.workflows.get_workflow(bad)
    assert (found.status, found.output) == ("COMPLETED", {"child": 8, "plus": 2, "rounds": 3})
    assert failed.status == "FAILED"
    assert "no such kind" in failed.reason_for_incompletion


def test_the_dsls_dynamic_fork(sdk: Sdk) -> None:
    """A dynamic fork of the DSL brings its JOIN along and runs one branch per task of its input."""
    definition = sdk.workflow()
    join = JoinTask("join", [])
    fork = DynamicForkTask("fork", tasks_param="tasks", tasks_input_param_name="inputs", join_task=join)
    fork.input_parameters.update({"tasks": "${workflow.input.tasks}", "inputs": "${workflow.input.inputs}"})
    definition >> fork
    definition.register(overwrite=True)
    refs = ["t0", "t1", "t2"]
    tasks = [{"name": sdk.name("task"), "taskReferenceName": ref, "type": "SIMPLE"} for ref in refs]

    workflow_id = sdk.start(sdk.name("w"), input={"tasks": tasks, "inputs": {r: {"r": r} for r in refs}})
    polled = sdk.tasks.batch_poll_tasks(sdk.name("task"), "sdk-worker", count=5, timeout_in_millisecond=100)
    for task in polled:
        sdk.finish(task, got=task.input_data["r"])

    assert [task.input_data for task in polled] == [{"r": ref} for ref in refs]
    assert sdk.status(workflow_id) == "COMPLETED"


# ------------------------------------------------------------------------------------------ executions
def test_start_and_read(sdk: Sdk) -> None:
    """By request and by name; the workflow, its status, its tasks and its correlation are read back."""
    name = sdk.one_task()
    by_request = sdk.start(name, input={"x": 1}, correlation_id=sdk.name("c"), priority=7)
    by_name = sdk.workflows.start_workflow_by_name(name, {"x": 2}, version=1, correlationId=sdk.name("c"))

    found = sdk.workflows.get_workflow(by_request)
    summary = sdk.workflows.get_workflow_status(by_name, include_output=True, include_variables=True)
    correlated = sdk.workflows.get_by_correlation_ids(name, [sdk.name("c")], include_tasks=True)

    assert (found.input, found.priority, found.status) == ({"x": 1}, 7, "RUNNING")
    assert [task.status for task in found.tasks] == ["SCHEDULED"]
    assert (summary.status, summary.output, summary.variables) == ("RUNNING", {}, {})
    assert {each.workflow_id for each in correlated[sdk.name("c")]} == {by_request, by_name}


def test_poll_and_update(sdk: Sdk) -> None:
    """Poll, read, log and complete a task; its workflow ends with the task's output."""
    workflow_id = sdk.start(sdk.one_task(), input={"x": 1})
    task = sdk.poll()

    sdk.tasks.add_task_log(task.task_id, "half way")
    sdk.tasks.add_task_log(task.task_id, "nearly")
    read = sdk.tasks.get_task(task.task_id)
    sdk.finish(task, y=2)

    assert (task.input_data, task.poll_count, task.response_timeout_seconds) == ({"x": 1}, 1, 3600)
    assert (read.status, read.worker_id) == ("IN_PROGRESS", "sdk-worker")
    logs = sdk.tasks.get_task_logs(task.task_id)
    assert [log.log for log in logs] == ["half way", "nearly"]
    assert {log.task_id for log in logs} == {task.task_id}
    assert (sdk.status(workflow_id), sdk.workflows.get_workflow(workflow_id).output) == (
        "COMPLETED",
        {"y": 2},
    )
    assert sdk.tasks.poll_task(sdk.name("task")).task_id is None  # how the SDK says: nothing there


def test_update_by_reference(sdk: Sdk) -> None:
    """A task is completed by the name of its reference; the synchronous form answers the workflow."""
    name = sdk.one_task()
    first, second = sdk.start(name), sdk.start(name)

    task_id = sdk.tasks.update_task_by_ref_name(first, "a", "COMPLETED", {"y": 3})
    answered = sdk.tasks.update_task_sync(second, "a", "COMPLETED", {"y": 4})

    task = sdk.tasks.get_task(task_id)
    # The SDK puts what it is given under `result` in the first form only.
    assert (task.status, task.output_data) == ("COMPLETED", {"result": {"y": 3}})
    assert (answered.workflow_id, answered.status, answered.output) == (second, "COMPLETED", {"y": 4})


def test_queue_sizes_and_poll_data(sdk: Sdk) -> None:
    """How many tasks wait, and who asked for them last."""
    name = sdk.one_task()
    for _ in range(3):
        sdk.start(name)

    before = sdk.tasks.get_queue_size_for_task(sdk.name("task"))
    sdk.poll()
    after = sdk.tasks.get_queue_size_for_task(sdk.name("task"))

    [data] = sdk.tasks.get_task_poll_data(sdk.name("task"))
    assert (before, after) == (3, 2)
    assert (data.queue_name, data.worker_id) == (sdk.name("task"), "sdk-worker")
    assert data.last_poll_time > 0


def test_pause_and_resume(sdk: Sdk) -> None:
    """A paused workflow schedules nothing new; resumed, it goes on."""
    definition = sdk.workflow()
    definition >> sdk.simple("a") >> sdk.simple("b")
    definition.register(overwrite=True)
    workflow_id = sdk.start(sdk.name("w"))

    sdk.workflows.pause_workflow(workflow_id)
    paused = sdk.status(workflow_id)
    sdk.finish(sdk.poll())
    while_paused = sdk.tasks.poll_task(sdk.name("task")).task_id
    sdk.workflows.resume_workflow(workflow_id)
    following = sdk.poll()

    assert (paused, while_paused) == ("PAUSED", None)
    assert following.reference_task_name == "b"
    assert sdk.status(workflow_id) == "RUNNING"


def test_terminate_and_retry(sdk: Sdk) -> None:
    """A terminated workflow says why and its task is cancelled; retried, the task gets a new attempt."""
    workflow_id = sdk.start(sdk.one_task())

    sdk.workflows.terminate_workflow(workflow_id, "not needed")
    ended = sdk.workflows.get_workflow(workflow_id)
    sdk.workflows.retry_workflow(workflow_id)
    sdk.finish(sdk.poll(), y=5)

    assert (ended.status, ended.reason_for_incompletion) == ("TERMINATED", "not needed")
    assert [task.status for task in ended.tasks] == ["CANCELED"]
    found = sdk.workflows.get_workflow(workflow_id)
    assert (found.status, found.output) == ("COMPLETED", {"y": 5})
    assert [task.status for task in found.tasks] == ["CANCELED", "COMPLETED"]


def test_restart(sdk: Sdk) -> None:
    """A restarted workflow keeps its id and begins again without its tasks."""
    workflow_id = sdk.start(sdk.one_task(), input={"x": 1})
    sdk.finish(sdk.poll(), "FAILED")
    failed = sdk.status(workflow_id)

    sdk.workflows.restart_workflow(workflow_id)

    found = sdk.workflows.get_workflow(workflow_id)
    assert failed == "FAILED"
    assert (found.status, [task.status for task in found.tasks]) == ("RUNNING", ["SCHEDULED"])
    assert sdk.poll().input_data == {"x": 1}


def test_rerun(sdk: Sdk) -> None:
    """A rerun from the beginning takes the new input."""
    workflow_id = sdk.start(sdk.one_task(), input={"x": 1})
    sdk.finish(sdk.poll(), y=1)

    answered = sdk.workflows.rerun_workflow(workflow_id, RerunWorkflowRequest(workflow_input={"x": 2}))

    assert answered == workflow_id
    assert sdk.poll().input_data == {"x": 2}


def test_skip(sdk: Sdk) -> None:
    """A skipped task is never scheduled; the one behind it is.

    The SDK sends the request as a query that no server can read, so that no output can be given with it.
    """
    definition = sdk.workflow()
    definition >> sdk.simple("a") >> sdk.simple("b") >> sdk.simple("c")
    definition.register(overwrite=True)
    workflow_id = sdk.start(sdk.name("w"))

    sdk.workflows.skip_task_from_workflow(workflow_id, "b", SkipTaskRequest())
    sdk.finish(sdk.poll())

    assert sdk.poll().reference_task_name == "c"
    statuses = {
        task.reference_task_name: task.status for task in sdk.workflows.get_workflow(workflow_id).tasks
    }
    assert statuses == {"a": "COMPLETED", "b": "SKIPPED", "c": "IN_PROGRESS"}


def test_search(sdk: Sdk) -> None:
    """Workflows are found by what a query says of them, page by page."""
    name = sdk.one_task()
    ids = [sdk.start(name, correlation_id=f"{sdk.name('c')}-{number}") for number in range(3)]
    sdk.workflows.terminate_workflow(ids[0], "enough")

    running = sdk.workflows.search(query=f"workflowType={name} AND status=RUNNING")
    page = sdk.workflows.search(start=1, size=1, query=f"workflowType={name}")
    one = sdk.workflows.search(query=f"correlationId='{sdk.name('c')}-2'")

    assert {each.workflow_id for each in running.results} == set(ids[1:])
    assert len(page.results) == 1
    assert [(each.workflow_id, each.workflow_type, each.status) for each in one.results] == [
        (ids[2], name, "RUNNING")
    ]


def test_remove(sdk: Sdk) -> None:
    """A removed workflow is gone; asking for it is a 404 with the server's sentence."""
    workflow_id = sdk.start(sdk.one_task())
    sdk.workflows.terminate_workflow(workflow_id)

    sdk.workflows.delete_workflow(workflow_id)

    with pytest.raises(ApiException) as gone:
        sdk.workflows.get_workflow(workflow_id)
    assert gone.value.status == 404
    assert f"No such workflow found by id: {workflow_id}" in str(gone.value)


@pytest.mark.usefixtures("decorated_workers")
def test_the_sdks_heartbeats_keep_a_long_task(wire: Wire, long_work: str) -> None:
    """A worker that works for longer than the response timeout keeps its task; no other attempt is made."""
    found = wire.ended(long_work)

    assert (found["status"], found["output"]) == ("COMPLETED", {"done": True})
    [task] = found["tasks"]
    assert task["endTime"] - task["startTime"] > task["responseTimeoutSeconds"] * 1000
