"""Storage in a directory: write aside, flush to the disk, rename.

Unfinished work is at one place, ROOT/.incoming/WRITER/: what a killed writer left is found and dropped.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from media_workers.storage.errors import (
    DiskFullError,
    KeyRefusedError,
    MissingKeyError,
    NotAFileError,
    StorageError,
)
from media_workers.storage.homes import Home
from media_workers.storage.port import StoredFile, TreeFile, checked_key

_COPY_BUFFER_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})


class LocalStorage:
    """Keeps the promises of Storage below one directory, which it creates when missing.

    Args:
        root: the directory.
        writer: names this process among all that write there at the same time.
    """

    def __init__(self, root: Path, *, writer: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve()
        self._aside = Home(self.root / ".incoming", writer)

    def remove_dead(self) -> list[str]:
        """Drop unfinished work of writers that no longer live, and name them."""
        return self._aside.remove_dead()

    def close(self) -> None:
        """Drop this writer's unfinished work."""
        self._aside.close()

    def put_bytes(self, key: str, content: bytes) -> None:
        with _sentences(key), self._fresh_aside() as aside:
            aside.write_bytes(content)
            self._reveal(aside, key)

    def put_file(self, key: str, source: Path) -> None:
        with _sentences(key), self._fresh_aside() as aside:
            _copy(source, aside)
            self._reveal(aside, key)

    def put_tree(self, prefix: str, files: Sequence[TreeFile]) -> bool:
        target = self._target(prefix)
        if target.exists():
            return False
        with _sentences(prefix), self._fresh_aside() as aside:
            _gather(aside, files)
            try:
                aside.rename(target)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                return False
            _flush(target.parent)
        return True

    def replace_tree(self, prefix: str, files: Sequence[TreeFile]) -> None:
        target = self._target(prefix)
        with _sentences(prefix), self._fresh_aside() as aside, self._fresh_aside() as old:
            _gather(aside, files)
            # Two renames: a reader may miss the folder between them, but never sees half of it.
            if target.exists():
                target.rename(old)
            aside.rename(target)
            _flush(target.parent)

    def open(self, key: str) -> BinaryIO:
        return self.local_path(key).open("rb")

    def local_path(self, key: str) -> Path:
        path = self.root / checked_key(key)
        # A link would let whoever writes to the media directory point a worker at any file of the machine.
        if path.resolve() != path or not path.is_file():
            if os.path.lexists(path) and not path.is_dir():
                raise NotAFileError(f"what stands under {key} is no plain file")
            raise MissingKeyError(f"nothing is stored under {key}")
        return path

    def key_of(self, url: str) -> str:
        parts = urlsplit(url)
        path = Path(unquote(parts.path))
        if parts.scheme != "file" or parts.netloc not in ("", "localhost") or ".." in path.parts:
            raise KeyRefusedError(f"{url!r} is no file:// URL below the media folder")
        try:
            key = path.relative_to(self.root).as_posix()
        except ValueError:
            raise KeyRefusedError(f"{url!r} lies outside the media folder") from None
        checked_key(key)
        return key

    def size(self, key: str) -> int | None:
        try:
            return self.local_path(key).stat().st_size
        except (MissingKeyError, FileNotFoundError):
            return None

    def list(self, prefix: str) -> Iterable[StoredFile]:
        base = self.root / checked_key(prefix)
        found = sorted(_files_below(base)) if base.is_dir() else []
        return [StoredFile(key=p.relative_to(self.root).as_posix(), size=p.stat().st_size) for p in found]

    def delete(self, prefix: str) -> None:
        path = self.root / checked_key(prefix)
        with _sentences(prefix), self._fresh_aside() as gone:
            # Moved away first: a half-deleted folder must not look like a whole one.
            if path.exists() or path.is_symlink():
                path.rename(gone)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    def _target(self, key: str) -> Path:
        target = self.root / checked_key(key)
        with _sentences(key):
            target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent.resolve() != target.parent:
            raise StorageError(f"{key} lies outside the storage")
        return target

    def _reveal(self, aside: Path, key: str) -> None:
        target = self._target(key)
        _flush(aside)
        aside.replace(target)
        _flush(target.parent)

    @contextlib.contextmanager
    def _fresh_aside(self) -> Iterator[Path]:
        aside = self._aside.fresh_path()
        try:
            yield aside
        finally:
            # After a rename to its place there is nothing left here to drop.
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.unlink(missing_ok=True)


def _gather(aside: Path, files: Sequence[TreeFile]) -> None:
    aside.mkdir()
    folders = {aside}
    for file in files:
        place = aside / checked_key(file.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        folders.add(place.parent)
        try:
            place.hardlink_to(file.source)
        except OSError:
            _copy(file.source, place)
        _flush(place)
    for folder in folders:
        _flush(folder)


def _files_below(folder: Path) -> Iterator[Path]:
    """Regular files with visible names; what starts with a dot belongs to the storage itself."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            yield from _files_below(path)
        elif path.is_file():
            yield path


def _copy(source: Path, place: Path) -> None:
    with source.open("rb") as reader, place.open("xb") as writer:
        shutil.copyfileobj(reader, writer, _COPY_BUFFER_BYTES)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _sentences(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(f"the media storage has no room left for {key}; free some space") from error
        raise StorageError(f"{key} cannot be stored: {error.strerror or error}") from error
