"""What a worker function may use while it works on one task."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

from media_workers.drm.custody import Custody
from media_workers.media.profile_records import Codec
from media_workers.procs.binaries import Binaries
from media_workers.sdk.errors import TaskCancelled, TaskFailed
from media_workers.sdk.models import Progress, Task, Workflow
from media_workers.storage import Artefacts, DiskFullError, Scratch, Storage


class CancelReason(StrEnum):
    """Why a run ends before its work does."""

    SERVER = "server"  # the task has ended or went to somebody else
    STOP = "stop"  # this worker was told to stop now; the task goes back to its queue


@dataclass(frozen=True, slots=True)
class Resources:
    """What all runs of a worker process share; `keys` is None where nothing is ever protected.

    `hardware` names the encoder of each codec that a graphics card takes over. `core_hour_price` is what the
    operator pays, for estimates; None for the usual one.
    """

    storage: Storage
    scratch: Scratch
    binaries: Binaries
    keys: Custody | None = None
    hardware: Mapping[Codec, str] = field(default_factory=dict)
    core_hour_price: float | None = None

    @property
    def artefacts(self) -> Artefacts:
        """The finished work in the storage."""
        return Artefacts(self.storage)


class Cancellation:
    """A flag that remembers why it was raised first; safe from any thread."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._guard = threading.Lock()
        self._reason: CancelReason | None = None

    @property
    def reason(self) -> CancelReason | None:
        """Why, or None while nobody cancelled."""
        return self._reason

    def cancel(self, reason: CancelReason) -> None:
        """Ask the run to end; later reasons do not replace the first."""
        with self._guard:
            if self._reason is None:
                self._reason = reason
        self.event.set()


class TaskContext:
    """One run of one task.

    Args:
        task: as delivered.
        worker_id: who runs it.
        resources: what the process shares.
        cancellation: raised from outside to end the run.
        tell: takes each new progress; must not block.
        note: takes a line for the task's log; must not block.
        fetch_workflow: reads the execution this task belongs to.
    """

    def __init__(
        self,
        *,
        task: Task,
        worker_id: str,
        resources: Resources,
        cancellation: Cancellation,
        tell: Callable[[Progress], None],
        note: Callable[[str], None],
        fetch_workflow: Callable[[], Workflow],
    ) -> None:
        self.task = task
        self.worker_id = worker_id
        self.resources = resources
        self.cancellation = cancellation
        self._tell = tell
        self._note = note
        self._fetch_workflow = fetch_workflow

    @property
    def cancelled(self) -> threading.Event:
        """Set when the run should end; give it to whatever waits."""
        return self.cancellation.event

    def check_cancelled(self) -> None:
        """Stop here when somebody asked for it.

        Raises:
            TaskCancelled: somebody did.
        """
        if self.cancelled.is_set():
            raise TaskCancelled(f"{self.task.task_type} {self.task.task_id} was cancelled")

    def progress(
        self,
        fraction: float,
        *,
        fps: float | None = None,
        speed: float | None = None,
        eta_seconds: float | None = None,
        message: str | None = None,
    ) -> None:
        """Say how far the work is; cheap, call it as often as there is news."""
        self._tell(
            Progress(
                fraction=round(min(max(fraction, 0.0), 1.0), 4),
                fps=fps,
                speed=speed,
                eta_seconds=eta_seconds,
                message=message,
            )
        )

    def note(self, text: str) -> None:
        """Add an entry to the task's log, where support reads it. Nothing secret belongs there."""
        self._note(text)

    @contextlib.contextmanager
    def scratch(self, reserve_bytes: int) -> Iterator[Path]:
        """An empty folder that disappears afterwards, with room for `reserve_bytes`.

        Raises:
            TaskFailed: `disk_full`.
        """
        try:
            with self.resources.scratch.folder(self.task.task_id, reserve_bytes=reserve_bytes) as folder:
                yield folder
        except DiskFullError as error:
            raise TaskFailed("disk_full", str(error)) from error

    def workflow_input(self) -> msgspec.Raw:
        """The input of the whole workflow, for tasks that were given none of their own.

        Raises:
            ServerUnavailableError, ServerRefusedError: it cannot be read.
        """
        return self._workflow.input

    def workflow_tasks(self) -> list[Task]:
        """The workflow's tasks so far, oldest first; read once, so later ones are missing.

        Raises:
            ServerUnavailableError, ServerRefusedError: they cannot be read.
        """
        return self._workflow.tasks

    @functools.cached_property
    def _workflow(self) -> Workflow:
        return self._fetch_workflow()
