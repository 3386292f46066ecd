"""What the validator is given: the package as it was read, and what it should be."""

from collections.abc import Mapping

import msgspec

from media_workers.media.dash import Manifest
from media_workers.media.hls import Master
from media_workers.media.mp4 import InitFacts, SegmentFacts
from media_workers.media.plan import Plan
from media_workers.media.presentation import Segment, Stream
from media_workers.media.protection import ProtectionPlan
from media_workers.media.verify import Finding


class PublishedFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One line of a publish manifest."""

    path: str
    size: int
    sha256: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A package as it was read. Facts are by `Ref.key`, sizes and texts by path.

    Attributes:
        place: what it is called in sentences.
        broken: findings of reading itself: manifests that are missing or no manifests.
        playlists: HLS media playlists by path, with the kind their master gives them.
        sizes: bytes of each listed file that exists.
        content_types: what a server said of each file; empty for a folder.
        unreadable: why a segment's boxes could not be read.
        unknown_media: listed segments that are no MP4, whose insides nothing is known of.
        texts: WebVTT files.
        files: every file of the folder; None where a place cannot be listed.
        published: the publish manifest, where there is one.
        hashes: SHA-256 of the files that the publish manifest lists.
        leaks: files with a content key in them; None when no keys were looked for.
        ranges: VIDEO-RANGE of init segments by path, from a decoder, where the boxes do not say it.
    """

    place: str
    broken: tuple[Finding, ...] = ()
    masters: tuple[Master, ...] = ()
    playlists: Mapping[str, Stream] = {}
    manifests: tuple[Manifest, ...] = ()
    sizes: Mapping[str, int] = {}
    content_types: Mapping[str, str] = {}
    inits: Mapping[str, InitFacts] = {}
    segments: Mapping[str, SegmentFacts] = {}
    unreadable: Mapping[str, str] = {}
    unknown_media: frozenset[str] = frozenset()
    texts: Mapping[str, str] = {}
    files: frozenset[str] | None = None
    published: tuple[PublishedFile, ...] | None = None
    hashes: Mapping[str, str] = {}
    leaks: tuple[str, ...] | None = None
    ranges: Mapping[str, str] = {}

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every listed stream that has segments of its own: all but the keyframe playlists."""
        listed = [stream for stream in self.playlists.values() if not stream.iframes_only]
        return (*listed, *(stream for manifest in self.manifests for stream in manifest.streams))

    def init_of(self, stream: Stream) -> InitFacts | None:
        """Facts of a stream's first init segment."""
        ref = next((segment.init for segment in stream.segments if segment.init), stream.init)
        return self.inits.get(ref.key) if ref else None

    def facts_of(self, stream: Stream) -> list[tuple[Segment, SegmentFacts]]:
        """Each segment with its facts; empty unless all could be read."""
        found = [
            (segment, self.segments[segment.ref.key])
            for segment in stream.segments
            if segment.ref.key in self.segments
        ]
        return found if len(found) == len(stream.segments) else []

    def kind_of(self, stream: Stream) -> str | None:
        """What the stream holds: what its boxes say, else what its manifest says."""
        init = self.init_of(stream)
        said = {"vide": "video", "soun": "audio", "text": "text", "subt": "text"}
        return said.get(init.kind if init else "", stream.kind)

    def seconds_of(self, stream: Stream) -> list[float]:
        """The real length of each segment, from its boxes; the listed one where they could not be read."""
        init, facts = self.init_of(stream), self.facts_of(stream)
        if init is None or not facts:
            return [segment.seconds for segment in stream.segments]
        return [fact.duration_ticks / init.timescale for _, fact in facts]

    def bytes_of(self, segment: Segment) -> int | None:
        """Bytes of a segment; None when it is not there."""
        return segment.ref.length if segment.ref.length is not None else self.sizes.get(segment.ref.path)


class Loudness(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a sound track, and its target, both in LUFS."""

    measured: float
    target: float


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What a package should be; what is None is not known, and its rules are skipped.

    Attributes:
        plan: the title's plan.
        protection: how it is encrypted; None together with a plan means in the clear.
        texts: how many text tracks there are.
        decoded: by stream, what decoding its first, middle and last segment complained of ("" for nothing).
        loudness: by track.
        quality: by rendition to be judged, whether it passed; a missing verdict is None.
        playback: what a browser complained of ("" for nothing).
    """

    plan: Plan | None = None
    protection: ProtectionPlan | None = None
    texts: int | None = None
    decoded: Mapping[str, str] | None = None
    loudness: Mapping[str, Loudness] | None = None
    quality: Mapping[str, bool | None] | None = None
    playback: str | None = None
