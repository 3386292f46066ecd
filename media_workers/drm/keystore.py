"""The store of content keys: envelope encryption in a folder beside the media, never under what is published.

ROOT (mode 0700; every file 0600, written aside and shown whole):

    master.key                      the master key, unless the operator keeps it elsewhere (`drm/master.py`)
    tenants/TENANT.json             {"tenant", "masterVersion", "wrapped", "format": 1}
    videos/VIDEO_ID/VERSION.json    {"videoId", "keyVersion", "tenant", "source", "createdAt", "format": 1,
                                     "keys": [{"label", "scheme", "keyId", "wrapped", "iv"?, "fairplayUri"?}],
                                     "pssh": {scheme: [hex, ...]}}
    videos/VIDEO_ID/current         the version that new work uses, a decimal number; 1 when missing
    audit.log                       a JSON line for every read and every change, without any value
    .lock                           held while documents are changed

To read a key value, as another process may:

    1. master = the line of master.key whose number is `masterVersion` of the tenant: 32 bytes of base64.
    2. data key = AES-256-GCM(master) of the tenant's `wrapped`, associated data "data-key:TENANT".
    3. value (16 bytes) = AES-256-GCM(data key) of the key's `wrapped`, associated data
       "content-key:VIDEO_ID:KEY_ID" (the id as 32 lower-case hex digits).

`wrapped` is base64 of nonce (12 bytes), ciphertext, tag (16 bytes). Append the audit line before a value is
used. A new master key re-wraps the tenants' files alone; no video's document changes. Read 1 and 2 again when
the number is not there: the master may just have been changed.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from media_workers.drm.audit import Audit
from media_workers.drm.envelope import WRAPPING_KEY_BYTES, unwrap, wrap
from media_workers.drm.errors import KeyStoreError
from media_workers.drm.files import locked, read_private, write_private
from media_workers.drm.master import add_version, drop_old_versions, read_master
from media_workers.drm.records import KeptKey, KeyDocument, Material, TenantDocument
from media_workers.media.protection import KEY_BYTES, KeySource

DEFAULT_TENANT = "default"
MASTER_NAME = "master.key"
VERSIONS_MAX = 1000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_Document = TypeVar("_Document", bound=msgspec.Struct)


class KeyStore:
    """The keys of all videos; several processes on one file system may use it at the same time.

    Nothing is created before the first key is asked for.

    Args:
        root: the folder.
        master_file: the master key's file; ROOT/master.key when None.
        random_bytes: where values come from.
        audit: takes a line for each read and change; ROOT/audit.log when None.
        tenant: whose data key wraps new keys.
    """

    def __init__(
        self,
        root: Path,
        *,
        random_bytes: Callable[[int], bytes],
        master_file: Path | None = None,
        audit: Audit | None = None,
        tenant: str = DEFAULT_TENANT,
    ) -> None:
        self.root = root
        self.master_file = master_file or root / MASTER_NAME
        self.audit = audit or Audit(root / "audit.log")
        self._random_bytes = random_bytes
        self._tenant = _checked(tenant, "tenant")

    def current_version(self, video_id: str) -> int:
        """The key version that new work on this video uses."""
        content = read_private(self._folder(video_id) / "current")
        return _whole_number(content, f"videos/{video_id}/current") if content is not None else 1

    def versions(self, video_id: str) -> tuple[KeyDocument, ...]:
        """What is kept for a video, oldest first; nothing for one that has no keys."""
        found = sorted(
            int(path.stem) for path in self._folder(video_id).glob("*.json") if path.stem.isdecimal()
        )
        return tuple(self._existing(video_id, version) for version in found)

    def find(self, video_id: str, key_version: int) -> KeyDocument | None:
        """The keys of a version, wrapped."""
        return self._read(self._path(video_id, key_version), KeyDocument)

    def reserve(
        self, video_id: str, key_version: int, keys: Iterable[KeptKey], *, source: KeySource
    ) -> KeyDocument:
        """Note key ids before their values are asked for; a slot that has a key keeps it.

        Returns:
            the document as it is now.

        Raises:
            KeyStoreError: the version's keys come from another source.
        """
        with self._lock():
            found = self.find(video_id, key_version)
            if found is not None and found.source != source:
                raise KeyStoreError(
                    f"{video_id} has keys from the source {found.source!r} as version {key_version}; to take "
                    f"them from {source!r}, give it new ones first: keys rekey {video_id}"
                )
            kept = {} if found is None else {key.slot: key for key in found.keys}
            fresh = {key.slot: key for key in keys}
            document = KeyDocument(
                video_id=video_id,
                key_version=key_version,
                tenant=self._tenant if found is None else found.tenant,
                source=source,
                created_at=self.audit.now() if found is None else found.created_at,
                keys=tuple({**fresh, **kept}.values()),
                pssh={} if found is None else found.pssh,
            )
            if document != found:
                self._write(document)
                self.audit.note("reserve", video_id, key_version, [key.key_id for key in fresh.values()])
        return document

    def fill(self, video_id: str, key_version: int, material: Material) -> KeyDocument:
        """Keep values for keys that have none; a key that has one keeps it.

        Returns:
            the document as it is now.

        Raises:
            KeyStoreError: the version was never reserved, or a value is not 16 bytes.
        """
        with self._lock():
            document = self._existing(video_id, key_version)
            data_key = self._data_key(document.tenant, make=True)
            filled = [
                self._filled(video_id, key, material, data_key) if key.wrapped is None else key
                for key in document.keys
            ]
            pssh = {
                scheme: tuple(dict.fromkeys((*document.pssh.get(scheme, ()), *boxes)))
                for scheme, boxes in {**document.pssh, **material.pssh}.items()
            }
            changed = msgspec.structs.replace(document, keys=tuple(filled), pssh=pssh)
            if changed != document:
                self._write(changed)
                self.audit.note("create", video_id, key_version, sorted(material.values))
        return changed

    def values(
        self, video_id: str, key_version: int, key_ids: Iterable[str], *, reader: str, purpose: str
    ) -> Mapping[str, bytes]:
        """Unwrap key values. The audit line is on the disk before the first value leaves.

        Args:
            video_id: whose keys.
            key_version: which of them.
            key_ids: the wanted ones.
            reader: who asks: a worker's id.
            purpose: what for, in a word.

        Returns:
            16 bytes by key id.

        Raises:
            KeyStoreError: a key is not there or has no value, or the store cannot be used.
        """
        document = self._existing(video_id, key_version)
        kept = {key.key_id: key.wrapped for key in document.keys}
        wanted = list(key_ids)
        missing = next((key_id for key_id in wanted if kept.get(key_id) is None), None)
        if missing is not None:
            raise KeyStoreError(f"{video_id} has no value for the key {missing} in version {key_version}")
        self.audit.note("read", video_id, key_version, wanted, reader=reader, purpose=purpose)
        data_key = self._data_key(document.tenant)
        return {
            key_id: unwrap(data_key, kept[key_id] or "", purpose=f"content-key:{video_id}:{key_id}")
            for key_id in wanted
        }

    def start_version(self, video_id: str) -> int:
        """Make work that starts from now on use new keys; what is published keeps its own.

        Returns:
            the new version.

        Raises:
            KeyStoreError: the video has no keys to replace, or has had too many.
        """
        with self._lock():
            used = [document.key_version for document in self.versions(video_id)]
            if not used:
                raise KeyStoreError(f"{video_id} has no keys; protect it first, with drm in its options")
            version = max(*used, self.current_version(video_id)) + 1
            if version > VERSIONS_MAX:
                raise KeyStoreError(f"{video_id} has had {VERSIONS_MAX} key versions; upload it again")
            write_private(self._folder(video_id) / "current", b"%d\n" % version, replace=True)
            self.audit.note("rekey", video_id, version, ())
        return version

    def rotate_master(self) -> int:
        """Wrap every tenant's data key by a new master key. A run that is cut off is completed by the next.

        Returns:
            the version of the master key now in use.
        """
        with self._lock():
            grown = add_version(self.master_file)
            for path in sorted((self.root / "tenants").glob("*.json")):
                tenant = path.stem
                data_key = self._data_key(tenant)
                self._write_tenant(tenant, data_key, replace=True)
            drop_old_versions(self.master_file)
            self.audit.note("rotate-master", None, grown[-1].version, ())
        return grown[-1].version

    def delete(self, video_id: str) -> bool:
        """Forget all keys of a video; whether there were any."""
        folder = self._folder(video_id)
        if not folder.is_dir():
            return False
        with self._lock():
            self.audit.note("delete", video_id, None, ())
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def _filled(self, video_id: str, key: KeptKey, material: Material, data_key: bytes) -> KeptKey:
        value = material.values.get(key.key_id)
        if value is None:
            return key
        if len(value) != KEY_BYTES:
            raise KeyStoreError(f"the key {key.key_id} has {len(value)} bytes; it must have {KEY_BYTES}")
        return msgspec.structs.replace(
            key,
            wrapped=wrap(data_key, value, purpose=f"content-key:{video_id}:{key.key_id}"),
            iv=material.ivs.get(key.key_id, key.iv),
            fairplay_uri=material.fairplay_uris.get(key.key_id, key.fairplay_uri),
        )

    def _data_key(self, tenant: str, *, make: bool = False) -> bytes:
        """The tenant's data key. Another process may change the master at any moment."""
        path = self.root / "tenants" / f"{tenant}.json"
        if make and not path.exists():
            self._write_tenant(tenant, self._random_bytes(WRAPPING_KEY_BYTES), replace=False)
        for last_try in (False, True):
            document = self._read(path, TenantDocument)
            masters = {key.version: key.value for key in read_master(self.master_file)}
            master = masters.get(document.master_version) if document is not None else None
            if document is not None and master is not None:
                return unwrap(master, document.wrapped, purpose=f"data-key:{tenant}")
            if last_try:
                break
        raise KeyStoreError(
            f"{path} and {self.master_file} do not belong together: the one is missing, or was wrapped by a "
            "version of the master key that the other does not hold; put back the files of this key folder"
        )

    def _write_tenant(self, tenant: str, data_key: bytes, *, replace: bool) -> None:
        master = read_master(self.master_file)[-1]
        document = TenantDocument(
            tenant=tenant,
            master_version=master.version,
            wrapped=wrap(master.value, data_key, purpose=f"data-key:{tenant}"),
        )
        path = self.root / "tenants" / f"{tenant}.json"
        write_private(path, msgspec.json.encode(document), replace=replace)

    def _existing(self, video_id: str, key_version: int) -> KeyDocument:
        document = self.find(video_id, key_version)
        if document is None:
            raise KeyStoreError(f"{video_id} has no keys of version {key_version} in {self.root}")
        return document

    def _write(self, document: KeyDocument) -> None:
        path = self._path(document.video_id, document.key_version)
        write_private(path, msgspec.json.format(msgspec.json.encode(document), indent=1), replace=True)

    def _read(self, path: Path, kind: type[_Document]) -> _Document | None:
        content = read_private(path)
        try:
            return None if content is None else msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise KeyStoreError(f"{path} is damaged: {error}; put back a copy of it") from error

    def _folder(self, video_id: str) -> Path:
        return self.root / "videos" / _checked(video_id, "video id")

    def _path(self, video_id: str, key_version: int) -> Path:
        return self._folder(video_id) / f"{key_version}.json"

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.root / ".lock")


def _checked(name: str, what: str) -> str:
    if not _ID.fullmatch(name):
        raise KeyStoreError(f"{name[:80]!r} is no {what}: letters, digits, - and _ alone")
    return name


def _whole_number(content: bytes, name: str) -> int:
    if not content.strip().isdigit():
        raise KeyStoreError(f"{name} in the key folder is damaged: it must be one number")
    return int(content)
