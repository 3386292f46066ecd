"""Where content keys come from: our own random ones, the operator's, or a key server's (`speke.py`)."""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from media_workers.drm.errors import KeySourceRefusedError
from media_workers.drm.files import read_private
from media_workers.drm.records import KeptKey, Material
from media_workers.media.protection import KEY_BYTES, CopyScheme, KeySource, Label, System


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that need values; the same request may come again and must mean the same keys."""

    video_id: str
    key_version: int
    keys: tuple[KeptKey, ...]
    systems: tuple[System, ...]


class ContentKeySource(Protocol):
    """One way to get keys."""

    name: KeySource

    def key_id(self, video_id: str, label: Label, scheme: CopyScheme) -> str:
        """The id a new key shall have: 32 lower-case hex digits.

        Raises:
            KeySourceError: there is no key for this.
        """
        ...

    def fetch(self, request: KeyRequest) -> Material:
        """The values of the keys.

        Raises:
            KeySourceUnavailableError: no usable answer this time.
            KeySourceRefusedError: it said no, or answered something wrong.
        """
        ...


def random_key_id(random_bytes: Callable[[int], bytes]) -> str:
    """A random UUID of version 4, as hex: never made from the content, never counted up."""
    return uuid.UUID(bytes=random_bytes(16), version=4).hex


class InternalSource:
    """Random keys of our own."""

    name: KeySource = "internal"

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes

    def key_id(self, video_id: str, label: Label, scheme: CopyScheme) -> str:
        return random_key_id(self._random_bytes)

    def fetch(self, request: KeyRequest) -> Material:
        return Material(values={key.key_id: self._random_bytes(KEY_BYTES) for key in request.keys})


class GivenKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One key of the operator's file; 32 hex digits each."""

    key_id: str
    key: str
    iv: str | None = None


class RawSource:
    """Keys that the operator gives in a file of mode 0600.

    The file is JSON, `{VIDEO_ID: {LABEL: {"keyId", "key", "iv"?}}}`, values in hex. LABEL is AUDIO, SD, HD or
    UHD; for the second copy of `dual`, which must not share keys with the first, CENC_AUDIO and so on.
    `"*"` as the video's id stands for all that are not named.

    Args:
        path: the file; None when the setting is missing.
    """

    name: KeySource = "raw"

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def key_id(self, video_id: str, label: Label, scheme: CopyScheme) -> str:
        return self._given(video_id, label, scheme).key_id

    def fetch(self, request: KeyRequest) -> Material:
        given = {key.key_id: self._given(request.video_id, key.label, key.scheme) for key in request.keys}
        changed = next((key_id for key_id, item in given.items() if item.key_id != key_id), None)
        if changed is not None:
            raise KeySourceRefusedError(f"{self._path} no longer holds the key {changed}; put it back")
        return Material(
            values={key_id: bytes.fromhex(item.key) for key_id, item in given.items()},
            ivs={key_id: item.iv for key_id, item in given.items() if item.iv is not None},
        )

    def _given(self, video_id: str, label: Label, scheme: CopyScheme) -> GivenKey:
        titles = self._read()
        keys = titles.get(video_id) or titles.get("*") or {}
        # A title that is `cenc` alone has plain labels as well.
        names: Sequence[str] = (f"CENC_{label}", label) if scheme == "cenc" else (label,)
        found = next((keys[name] for name in names if name in keys), None)
        if found is None:
            raise KeySourceRefusedError(
                f"{self._path} has no key {' or '.join(names)} for {video_id}; add it, or add it under '*'"
            )
        return _checked(found, f"{self._path}: the key {label} of {video_id}")

    def _read(self) -> dict[str, dict[str, GivenKey]]:
        if self._path is None:
            raise KeySourceRefusedError(
                "keySource raw needs a file with keys on the worker; name it with SHOWRUNNER_RAW_KEYS_FILE"
            )
        content = read_private(self._path)
        if content is None:
            raise KeySourceRefusedError(f"there is no file {self._path} (SHOWRUNNER_RAW_KEYS_FILE)")
        try:
            return msgspec.json.decode(content, type=dict[str, dict[str, GivenKey]])
        except msgspec.DecodeError:
            # Its own words might quote the file.
            raise KeySourceRefusedError(
                f'{self._path} must be JSON of the form {{"VIDEO_ID or *": {{"SD": {{"keyId": "..", '
                '"key": ".."}}}}'
            ) from None


def _checked(given: GivenKey, what: str) -> GivenKey:
    for name, text in (("keyId", given.key_id), ("key", given.key), ("iv", given.iv)):
        if text is None:
            continue
        if len(text) != 2 * KEY_BYTES or not all(digit in "0123456789abcdefABCDEF" for digit in text):
            raise KeySourceRefusedError(f"{what}: {name} must be {2 * KEY_BYTES} hex digits")
    return msgspec.structs.replace(given, key_id=given.key_id.lower())
