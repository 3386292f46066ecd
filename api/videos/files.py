"""The media folder as the server uses it: sources it writes, published files, and what it removes."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

SOURCE_NAME = "input.bin"  # never the uploader's own name
PART_SUFFIX = ".part"
MANIFEST_NAME = "manifest.json"
MANIFEST_BYTES_MAX = 64 * 1024 * 1024

_VIDEO_FOLDERS = ("sources", "artefacts", "published")
# One path part that can be served; what starts with a dot is still being written.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}")

CONTENT_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".mp4": "video/mp4",
    ".m4s": "video/iso.segment",
    ".m4v": "video/mp4",
    ".m4a": "audio/mp4",
    ".cmfv": "video/mp4",
    ".cmfa": "audio/mp4",
    ".ts": "video/mp2t",
    ".aac": "audio/aac",
    ".vtt": "text/vtt; charset=utf-8",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".json": "application/json",
}
MANIFEST_SUFFIXES = frozenset({".m3u8", ".mpd"})


def content_type(path: str) -> str:
    """What a published file is served as."""
    suffix = Path(path).suffix.lower()
    return CONTENT_TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"


class MediaFolder:
    """sources/VIDEO/input.bin, artefacts/VIDEO/KEY/ and published/VIDEO/VERSION/ below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def prepare(self) -> None:
        """Create the folders; raises OSError when that is not possible."""
        for name in _VIDEO_FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def source_key(self, video_id: str) -> str:
        return f"sources/{video_id}/{SOURCE_NAME}"

    def source(self, video_id: str) -> Path:
        return self.root / self.source_key(video_id)

    def part(self, video_id: str) -> Path:
        """Where an upload is written until it is whole."""
        return self.source(video_id).with_name(SOURCE_NAME + PART_SUFFIX)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    def reveal(self, video_id: str) -> None:
        """Give a finished upload its name; done already is fine.

        Raises:
            OSError: there is no upload, or the disk refuses.
        """
        source, part = self.source(video_id), self.part(video_id)
        if not part.exists() and source.exists():
            return
        part.replace(source)
        _flush_folder(source.parent)
        _flush_folder(source.parent.parent)

    def drop_part(self, video_id: str) -> None:
        """Remove an upload that will not be finished."""
        self.part(video_id).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.source(video_id).parent.rmdir()

    def parts(self) -> list[str]:
        """Video ids of the uploads that are not finished."""
        return [
            path.parent.name
            for path in (self.root / "sources").glob(f"*/{SOURCE_NAME}{PART_SUFFIX}")
            if path.is_file()
        ]

    def documents(self, keys: Iterable[str]) -> list[Any]:
        """JSON files by their storage keys; what is gone or unreadable is left out."""
        found = []
        for key in keys:
            path = self.root.joinpath(*key.split("/"))
            if not all(_PART.fullmatch(part) for part in key.split("/")) or path.resolve() != path:
                continue
            with contextlib.suppress(msgspec.DecodeError, OSError):
                if path.stat().st_size <= MANIFEST_BYTES_MAX:
                    found.append(msgspec.json.decode(path.read_bytes()))
        return found

    def sources_of(self, prefix: str) -> list[str]:
        """Ids beginning so of which a source is here."""
        return [path.name for path in (self.root / "sources").glob(f"{prefix}*") if path.is_dir()]

    def remove(self, video_id: str) -> None:
        """Remove everything of a video; what is not there is fine."""
        for name in _VIDEO_FOLDERS:
            shutil.rmtree(self.root / name / video_id, ignore_errors=True)

    def published(self, video_id: str, version: str, path: str) -> Path | None:
        """The published file of that address; None: unknown, hidden, a link, or an attempt to climb out."""
        parts = [video_id, version, *path.split("/")]
        if not all(_PART.fullmatch(part) for part in parts):
            return None
        found = self.root.joinpath("published", *parts)
        # A link inside a published folder could name any file of the machine.
        return found if found.is_file() and found.resolve() == found else None

    def published_files(self, video_id: str, version: str) -> list[dict[str, Any]]:
        """The publish manifest's entries, sorted by path; from the folder itself when it has no manifest."""
        manifest = self.published(video_id, version, MANIFEST_NAME)
        entries: list[dict[str, Any]] = []
        if manifest is not None and manifest.stat().st_size <= MANIFEST_BYTES_MAX:
            with contextlib.suppress(msgspec.DecodeError, OSError):
                document = msgspec.json.decode(manifest.read_bytes())
                listed = document.get("files") if isinstance(document, dict) else document
                entries = [entry for entry in listed or [] if isinstance(entry, dict) and "path" in entry]
        if not entries:
            entries = self._walk(video_id, version)
        return sorted(entries, key=lambda entry: str(entry["path"]))

    def _walk(self, video_id: str, version: str) -> list[dict[str, Any]]:
        base = self.root / "published" / video_id / version
        if not (_PART.fullmatch(video_id) and _PART.fullmatch(version) and base.is_dir()):
            return []
        return [
            {"path": path.relative_to(base).as_posix(), "size": path.stat().st_size}
            for path in base.rglob("*")
            if path.is_file() and not path.is_symlink()
        ]


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
