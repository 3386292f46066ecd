"""CPIX documents of SPEKE 2: the request, and what a good answer to it holds.

Source: DASH-IF CPIX 2.3 and AWS SPEKE API v2.0.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import QName

from lxml import etree

from media_workers.drm.cpix_library import (
    CPIX,
    AudioFilter,
    ContentKey,
    ContentKeyList,
    DRMSystem,
    DRMSystemList,
    UsageRule,
    UsageRuleList,
    VideoFilter,
)
from media_workers.drm.delivery import Recipient
from media_workers.drm.errors import KeySourceRefusedError
from media_workers.drm.records import KeptKey, Material
from media_workers.media.protection import KEY_BYTES, SYSTEM_IDS, SYSTEMS_OF, CopyScheme, Label, System
from media_workers.media.pssh import parse_pssh

CPIX_VERSION = "2.3"
_CPIX_NAMESPACE = "urn:dashif:org:cpix"
_ROOT_TAG = QName(_CPIX_NAMESPACE, "CPIX").text
_DELIVERY_TAG = QName(_CPIX_NAMESPACE, "DeliveryDataList").text
_URI_TAG = QName(_CPIX_NAMESPACE, "URIExtXKey").text
# Widest picture of each label, in pixels: what the packager and most licence policies call SD and HD.
_PIXELS_OF: dict[Label, tuple[int | None, int | None]] = {
    "SD": (None, 1024 * 576),
    "HD": (1024 * 576 + 1, 1920 * 1080),
    "UHD": (1920 * 1080 + 1, None),
}
_HLS_URI = re.compile(r'\bURI="(skd://[^"]+)"')
# Goes between quotes into a playlist.
_FAIRPLAY_URI = re.compile(r"skd://[!#-~]{1,512}")


def request_document(
    content_id: str,
    keys: Iterable[KeptKey],
    systems: Iterable[System],
    scheme: CopyScheme,
    *,
    recipient: Recipient | None = None,
) -> bytes:
    """Ask for keys of one scheme, under ids that we chose.

    Args:
        content_id: the title's id; the same for every repetition.
        keys: of this scheme.
        systems: whose signalling the server should fill in; those that cannot play the scheme are left out.
        scheme: of the copy.
        recipient: for whom the answer's keys shall be encrypted.
    """
    keys = tuple(keys)
    document = CPIX(content_id=content_id, version=CPIX_VERSION)
    document.content_keys = ContentKeyList(
        *(ContentKey(_uuid(key.key_id), common_encryption_scheme=scheme) for key in keys)
    )
    document.drm_systems = DRMSystemList(
        *(
            _wanted_system(key.key_id, system)
            for key in keys
            for system in systems
            if system in SYSTEMS_OF[scheme]
        )
    )
    document.usage_rules = UsageRuleList(
        *(UsageRule(_uuid(key.key_id), [_filter(key.label)], intended_track_type=key.label) for key in keys)
    )
    # The library leaves the namespace to the text; only a document that is read back has it on every element.
    root = etree.fromstring(etree.tostring(document.element()))
    if recipient is not None:
        recipient.announce(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def read_answer(
    answer: bytes,
    content_id: str,
    keys: Iterable[KeptKey],
    systems: Iterable[System],
    scheme: CopyScheme,
    *,
    recipient: Recipient | None = None,
) -> Material:
    """Take the keys and the signalling out of an answer, after every check.

    With a `recipient` the keys must be encrypted for it; without one they must not be.

    Raises:
        KeySourceRefusedError: it is not what was asked for; names the key and what is wrong with it.
    """
    keys, systems = tuple(keys), tuple(system for system in systems if system in SYSTEMS_OF[scheme])
    root = _root(answer)
    sealed = recipient.open_answer(root) if recipient is not None else None
    for delivery in root.findall(_DELIVERY_TAG):
        # The library trips over one that is not complete.
        root.remove(delivery)
    try:
        document = CPIX.parse(root)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise KeySourceRefusedError(f"the key server's answer is no CPIX document: {error}") from error
    if document.content_id not in (None, content_id):
        raise KeySourceRefusedError(
            f"the key server answered for {str(document.content_id)[:80]!r} instead of {content_id!r}"
        )
    found = {key.kid.hex: key for key in document.content_keys}
    values, ivs = {}, {}
    for key in keys:
        values[key.key_id] = _value(found.get(key.key_id), key, scheme, sealed)
        explicit = found[key.key_id].explicit_iv
        if explicit is not None and scheme == "cbcs":
            ivs[key.key_id] = _sixteen_bytes(explicit, f"the explicitIV of {key.key_id}").hex()
    if len(set(values.values())) != len(values):
        raise KeySourceRefusedError("the key server gave the same key to two tracks; each needs its own")
    boxes, uris = _signalling(document, root, keys, systems)
    return Material(values=values, ivs=ivs, fairplay_uris=uris, pssh={scheme: boxes} if boxes else {})


def _wanted_system(key_id: str, system: System) -> DRMSystem:
    """Empty elements ask the server to fill them."""
    is_box = system != "fairplay"
    return DRMSystem(
        _uuid(key_id),
        _uuid(SYSTEM_IDS[system]),
        pssh="" if is_box else None,
        content_protection_data="" if is_box else None,
        hls_signaling_data="",
        hls_signaling_data_master="",
    )


def _filter(label: Label) -> AudioFilter | VideoFilter:
    if label == "AUDIO":
        return AudioFilter()
    low, high = _PIXELS_OF[label]
    return VideoFilter(min_pixels=low, max_pixels=high)


def _root(answer: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(answer, parser)
    except etree.XMLSyntaxError as error:
        raise KeySourceRefusedError(f"the key server's answer is no XML: {error}") from error
    if root.tag != _ROOT_TAG:
        raise KeySourceRefusedError("the key server's answer is XML, but no CPIX document")
    # Comments would be taken for elements by the library.
    etree.strip_tags(root, etree.Comment, etree.ProcessingInstruction)
    return root


def _value(
    found: ContentKey | None, key: KeptKey, scheme: CopyScheme, opened: Mapping[str, bytes] | None
) -> bytes:
    what = f"the key {key.key_id} ({key.label})"
    if found is None:
        raise KeySourceRefusedError(
            f"the key server's answer holds no key {key.key_id} ({key.label}), which was asked for"
        )
    if found.common_encryption_scheme != scheme:
        raise KeySourceRefusedError(
            f"the key server answered with the scheme {found.common_encryption_scheme} for {key.key_id}; "
            f"{scheme} was asked for"
        )
    if opened is not None:
        return _of_length(opened.get(key.key_id, b""), what)
    if found.value_mac is not None:
        raise KeySourceRefusedError(
            "the key server encrypts its keys, which was not asked for; name "
            "SHOWRUNNER_SPEKE_CERTIFICATE_FILE and SHOWRUNNER_SPEKE_PRIVATE_KEY_FILE, or let it deliver them "
            "plain over HTTPS"
        )
    return _sixteen_bytes(found.cek, what)


def _sixteen_bytes(text: str | bytes | None, what: str) -> bytes:
    return _of_length(b"" if text is None else _decoded(text, what), what)


def _of_length(value: bytes, what: str) -> bytes:
    if len(value) != KEY_BYTES:
        raise KeySourceRefusedError(
            f"the key server's answer is wrong: {what} has {len(value)} bytes instead of {KEY_BYTES}"
        )
    return value


def _decoded(text: str | bytes, what: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except ValueError:
        # The text may be the key itself, so it is not quoted.
        raise KeySourceRefusedError(f"the key server's answer is wrong: {what} is no base64") from None


def _signalling(
    document: CPIX, root: etree._Element, keys: tuple[KeptKey, ...], systems: tuple[System, ...]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """PSSH boxes in hex, and FairPlay's address by key id."""
    filled = {(item.kid.hex, item.system_id.hex): item for item in document.drm_systems}
    boxes: list[str] = []
    uris: dict[str, str] = {}
    for key in keys:
        for system in systems:
            item = filled.get((key.key_id, SYSTEM_IDS[system]))
            if item is None:
                raise KeySourceRefusedError(f"the key server left out {system} for the key {key.key_id}")
            if system == "fairplay":
                uris[key.key_id] = _fairplay_uri(item, root, key.key_id)
            else:
                boxes.append(_box(item, system, key.key_id))
    return tuple(dict.fromkeys(boxes)), uris


