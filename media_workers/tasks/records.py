"""What travels between the tasks of one title, as JSON in their inputs and outputs.

Nothing large: files are named by storage key, size and hash.
"""

from media_workers.sdk import Record
from media_workers.storage import Artefact


class FileRef(Record, frozen=True, kw_only=True):
    """A stored file.

    Attributes:
        key: storage key.
        size: bytes.
        sha256: of the content, lower-case hex.
    """

    key: str
    size: int
    sha256: str


class Provenance(Record, frozen=True, kw_only=True):
    """How an artefact came to be.

    Attributes:
        argv: the command, with our paths replaced by SOURCE and TARGET.
        tools: version line by tool.
        worker: who made it.
        inputs: hashes of what it was made from.
    """

    argv: tuple[str, ...]
    tools: dict[str, str]
    worker: str
    inputs: tuple[str, ...]
    cpu_seconds: float
    wall_seconds: float


class EncodedVideo(Record, frozen=True, kw_only=True):
    """One finished rendition; the bitrate is in bits per second."""

    rendition: str
    codec: str
    width: int
    height: int
    frame_rate: str
    frames: int
    duration_seconds: float
    average_bitrate: int
    encode_seconds: float
    provenance: Provenance


class EncodedAudio(Record, frozen=True, kw_only=True):
    """One finished sound track; loudness is None when it was left alone."""

    track: str
    codec: str
    language: str
    channels: int
    duration_seconds: float
    average_bitrate: int
    loudness_lufs: float | None
    provenance: Provenance


class Stills(Record, frozen=True, kw_only=True):
    """Names of the poster, the storyboard and its sheets inside their artefact; how the sheets were made."""

    poster: str
    storyboard: str
    sheets: tuple[str, ...]
    provenance: Provenance


class Package(Record, frozen=True, kw_only=True):
    """A finished HLS + DASH package: names of the manifests inside its artefact, and what it holds."""

    hls: str
    dash: str
    files: int
    size: int
    provenance: Provenance


def file_ref(artefact: Artefact, path: str) -> FileRef:
    """A reference to one file of an artefact."""
    file = next(file for file in artefact.files if file.path == path)
    return FileRef(key=artefact.key(path), size=file.size, sha256=file.sha256)


class Branch(Record, frozen=True, kw_only=True):
    """What any branch of the fork answers, and what a join hands on: exactly one of the three is there."""

    video: EncodedVideo | None = None
    audio: EncodedAudio | None = None
    stills: Stills | None = None
    file: FileRef | None = None
    artefact: str | None = None
    reused: bool = False
