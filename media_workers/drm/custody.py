"""Key custody: the store, the sources and the settings behind one door. What tasks use."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from media_workers.drm.errors import KeySourceRefusedError, KeyStoreError
from media_workers.drm.keystore import KeyStore
from media_workers.drm.records import KeptKey, KeyDocument
from media_workers.drm.sources import ContentKeySource, InternalSource, KeyRequest, RawSource
from media_workers.drm.speke import SpekeServer, SpekeSource
from media_workers.drm.widevine import WidevineServer, widevine_flagfile_text
from media_workers.media.protection import (
    KEY_BYTES,
    CopyScheme,
    DrmOptions,
    KeySource,
    Label,
    ProtectionKey,
    ProtectionPlan,
    fairplay_uri,
    flagfile_text,
)
from media_workers.media.pssh import merged_pssh


class CustodySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decides about keys.

    Attributes:
        root: the key folder.
        published: the media folder; keys are refused a place in it.
        master_file: the master key; ROOT/master.key when None.
        default_source: for requests that name none.
        fairplay_authority: host or tenant in `skd://AUTHORITY/KEY_ID`.
        raw_keys_file: for the source `raw`.
        speke: for the source `speke`.
        widevine: for the source `widevine`.
    """

    root: Path
    published: Path
    master_file: Path | None = None
    default_source: KeySource = "internal"
    fairplay_authority: str = "showrunner"
    raw_keys_file: Path | None = None
    speke: SpekeServer | None = None
    widevine: WidevineServer | None = None


class Custody:
    """Gives titles their keys, and lends the values to the packager. Nothing is created before it is needed.

    Args:
        settings: the operator's.
        random_bytes: the system's own source of randomness unless a test gives another.

    Raises:
        KeyStoreError: the keys or the master key would lie in the published folder.
    """

    def __init__(self, settings: CustodySettings, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        _refuse_published(settings)
        self._settings = settings
        self._random_bytes = random_bytes
        self.store = KeyStore(settings.root, random_bytes=random_bytes, master_file=settings.master_file)
        sources: tuple[ContentKeySource, ...] = (
            InternalSource(random_bytes),
            RawSource(settings.raw_keys_file),
            SpekeSource(settings.speke, random_bytes),
        )
        self._sources = {source.name: source for source in sources}

    def protect(
        self,
        video_id: str,
        options: DrmOptions,
        labels: Sequence[Label],
        *,
        key_version: int | None = None,
    ) -> ProtectionPlan:
        """Give a title its keys; asked again for the same version, the same ones.

        Args:
            video_id: the title.
            options: of the request.
            labels: which streams there are.
            key_version: None for the one that is current.

        Raises:
            KeySourceError: the source did not deliver.
            KeyStoreError: the store cannot be used.
        """
        version = key_version or self.store.current_version(video_id)
        name = options.key_source or self._settings.default_source
        plan = ProtectionPlan(
            scheme=options.scheme,
            systems=options.systems,
            clear_lead_seconds=options.clear_lead_seconds,
            key_source=name,
            key_version=version,
        )
        if name == "widevine":
            # The server tells the packager alone; here it only has to be sure that it can be asked.
            widevine_flagfile_text(self._settings.widevine, video_id, version, plan.copies[0])
            return plan
        slots = tuple((label, copy) for copy in plan.copies for label in labels)
        document = self._document(self._sources[name], video_id, version, slots, options)
        keys = tuple(
            self._planned(key, options) for slot in slots if (key := document.key(*slot)) is not None
        )
        pssh = {
            copy: tuple(
                box.hex() for box in merged_pssh([bytes.fromhex(text) for text in document.pssh[copy]])
            )
            for copy in plan.copies
            if document.pssh.get(copy)
        }
        return msgspec.structs.replace(plan, keys=keys, pssh=pssh)

    def values(
        self, video_id: str, protection: ProtectionPlan, *, reader: str, purpose: str
    ) -> Mapping[str, bytes]:
        """The values of a plan's keys, 16 bytes by key id. Every call is an audit line.

        Raises:
            KeyStoreError: a key is not there, or the store cannot be used.
        """
        return self.store.values(
            video_id,
            protection.key_version,
            (key.key_id for key in protection.keys),
            reader=reader,
            purpose=purpose,
        )

    def flagfile_text(
        self, video_id: str, protection: ProtectionPlan, copy: CopyScheme, *, reader: str
    ) -> str:
        """What the packager must read and nobody else.

        Raises:
            DrmError: a key is not there, or a setting is missing.
        """
        if protection.key_source == "widevine":
            return widevine_flagfile_text(self._settings.widevine, video_id, protection.key_version, copy)
        values = self.values(video_id, protection, reader=reader, purpose="packaging")
        return flagfile_text(protection, copy, values)

    def _document(
        self,
        source: ContentKeySource,
        video_id: str,
        version: int,
        slots: Sequence[tuple[Label, CopyScheme]],
        options: DrmOptions,
    ) -> KeyDocument:
        """The ids are kept before the source is asked, so that a second attempt asks for the same keys."""
        known = self.store.find(video_id, version)
        fresh = [
            KeptKey(
                label=label,
                scheme=scheme,
                key_id=source.key_id(video_id, label, scheme),
                iv=self._random_bytes(KEY_BYTES).hex() if scheme == "cbcs" else None,
            )
            for label, scheme in slots
            if known is None or known.key(label, scheme) is None
        ]
        _refuse_shared(fresh)
        document = self.store.reserve(video_id, version, fresh, source=source.name)
        open_keys = tuple(key for key in document.keys if key.slot in slots and key.wrapped is None)
        if not open_keys:
            return document
        request = KeyRequest(video_id=video_id, key_version=version, keys=open_keys, systems=options.systems)
        return self.store.fill(video_id, version, source.fetch(request))

    def _planned(self, key: KeptKey, options: DrmOptions) -> ProtectionKey:
        uri = None
        if key.scheme == "cbcs" and "fairplay" in options.systems:
            uri = key.fairplay_uri or fairplay_uri(self._settings.fairplay_authority, key.key_id)
        return ProtectionKey(
            label=key.label, scheme=key.scheme, key_id=key.key_id, fairplay_uri=uri, iv=key.iv
        )


def _refuse_shared(keys: Sequence[KeptKey]) -> None:
    """Only keys that an operator chose can share an id."""
    ids = [key.key_id for key in keys]
    twice = next((key_id for key_id in ids if ids.count(key_id) > 1), None)
    if twice is not None:
        raise KeySourceRefusedError(
            f"the key {twice} is named for more than one kind of track; give each its own in "
            "SHOWRUNNER_RAW_KEYS_FILE, and the second copy of scheme dual its own as CENC_SD and so on"
        )


def _refuse_published(settings: CustodySettings) -> None:
    published = settings.published.resolve()
    for path in (settings.root, settings.master_file):
        if path is not None and path.resolve().is_relative_to(published):
            raise KeyStoreError(
                f"keys must not lie in the media folder: {path} is below {settings.published}; "
                "name another with SHOWRUNNER_KEYS or SHOWRUNNER_MASTER_KEY_FILE"
            )
