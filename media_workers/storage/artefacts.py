"""Finished work under keys made from its inputs, so that a repeated task finds what it made before.

artefacts/VIDEO/KEY/     the files
artefacts/VIDEO/KEY/manifest.json   what they are; its presence says that the artefact is whole
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from media_workers.storage.errors import MissingKeyError, StorageError
from media_workers.storage.port import Storage, TreeFile

MANIFEST_NAME = "manifest.json"
MANIFEST_BYTES_MAX = 32 * 1024 * 1024
# Raised when the meaning of stored artefacts changes, so that old ones are not found any more.
FORMAT_VERSION = 1
_KEY_CHARS = 40
_HASH_BUFFER_BYTES = 1 << 20

_T = TypeVar("_T")


class ArtefactFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One file of an artefact: path inside it, bytes, and the hash of its content in lower-case hex."""

    path: str
    size: int
    sha256: str


class Artefact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole, unchanging piece of finished work.

    Attributes:
        kind: what it is (`rendition`, `audio`, `stills`, `package`).
        prefix: storage key of its folder.
        files: every file but the manifest.
        facts: JSON the maker wants back when it finds its own result.
    """

    kind: str
    prefix: str
    files: list[ArtefactFile]
    facts: msgspec.Raw = msgspec.Raw(b"null")

    def key(self, path: str) -> str:
        """Storage key of one of its files."""
        return f"{self.prefix}/{path}"


def artefact_key(kind: str, *inputs: object) -> str:
    """The same inputs give the same key, on any machine: hash of their canonical JSON.

    Args:
        kind: what is made.
        inputs: everything the result depends on: source hash, settings, range, tool versions.
    """
    document = msgspec.json.encode([FORMAT_VERSION, kind, *inputs], order="deterministic")
    return hashlib.sha256(document).hexdigest()[:_KEY_CHARS]


def sha256_of(path: Path) -> str:
    """Hash of a file's content, lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BUFFER_BYTES):
            digest.update(block)
    return digest.hexdigest()


class Artefacts:
    """Artefacts in a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def find(self, video_id: str, key: str) -> Artefact | None:
        """The finished artefact, or None when it is missing or not whole."""
        return self.at(_prefix(video_id, key))

    def at(self, prefix: str) -> Artefact | None:
        """As `find`, by the storage prefix that an earlier task has handed on."""
        try:
            with self._storage.open(f"{prefix}/{MANIFEST_NAME}") as file:
                artefact = msgspec.json.decode(file.read(MANIFEST_BYTES_MAX), type=Artefact)
        except (MissingKeyError, msgspec.DecodeError):
            return None
        if any(self._storage.size(artefact.key(file.path)) != file.size for file in artefact.files):
            return None
        return artefact

    def commit(
        self, video_id: str, key: str, folder: Path, *, kind: str, facts: object
    ) -> tuple[Artefact, bool]:
        """Store everything in a scratch folder as one artefact, visible at once.

        Args:
            video_id: whose work it is.
            key: from `artefact_key`.
            folder: the finished files; a manifest is added to it.
            kind: what it is.
            facts: a JSON document to keep with it.

        Returns:
            the artefact, and whether somebody else had already stored it (theirs is kept).
        """
        prefix = _prefix(video_id, key)
        paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST_NAME)
        if not paths:
            raise StorageError(f"{kind} {key} has no files to store")
        artefact = Artefact(
            kind=kind,
            prefix=prefix,
            files=[
                ArtefactFile(
                    path=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=sha256_of(path)
                )
                for path in paths
            ],
            facts=msgspec.Raw(msgspec.json.encode(facts)),
        )
        manifest = folder / MANIFEST_NAME
        manifest.write_bytes(msgspec.json.encode(artefact))
        files = [*_tree(folder, paths), TreeFile(path=MANIFEST_NAME, source=manifest)]
        if self._storage.put_tree(prefix, files):
            return artefact, False
        found = self.find(video_id, key)
        if found is not None:
            return found, True
        self._storage.replace_tree(prefix, files)
        return artefact, False

    def of(self, video_id: str, kind: str) -> Iterator[Artefact]:
        """Every finished artefact of a kind."""
        for file in self._storage.list(f"artefacts/{video_id}"):
            prefix, _, name = file.key.rpartition("/")
            found = self.at(prefix) if name == MANIFEST_NAME else None
            if found is not None and found.kind == kind:
                yield found

    def delete_all(self, video_id: str) -> None:
        """Drop every artefact of a video."""
        self._storage.delete(f"artefacts/{video_id}")


def facts_of(artefact: Artefact, kind: type[_T]) -> _T:
    """The maker's own document, decoded."""
    return msgspec.json.decode(artefact.facts, type=kind)


def _prefix(video_id: str, key: str) -> str:
    return f"artefacts/{video_id}/{key}"


def _tree(folder: Path, paths: Sequence[Path]) -> list[TreeFile]:
    return [TreeFile(path=path.relative_to(folder).as_posix(), source=path) for path in paths]
