"""Rule 13: what is called encrypted is so, with the scheme and key that every manifest names."""

import math
from collections import defaultdict
from collections.abc import Iterator

from media_workers.media.check_expected import Evidence, Expectation
from media_workers.media.check_rules import finding
from media_workers.media.mp4 import InitFacts
from media_workers.media.presentation import KeyLine, Segment, Stream
from media_workers.media.protection import SYSTEM_IDS, CopyScheme, ProtectionPlan
from media_workers.media.verify import Finding

# FairPlay's keys are asked for by the playlist alone: no box, no line in DASH.
_IN_BOXES = ("widevine", "playready")


def check_encryption(evidence: Evidence, expected: Expectation) -> Iterator[Finding]:
    """Encryption of every stream, and of the package as a whole."""
    for stream in evidence.streams:
        init = evidence.init_of(stream)
        if init is None or init.kind not in ("vide", "soun"):
            continue
        yield from _check_segments(evidence, expected, stream, init)
        yield from _check_names(stream, init)
        if expected.protection is not None and init.scheme in ("cenc", "cbcs"):
            yield from _check_systems(expected.protection, stream, init)
        if expected.protection is not None and init.scheme is None:
            yield finding("encryption_missing", stream.subject, "it is planned to be encrypted, and is not")
    yield from _check_addresses(evidence)
    for path in evidence.leaks or ():
        yield finding("key_published", path, "it contains a content key; withdraw the package and its keys")


def _check_segments(
    evidence: Evidence, expected: Expectation, stream: Stream, init: InitFacts
) -> Iterator[Finding]:
    facts = evidence.facts_of(stream)
    signalled = [bool(_keys(stream, segment)) for segment, _ in facts]
    encrypted = [init.scheme is not None and fact.encrypted for _, fact in facts]
    if any(signalled) and not any(encrypted):
        yield finding("encryption_missing", stream.subject, "its manifest calls it encrypted, and it is not")
        return
    if any(encrypted) and not any(signalled):
        yield finding(
            "encryption_unsignalled", stream.subject, "it is encrypted, and its manifest has no keys"
        )
        return
    # DASH cannot say which segments are clear: a beginning may be, nothing after it.
    first = encrypted.index(True) if any(encrypted) else 0
    lead = _lead_segments(evidence, expected, stream)
    for number, ((segment, _), is_encrypted, is_signalled) in enumerate(
        zip(facts, encrypted, signalled, strict=True)
    ):
        wanted = is_signalled if stream.protocol == "hls" else any(encrypted) and number >= first
        if wanted and not is_encrypted:
            yield finding("encryption_missing", segment.ref.path, "it is in the clear")
            return
        if is_encrypted and not wanted:
            yield finding("encryption_unsignalled", segment.ref.path, "it is encrypted, and listed as clear")
            return
    if lead is not None and any(encrypted) and first > lead:
        yield finding(
            "encryption_missing", stream.subject, f"{first} segments are in the clear, planned are {lead}"
        )


def _lead_segments(evidence: Evidence, expected: Expectation, stream: Stream) -> int | None:
    """How many segments may be clear, as the lead is rounded up to whole ones; None without a plan."""
    if expected.protection is None:
        return None
    seconds = evidence.seconds_of(stream)
    if not seconds or not expected.protection.clear_lead_seconds:
        return 0
    return math.ceil(expected.protection.clear_lead_seconds / max(seconds) + 0.001)


def _check_names(stream: Stream, init: InitFacts) -> Iterator[Finding]:
    """Scheme and key id of each line against the boxes."""
    lines = {key for segment in stream.segments for key in _keys(stream, segment)}
    for key in sorted(lines, key=lambda line: (line.system, line.key_id or "")):
        if init.scheme is None or key.scheme == "aes-128":
            continue
        if key.scheme and key.scheme != init.scheme:
            yield finding(
                "scheme_mismatch", stream.subject, f"{key.scheme} listed, the boxes say {init.scheme}"
            )
            return
        if key.key_id and key.key_id != init.key_id:
            yield finding(
                "key_id_mismatch", stream.subject, f"{key.key_id} listed, the boxes say {init.key_id}"
            )
            return


def _check_systems(protection: ProtectionPlan, stream: Stream, init: InitFacts) -> Iterator[Finding]:
    copy: CopyScheme = "cbcs" if init.scheme == "cbcs" else "cenc"
    lines = {key.system for segment in stream.segments for key in _keys(stream, segment)}
    for system in protection.systems_of(copy) if lines else ():
        identifier = _hyphened(SYSTEM_IDS[system])
        in_manifest = "fairplay" in lines if system == "fairplay" else identifier in lines
        if (system != "fairplay" or stream.protocol == "hls") and not in_manifest:
            yield finding("drm_system_missing", stream.subject, f"its manifest does not name {system}")
            return
        if system in _IN_BOXES and identifier not in init.systems:
            yield finding("drm_system_missing", stream.subject, f"its boxes do not name {system}")
            return


def _check_addresses(evidence: Evidence) -> Iterator[Finding]:
    """FairPlay: each key has an address of its own, else one licence would be asked for two keys."""
    keys_of: dict[str, set[str]] = defaultdict(set)
    places: dict[str, str] = {}
    for stream in evidence.playlists.values():
        init = evidence.init_of(stream)
        for segment in stream.segments:
            for key in segment.keys:
                if key.system == "fairplay" and key.uri and init is not None and init.key_id:
                    keys_of[key.uri].add(init.key_id)
                    places.setdefault(key.uri, stream.subject)
    for uri, keys in keys_of.items():
        if len(keys) > 1:
            yield finding("key_uri_shared", places[uri], f"{uri} stands for {len(keys)} keys")


def _keys(stream: Stream, segment: Segment) -> tuple[KeyLine, ...]:
    return segment.keys or stream.keys


def _hyphened(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
