"""The worker host against a peer that speaks the protocol."""

import threading

import msgspec
import pytest

from media_workers.sdk import Record, Resources, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.sdk.runner import DELIVERIES_MAX
from tests.sdk.conftest import StartHost
from tests.sdk.peer import Peer


class Greeting(Record, frozen=True, kw_only=True):
    who: str
    times: int = 1


class Text(Record, frozen=True, kw_only=True):
    text: str


class Nothing(Record, frozen=True, kw_only=True):
    pass


@worker("greet")
def greet(job: Greeting, ctx: TaskContext) -> Text:
    ctx.note(f"greeting {job.who}")
    return Text(text=f"hi {job.who}" * job.times)


@worker("reject")
def reject(job: Nothing, ctx: TaskContext) -> Text:
    raise TaskRejected("not_media", "This file is no video.", {"verdicts": [1]})


@worker("fail")
def fail(job: Nothing, ctx: TaskContext) -> Text:
    raise TaskFailed("tool_failed", "x" * 900)


@worker("crash")
def crash(job: Nothing, ctx: TaskContext) -> Text:
    raise ZeroDivisionError("secret detail")


class Hold:
    """A worker that stays inside its task until it is let go or cancelled."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.leave = threading.Event()
        self.cancelled = threading.Event()

        @worker("hold")
        def hold(job: Nothing, ctx: TaskContext) -> Text:
            with ctx.scratch(1024) as folder:
                (folder / "half.mp4").write_bytes(b"x")
                ctx.progress(0.25, fps=12.5, message="holding")
                self.entered.release()
                while not self.leave.wait(0.01):
                    if ctx.cancelled.is_set():
                        self.cancelled.set()
                    ctx.check_cancelled()
            return Text(text="held")

        self.worker = hold

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=10)


def scratch_files(resources: Resources) -> list[str]:
    home = resources.scratch._home.path
    return [path.name for path in home.iterdir() if not path.name.startswith(".")]


def test_task_is_run_and_reported(peer: Peer, start_host: StartHost) -> None:
    """A queued task is leased, its typed input decoded, its output and its log reported."""
    task_id = peer.add("greet", {"who": "Ada", "ignored": True})

    start_host(peer.url, greet)

    task = peer.wait_status(task_id, "COMPLETED")
    assert task["outputData"] == {"text": "hi Ada"}
    assert task["workerId"] == "w1"
    assert peer.logs[task_id] == ["greeting Ada"]


def test_waiting_host_starts_a_new_task_at_once(peer: Peer, start_host: StartHost) -> None:
    """An idle host waits in a long poll, so that a new task does not wait for the next poll."""
    start_host(peer.url, greet)
    peer.wait_for(lambda: peer.polls.count("greet") >= 2)

    task_id = peer.add("greet", {"who": "Ada"})

    assert peer.wait_status(task_id, "COMPLETED")["pollCount"] == 1


def test_every_queue_is_served(peer: Peer, start_host: StartHost) -> None:
    """A long queue of one type does not keep another type waiting."""
    many = [peer.add("greet", {"who": str(number)}) for number in range(20)]
    other = peer.add("reject")

    start_host(peer.url, greet, reject, slots=1)

    peer.wait_status(other, "FAILED_WITH_TERMINAL_ERROR")
    for task_id in many:
        peer.wait_status(task_id, "COMPLETED")


def test_slots_bound_what_runs(peer: Peer, start_host: StartHost) -> None:
    """No more tasks run at once than there are slots; a task that came too many goes back unharmed."""
    hold = Hold()
    start_host(peer.url, hold.worker, greet, slots=1)
    peer.wait_for(lambda: {"hold", "greet"} <= set(peer.polls[2:]))
    held = peer.add("hold")
    hold.wait_entered()
    waiting = peer.add("greet", {"who": "Ada"})

    peer.wait_for(lambda: peer.tasks[waiting]["pollCount"] == 0 or peer.tasks[waiting]["outputData"])
    assert peer.tasks[waiting]["status"] in {"SCHEDULED", "IN_PROGRESS"}
    hold.leave.set()

    peer.wait_status(held, "COMPLETED")
    assert peer.wait_status(waiting, "COMPLETED")["outputData"] == {"text": "hi Ada"}


@pytest.mark.parametrize(
    ("given", "named"),
    [({}, "who"), ({"who": 7}, "who"), ({"who": "Ada", "times": "many"}, "times"), ([1], "greet")],
)
def test_bad_input_is_refused_by_field(peer: Peer, start_host: StartHost, given: object, named: str) -> None:
    """Input that does not fit ends the task for good, in a sentence that names the field."""
    task_id = peer.add("greet", given)

    start_host(peer.url, greet)

    task = peer.wait_status(task_id, "FAILED_WITH_TERMINAL_ERROR")
    assert named in task["reasonForIncompletion"]
    assert task["outputData"]["error"]["code"] == "invalid_input"
    assert task["outputData"]["error"]["retryable"] is False


def test_rejection_keeps_code_and_output(peer: Peer, start_host: StartHost) -> None:
    """A rejected input is terminal and carries its code, its sentence and what was found out."""
    task_id = peer.add("reject")

    start_host(peer.url, reject)

    task = peer.wait_status(task_id, "FAILED_WITH_TERMINAL_ERROR")
    assert task["outputData"] == {
        "verdicts": [1],
        "error": {"code": "not_media", "message": "This file is no video.", "retryable": False},
    }
    assert task["reasonForIncompletion"] == "This file is no video."


def test_failure_is_left_to_the_engine(peer: Peer, start_host: StartHost) -> None:
    """A failed attempt is FAILED, once, with a reason that fits the wire."""
    task_id = peer.add("fail")

    start_host(peer.url, fail)

    task = peer.wait_status(task_id, "FAILED")
    assert len(task["reasonForIncompletion"]) == 500
    assert task["outputData"]["error"]["retryable"] is True


def test_crash_tells_no_details(peer: Peer, start_host: StartHost) -> None:
    """An unexpected exception fails the attempt in one sentence; its text stays in the worker's log."""
    task_id = peer.add("crash")

    start_host(peer.url, crash)

    task = peer.wait_status(task_id, "FAILED")
    assert "ZeroDivisionError" in task["reasonForIncompletion"]
    assert "secret" not in str(task["outputData"]) + task["reasonForIncompletion"]


