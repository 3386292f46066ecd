"""Which file a task works on: only ever a file of our own storage."""

import hashlib
from pathlib import Path

import msgspec

from media_workers.media.catalogue import verdict
from media_workers.sdk import Record, TaskContext, TaskRejected, decode_input
from media_workers.storage import KeyRefusedError, MissingKeyError, NotAFileError, checked_key

_DERIVED_ID_CHARS = 16


class SourceRef(Record, frozen=True, kw_only=True):
    """Where a source is: a storage key, or a file:// URL below the media folder."""

    key: str | None = None
    url: str | None = None


class SourceInput(Record, frozen=True, kw_only=True):
    """What any input may say about its source; a whole workflow's input is read with it as well."""

    video_id: str | None = None
    source: SourceRef | str | None = None
    source_url: str | None = None


class Source(Record, frozen=True, kw_only=True):
    """A source that exists.

    Attributes:
        video_id: whose source; names its folders.
        key: storage key.
    """

    video_id: str
    key: str


def find_source(ctx: TaskContext, job: SourceInput) -> Source:
    """Find the source that the task's input names, or else the one that its workflow's input names.

    Raises:
        TaskRejected: `invalid_input` or `source_missing`.
    """
    asked = job
    if not (job.video_id or job.source or job.source_url):
        asked = decode_input("the workflow's input", ctx.workflow_input(), SourceInput)
    try:
        key = _key(ctx, asked)
        video_id = asked.video_id or _derived_id(key)
        if "/" in video_id:
            raise KeyRefusedError("videoId must not contain a slash")
        checked_key(video_id)
        key = key or f"sources/{video_id}/input.bin"
        ctx.resources.storage.local_path(key)
    except KeyRefusedError as error:
        raise TaskRejected("invalid_input", f"the source is refused: {error}") from error
    except NotAFileError as error:
        raise _not_a_file() from error
    except MissingKeyError as error:
        raise TaskRejected(
            "source_missing", "there is no file for this video; upload it first, then start again"
        ) from error
    return Source(video_id=video_id, key=key)


def source_path(ctx: TaskContext, key: str) -> Path:
    """The local file of a source found before.

    Raises:
        TaskRejected: `source_missing`: it has been removed since.
    """
    try:
        return ctx.resources.storage.local_path(key)
    except NotAFileError as error:
        raise _not_a_file() from error
    except MissingKeyError as error:
        raise TaskRejected(
            "source_missing", "the source file of this video is gone; upload it again"
        ) from error
    except KeyRefusedError as error:
        raise TaskRejected("invalid_input", f"the source is refused: {error}") from error


def _not_a_file() -> TaskRejected:
    refused = verdict("not_regular_file")
    return TaskRejected(refused.code, refused.message, {"verdicts": (refused,)})


def _key(ctx: TaskContext, asked: SourceInput) -> str:
    named: list[str | None]
    match asked.source:
        case SourceRef(key=key, url=url):
            named = [key, url, asked.source_url]
        case other:
            named = [other, asked.source_url]
    for name in named:
        if name:
            return ctx.resources.storage.key_of(name) if "://" in name else checked_key(name).as_posix()
    return ""


def _derived_id(key: str) -> str:
    if not key:
        raise TaskRejected("invalid_input", "input field videoId is missing; it names the video to work on")
    return f"src_{hashlib.sha256(msgspec.json.encode(key)).hexdigest()[:_DERIVED_ID_CHARS]}"
