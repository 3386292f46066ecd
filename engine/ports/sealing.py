"""Sealing of secrets at rest."""

from __future__ import annotations

from typing import Protocol


class Sealer(Protocol):
    """Encrypts small texts with a key that is not in the store."""

    def seal(self, name: str, text: str) -> bytes:
        """Encrypt `text`, bound to `name`: under another name it cannot be opened."""
        ...

    def unseal(self, name: str, sealed: bytes) -> str:
        """Decrypt.

        Raises:
            ValueError: sealed with a key that is not known any more, for another name, or damaged.
        """
        ...
