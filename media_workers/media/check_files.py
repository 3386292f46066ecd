"""Rules 1 and 20: what is listed exists, and what exists is listed."""

from collections.abc import Iterator

from media_workers.media.check_expected import Evidence
from media_workers.media.check_rules import finding
from media_workers.media.presentation import Ref, suffix_of
from media_workers.media.verify import Finding

# What servers are known to call each kind of file; parameters after a semicolon do not matter.
TYPES_OF: dict[str, frozenset[str]] = {
    ".m3u8": frozenset(
        {"application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"}
    ),
    ".mpd": frozenset({"application/dash+xml"}),
    ".mp4": frozenset({"video/mp4", "audio/mp4", "application/mp4", "video/iso.segment"}),
    ".m4s": frozenset(
        {"video/iso.segment", "audio/iso.segment", "video/mp4", "audio/mp4", "application/mp4"}
    ),
    ".m4a": frozenset({"audio/mp4"}),
    ".m4v": frozenset({"video/mp4"}),
    ".cmfv": frozenset({"video/mp4"}),
    ".cmfa": frozenset({"audio/mp4"}),
    ".ts": frozenset({"video/mp2t"}),
    ".aac": frozenset({"audio/aac"}),
    ".vtt": frozenset({"text/vtt"}),
    ".jpg": frozenset({"image/jpeg"}),
}
PUBLISH_MANIFEST = "manifest.json"
# What lies beside a package by design: the pictures and the publish manifest.
BESIDE = ("poster", "storyboard", "sprite-")


def check_listed(evidence: Evidence) -> Iterator[Finding]:
    """Every listed file exists, has something in it, and its range lies inside it."""
    missing: set[str] = set()
    for ref, manifest in _listed(evidence).values():
        size = evidence.sizes.get(ref.path)
        if ref.path in missing:
            continue
        if size is None:
            missing.add(ref.path)
            yield finding("segment_missing", ref.path, f"listed in {manifest}, and it does not exist")
        elif size == 0:
            yield finding("segment_empty", ref.path, f"listed in {manifest}, and it is empty")
        elif ref.offset is not None and ref.offset + (ref.length or 0) > size:
            yield finding(
                "segment_empty",
                ref.path,
                f"{manifest} lists bytes up to {ref.offset + (ref.length or 0)}, the file has {size}",
            )
        elif ref.key in evidence.unreadable:
            yield finding("segment_unreadable", ref.path, evidence.unreadable[ref.key])


def check_content_types(evidence: Evidence) -> Iterator[Finding]:
    """Files are served as what they are."""
    for path, said in evidence.content_types.items():
        known = TYPES_OF.get(suffix_of(path))
        if known and said.split(";")[0].strip().lower() not in known:
            yield finding("content_type_wrong", path, f"served as {said or 'nothing'}, expected {min(known)}")


def check_strays(evidence: Evidence) -> Iterator[Finding]:
    """Nothing lies in the folder that no manifest lists."""
    # Where a manifest cannot be read, what it would list is not known.
    if evidence.files is None or evidence.broken:
        return
    known = {ref.path for ref, _ in _listed(evidence).values()} | set(evidence.playlists)
    known |= {master.path for master in evidence.masters} | {manifest.path for manifest in evidence.manifests}
    known |= {item.path for item in evidence.published or ()} | {PUBLISH_MANIFEST}
    for path in sorted(evidence.files - known):
        if not path.startswith(BESIDE):
            yield finding("file_stray", path, "no manifest lists it")


def check_published(evidence: Evidence) -> Iterator[Finding]:
    """Every file of the publish manifest is there, as it was published."""
    for item in evidence.published or ():
        real = evidence.hashes.get(item.path)
        if real is None:
            yield finding("file_changed", item.path, "the publish manifest lists it, and it does not exist")
        elif real != item.sha256:
            yield finding("file_changed", item.path, "its content is not what was published")


def _listed(evidence: Evidence) -> dict[str, tuple[Ref, str]]:
    """Each listed part once, with a manifest that lists it."""
    found: dict[str, tuple[Ref, str]] = {}
    images = [stream for manifest in evidence.manifests for stream in manifest.images]
    for stream in (*evidence.playlists.values(), *evidence.streams, *images):
        for segment in stream.segments:
            for ref in (segment.init, segment.ref):
                if ref is not None:
                    found.setdefault(ref.key, (ref, stream.manifest))
    return found