def test_poison_task_is_ended(peer: Peer, start_host: StartHost) -> None:
    """A task delivered too often without an answer is ended for good, without running it."""
    task_id = peer.add("greet", {"who": "Ada"}, pollCount=DELIVERIES_MAX)

    start_host(peer.url, greet)

    task = peer.wait_status(task_id, "FAILED_WITH_TERMINAL_ERROR")
    assert task["outputData"]["error"]["code"] == "poison_task"


def test_handed_back_deliveries_are_no_poison(peer: Peer, start_host: StartHost) -> None:
    """Deliveries that workers gave back unworked do not count against a task."""
    task_id = peer.add("greet", {"who": "Ada"}, pollCount=DELIVERIES_MAX, outputData={"handedBack": 3})

    start_host(peer.url, greet)

    peer.wait_status(task_id, "COMPLETED")


def test_heartbeat_extends_the_lease_with_progress(peer: Peer, start_host: StartHost) -> None:
    """While a task runs its lease is extended, and its progress can be seen on the server."""
    hold = Hold()
    task_id = peer.add("hold")
    start_host(peer.url, hold.worker)
    hold.wait_entered()

    peer.wait_for(lambda: peer.tasks[task_id]["outputData"])

    beat = next(item for item in peer.updates if item.get("extendLease"))
    assert beat["status"] == "IN_PROGRESS"
    assert beat["outputData"] == {"progress": {"fraction": 0.25, "fps": 12.5, "message": "holding"}}
    hold.leave.set()
    assert peer.wait_status(task_id, "COMPLETED")["outputData"] == {"text": "held"}


@pytest.mark.parametrize("status", ["CANCELED", "TIMED_OUT"])
def test_ended_task_is_cancelled(
    peer: Peer, start_host: StartHost, resources: Resources, status: str
) -> None:
    """A task that ended on the server stops its run, which cleans up and reports nothing."""
    hold = Hold()
    task_id = peer.add("hold")
    start_host(peer.url, hold.worker)
    hold.wait_entered()

    peer.set_status(task_id, status)

    assert hold.cancelled.wait(10)
    after = peer.add("greet", {"who": "never"})
    assert peer.tasks[after]["status"] == "SCHEDULED"
    peer.wait_for(lambda: not scratch_files(resources))
    assert [item for item in peer.updates if not item.get("extendLease")] == []


