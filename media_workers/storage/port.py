"""What the workers ask of storage; a bucket keeps the same promises as a directory."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import msgspec

from media_workers.storage.errors import KeyRefusedError

KEY_CHARS_MAX = 1024
# One path part: what survives in a URL, a bucket and every file system. No leading dot: such names are ours.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}")


class StoredFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One stored file.

    Attributes:
        key: where it is.
        size: bytes.
    """

    key: str
    size: int


class TreeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to put into a tree: the path inside the tree, and the local file that holds it.

    The local file must not change afterwards: storage may keep it under a second name instead of a copy.
    """

    path: str
    source: Path


class Storage(Protocol):
    """Files under keys: relative POSIX paths. A stored file never changes, it is only replaced whole.

    Every method raises KeyRefusedError for a key that is no plain relative path, MissingKeyError for reading
    what is not there, DiskFullError when there is no room, and StorageError for everything else.
    """

    def put_bytes(self, key: str, content: bytes) -> None:
        """Store a small document, whole or not at all."""
        ...

    def put_file(self, key: str, source: Path) -> None:
        """Store a local file, whole or not at all; the source stays."""
        ...

    def put_tree(self, prefix: str, files: Sequence[TreeFile]) -> bool:
        """Make all files visible under `prefix` in one step, in the given order where steps can be seen.

        Args:
            prefix: becomes a folder; nothing else may be under it.
            files: at least one.

        Returns:
            False when something is already there, which then stays as it was.
        """
        ...

    def replace_tree(self, prefix: str, files: Sequence[TreeFile]) -> None:
        """As `put_tree`, but what is already there gives way."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open for reading; the caller closes it."""
        ...

    def local_path(self, key: str) -> Path:
        """A local file with the content, for tools that read files. It is not to be written to."""
        ...

    def key_of(self, url: str) -> str:
        """The key that a URL of this storage names (`file://` for a directory).

        Raises:
            KeyRefusedError: it names something else.
        """
        ...

    def size(self, key: str) -> int | None:
        """Bytes stored under the key, None when there is no such file."""
        ...

    def list(self, prefix: str) -> Iterable[StoredFile]:
        """Every file under the prefix, sorted by key; none when there is no such prefix."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove the file or everything under the prefix; nothing there is fine."""
        ...

    def free_bytes(self) -> int:
        """Room left for new files."""
        ...


def checked_key(key: str) -> PurePosixPath:
    """The key as a path.

    Raises:
        KeyRefusedError: it is empty, absolute, too long, climbs, or has a part other than plain characters.
    """
    if not key or len(key) > KEY_CHARS_MAX:
        raise KeyRefusedError(f"a storage key must have 1 to {KEY_CHARS_MAX} characters")
    if not all(_PART.fullmatch(part) for part in key.split("/")):
        raise KeyRefusedError(
            f"storage key {key!r} is refused: use relative plain names, as in sources/vid_1/input.bin"
        )
    return PurePosixPath(key)
