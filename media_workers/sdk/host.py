"""The worker host: one process that polls, runs, reports, drains and stops."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from media_workers.sdk.client import LONG_POLL_GRACE_S, LONG_POLL_MS_MAX, ConductorClient
from media_workers.sdk.context import Cancellation, CancelReason, Resources, TaskContext
from media_workers.sdk.errors import SdkError, ServerRefusedError, ServerUnavailableError
from media_workers.sdk.heartbeat import PROGRESS_PERIOD_S, Heartbeat
from media_workers.sdk.models import REASON_CHARS_MAX, Task, TaskResult, TaskStatus, Workflow
from media_workers.sdk.outage import Outage, backoff_s
from media_workers.sdk.polling import SlotPool
from media_workers.sdk.runner import hand_back, run_task
from media_workers.sdk.worker import AnyWorker

_log = structlog.get_logger(__name__)

# A result is work already done: it is offered until the lease is long gone.
REPORT_SECONDS_MIN = 600.0
REPORT_LEASES = 2
# So many results may wait for the server beside the work; more of them keep their slots.
REPORTS_BESIDE_MAX = 8
WORKFLOW_READ_SECONDS_MAX = 60.0
# How long a stopping host still waits for polls of its own. A task delivered later comes back by its lease.
STOP_SECONDS = 0.5
_JOIN_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Slots shared by some task types; each pool fills independently of the others.

    Attributes:
        name: for logs.
        slots: tasks at once.
        task_types: what it serves.
    """

    name: str
    slots: int
    task_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostTimings:
    """Periods of a host; the defaults suit production, tests make them short."""

    long_poll_ms: int = LONG_POLL_MS_MAX
    progress_period_s: float = PROGRESS_PERIOD_S
    report_seconds_min: float = REPORT_SECONDS_MIN


@dataclass(slots=True)
class _Run:
    task: Task
    cancellation: Cancellation
    heartbeat: Heartbeat


