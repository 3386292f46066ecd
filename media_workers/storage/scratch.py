"""Room to work in: one folder a task, reserved before the work starts, gone after it whatever happened."""

import contextlib
import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from media_workers.storage.errors import DiskFullError
from media_workers.storage.homes import Home
from media_workers.storage.port import checked_key

# Kept free on top of every reservation: logs and the database of a small installation share the disk.
RESERVE_FLOOR_BYTES = 64 * 1024 * 1024


class Scratch:
    """The scratch folders of one worker process: ROOT/WORKER/TASK-SERIAL."""

    def __init__(self, root: Path, worker_id: str) -> None:
        self._home = Home(root, worker_id)
        self._guard = threading.Lock()
        self._reserved_bytes = 0
        self._serial = itertools.count(1)

    def remove_dead(self) -> list[str]:
        """Drop what workers left that no longer live, and name them."""
        return self._home.remove_dead()

    @contextlib.contextmanager
    def folder(self, name: str, *, reserve_bytes: int) -> Iterator[Path]:
        """An empty folder for one run of one task.

        Args:
            name: the task's id.
            reserve_bytes: how much the run may write; other runs of this worker cannot promise it away.

        Raises:
            DiskFullError: less than that is free.
        """
        path = self._home.path / f"{checked_key(name)}-{next(self._serial)}"
        free = shutil.disk_usage(self._home.path).free
        with self._guard:
            available = max(free - self._reserved_bytes - RESERVE_FLOOR_BYTES, 0)
            if reserve_bytes > available:
                raise DiskFullError(
                    f"the work needs {_mib(reserve_bytes)} of scratch space, {_mib(available)} can be given; "
                    "free some space on the worker's disk"
                )
            self._reserved_bytes += reserve_bytes
        try:
            path.mkdir()
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            with self._guard:
                self._reserved_bytes -= reserve_bytes

    def close(self) -> None:
        """Drop everything; the worker is done."""
        self._home.close()


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MiB"
