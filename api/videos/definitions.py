"""The workflow and task definitions that the product ships: registered at start when missing or changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.resources import files

import msgspec
import structlog

from api.videos.store import VideoStore
from engine.core.errors import NotFoundError
from engine.services.metadata import Metadata

log = structlog.get_logger(__name__)

WORKFLOW = "video_processing"
AFTER_DELETE = "video_deleted"
"""Removes a deleted video's keys, which only the workers can reach."""


def shipped() -> Iterable[tuple[str, bytes]]:
    """File name and content of every definition in workflows/, task definitions first."""
    found = [each for each in files("workflows").iterdir() if each.name.endswith(".json")]
    contents = [(each.name, each.read_bytes()) for each in found]
    return sorted(contents, key=lambda item: (not item[1].lstrip().startswith(b"["), item[0]))


def shipped_workflows() -> frozenset[tuple[str, int]]:
    """Name and version of every workflow in workflows/."""
    documents = [msgspec.json.decode(content) for _, content in shipped()]
    return frozenset((each["name"], each.get("version", 1)) for each in documents if isinstance(each, dict))


async def register(metadata: Metadata, store: VideoStore) -> list[str]:
    """Register what is missing, or has changed since it was registered; answers the file names.

    An operator's own edit of a registered definition stays until the shipped file changes.

    Raises:
        InvalidRequestError, MalformedBodyError: a shipped file is no valid definition.
    """
    known = await store.shipped()
    done: list[str] = []
    for name, content in shipped():
        digest = hashlib.sha256(content).hexdigest()
        if known.get(name) == digest and await _present(metadata, content):
            continue
        if content.lstrip().startswith(b"["):
            await metadata.register_tasks(content)
        else:
            await metadata.update_workflows(b"[" + content + b"]")
        await store.keep_shipped(name, digest)
        done.append(name)
        log.info("definition_registered", file=name, sha256=digest)
    return done


async def _present(metadata: Metadata, content: bytes) -> bool:
    document = msgspec.json.decode(content)
    try:
        if isinstance(document, list):
            for each in document:
                await metadata.task_def(each["name"])
        else:
            await metadata.workflow_def(document["name"], document.get("version", 1))
    except NotFoundError:
        return False
    return True
