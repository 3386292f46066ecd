"""Types that end in their own step, or through the server: what they write and how they fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from engine.core import events as ev
from engine.core.errors import ConflictError, RateLimitedError
from engine.core.model import TaskDef
from engine.core.records import Lease
from engine.core.statuses import TaskStatus
from engine.core.tasks import inbox
from engine.core.tasks.calls import SERVER_LEASE_MS
from engine.testing.story import Definition, Story, switch, task


def _message(story: Story, kind: str) -> dict[str, Any]:
    [found] = [message for message in story.messages if message.kind == kind]
    body: dict[str, Any] = msgspec.json.decode(found.body)
    return {"target": found.target_id, **body}


# ---------------------------------------------------------------------------------------- jq, LAMBDA
def test_a_jq_transform_gives_its_first_result_and_all() -> None:
    """`result` and `resultList`, as clients read them."""
    story = Story.of(
        task("q", "JSON_JQ_TRANSFORM", inputParameters={"queryExpression": ".x", "x": 1})
    ).begun()

    assert story.output_of("q") == {"result": 1, "resultList": [1]}
    assert story.state == "COMPLETED"


def test_a_jq_transform_without_a_program_fails() -> None:
    """The sentence is upstream's."""
    story = Story.of(task("q", "JSON_JQ_TRANSFORM", inputParameters={"queryExpression": ""})).begun()

    assert story.reason_of("q") == "Missing 'queryExpression' in input parameters"
    assert story.shown == ["q FAILED"]


def test_a_lambda_without_a_script_fails() -> None:
    """LAMBDA reads `scriptExpression`; its failures may be retried, unlike INLINE's."""
    story = Story.of(task("q", "LAMBDA", inputParameters={})).begun()

    assert story.shown == ["q FAILED"]
    assert "scriptExpression" in (story.reason_of("q") or "")


# ---------------------------------------------------------------------------------------- EVENT
def test_an_event_is_written_with_its_task() -> None:
    """The message holds the payload that the task shows, and its id is the task's."""
    story = Story.of(task("e", "EVENT", sink="conductor:done", inputParameters={"k": "${workflow.input.k}"}))
    story.begun(k=[1])

    said = _message(story, "publish_event")
    output = story.output_of("e")
    assert story.shown == ["e COMPLETED"]
    assert (said["queue"], said["event_id"]) == ("conductor:story:done", story.newest("e").id)
    assert said["payload"] == output
    assert output == {
        "k": [1],
        "sink": "conductor:done",
        "asyncComplete": False,
        "workflowInstanceId": "w",
        "workflowType": "story",
        "workflowVersion": 1,
        "correlationId": None,
        "taskToDomain": {},
        "event_produced": "conductor:story:done",
    }


def test_an_event_that_completes_later_waits_for_an_update() -> None:
    """`asyncComplete`: it is published once and stays open."""
    story = Story.of(task("e", "EVENT", sink="conductor", asyncComplete=True)).begun()
    assert story.shown == ["e IN_PROGRESS"]
    assert _message(story, "publish_event")["queue"] == "conductor:story:e"

    story.done("e", ok=1)

    assert story.state == "COMPLETED"


@pytest.mark.parametrize("sink", ["conductorx:y", "nosuchtype:q", "text", "${workflow.input.none}"])
def test_a_sink_that_nobody_serves_fails_the_task(sink: str) -> None:
    """Nothing is published."""
    story = Story.of(task("e", "EVENT", sink=sink)).begun()

    assert story.shown == ["e FAILED"]
    assert story.reason_of("e")
    assert not story.messages


# ---------------------------------------------------------------------------------------- START_WORKFLOW
def test_a_started_workflow_has_its_id_before_it_starts() -> None:
    """The task completes at once; the message carries everything, the parent's domains included."""
    request = {"name": "kid", "version": 2, "input": {"x": "${workflow.input.x}"}, "correlationId": "own"}
    story = Story.of(task("s", "START_WORKFLOW", inputParameters={"startWorkflow": request})).begun(x=5)

    said = _message(story, "start_workflow")
    assert story.output_of("s") == {"workflowId": said["target"]}
    assert (said["name"], said["version"], said["input"]) == ("kid", 2, {"x": 5})
    assert (said["correlation_id"], said["priority"]) == ("own", 0)
    assert story.state == "COMPLETED"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "Missing 'startWorkflow' in input data."),
        ({"input": {}}, "startWorkflow validation failed. 'name' -> Workflow name cannot be null or empty. "),
        ({"name": "k", "priority": 100}, "startWorkflow validation failed. 'priority' -> "),
        ("abc", "Error reading StartWorkflowRequest."),
        ({"name": "k", "workflowDef": {"name": "k", "tasks": []}}, "WorkflowTask list cannot be empty"),
    ],
)
def test_a_start_request_that_cannot_be_read_fails_the_task(given: Any, reason: str) -> None:
    """The reason says which part; nothing is started."""
    story = Story.of(task("s", "START_WORKFLOW", inputParameters={"startWorkflow": given})).begun()

    assert story.shown == ["s FAILED"]
    assert reason in (story.reason_of("s") or "")
    assert not story.messages


