"""media_publish: what players may fetch, visible in one step or not at all."""

import hashlib

import msgspec

from media_workers.media.package import CBCS_MPD, MASTER, MPD, content_type, publish_order
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.storage import (
    Artefact,
    ArtefactFile,
    MissingKeyError,
    Storage,
    StorageError,
    TreeFile,
    checked_key,
)
from media_workers.storage.artefacts import MANIFEST_NAME
from media_workers.tasks.stills import POSTER_NAME, STORYBOARD_NAME
from media_workers.tasks.tools import MIB

# Room for a line for each segment of a day in ten renditions.
MANIFEST_BYTES_MAX = 64 * MIB


class PublishInput(Record, frozen=True, kw_only=True):
    """Input of media_publish: storage prefixes of the finished package and, if any, of the stills."""

    video_id: str
    package: str
    stills: str | None = None
    version: str | int | None = None


class PublishedFile(Record, frozen=True, kw_only=True):
    """One published file: path below the version's folder, bytes, hash, media type."""

    path: str
    size: int
    sha256: str
    content_type: str


class PublishManifest(Record, frozen=True, kw_only=True):
    """`manifest.json` of a version: every file but itself, in the order they become visible elsewhere."""

    video_id: str
    version: str
    files: tuple[PublishedFile, ...]


class Playback(Record, frozen=True, kw_only=True):
    """Paths below the version's folder. `dash_cbcs` is beside `dash` when a title has both schemes."""

    hls: str
    dash: str
    dash_cbcs: str | None = None
    poster: str | None = None
    storyboard: str | None = None


class PublishOutput(Record, frozen=True, kw_only=True):
    """Output of media_publish: what can be played now, and the manifest that lists it."""

    version: str
    prefix: str
    playback: Playback
    files: int
    size: int
    manifest: str
    manifest_sha256: str
    reused: bool


@worker("media_publish")
def publish(job: PublishInput, ctx: TaskContext) -> PublishOutput:
    """Publish a package and its stills as one version.

    A version never changes: repeating is safe, as an equal one stays as it is, and other content is refused.
    """
    version = str(job.version if job.version not in (None, "") else "1")
    prefix = f"published/{job.video_id}/{version}"
    try:
        checked_key(prefix)
    except StorageError as error:
        raise TaskRejected("invalid_input", f"input field version or videoId: {error}") from error
    parts = [_artefact(ctx, prefix) for prefix in (job.package, job.stills) if prefix]
    sources = {file.path: (part, file) for part in parts for file in part.files}
    paths = publish_order(sorted(sources))
    for name in (MASTER, MPD):
        if name not in sources:
            raise TaskFailed("artefact_missing", f"the package has no {name}; package it again")
    manifest = PublishManifest(
        video_id=job.video_id,
        version=version,
        files=tuple(_described(sources[path][1]) for path in paths),
    )
    document = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    keys = {path: sources[path][0].key(path) for path in paths}
    reused = _reveal(ctx, prefix, keys, document)
    ctx.progress(1.0, message="published")
    return PublishOutput(
        version=version,
        prefix=prefix,
        playback=Playback(
            hls=MASTER,
            dash=MPD,
            dash_cbcs=CBCS_MPD if CBCS_MPD in sources else None,
            poster=POSTER_NAME if POSTER_NAME in sources else None,
            storyboard=STORYBOARD_NAME if STORYBOARD_NAME in sources else None,
        ),
        files=len(manifest.files),
        size=sum(file.size for file in manifest.files),
        manifest=f"{prefix}/{MANIFEST_NAME}",
        manifest_sha256=hashlib.sha256(document).hexdigest(),
        reused=reused,
    )


def _artefact(ctx: TaskContext, prefix: str) -> Artefact:
    found = ctx.resources.artefacts.at(prefix)
    if found is None:
        raise TaskFailed("artefact_missing", "the finished files of this video are gone; start again")
    return found


def _described(file: ArtefactFile) -> PublishedFile:
    return PublishedFile(
        path=file.path, size=file.size, sha256=file.sha256, content_type=content_type(file.path)
    )


def _reveal(ctx: TaskContext, prefix: str, keys: dict[str, str], document: bytes) -> bool:
    """Make the version visible; True when an equal one was there already.

    Raises:
        TaskRejected: the version is there with other content, which players may have cached for a year.
    """
    storage = ctx.resources.storage
    there = _published(storage, prefix)
    if there == document:
        return True
    if there is not None:
        raise TaskRejected(
            "version_taken",
            f"{prefix} is published already with other content, and a version never changes; "
            "publish under another version",
        )
    with ctx.scratch(MIB) as folder:
        manifest = folder / MANIFEST_NAME
        manifest.write_bytes(document)
        files = [
            *(TreeFile(path=path, source=storage.local_path(key)) for path, key in keys.items()),
            TreeFile(path=MANIFEST_NAME, source=manifest),
        ]
        ctx.check_cancelled()
        if not storage.put_tree(prefix, files):
            # Without a manifest it is no version: something left by another hand.
            storage.replace_tree(prefix, files)
    return False


def _published(storage: Storage, prefix: str) -> bytes | None:
    try:
        with storage.open(f"{prefix}/{MANIFEST_NAME}") as file:
            return file.read(MANIFEST_BYTES_MAX)
    except MissingKeyError:
        return None
