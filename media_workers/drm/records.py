"""What the key store writes: the documents of ROOT/videos and ROOT/tenants."""

import msgspec

from media_workers.media.protection import CopyScheme, KeySource, Label

FORMAT = 1


class KeptKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One content key. `wrapped` is None between choosing the key id and having the value."""

    label: Label
    scheme: CopyScheme
    key_id: str
    wrapped: str | None = None
    iv: str | None = None
    fairplay_uri: str | None = None

    @property
    def slot(self) -> tuple[Label, CopyScheme]:
        """What it is for; one key a slot."""
        return self.label, self.scheme


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The keys of one version of one video."""

    video_id: str
    key_version: int
    tenant: str
    source: KeySource
    created_at: str
    keys: tuple[KeptKey, ...]
    pssh: dict[str, tuple[str, ...]] = {}
    format: int = FORMAT

    def key(self, label: Label, scheme: CopyScheme) -> KeptKey | None:
        """The key of a slot."""
        return next((key for key in self.keys if key.slot == (label, scheme)), None)


class TenantDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A tenant's data key, wrapped by a version of the master key."""

    tenant: str
    master_version: int
    wrapped: str
    format: int = FORMAT


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What a source delivers for the keys it was asked for; its words never show a value.

    Attributes:
        values: 16 bytes by key id.
        ivs: 32 hex digits by key id, where the source chose them.
        fairplay_uris: by key id, where the source chose them.
        pssh: hex boxes by scheme, where the source made them.
    """

    values: dict[str, bytes]
    ivs: dict[str, str] = {}
    fairplay_uris: dict[str, str] = {}
    pssh: dict[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"Material(key_ids={sorted(self.values)})"
