"""Keys wrapped by keys: AES-256-GCM, bound to what they are for."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from media_workers.drm.errors import KeyStoreError

WRAPPING_KEY_BYTES = 32
NONCE_BYTES = 12


def wrap(wrapping_key: bytes, secret: bytes, *, purpose: str) -> str:
    """Encrypt a key.

    Args:
        wrapping_key: 32 bytes.
        secret: the key to keep.
        purpose: authenticated with it; the same words are needed to unwrap.

    Returns:
        base64 of nonce (12 bytes), ciphertext and tag (16 bytes).
    """
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(wrapping_key).encrypt(nonce, secret, purpose.encode())
    return base64.b64encode(nonce + sealed).decode()


def unwrap(wrapping_key: bytes, wrapped: str, *, purpose: str) -> bytes:
    """Undo `wrap`.

    Raises:
        KeyStoreError: it was wrapped by another key or for another purpose, or was changed.
    """
    try:
        sealed = base64.b64decode(wrapped, validate=True)
        return AESGCM(wrapping_key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode())
    except (ValueError, InvalidTag) as error:
        raise KeyStoreError(
            f"the key kept for {purpose!r} cannot be unwrapped: it was changed, or the master key is "
            "another; put back the key folder and the master key that belong together"
        ) from error