# ---------------------------------------------------------------------------------------- EXCLUSIVE_JOIN
def _exclusive(on: str, **members: Any) -> list[Definition]:
    cases = {"a": [task("ta")], "b": [task("tb", optional=True)]}
    exclusive = task("x", "EXCLUSIVE_JOIN", joinOn=["ta", "tb"], **members)
    return [switch("s", on, cases), exclusive, task("z")]


def test_an_exclusive_join_takes_over_the_branch_that_ran() -> None:
    """It completes in the step in which that branch ends."""
    story = Story.of(*_exclusive("b")).begun()

    story.done("tb", v=7)

    assert story.shown == ["s COMPLETED", "tb COMPLETED", "x COMPLETED", "z SCHEDULED"]
    assert story.output_of("x") == {"v": 7}


def test_an_exclusive_join_falls_back_to_its_defaults() -> None:
    """No named branch ran: the first default task that has ended decides."""
    story = Story.of(*_exclusive("none", defaultExclusiveJoinTask=["s"])).begun()

    assert story.shown == ["s COMPLETED", "x COMPLETED", "z SCHEDULED"]
    assert story.output_of("x") == {"evaluationResult": ["none"], "selectedCase": "none"}


def test_an_exclusive_join_waits_for_a_task_elsewhere() -> None:
    """A named task that still runs in another branch is waited for, without polling."""
    parallel = task(
        "f",
        "FORK_JOIN",
        forkTasks=[[task("ta")], [task("tb"), task("x", "EXCLUSIVE_JOIN", joinOn=["ta"])]],
    )
    story = Story.of(parallel, task("j", "JOIN", joinOn=["x"])).begun()
    story.done("tb")
    assert "x IN_PROGRESS" in story.shown

    story.done("ta", v=1)

    assert story.output_of("x") == {"v": 1}
    assert story.state == "COMPLETED"


def test_an_exclusive_join_fails_with_its_branch_and_comes_back_with_it() -> None:
    """A retry of the workflow runs the branch again and completes the join."""
    tasks = [task("a", permissive=True), task("x", "EXCLUSIVE_JOIN", joinOn=["a"])]
    story = Story.of(*tasks, defs=[TaskDef(name="a", retry_count=0)]).begun()
    story.fails("a", "bad")
    assert story.reason_of("x") == "bad"
    assert story.state == "FAILED"

    story.tells(ev.Retry())
    story.done("a", v=2)

    assert story.state == "COMPLETED"
    assert story.output_of("x") == {"v": 2}


# ---------------------------------------------------------------------------------------- HTTP
def _http(**members: Any) -> Story:
    given = {"http_request": {"uri": "http://h/x", "method": "GET"}}
    return Story.of(task("h", "HTTP", inputParameters=given, **members)).begun()


def test_a_call_waits_in_its_types_queue() -> None:
    """The queue is the type's, whatever the task is called; the lease is the server's."""
    story = _http()

    [entry] = story.queue.values()
    assert (entry.queue, entry.response_ms) == ("HTTP", SERVER_LEASE_MS)
    assert story.input_of("h")["asyncComplete"] is False

    story.works_on("h")
    story.done("h", response={"statusCode": 200})

    assert story.state == "COMPLETED"
    assert story.newest("h").state.poll_count == 1


def test_a_call_whose_server_fell_silent_goes_back_to_the_queue() -> None:
    """The attempt is not lost and not counted as failed: another server makes the call."""
    story = _http()
    story.works_on("h")

    assert story.deadline("h").changed

    [entry] = story.queue.values()
    assert entry.lease is not None
    assert (entry.lease.held, entry.due_ms) == (False, story.now_ms)
    assert story.shown == ["h SCHEDULED"]


def test_a_call_that_completes_later_is_not_handed_out_again() -> None:
    """After its call an asyncComplete task is open and held by nobody who could fall silent."""
    story = _http(asyncComplete=True)
    story.works_on("h")
    story.tells(story.report(story.newest("h").id, TaskStatus.IN_PROGRESS, {"response": {}}))

    [entry] = story.queue.values()
    assert story.shown == ["h IN_PROGRESS"]
    assert entry.lease is not None
    assert (entry.lease.held, entry.deadline_ms()) == (True, 0)

    story.done("h", more=1)
    assert story.state == "COMPLETED"


def test_a_failed_call_is_retried_by_its_task_definition() -> None:
    """The definition is that of the task's name; the new attempt waits in the queue."""
    policy = TaskDef(name="h", retry_count=1, retry_delay_seconds=5)
    given = {"http_request": {"uri": "http://h/x", "method": "GET"}}
    story = Story.of(task("h", "HTTP", inputParameters=given), defs=[policy]).begun()
    story.works_on("h")
    story.fails("h", "404")

    [entry] = story.queue.values()
    assert (entry.queue, entry.due_ms) == ("HTTP", story.now_ms + 5_000)
    assert story.shown == ["h FAILED", "h SCHEDULED"]


