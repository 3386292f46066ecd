"""Keeps a task's lease while it runs, shows its progress, and learns when it is no longer wanted."""

import threading
from types import TracebackType
from typing import Self

import structlog

from media_workers.sdk.client import ConductorClient
from media_workers.sdk.context import Cancellation, CancelReason
from media_workers.sdk.errors import SdkError, ServerRefusedError, ServerUnavailableError
from media_workers.sdk.models import OPEN_STATUSES, Progress, Task
from media_workers.sdk.outage import Outage

_log = structlog.get_logger(__name__)

PROGRESS_PERIOD_S = 2.0  # news travels this often
PERIOD_S_MIN = 0.25
NOTES_MAX = 50
# Also with a very long lease: this is how long a cancelled task may go on burning a machine.
PERIOD_S_MAX = 10.0


def period_s(response_timeout_seconds: int) -> float:
    """A third of the lease, so that two beats may get lost; bounded both ways."""
    if response_timeout_seconds <= 0:
        return PERIOD_S_MAX
    return min(max(response_timeout_seconds / 3, PERIOD_S_MIN), PERIOD_S_MAX)


class Heartbeat:
    """Beats in its own thread between `with` and its end."""

    def __init__(
        self,
        client: ConductorClient,
        task: Task,
        *,
        worker_id: str,
        cancellation: Cancellation,
        outage: Outage,
        progress_period_s: float = PROGRESS_PERIOD_S,
    ) -> None:
        self._client = client
        self._task = task
        self._worker_id = worker_id
        self._cancellation = cancellation
        self._outage = outage
        self._period_s = period_s(task.response_timeout_seconds)
        self._progress_period_s = min(progress_period_s, self._period_s)
        self._poll_count = task.poll_count
        self._guard = threading.Lock()
        self._progress: Progress | None = None
        self._notes: list[str] = []
        self._fresh = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def tell(self, progress: Progress) -> None:
        """Take the newest progress; sent with one of the next beats."""
        with self._guard:
            self._fresh = self._fresh or progress != self._progress
            self._progress = progress

    def note(self, text: str) -> None:
        """Take a line for the task's log; what exceeds the bound between two beats is dropped."""
        with self._guard:
            if len(self._notes) < NOTES_MAX:
                self._notes.append(text)

    def flush_notes(self) -> None:
        """Send what was noted; a log that cannot be sent is not worth failing a task for."""
        with self._guard:
            notes, self._notes = self._notes, []
        for text in notes:
            try:
                self._client.add_log(self._task.task_id, text)
            except SdkError as error:
                _log.info("task_log_dropped", task_id=self._task.task_id, reason=str(error))
                return

    def adopt(self, delivery: Task) -> None:
        """The server delivered the same task again to this very worker: this run now answers for it."""
        self._poll_count = max(self._poll_count, delivery.poll_count)

    def _beat_until_stopped(self) -> None:
        quiet_s = 0.0
        while not self._stop.wait(self._progress_period_s):
            quiet_s += self._progress_period_s
            with self._guard:
                fresh, progress = self._fresh, self._progress
                self._fresh = False
            self.flush_notes()
            if fresh or quiet_s + self._progress_period_s > self._period_s:
                quiet_s = 0.0
                self._beat(progress)

    def _beat(self, progress: Progress | None) -> None:
        try:
            self._client.extend_lease(self._task, worker_id=self._worker_id, output=self._shown(progress))
            seen = self._client.get_task(self._task.task_id)
        except ServerRefusedError as refused:
            if refused.status == 404:
                self._lost("the server does not know the task")
            else:
                _log.warning("heartbeat_refused", task_id=self._task.task_id, reason=str(refused))
            return
        except ServerUnavailableError as error:
            self._outage.failed(str(error))
            return
        except SdkError as error:
            _log.warning("heartbeat_failed", task_id=self._task.task_id, reason=str(error))
            return
        self._outage.answered()
        if seen is None:
            self._lost("the server does not know the task")
        elif seen.status not in OPEN_STATUSES:
            self._lost(f"the task is {seen.status}")
        elif seen.worker_id not in (None, "", self._worker_id) or seen.poll_count > self._poll_count:
            self._lost(f"the task now belongs to {seen.worker_id}")

    def _shown(self, progress: Progress | None) -> dict[str, object]:
        shown: dict[str, object] = {}
        if progress is not None:
            shown["progress"] = progress
        if self._task.handed_back:
            shown["handedBack"] = self._task.handed_back
        return shown

    def _lost(self, why: str) -> None:
        if self._stop.is_set():
            return
        _log.info("task_cancelled", task_id=self._task.task_id, task_type=self._task.task_type, reason=why)
        self._cancellation.cancel(CancelReason.SERVER)
