"""One folder a process, and a way to know whether that process still lives."""

import fcntl
import itertools
import os
import shutil
from pathlib import Path
from typing import IO

from media_workers.storage.port import checked_key

_LOCK_NAME = ".alive"


class Home:
    """A process's own folder below a root shared by many.

    A lock tells the living from the dead: the kernel drops it however the process ends, and unlike a process
    id it is never given to somebody else.

    Raises:
        BlockingIOError: another living process has the same name.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.path = root / checked_key(name)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock: IO[bytes] = (self.path / _LOCK_NAME).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._serial = itertools.count(1)

    def fresh_path(self) -> Path:
        """A path inside the folder that nothing uses; not created."""
        return self.path / str(next(self._serial))

    def remove_dead(self) -> list[str]:
        """Drop the folders of processes that no longer live.

        Returns:
            their names.
        """
        dead = []
        for home in sorted(self.root.iterdir()):
            if home == self.path or not home.is_dir() or _is_alive(home):
                continue
            shutil.rmtree(home, ignore_errors=True)
            dead.append(home.name)
        return dead

    def close(self) -> None:
        """Drop the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _is_alive(home: Path) -> bool:
    try:
        handle = os.open(home / _LOCK_NAME, os.O_RDWR)
    except FileNotFoundError:
        # A process that is just starting has its folder a moment before its lock.
        return not any(home.iterdir())
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
