"""Content protection as values: what a request may ask for, what is planned, and the packager's arguments.

No key value is ever in here: plans travel through workflows, where every input and output is stored.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar, get_args

import msgspec

from media_workers.media.profiles import PlanError

Scheme = Literal["cbcs", "cenc", "dual"]
CopyScheme = Literal["cbcs", "cenc"]
System = Literal["widevine", "playready", "fairplay"]
KeySource = Literal["internal", "raw", "speke", "widevine"]
Label = Literal["AUDIO", "SD", "HD", "UHD"]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
SYSTEMS: tuple[System, ...] = get_args(System)
KEY_SOURCES: tuple[KeySource, ...] = get_args(KeySource)
LABELS: tuple[Label, ...] = get_args(Label)
# FairPlay decrypts the pattern scheme alone.
SYSTEMS_OF: dict[CopyScheme, tuple[System, ...]] = {
    "cbcs": ("widevine", "playready", "fairplay"),
    "cenc": ("widevine", "playready"),
}
COPIES_OF: dict[Scheme, tuple[CopyScheme, ...]] = {
    "cbcs": ("cbcs",),
    "cenc": ("cenc",),
    "dual": ("cbcs", "cenc"),
}
CLEAR_LEAD_SECONDS_MAX = 600

SYSTEM_IDS: dict[str, str] = {
    "widevine": "edef8ba979d64acea3c827dcd51d21ed",
    "playready": "9a04f07998404286ab92e65be0885f95",
    "fairplay": "94ce86fb07ff4f43adb893d2fa968ca2",
    "common": "1077efecc0b24d02ace33c1e52e2fb4b",
}
FAIRPLAY_KEYFORMAT = "com.apple.streamingkeydelivery"
_PACKAGER_SYSTEMS: dict[System, str] = {
    "widevine": "Widevine",
    "playready": "PlayReady",
    "fairplay": "FairPlay",
}
KEY_BYTES = 16
WIDEVINE_FLAG = "--enable_widevine_encryption"
_FIELDS = ("scheme", "systems", "keySource", "clearLeadSeconds")
_URI = re.compile(r'URI="([^"]*)"')
_Name = TypeVar("_Name", bound=str)


class DrmOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a request asks for. `key_source` None leaves it to the operator's setting."""

    scheme: Scheme = "cbcs"
    systems: tuple[System, ...] = SYSTEMS
    key_source: KeySource | None = None
    clear_lead_seconds: int = 0


class ProtectionKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One content key, without its value.

    Attributes:
        label: which streams it protects; the packager's drm_label.
        scheme: the copy it is used in; the two copies of `dual` never share a key.
        key_id: 32 lower-case hex digits.
        fairplay_uri: what FairPlay players ask for, one per key; None where FairPlay does not apply.
        iv: the constant vector of `cbcs` as 32 hex digits. FairPlay's licence carries it beside the key, so
            it must be known; it is no secret, every init segment shows it. None for `cenc`, where each stream
            must have a random one: two streams of one key and vector would betray each other.
    """

    label: Label
    scheme: CopyScheme
    key_id: str
    fairplay_uri: str | None = None
    iv: str | None = None


class ProtectionPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a version of a title is protected.

    Attributes:
        scheme: `dual` stands for two packages of the same encodes, one of each scheme.
        systems: whose players are served.
        clear_lead_seconds: unprotected beginning, rounded up to whole segments by the packager.
        keys: one per label and scheme; none for the source `widevine`, whose server tells only the packager.
        pssh: boxes from a key server, hex, by scheme; empty where the packager makes them itself.
        key_source: where the values came from.
        key_version: counts up when a title gets new keys.
    """

    scheme: Scheme
    systems: tuple[System, ...]
    clear_lead_seconds: int = 0
    keys: tuple[ProtectionKey, ...] = ()
    pssh: dict[str, tuple[str, ...]] = {}
    key_source: KeySource = "internal"
    key_version: int = 1

    @property
    def copies(self) -> tuple[CopyScheme, ...]:
        """The schemes to package, the main one first."""
        return COPIES_OF[self.scheme]

    def systems_of(self, copy: CopyScheme) -> tuple[System, ...]:
        """The systems that play this copy."""
        return tuple(system for system in self.systems if system in SYSTEMS_OF[copy])

    def keys_of(self, copy: CopyScheme) -> tuple[ProtectionKey, ...]:
        """The keys of this copy."""
        return tuple(key for key in self.keys if key.scheme == copy)