def test_a_terminated_workflow_takes_its_calls_out_of_the_queue() -> None:
    """Whoever makes the call learns of it by that."""
    story = _http()
    story.works_on("h")

    story.tells(ev.Terminate(reason="enough"))

    assert story.shown == ["h CANCELED"]
    assert not story.queue


def test_a_dynamic_task_may_be_a_call() -> None:
    """DYNAMIC with a system type's name becomes that type."""
    given = {"kind": "HTTP", "uri": "http://h", "method": "GET"}
    story = Story.of(task("d", "DYNAMIC", dynamicTaskNameParam="kind", inputParameters=given)).begun()

    [entry] = story.queue.values()
    assert entry.queue == "HTTP"
    assert story.newest("d").head.task_type == "HTTP"


# ---------------------------------------------------------------------------------------- messages
def _send(story: Story, payload: str) -> None:
    story.tells(ev.MessageSent(message_id=f"m{story._serial}", payload=Raw(payload.encode())))


def test_messages_wait_for_the_task_that_pulls_them() -> None:
    """They come in order, as many as the batch takes; the rest is for the next."""
    pull = {"batchSize": 2}
    story = Story.of(task("a"), *[task(ref, "PULL_WORKFLOW_MESSAGES", inputParameters=pull) for ref in "pq"])
    story.begun()
    for payload in ('{"n":1}', '{"n":2}', '{"n":3}'):
        _send(story, payload)

    story.done("a")

    first, second = story.output_of("p"), story.output_of("q")
    assert [message["payload"] for message in first["messages"]] == [{"n": 1}, {"n": 2}]
    assert first["messages"][0]["workflowId"] == "w"
    assert (first["count"], second["count"]) == (2, 1)
    assert story.state == "COMPLETED"


def test_a_pull_waits_for_the_next_message_unless_told_not_to() -> None:
    """Blocking is the default; the step that takes a message in completes the task."""
    tasks = [
        task("p", "PULL_WORKFLOW_MESSAGES", inputParameters={"blocking": False}),
        task("q", "PULL_WORKFLOW_MESSAGES"),
    ]
    story = Story.of(*tasks).begun()
    assert story.shown == ["p COMPLETED", "q IN_PROGRESS"]
    assert story.output_of("p") == {"messages": [], "count": 0}

    _send(story, '"hello"')

    assert story.output_of("q")["messages"][0]["payload"] == "hello"
    assert story.state == "COMPLETED"


def test_a_full_inbox_and_an_ended_workflow_take_no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """429 and 409; nothing is kept of a refused one."""
    monkeypatch.setattr(inbox, "INBOX_MESSAGES_MAX", 1)
    story = Story.of(task("a")).begun()
    _send(story, "1")
    with pytest.raises(RateLimitedError, match="is full: 1 messages"):
        _send(story, "2")
    story.done("a")

    with pytest.raises(ConflictError, match="takes no messages"):
        _send(story, "3")


def test_a_message_is_dropped_after_a_day() -> None:
    """What nobody pulled in time is not kept for ever."""
    story = Story.of(task("a"), task("p", "PULL_WORKFLOW_MESSAGES")).begun()
    _send(story, "1")
    story.passes(inbox.INBOX_TTL_MS / 1000 + 1)

    story.done("a")

    assert story.shown[-1] == "p IN_PROGRESS"


def test_a_lease_of_a_server_is_kept_by_name() -> None:
    """What a poll learnt of a call is in the task when it ends."""
    story = _http()
    [entry] = story.queue.values()
    entry.lease = Lease(worker_id="server", start_ms=5, update_ms=5, poll_count=2, held=True)

    story.done("h")

    state = story.newest("h").state
    assert (state.start_time, state.poll_count) == (5, 2)


@pytest.mark.parametrize(
    ("kind", "member"),
    [("FORK", "name"), ("FORK", "type"), ("SWITCH", "name"), ("DO_WHILE", "name"), ("JOIN", "name")],
)
def test_a_container_needs_its_parts(kind: str, member: str) -> None:
    """A worker's task named like one, or a bare FORK, would be nobody's; the workflow says so and ends."""
    story = Story.of({"taskReferenceName": "t", "name": "x", member: kind}).begun()

    assert story.state == "FAILED"
    assert f"no worker can have a task named {kind}" in (story.why or "")
    assert not story.queue


def test_a_simple_task_named_like_a_system_type_is_one() -> None:
    """As upstream's executor has it: the type that is run is the name."""
    story = Story.of({"taskReferenceName": "t", "name": "NOOP", "type": "SIMPLE"}).begun()

    assert story.state == "COMPLETED"
    assert story.newest("t").head.task_type == "NOOP"


def test_a_rerun_from_an_exclusive_join_decides_again() -> None:
    """Its branches have ended: it is looked at once more, and the flow goes on behind it."""
    story = Story.of(*_exclusive("a")).begun()
    story.done("ta", v=1)

    story.tells(ev.Terminate(reason="again"))
    story.tells(ev.Rerun(task_id=story.newest("x").id))

    assert story.shown[-2:] == ["x COMPLETED", "z SCHEDULED"]
