"""What manifests list, as values: streams of segments, whether HLS or DASH says so."""

import posixpath
import re
from typing import Literal
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

Kind = Literal["video", "audio", "text", "image"]
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a package, or a range of it in bytes. `path` is relative to the package, or a URL."""

    path: str
    offset: int | None = None
    length: int | None = None

    @property
    def key(self) -> str:
        """Names the part among all parts of a package."""
        return self.path if self.offset is None else f"{self.path}@{self.offset}+{self.length}"


class KeyLine(msgspec.Struct, frozen=True, kw_only=True):
    """One way to get a key: HLS's EXT-X-KEY, or DASH's ContentProtection.

    Attributes:
        system: system id with hyphens, "fairplay", "identity", or "" where only the scheme is named.
        scheme: "cbcs", "cenc", or "aes-128".
        key_id: 32 lower-case hex digits, None where not said.
        uri: where players ask for it.
    """

    system: str
    scheme: str
    key_id: str | None = None
    uri: str | None = None


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One listed segment; `keys` is empty for one in the clear."""

    ref: Ref
    seconds: float
    init: Ref | None = None
    keys: tuple[KeyLine, ...] = ()


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One listed stream of one manifest.

    Attributes:
        subject: what findings call it: the playlist's path, or "manifest.mpd#ID".
        manifest: path of the manifest or playlist that lists it.
        protocol: whose rules hold.
        kind: None where the manifest does not say.
        codecs: as listed, empty where not said.
        keys: of a DASH adaptation set, for all of its segments.
        index: where the `sidx` of a single-file stream lies, which lists its segments.
    """

    subject: str
    manifest: str
    protocol: Literal["hls", "dash"]
    segments: tuple[Segment, ...]
    kind: Kind | None = None
    codecs: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    frame_rate: float | None = None
    video_range: str | None = None
    language: str | None = None
    bandwidth: int | None = None
    average_bandwidth: int | None = None
    target_seconds: float | None = None
    ended: bool = True
    iframes_only: bool = False
    keys: tuple[KeyLine, ...] = ()
    mime_type: str = ""
    roles: tuple[str, ...] = ()
    init: Ref | None = None
    index: Ref | None = None

    @property
    def seconds(self) -> float:
        """The sum of the listed durations."""
        return sum(segment.seconds for segment in self.segments)


def resolve(base: str, uri: str) -> str:
    """The path or URL that a manifest at `base` means by `uri`."""
    if _SCHEME.match(base):
        return urljoin(base, uri)
    if _SCHEME.match(uri):
        return uri
    path = unquote(urlsplit(uri).path)
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), path))


def suffix_of(path: str) -> str:
    """The lower-case ending of a path or URL, with its dot; empty when there is none."""
    name = posixpath.basename(urlsplit(path).path)
    return name[name.rfind(".") :].lower() if "." in name else ""