def parse_drm(value: object) -> DrmOptions | None:
    """Read the `drm` value of a request: true, false, null or an object.

    Returns:
        the options, or None for an unprotected title.

    Raises:
        PlanError: an unknown field or value, or a system that cannot play the scheme; names the field's path
            and the accepted values.
    """
    if value is None or value is False:
        return None
    if value is True:
        value = {}
    if not isinstance(value, Mapping):
        raise PlanError("drm", "must be true, false or an object", _FIELDS)
    for field in value:
        if field not in _FIELDS:
            raise PlanError(f"drm.{str(field)[:80]}", "is no option of drm", _FIELDS)
    scheme: Scheme = _one_of("drm.scheme", value.get("scheme") or "cbcs", SCHEMES)
    source = value.get("keySource")
    return DrmOptions(
        scheme=scheme,
        systems=_systems(value.get("systems"), scheme),
        key_source=None if source is None else _one_of("drm.keySource", source, KEY_SOURCES),
        clear_lead_seconds=_clear_lead(value.get("clearLeadSeconds")),
    )


def labels_of(video_labels: Iterable[str], *, audio: bool) -> tuple[Label, ...]:
    """The labels of a title that need a key, in one order.

    Args:
        video_labels: `Rendition.drm_label` of each rendition.
        audio: whether there is a sound track.
    """
    wanted = {*video_labels, *(("AUDIO",) if audio else ())}
    return tuple(label for label in LABELS if label in wanted)


def fairplay_uri(authority: str, key_id: str) -> str:
    """The address a FairPlay player asks for one key."""
    return f"skd://{authority}/{key_id}"


def protection_args(protection: ProtectionPlan, copy: CopyScheme) -> list[str]:
    """The packager's arguments for one protected copy; everything secret is in the flag file instead.

    Each stream of the copy also needs `drm_label=`, by `stream_label`.
    """
    systems = ",".join(_PACKAGER_SYSTEMS[system] for system in protection.systems_of(copy))
    return [
        WIDEVINE_FLAG if protection.key_source == "widevine" else "--enable_raw_key_encryption",
        f"--protection_scheme={copy}",
        # The master names the keys too, so that players ask for them early or before a download.
        "--create_session_keys",
        f"--protection_systems={systems}",
        # Its own default is five seconds.
        f"--clear_lead={protection.clear_lead_seconds}",
        *_pssh_args(protection, copy),
    ]


def stream_label(label: str, flags: Sequence[str]) -> str:
    """What the packager calls a stream's label: Widevine's servers know two kinds of UHD.

    Args:
        label: a rendition's `drm_label`, or AUDIO.
        flags: from `protection_args`.
    """
    return "UHD1" if label == "UHD" and WIDEVINE_FLAG in flags else label


def flagfile_text(protection: ProtectionPlan, copy: CopyScheme, values: Mapping[str, bytes]) -> str:
    """The content of the packager's flag file: the key values. Never store it; see `drm.secret_file`.

    Args:
        protection: names the keys.
        copy: which copy is packaged.
        values: 16 bytes by key id.

    Raises:
        ValueError: a key of the plan has no value; names its id.
    """
    return f"--keys={_keys_value(protection.keys_of(copy), values)}\n"


def decryption_flagfile_text(key: ProtectionKey, values: Mapping[str, bytes]) -> str:
    """As `flagfile_text`, for a packager that decrypts streams of one label (`--enable_raw_key_decryption`).

    Raises:
        ValueError: the key has no value.
    """
    return f"--keys={_keys_value((key,), values)}\n"