class WorkerHost:
    """Runs workers until it is drained or stopped.

    Args:
        client: the server; closed by a stop.
        workers: who serves which task type.
        pools: slots; every task type in them must have a worker.
        resources: what the runs share.
        worker_id: this process on the wire.
        domain: poll only tasks of this domain.
        timings: periods.
    """

    def __init__(
        self,
        *,
        client: ConductorClient,
        workers: Mapping[str, AnyWorker],
        pools: Sequence[PoolSpec],
        resources: Resources,
        worker_id: str,
        domain: str | None = None,
        timings: HostTimings = HostTimings(),
    ) -> None:
        self.worker_id = worker_id
        self._client = client
        self._workers = workers
        self._resources = resources
        self._domain = domain
        self._timings = timings
        self._outage = Outage(client.server_url)
        self._guard = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._reporting = 0
        self._idle = threading.Condition(self._guard)
        self._ending = threading.Event()
        self._stop_now = threading.Event()
        self._pools = [
            SlotPool(
                spec.name,
                slots=spec.slots,
                task_types=spec.task_types,
                poll=self._poll,
                start=self._start,
                give_back=self._give_back,
                outage=self._outage,
                long_poll_ms=timings.long_poll_ms,
            )
            for spec in pools
        ]

    def run(self) -> None:
        """Poll and work until `drain` or `stop`; returns when the last task has been dealt with."""
        threads = [thread for pool in self._pools for thread in pool.threads()]
        _log.info("worker_started", worker_id=self.worker_id, server=self._client.server_url)
        for thread in threads:
            thread.start()
        self._ending.wait()
        if not self._stop_now.is_set():
            # A poll under way may still deliver; when draining there is time to take it and give it back.
            _join(threads, self._timings.long_poll_ms / 1000 + LONG_POLL_GRACE_S, unless=self._stop_now)
        with self._idle:
            self._idle.wait_for(lambda: not self._runs)
        # What was just given back may come straight back through a poll of our own that is still open.
        _join(threads, STOP_SECONDS, unless=None)
        _log.info("worker_ended", worker_id=self.worker_id)

    def drain(self) -> None:
        """Take no more tasks; those running finish and report."""
        _log.info("worker_draining", worker_id=self.worker_id, running=len(self._runs))
        self._end_polling()

    def stop(self) -> None:
        """Take no more tasks, end those running, and put them back into their queues."""
        _log.info("worker_stopping", worker_id=self.worker_id, running=len(self._runs))
        self._stop_now.set()
        self._end_polling()
        with self._guard:
            runs = list(self._runs.values())
        for run in runs:
            run.cancellation.cancel(CancelReason.STOP)

    def _end_polling(self) -> None:
        for pool in self._pools:
            pool.stop()
        self._ending.set()

    def _poll(self, task_type: str, count: int, timeout_ms: int) -> list[Task]:
        return self._client.poll(
            task_type, worker_id=self.worker_id, count=count, timeout_ms=timeout_ms, domain=self._domain
        )

    def _start(self, task: Task, pool: SlotPool) -> None:
        cancellation = Cancellation()
        heartbeat = Heartbeat(
            self._client,
            task,
            worker_id=self.worker_id,
            cancellation=cancellation,
            outage=self._outage,
            progress_period_s=self._timings.progress_period_s,
        )
        with self._guard:
            known = self._runs.get(task.task_id)
            run = _Run(task, cancellation, heartbeat)
            if known is None:
                self._runs[task.task_id] = run
        if known is not None:
            known.heartbeat.adopt(task)
            pool.free_slot()
            return
        if self._stop_now.is_set():
            cancellation.cancel(CancelReason.STOP)
        threading.Thread(
            target=self._work,
            args=(self._runs[task.task_id], pool),
            name=f"task-{task.task_type}",
            daemon=True,
        ).start()

    def _work(self, run: _Run, pool: SlotPool) -> None:
        task = run.task
        context = TaskContext(
            task=task,
            worker_id=self.worker_id,
            resources=self._resources,
            cancellation=run.cancellation,
            tell=run.heartbeat.tell,
            note=run.heartbeat.note,
            fetch_workflow=lambda: self._read_workflow(task.workflow_instance_id, run.cancellation),
        )
        log = _log.bind(task_id=task.task_id, task_type=task.task_type, workflow_id=task.workflow_instance_id)
        log.info("task_started", attempt=task.retry_count, delivery=task.poll_count)
        freed = False
        try:
            with run.heartbeat:
                result = run_task(self._workers[task.task_type], context)
                run.heartbeat.flush_notes()
                # The work is over: the slot is free before the report, because the report's own answer may
                # already bring the workflow's next task.
                freed = self._may_free_early()
                if freed:
                    pool.free_slot()
                if result is not None:
                    self._report(result, run)
            if result is not None:
                log.info("task_ended", status=result.status, reason=result.reason_for_incompletion)
            elif run.cancellation.reason is CancelReason.STOP:
                self._give_back(task)
        finally:
            with self._idle:
                del self._runs[task.task_id]
                self._idle.notify_all()
                self._reporting -= freed
            if not freed:
                pool.free_slot()

    def _may_free_early(self) -> bool:
        with self._guard:
            if self._reporting >= REPORTS_BESIDE_MAX:
                return False
            self._reporting += 1
            return True

    def _report(self, result: TaskResult, run: _Run) -> None:
        """Offer the result until it is taken, refused for good, or of no use to anybody any more."""
        log = _log.bind(task_id=result.task_id)
        waited_s, failures = 0.0, 0
        patience_s = max(self._timings.report_seconds_min, REPORT_LEASES * run.task.response_timeout_seconds)
        while True:
            try:
                self._client.update(result)
            except ServerRefusedError as refused:
                if not refused.retryable:
                    log.warning("result_refused", reason=str(refused))
                    self._report_refusal(result, refused)
                    return
                reason = str(refused)
            except ServerUnavailableError as error:
                reason = str(error)
            else:
                self._outage.answered()
                return
            self._outage.failed(reason)
            failures += 1
            pause_s = backoff_s(failures)
            waited_s += pause_s
            if waited_s > patience_s or run.cancellation.event.wait(pause_s):
                log.error("result_undelivered", reason=reason)
                return

    def _report_refusal(self, result: TaskResult, refused: ServerRefusedError) -> None:
        """Say in a small result why the real one was not taken; else the workflow would wait for nothing."""
        if refused.status == 404 or result.status != TaskStatus.COMPLETED:
            return
        message = f"the server refused the result: {refused}"[:REASON_CHARS_MAX]
        try:
            self._client.update(
                TaskResult(
                    workflow_instance_id=result.workflow_instance_id,
                    task_id=result.task_id,
                    worker_id=result.worker_id,
                    status=TaskStatus.FAILED_WITH_TERMINAL_ERROR,
                    output_data={"error": {"code": "result_refused", "message": message, "retryable": False}},
                    reason_for_incompletion=message,
                )
            )
        except SdkError as error:
            _log.warning("result_refused_twice", task_id=result.task_id, reason=str(error))

    def _give_back(self, task: Task) -> None:
        try:
            self._client.update(hand_back(task, self.worker_id))
        except SdkError as error:
            # The lease ends by itself, and the task is delivered again then.
            _log.info("task_not_handed_back", task_id=task.task_id, reason=str(error))
        else:
            _log.info("task_handed_back", task_id=task.task_id, task_type=task.task_type)

    def _read_workflow(self, workflow_id: str, cancellation: Cancellation) -> Workflow:
        waited_s, failures = 0.0, 0
        while True:
            try:
                return self._client.get_workflow(workflow_id)
            except ServerUnavailableError as error:
                self._outage.failed(str(error))
                failures += 1
                waited_s += backoff_s(failures)
                if waited_s > WORKFLOW_READ_SECONDS_MAX or cancellation.event.wait(backoff_s(failures)):
                    raise


def _join(threads: Sequence[threading.Thread], seconds: float, *, unless: threading.Event | None) -> None:
    """Wait for threads to end, all together no longer than this, and not once the event is set."""
    deadline_s = time.monotonic() + seconds
    for thread in threads:
        while thread.is_alive() and time.monotonic() < deadline_s:
            if unless is not None and unless.is_set():
                return
            thread.join(_JOIN_STEP_S)