def _box(item: DRMSystem, system: System, key_id: str) -> str:
    what = f"the PSSH of {system} for the key {key_id}"
    box = _decoded(item.pssh or "", what)
    try:
        parsed = parse_pssh(box)
    except ValueError as error:
        raise KeySourceRefusedError(f"the key server's answer is wrong: {what}: {error}") from error
    if any(part.system != system for part in parsed):
        raise KeySourceRefusedError(f"the key server's answer is wrong: {what} belongs to another system")
    if not any(key_id in part.key_ids for part in parsed):
        raise KeySourceRefusedError(f"the key server's answer is wrong: {what} does not mention that key")
    return box.hex()


def _fairplay_uri(item: DRMSystem, root: etree._Element, key_id: str) -> str:
    """SPEKE 2 writes a playlist line; older servers an element of its own."""
    what = f"the FairPlay address of the key {key_id}"
    line = _decoded(item.hls_signaling_data or "", what).decode("utf-8", "replace")
    found = _HLS_URI.search(line)
    uri = found.group(1) if found else _uri_element(root, key_id, what)
    if not _FAIRPLAY_URI.fullmatch(uri):
        raise KeySourceRefusedError(
            f"the key server's answer is wrong: {what} is missing or no skd:// address"
        )
    return uri


def _uri_element(root: etree._Element, key_id: str, what: str) -> str:
    for element in root.iter(_URI_TAG):
        parent = element.getparent()
        owner = "" if parent is None else str(parent.get("kid", "")).replace("-", "").lower()
        if owner == key_id:
            return _decoded(element.text or "", what).decode("utf-8", "replace").strip()
    return ""


def _uuid(key_id: str) -> str:
    return "-".join((key_id[:8], key_id[8:12], key_id[12:16], key_id[16:20], key_id[20:]))
