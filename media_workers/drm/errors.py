"""What goes wrong with content keys.

DrmError
├── KeyStoreError        our own store: a permission or a damaged file; an operator must look
└── KeySourceError       where the keys come from
    ├── KeySourceUnavailableError   no answer, or "not now": asking again may help
    └── KeySourceRefusedError       it said no, or answered something that cannot be used
"""

from typing import ClassVar


class DrmError(Exception):
    """Root of what this package raises on purpose; its sentences hold no key material."""

    code: ClassVar[str] = "drm_failed"
    retryable: ClassVar[bool] = False


class KeyStoreError(DrmError):
    """The store cannot be used as it is; the sentence says what to do."""

    code = "key_store_unusable"


class KeySourceError(DrmError):
    """The source of the keys did not deliver."""


class KeySourceUnavailableError(KeySourceError):
    """No usable answer this time; the same question may be asked again and means the same."""

    code = "key_source_unavailable"
    retryable = True


class KeySourceRefusedError(KeySourceError):
    """Asking again gives the same: a refusal, a wrong answer, or a setting that is missing."""

    code = "key_source_refused"
