"""Files that only their owner may read, each visible whole or not at all."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from media_workers.drm.errors import KeyStoreError

OWNER_ONLY_FILE = 0o600
OWNER_ONLY_FOLDER = 0o700
FILE_BYTES_MAX = 4 << 20


def read_private(path: Path) -> bytes | None:
    """The content of a file that nobody but its owner may read; None when there is none.

    Raises:
        KeyStoreError: others may read it, it is no plain file, or it cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise KeyStoreError(f"{path} must be a plain file")
        if facts.st_mode & 0o077:
            raise KeyStoreError(f"{path} can be read or changed by others; run: chmod 600 {path}")
        if facts.st_uid not in (os.geteuid(), 0):
            raise KeyStoreError(f"{path} belongs to another user; give it to the user that runs the workers")
        return file.read(FILE_BYTES_MAX)


def write_private(path: Path, content: bytes, *, replace: bool) -> bool:
    """Write a file aside, flush it, and show it in one step.

    Args:
        path: the file; folders that are missing are made for the owner alone.
        content: all of it.
        replace: whether an existing file gives way; otherwise the first one stays.

    Returns:
        whether this content is now there.

    Raises:
        KeyStoreError: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY_FILE)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                aside.replace(path)
            else:
                # A hard link is refused when the name is taken; a rename would take it over.
                os.link(aside, path)
        except FileExistsError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        _flush_folder(path.parent)
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be written: {error.strerror}") from error
    return True


def append_private(path: Path, line: bytes) -> None:
    """Add one line to a file that only grows; it is on the disk before this returns.

    Raises:
        KeyStoreError: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(path, flags, OWNER_ONLY_FILE)
        try:
            os.write(handle, line + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among all processes that use this lock file; the kernel frees it when a process dies.

    Raises:
        KeyStoreError: the lock file cannot be made.
    """
    try:
        path.parent.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, OWNER_ONLY_FILE)
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
