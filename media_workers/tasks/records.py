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
        argv: the command, with our paths replaced by SOURCE and TARGET; empty in what travels between tasks
            by the thousand: the artefact's own document has it.
        tools: version line by tool.
        worker: who made it.
        inputs: hashes of what it was made from.
    """

    argv: tuple[str, ...] = ()
    tools: dict[str, str]
    worker: str
    inputs: tuple[str, ...]
    cpu_seconds: float
    wall_seconds: float


class EncodedChunk(Record, frozen=True, kw_only=True):
    """One rendition of one chunk, proved against the plan.

    Attributes:
        rendition: its name in the plan.
        chunk: number in the plan.
        header_hash: of the stream's headers (`extradata`); equal in all chunks that may be joined.
        first_key: whether the first picture is a keyframe.
        crf: what it was encoded with; a second attempt has another.
        attempt: 1, or 2 after the quality gate asked for more.
        reused: whether an earlier run had already made it.
    """

    rendition: str
    chunk: int
    frames: int
    file: FileRef
    header_hash: str
    first_key: bool
    crf: float
    attempt: int = 1
    provenance: Provenance
    reused: bool = False


class Quality(Record, frozen=True, kw_only=True):
    """What the quality gate measured: VMAF's mean and 5th percentile, and the lowest picture."""

    metric: str = "vmaf"
    mean: float
    p5: float
    min: float
    passed: bool


class EncodedVideo(Record, frozen=True, kw_only=True):
    """One finished rendition; bitrates are in bits per second.

    Attributes:
        encode_seconds: wall seconds of all its encodes together.
        peak_bitrate: of the heaviest second.
        attempt: 1, or 2 when the quality gate had it encoded again.
        sources: storage key of the document that lists its chunks, each with its whole provenance.
    """

    rendition: str
    codec: str
    width: int
    height: int
    frame_rate: str
    frames: int
    duration_seconds: float
    average_bitrate: int
    peak_bitrate: int = 0
    encode_seconds: float
    dynamic_range: str = "sdr"
    level: str = ""
    crf: float = 0.0
    attempt: int = 1
    quality: Quality | None = None
    sources: str | None = None
    provenance: Provenance


class EncodedAudio(Record, frozen=True, kw_only=True):
    """One finished sound track; both loudnesses are None when it was left alone.

    Attributes:
        loudness_lufs: measured of the finished file.
        loudness_target_lufs: the profile's, or what a very quiet track could reach.
        warnings: codes, such as `silent_audio`, `first_pair`, `loudness`.
        group: tracks of one codec form a group that players choose from (`aac`, `opus`, `ac3`, `eac3`).
        role: `main`, `commentary`, `description`, ...
    """

    track: str
    codec: str
    language: str
    channels: int
    duration_seconds: float
    average_bitrate: int
    loudness_lufs: float | None
    loudness_target_lufs: float | None = None
    warnings: tuple[str, ...] = ()
    layout: str = "stereo"
    label: str = ""
    default: bool = False
    role: str = "main"
    group: str = "aac"
    provenance: Provenance


class EncodedText(Record, frozen=True, kw_only=True):
    """One subtitle or caption track as WebVTT; `index` counts the plan's text tracks."""

    index: int
    language: str
    label: str
    kind: str
    default: bool = False
    forced: bool = False
    sdh: bool = False
    cues: int
    file: FileRef
    warnings: tuple[str, ...] = ()


class Stills(Record, frozen=True, kw_only=True):
    """Names of the posters, the storyboard and its sheets inside their artefact; how they were made.

    A title that is sound alone has the poster of its cover art and no storyboard.
    """

    poster: str
    poster_small: str | None = None
    storyboard: str | None
    sheets: tuple[str, ...]
    provenance: Provenance


class VideoFile(Record, frozen=True, kw_only=True):
    """A rendition and its file."""

    video: EncodedVideo
    file: FileRef
    reused: bool = False


class AudioFile(Record, frozen=True, kw_only=True):
    """A sound track and its file."""

    audio: EncodedAudio
    file: FileRef
    reused: bool = False


class TextFile(Record, frozen=True, kw_only=True):
    """A text track and its file."""

    text: EncodedText
    file: FileRef
    reused: bool = False


class Package(Record, frozen=True, kw_only=True):
    """A finished HLS + DASH package: names of the manifests inside its artefact, and what it holds."""

    hls: str
    dash: str
    files: int
    size: int
    provenance: Provenance


class Branch(Record, frozen=True, kw_only=True):
    """What any branch of a fork answers, and what a join hands on: exactly one of the kinds is there."""

    chunks: tuple[EncodedChunk, ...] = ()
    video: EncodedVideo | None = None
    audio: EncodedAudio | None = None
    text: EncodedText | None = None
    stills: Stills | None = None
    file: FileRef | None = None
    artefact: str | None = None
    reused: bool = False


def file_ref(artefact: Artefact, path: str) -> FileRef:
    """A reference to one file of an artefact."""
    file = next(file for file in artefact.files if file.path == path)
    return FileRef(key=artefact.key(path), size=file.size, sha256=file.sha256)
