"""The master key: a file of the operator's, which wraps data keys and nothing else.

The file is text, one line a version, `VERSION BASE64-OF-32-BYTES`; the last line is the one in use. There are
two lines only while the master is being changed. Its mode must be 0600 (or 0400).
"""

import base64
import os
from pathlib import Path

import msgspec

from media_workers.drm.envelope import WRAPPING_KEY_BYTES
from media_workers.drm.errors import KeyStoreError
from media_workers.drm.files import read_private, write_private


class MasterKey(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the master key; its words never show the value."""

    version: int
    value: bytes

    def __repr__(self) -> str:
        return f"MasterKey(version={self.version})"


def read_master(path: Path) -> tuple[MasterKey, ...]:
    """Read the file, and make it with a random key when there is none.

    Returns:
        the versions, the one in use last.

    Raises:
        KeyStoreError: others may read the file, or it is not of this format.
    """
    content = read_private(path)
    if content is None:
        write_private(path, _text((_fresh(1),)), replace=False)
        content = read_private(path)
    return _parsed(path, content or b"")


def add_version(path: Path) -> tuple[MasterKey, ...]:
    """Put a new version into use beside the old ones.

    Raises:
        KeyStoreError: the file cannot be used or written.
    """
    keys = read_master(path)
    grown = (*keys, _fresh(keys[-1].version + 1))
    write_private(path, _text(grown), replace=True)
    return grown


def drop_old_versions(path: Path) -> None:
    """Keep only the version in use.

    Raises:
        KeyStoreError: the file cannot be used or written.
    """
    write_private(path, _text(read_master(path)[-1:]), replace=True)


def _fresh(version: int) -> MasterKey:
    return MasterKey(version=version, value=os.urandom(WRAPPING_KEY_BYTES))


def _text(keys: tuple[MasterKey, ...]) -> bytes:
    return b"".join(b"%d %s\n" % (key.version, base64.b64encode(key.value)) for key in keys)


def _parsed(path: Path, content: bytes) -> tuple[MasterKey, ...]:
    keys = []
    try:
        for line in content.splitlines():
            version, value = line.split()
            keys.append(MasterKey(version=int(version), value=base64.b64decode(value, validate=True)))
    except ValueError:
        keys.clear()
    if not keys or any(len(key.value) != WRAPPING_KEY_BYTES for key in keys):
        # The content stays out of the sentence, and the parser's own words out of the trace.
        raise KeyStoreError(
            f"{path} is no master key file: each line is a version and the base64 of "
            f"{WRAPPING_KEY_BYTES} bytes; put back the right one"
        ) from None
    return tuple(keys)
