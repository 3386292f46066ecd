"""Reads a package as the validator needs it: manifests, boxes and sizes, never whole films."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from media_workers.media.check_expected import Evidence, PublishedFile
from media_workers.media.check_files import PUBLISH_MANIFEST
from media_workers.media.check_rules import finding
from media_workers.media.dash import Manifest, read_mpd, with_index
from media_workers.media.hls import Master, is_master, read_master, read_playlist
from media_workers.media.key_search import contains_key
from media_workers.media.mp4 import InitFacts, SegmentFacts, init_facts, segment_facts, segment_index
from media_workers.media.presentation import Kind, Ref, Segment, Stream, suffix_of
from media_workers.media.verify import Finding
from media_workers.tasks.package_sites import MIB, Site

MANIFEST_BYTES_MAX = 32 * MIB
INIT_BYTES_MAX = 4 * MIB
# The boxes before the pictures; where they are longer, the segment is read again up to the other bound.
HEAD_BYTES = 64 * 1024
SEGMENT_BYTES_MAX = 256 * MIB
TEXT_BYTES_MAX = 4 * MIB
READS_AT_ONCE = 8
_KINDS: dict[str, Kind] = {"AUDIO": "audio", "SUBTITLES": "text", "VIDEO": "video"}


class _Published(msgspec.Struct, frozen=True):
    files: tuple[PublishedFile, ...]


class _Gathered:
    """What has been read so far."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.broken: list[Finding] = []
        self.masters: list[Master] = []
        self.playlists: dict[str, Stream] = {}
        self.manifests: list[Manifest] = []
        self.sizes: dict[str, int] = {}
        self.types: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}

    def read(self, path: str, *, offset: int = 0, length: int) -> bytes | None:
        found = self.site.read(path, offset=offset, length=length)
        if found is None:
            return None
        self.sizes[path] = found.size
        if found.content_type is not None:
            self.types[path] = found.content_type
        return found.content

    def text(self, path: str) -> str | None:
        """A manifest's text; a finding and None when there is none."""
        content = self.read(path, length=MANIFEST_BYTES_MAX)
        if content is None:
            self.broken.append(finding("manifest_missing", path, "the manifest does not exist"))
            return None
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            self.broken.append(finding("manifest_invalid", path, "it is not UTF-8"))
            return None


def read_package(
    site: Site,
    *,
    keys: Sequence[bytes] | None = None,
    published: tuple[PublishedFile, ...] | None = None,
) -> Evidence:
    """Read a package.

    Args:
        site: where it lies.
        keys: content keys to look for in every file, where they must not be.
        published: what every file should be; None reads it from the place's own publish manifest.

    Raises:
        SiteError: the place itself cannot be read.
    """
    gathered = _Gathered(site)
    for entry in site.entries():
        _read_entry(gathered, entry)
    streams = [
        *gathered.playlists.values(),
        *(stream for manifest in gathered.manifests for stream in (*manifest.streams, *manifest.images)),
    ]
    inits = _read_inits(gathered, streams)
    segments, texts = _read_segments(gathered, streams, inits)
    files = site.files()
    if published is None and files and PUBLISH_MANIFEST in files:
        published = _published(gathered)
    return Evidence(
        place=site.name,
        broken=tuple(gathered.broken),
        masters=tuple(gathered.masters),
        playlists=gathered.playlists,
        manifests=tuple(gathered.manifests),
        sizes=gathered.sizes,
        content_types=gathered.types,
        inits=inits,
        segments=segments,
        unreadable=gathered.unreadable,
        texts=texts,
        files=files,
        published=published,
        hashes=_hashes(site, [item.path for item in published or ()]),
        leaks=_leaks(site, files, keys) if keys is not None and files is not None else None,
    )


def _read_entry(gathered: _Gathered, path: str) -> None:
    text = gathered.text(path)
    if text is None:
        return
    try:
        if not text.lstrip("\ufeff").startswith("#EXTM3U") and suffix_of(path) != ".m3u8":
            manifest = read_mpd(text, path)
            streams = tuple(_indexed(gathered, stream) for stream in manifest.streams)
            gathered.manifests.append(msgspec.structs.replace(manifest, streams=streams))
        elif is_master(text):
            master = read_master(path, text)
            gathered.masters.append(master)
            _read_playlists(gathered, master)
        else:
            gathered.playlists[path] = read_playlist(path, text)
    except ValueError as error:
        gathered.broken.append(finding("manifest_invalid", path, str(error)))


def _read_playlists(gathered: _Gathered, master: Master) -> None:
    kinds: dict[str, Kind | None] = {}
    for line in master.renditions:
        if line.path:
            kinds.setdefault(line.path, _KINDS.get(line.kind))
    for variant in (*master.variants, *master.iframes):
        kinds.setdefault(variant.path, "video" if variant.width else None)
    for path, kind in kinds.items():
        text = gathered.text(path) if path not in gathered.playlists else None
        if text is None:
            continue
        try:
            gathered.playlists[path] = read_playlist(path, text, kind=kind)
        except ValueError as error:
            gathered.broken.append(finding("manifest_invalid", path, str(error)))


