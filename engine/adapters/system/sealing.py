"""Sealer with Fernet (AES-128-CBC and HMAC-SHA-256), its keys derived from texts in the settings."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_SALT = b"showrunner secrets 1"
"""Fixed: the same text must give the same key on every server. It keeps the key apart from other uses."""
_SCRYPT_COST = 2**14


class FernetSealer:
    """Seals with the first key; opens with any of them, so that keys can be changed one after the other."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(_derived(key)) for key in keys])

    def seal(self, name: str, text: str) -> bytes:
        return self._fernet.encrypt(msgspec.json.encode([name, text]))

    def unseal(self, name: str, sealed: bytes) -> str:
        try:
            found, text = msgspec.json.decode(self._fernet.decrypt(sealed), type=tuple[str, str])
        except InvalidToken as error:
            raise ValueError(f"secret {name}: none of this server's keys opens it") from error
        if found != name:
            raise ValueError(f"secret {name}: it was sealed under another name")
        return text


def _derived(key: str) -> bytes:
    raw = hashlib.scrypt(key.encode(), salt=_SALT, n=_SCRYPT_COST, r=8, p=1, dklen=32)
    return base64.urlsafe_b64encode(raw)
