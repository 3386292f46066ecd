"""Where sources, artefacts and published packages live, and where workers may make a mess."""

from media_workers.storage.artefacts import (
    Artefact,
    ArtefactFile,
    Artefacts,
    artefact_key,
    facts_of,
    sha256_of,
)
from media_workers.storage.errors import (
    DiskFullError,
    KeyRefusedError,
    MissingKeyError,
    NotAFileError,
    StorageError,
)
from media_workers.storage.local import LocalStorage
from media_workers.storage.port import Storage, StoredFile, TreeFile, checked_key
from media_workers.storage.scratch import Scratch

__all__ = [
    "Artefact",
    "ArtefactFile",
    "Artefacts",
    "DiskFullError",
    "KeyRefusedError",
    "LocalStorage",
    "MissingKeyError",
    "NotAFileError",
    "Scratch",
    "Storage",
    "StorageError",
    "StoredFile",
    "TreeFile",
    "artefact_key",
    "checked_key",
    "facts_of",
    "sha256_of",
]
