"""What storage refuses or cannot do.

StorageError
├── KeyRefusedError   the key is not a plain relative path
├── MissingKeyError   nothing is stored there
│   └── NotAFileError   something is, but no plain file: a link, a pipe, a device
└── DiskFullError     there is not enough room, before or while writing
"""


class StorageError(Exception):
    """Root of what storage raises on purpose; the message is one sentence for an operator."""


class KeyRefusedError(StorageError):
    """The key would leave the storage or hide in it."""


class MissingKeyError(StorageError):
    """Nothing is stored under the key."""


class NotAFileError(MissingKeyError):
    """What stands under the key is no plain file and is not opened."""


class DiskFullError(StorageError):
    """Not enough free space; nothing half-written is left."""