def _indexed(gathered: _Gathered, stream: Stream) -> Stream:
    """A single-file stream with the segments of its index."""
    if stream.index is None or stream.segments:
        return stream
    ref = stream.index
    content = gathered.read(ref.path, offset=ref.offset or 0, length=ref.length or INIT_BYTES_MAX)
    if content is None:
        gathered.broken.append(
            finding("segment_missing", ref.path, f"listed in {stream.manifest}, not there")
        )
        return stream
    try:
        return with_index(stream, segment_index(content, file_offset=ref.offset or 0))
    except ValueError as error:
        gathered.broken.append(finding("segment_unreadable", ref.path, str(error)))
        return stream


def _read_inits(gathered: _Gathered, streams: Iterable[Stream]) -> dict[str, InitFacts]:
    found: dict[str, InitFacts] = {}
    refs = {ref.key: ref for stream in streams for ref in _inits(stream)}
    for ref in refs.values():
        content = gathered.read(ref.path, offset=ref.offset or 0, length=ref.length or INIT_BYTES_MAX)
        if not content:
            continue
        try:
            found[ref.key] = init_facts(content)
        except ValueError as error:
            gathered.unreadable[ref.key] = str(error)
    return found


def _inits(stream: Stream) -> list[Ref]:
    return [segment.init for segment in stream.segments if segment.init] or (
        [stream.init] if stream.init else []
    )


def _read_segments(
    gathered: _Gathered, streams: Iterable[Stream], inits: dict[str, InitFacts]
) -> tuple[dict[str, SegmentFacts], dict[str, str]]:
    facts: dict[str, SegmentFacts] = {}
    texts: dict[str, str] = {}
    wanted: dict[str, tuple[Segment, bool]] = {}
    for stream in streams:
        for segment in stream.segments:
            # A keyframe's range is no segment; only that it lies inside its file is looked at.
            wanted.setdefault(segment.ref.key, (segment, not stream.iframes_only))

    def read(item: tuple[Segment, bool]) -> None:
        segment, whole = item
        ref = segment.ref
        init = inits.get(segment.init.key) if segment.init else None
        if suffix_of(ref.path) == ".vtt":
            content = gathered.read(ref.path, length=TEXT_BYTES_MAX)
            if content is not None:
                texts[ref.path] = content.decode("utf-8", errors="replace").lstrip("\ufeff")
        elif init is None or not whole:
            if ref.path not in gathered.sizes:
                gathered.read(ref.path, length=1)
        else:
            _read_boxes(gathered, ref, init, facts)

    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        for _ in pool.map(read, wanted.values()):
            pass
    return facts, texts


def _read_boxes(gathered: _Gathered, ref: Ref, init: InitFacts, facts: dict[str, SegmentFacts]) -> None:
    """The boxes of one segment; the whole of it only where its pictures lie between its boxes."""
    length = ref.length or SEGMENT_BYTES_MAX
    head = gathered.read(ref.path, offset=ref.offset or 0, length=min(HEAD_BYTES, length))
    if not head:
        return
    size = min(length, gathered.sizes[ref.path] - (ref.offset or 0))
    try:
        if len(head) < size and not _ends_in_media(head, size):
            head = gathered.read(ref.path, offset=ref.offset or 0, length=size) or head
        facts[ref.key] = segment_facts(head, init)
    except ValueError as error:
        gathered.unreadable[ref.key] = str(error)


def _ends_in_media(head: bytes, size: int) -> bool:
    """Whether the first `mdat` box, whose beginning is in the head, goes to the segment's end."""
    offset = 0
    while offset + 8 <= len(head):
        length, kind = int.from_bytes(head[offset : offset + 4], "big"), head[offset + 4 : offset + 8]
        if kind == b"mdat":
            return offset + length >= size
        if length < 8:
            return False
        offset += length
    return False


def _published(gathered: _Gathered) -> tuple[PublishedFile, ...] | None:
    found = gathered.site.read(PUBLISH_MANIFEST, length=MANIFEST_BYTES_MAX)
    try:
        return msgspec.json.decode(found.content, type=_Published).files if found else None
    except msgspec.MsgspecError as error:
        gathered.broken.append(finding("manifest_invalid", PUBLISH_MANIFEST, f"no publish manifest: {error}"))
        return None


def _hashes(site: Site, paths: Iterable[str]) -> dict[str, str]:
    found = {}
    for path in paths:
        digest = hashlib.sha256()
        if _each_block(site, path, digest.update):
            found[path] = digest.hexdigest()
    return found


def _each_block(site: Site, path: str, take: Callable[[bytes], object]) -> bool:
    offset = 0
    while True:
        part = site.read(path, offset=offset, length=MIB)
        if part is None:
            return False
        if not part.content:
            return True
        take(part.content)
        offset += len(part.content)


def _leaks(site: Site, files: frozenset[str], keys: Sequence[bytes]) -> tuple[str, ...]:
    found = []
    for path in sorted(files):
        part = site.read(path, length=SEGMENT_BYTES_MAX)
        if part is not None and contains_key(part.content, keys):
            found.append(path)
    return tuple(found)