def rewrite_fairplay(playlist: str, protection: ProtectionPlan, copy: CopyScheme = "cbcs") -> str:
    """Give each FairPlay key line of a playlist the URI of its own key; every other line stays as it is.

    The packager knows one URI for all keys (`--hls_key_uri`) and, left without, writes one that ends in the
    base64 of the key id; by that the key is recognised.

    Args:
        playlist: a media playlist, an I-frame playlist, or a master with session keys.
        protection: names the URIs.
        copy: which copy the playlist belongs to.

    Raises:
        ValueError: a FairPlay line names no key of the plan.
    """
    uris = {key.key_id: key.fairplay_uri for key in protection.keys_of(copy) if key.fairplay_uri}
    if not uris:
        return playlist
    lines = playlist.splitlines(keepends=True)
    return "".join(_rewritten(line, uris) if _is_fairplay(line) else line for line in lines)


def _rewritten(line: str, uris: Mapping[str, str]) -> str:
    found = _URI.search(line)
    key_id = _key_id_of(found.group(1)) if found else ""
    if found is None or key_id not in uris:
        raise ValueError(f"playlist: a FairPlay key line names no key of the plan: {line.strip()[:120]}")
    return line[: found.start(1)] + uris[key_id] + line[found.end(1) :]


def _is_fairplay(line: str) -> bool:
    return line.startswith(("#EXT-X-KEY:", "#EXT-X-SESSION-KEY:")) and f'"{FAIRPLAY_KEYFORMAT}"' in line


def _key_id_of(uri: str) -> str:
    """The key id in the packager's own URI (base64), or in one that was rewritten already (hex)."""
    last = uri.removeprefix("skd://").rsplit("/", 1)[-1] if "==" not in uri else uri.removeprefix("skd://")
    if re.fullmatch(r"[0-9a-f]{32}", last):
        return last
    try:
        return base64.b64decode(last, validate=True).hex()
    except ValueError:
        return ""


def _keys_value(keys: Iterable[ProtectionKey], values: Mapping[str, bytes]) -> str:
    parts = []
    for key in keys:
        value = values.get(key.key_id)
        if value is None or len(value) != KEY_BYTES:
            raise ValueError(f"the key {key.key_id} ({key.label}) has no value of {KEY_BYTES} bytes")
        vector = f":iv={key.iv}" if key.iv else ""
        parts.append(f"label={key.label}:key_id={key.key_id}:key={value.hex()}{vector}")
    return ",".join(parts)


def _pssh_args(protection: ProtectionPlan, copy: CopyScheme) -> list[str]:
    boxes = protection.pssh.get(copy, ())
    return [f"--pssh={''.join(boxes)}"] if boxes else []


def _systems(value: object, scheme: Scheme) -> tuple[System, ...]:
    possible = tuple(
        system for system in SYSTEMS if any(system in SYSTEMS_OF[copy] for copy in COPIES_OF[scheme])
    )
    if value is None:
        return possible
    if not isinstance(value, list | tuple) or not value:
        raise PlanError("drm.systems", "must be a list with at least one system", SYSTEMS)
    chosen = {_one_of(f"drm.systems[{position}]", item, SYSTEMS) for position, item in enumerate(value)}
    for copy in COPIES_OF[scheme]:
        if not chosen & set(SYSTEMS_OF[copy]):
            unplayed = ", ".join(sorted(chosen))
            raise PlanError("drm.systems", f"{unplayed} cannot play the scheme {copy}", SYSTEMS_OF[copy])
    unusable = next((system for system in SYSTEMS if system in chosen - set(possible)), None)
    if unusable is not None:
        raise PlanError("drm.systems", f"{unusable} cannot play the scheme {scheme}", possible)
    return tuple(system for system in SYSTEMS if system in chosen)


def _clear_lead(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= CLEAR_LEAD_SECONDS_MAX:
        raise PlanError(
            "drm.clearLeadSeconds", f"must be a whole number from 0 to {CLEAR_LEAD_SECONDS_MAX} seconds"
        )
    return value


def _one_of(path: str, value: object, accepted: tuple[_Name, ...]) -> _Name:
    chosen = next((name for name in accepted if name == value), None)
    if chosen is None:
        raise PlanError(path, f"there is no {str(value)[:80]!r}", accepted)
    return chosen
