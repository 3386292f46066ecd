"""Looks for content keys where none may be: in published files."""

import base64
from collections.abc import Iterable


def spellings(key: bytes) -> tuple[bytes, ...]:
    """The ways a key may be written down: raw, hex in both cases, base64 in both alphabets."""
    plain = base64.b64encode(key).rstrip(b"=")
    url = base64.urlsafe_b64encode(key).rstrip(b"=")
    digits = key.hex().encode()
    return tuple(dict.fromkeys((key, digits, digits.upper(), plain, url)))


def contains_key(content: bytes, keys: Iterable[bytes]) -> bool:
    """Whether any of the keys is in the content, in any spelling."""
    return any(spelling in content for key in keys for spelling in spellings(key))
