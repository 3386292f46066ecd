"""A text that a child process may read as a file, and that no disk ever holds.

The path is that of a memory file of this process, `/proc/PID/fd/N`: only this user's processes can open it,
it has no name in any folder, and the kernel frees it when this process ends, however it ends. Where there
is no such thing (macOS), or where tools run as another user space without the right to look into this process
(a worker that is not root gets its tools off the network that way), it is a file of mode 0600 in the task's
scratch folder, which is removed after the task, or, after a kill, by the next worker that starts.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from media_workers.drm.files import OWNER_ONLY_FILE

_FILE_NAME = ".flags"


@contextlib.contextmanager
def secret_file(text: str, folder: Path) -> Iterator[str]:
    """Lend a text to a child process for as long as the block runs.

    Args:
        text: its content.
        folder: the task's scratch folder, outside of what is published.

    Yields:
        the path to name to the child.
    """
    memory = _memory_file()
    if memory is None:
        path = folder / _FILE_NAME
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY_FILE)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            yield str(path)
        finally:
            path.unlink(missing_ok=True)
        return
    try:
        os.fchmod(memory, OWNER_ONLY_FILE)
        with os.fdopen(memory, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        yield f"/proc/{os.getpid()}/fd/{memory}"
    finally:
        os.close(memory)


def _memory_file() -> int | None:
    """The child gets no copy of the descriptor; it opens the path."""
    create = getattr(os, "memfd_create", None)
    if create is None or os.geteuid() != 0 or not Path("/proc/self/fd").is_dir():
        return None
    handle: int = create("flags")
    return handle