def test_lost_lease_is_cancelled(peer: Peer, start_host: StartHost) -> None:
    """A task that the server has given to another worker stops here."""
    hold = Hold()
    task_id = peer.add("hold")
    start_host(peer.url, hold.worker)
    hold.wait_entered()

    with peer.changed:
        peer.tasks[task_id].update(workerId="w2", pollCount=2)

    assert hold.cancelled.wait(10)


def test_unknown_task_is_cancelled(peer: Peer, start_host: StartHost) -> None:
    """A task the server does not know any more stops."""
    hold = Hold()
    task_id = peer.add("hold")
    start_host(peer.url, hold.worker)
    hold.wait_entered()

    with peer.changed:
        del peer.tasks[task_id]

    assert hold.cancelled.wait(10)


def test_result_survives_an_outage(peer: Peer, start_host: StartHost) -> None:
    """A result that is ready while the server is away is delivered when it is back."""
    hold = Hold()
    task_id = peer.add("hold")
    start_host(peer.url, hold.worker)
    hold.wait_entered()
    peer.down = True
    hold.leave.set()

    with peer.changed:
        peer.changed.wait_for(lambda: False, 0.6)  # a few refused attempts
    assert peer.tasks[task_id]["status"] == "IN_PROGRESS"
    peer.down = False

    assert peer.wait_status(task_id, "COMPLETED")["outputData"] == {"text": "held"}


def test_host_waits_for_a_server_that_starts_later(
    start_host: StartHost, capfd: pytest.CaptureFixture[str]
) -> None:
    """A host started before its server says so once, waits, and works as soon as it is there."""
    probe = Peer()
    port = int(probe.url.rpartition(":")[2])
    probe.close()
    start_host(f"http://127.0.0.1:{port}", greet)
    said = threading.Event()
    output = ""
    while "server_unavailable" not in output:
        assert not said.wait(0.02)
        output += capfd.readouterr().out

    late = Peer(port)
    task_id = late.add("greet", {"who": "Ada"})

    late.wait_status(task_id, "COMPLETED")
    output += capfd.readouterr().out
    # Not what it says on return: reading the capture while the host writes may tear a line out of it.
    assert output.count("server_unavailable") == 1
    assert "Traceback" not in output
    late.close()


def test_drain_finishes_what_runs(peer: Peer, start_host: StartHost) -> None:
    """A draining host takes no more tasks, finishes and reports those it has, and ends."""
    hold = Hold()
    running = peer.add("hold")
    host = start_host(peer.url, hold.worker, slots=1)
    hold.wait_entered()
    waiting = peer.add("hold")

    host.drain()
    hold.leave.set()

    peer.wait_status(running, "COMPLETED")
    assert peer.tasks[waiting]["status"] == "SCHEDULED"


def test_stop_hands_running_tasks_back(peer: Peer, start_host: StartHost, resources: Resources) -> None:
    """A stopped host ends its runs, cleans up, and puts the tasks back into their queues at once."""
    hold = Hold()
    task_id = peer.add("hold")
    host = start_host(peer.url, hold.worker)
    hold.wait_entered()

    host.stop()

    task = peer.wait_status(task_id, "SCHEDULED")
    assert task["outputData"]["handedBack"] >= 1
    assert scratch_files(resources) == []
    assert {item["status"] for item in peer.updates} == {"IN_PROGRESS"}


def test_refused_result_fails_the_task(peer: Peer, start_host: StartHost) -> None:
    """A result the server will never take is replaced by a small one that says so."""
    peer.refuse_update = 400
    task_id = peer.add("greet", {"who": "Ada"})

    start_host(peer.url, greet)

    task = peer.wait_status(task_id, "FAILED_WITH_TERMINAL_ERROR")
    assert task["outputData"]["error"]["code"] == "result_refused"


def test_task_can_read_its_workflow(peer: Peer, start_host: StartHost) -> None:
    """A task that was given nothing reads the input of its workflow."""

    @worker("look")
    def look(job: Nothing, ctx: TaskContext) -> Text:
        return Text(text=msgspec.json.decode(ctx.workflow_input(), type=Greeting).who)

    peer.workflows["w1"] = {"workflowId": "w1", "status": "RUNNING", "input": {"who": "Ada"}, "tasks": []}
    task_id = peer.add("look")

    start_host(peer.url, look)

    assert peer.wait_status(task_id, "COMPLETED")["outputData"] == {"text": "Ada"}
