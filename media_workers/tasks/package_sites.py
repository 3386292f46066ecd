"""Where a package lies: a folder, or a web address. Both are only read, and within bounds."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from media_workers.media.presentation import resolve, suffix_of

MIB = 1 << 20
FILES_MAX = 500_000
REQUEST_SECONDS_MAX = 30.0
ADDRESS_SCHEMES = ("http", "https")
_MANIFESTS = (".m3u8", ".mpd")
# Where players expect a package whose address is a folder.
_USUAL = ("master.m3u8", "manifest.mpd")
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")


class SiteError(Exception):
    """The place itself cannot be read; the sentence says why and what to do."""


class FileFacts:
    """Some bytes of a file, and what is known of the whole of it."""

    __slots__ = ("content", "content_type", "size")

    def __init__(self, content: bytes, size: int, content_type: str | None) -> None:
        self.content, self.size, self.content_type = content, size, content_type


class Site(Protocol):
    """A place with a package in it. Paths are as `presentation.resolve` makes them."""

    name: str

    def entries(self) -> list[str]:
        """The manifests to begin with."""
        ...

    def files(self) -> frozenset[str] | None:
        """Every file there; None where nobody can tell."""
        ...

    def read(self, path: str, *, offset: int = 0, length: int) -> FileFacts | None:
        """At most `length` bytes from `offset` on; None when there is no such file."""
        ...


class LocalFolder:
    """A package in a folder.

    Args:
        folder: the folder.
        entry: one manifest to begin with, relative to it; else all that lie in it directly.
    """

    def __init__(self, folder: Path, entry: str | None = None) -> None:
        self.folder = folder.resolve()
        self.name = str(folder)
        self._entry = entry

    def close(self) -> None:
        """Nothing is held open."""

    def entries(self) -> list[str]:
        if self._entry is not None:
            return [self._entry]
        found = sorted(
            item.name
            for item in self.folder.iterdir()
            if item.is_file() and suffix_of(item.name) in _MANIFESTS
        )
        # A master names the playlists beside it, which need no look of their own.
        masters = [name for name in found if name.endswith(".mpd") or _is_master(self.folder / name)]
        return masters or found

    def files(self) -> frozenset[str] | None:
        if self._entry is not None:
            return None
        found: set[str] = set()
        for path in self.folder.rglob("*"):
            if path.is_file():
                found.add(path.relative_to(self.folder).as_posix())
            if len(found) > FILES_MAX:
                raise SiteError(
                    f"{self.name} has more than {FILES_MAX} files; name the folder of one package"
                )
        return frozenset(found)

    def read(self, path: str, *, offset: int = 0, length: int) -> FileFacts | None:
        place = self.folder / path
        if not place.resolve().is_relative_to(self.folder) or not place.is_file():
            return None
        return _read(place, offset, length)


class StoredFiles:
    """A package whose files are kept apart, as artefacts are.

    Args:
        name: what it is called in sentences.
        files: the local file of each path of the package.
    """

    def __init__(self, name: str, files: Mapping[str, Path]) -> None:
        self.name = name
        self._files = files

    def entries(self) -> list[str]:
        return sorted(path for path in self._files if "/" not in path and suffix_of(path) in _MANIFESTS)

    def files(self) -> frozenset[str] | None:
        return frozenset(self._files)

    def read(self, path: str, *, offset: int = 0, length: int) -> FileFacts | None:
        place = self._files.get(path)
        return None if place is None else _read(place, offset, length)


class WebSite:
    """A package behind a web address.

    Args:
        url: of a manifest, or of a folder with a `master.m3u8` or `manifest.mpd` in it.
        client: for tests; else one of its own, which `close` ends.
    """

    def __init__(self, url: str, client: httpx.Client | None = None) -> None:
        self.name = url
        self._client = client or httpx.Client(timeout=REQUEST_SECONDS_MAX, follow_redirects=True)

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def entries(self) -> list[str]:
        if suffix_of(self.name) in _MANIFESTS:
            return [self.name]
        if not self.name.endswith("/") and suffix_of(self.name):
            # Some addresses do not say what they are; what is served does.
            return [self.name]
        base = self.name if self.name.endswith("/") else f"{self.name}/"
        return [url for name in _USUAL if self.read(url := resolve(base, name), length=1) is not None]

    def files(self) -> frozenset[str] | None:
        return None

    def read(self, path: str, *, offset: int = 0, length: int) -> FileFacts | None:
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            with self._client.stream("GET", path, headers=wanted) as answer:
                if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return FileFacts(b"", 0, answer.headers.get("content-type", ""))
                if answer.status_code >= httpx.codes.BAD_REQUEST:
                    return None
                whole = answer.status_code != httpx.codes.PARTIAL_CONTENT
                content = b"".join(_bounded(answer.iter_bytes(), length + (offset if whole else 0)))
                size = _size(answer, len(content))
                kind = answer.headers.get("content-type", "")
                return FileFacts(content[offset:][:length] if whole else content[:length], size, kind)
        except httpx.InvalidURL as error:
            raise SiteError(f"{path} is no web address: {error}") from error
        except httpx.HTTPError as error:
            raise SiteError(f"{path} cannot be fetched: {str(error) or type(error).__name__}") from error


def open_site(place: str) -> LocalFolder | WebSite:
    """The site that a command line names.

    Raises:
        SiteError: it is neither a folder, nor a manifest, nor a web address.
    """
    if urlsplit(place).scheme in ADDRESS_SCHEMES:
        return WebSite(place)
    path = Path(place)
    if path.is_dir():
        return LocalFolder(path)
    if path.is_file() and suffix_of(path.name) in _MANIFESTS:
        return LocalFolder(path.parent, path.name)
    if path.is_file():
        raise SiteError(f"{place} is no manifest; name an .m3u8, an .mpd, or the folder of a package")
    raise SiteError(f"there is no {place}; name a folder, a manifest or an http(s) address")


def _read(place: Path, offset: int, length: int) -> FileFacts:
    try:
        with place.open("rb") as file:
            file.seek(offset)
            return FileFacts(file.read(length), place.stat().st_size, None)
    except OSError as error:
        raise SiteError(f"{place} cannot be read: {error.strerror}") from error


def _is_master(path: Path) -> bool:
    with path.open("rb") as file:
        return b"#EXT-X-STREAM-INF" in file.read(MIB)


def _bounded(blocks: Iterator[bytes], length: int) -> Iterator[bytes]:
    left = length
    for block in blocks:
        yield block[:left]
        left -= len(block)
        if left <= 0:
            return


def _size(answer: httpx.Response, read: int) -> int:
    total = _TOTAL.fullmatch(answer.headers.get("content-range", ""))
    if total:
        return int(total.group(1))
    length: str = answer.headers.get("content-length", "")
    return int(length) if length.isdecimal() and "content-encoding" not in answer.headers else read
