"""Puts a stored video and its view together into the document that clients see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from api.videos.models import (
    DrmView,
    ErrorView,
    PlaybackView,
    ProgressView,
    RenditionView,
    VerdictView,
    Video,
    VideoStatus,
)
from api.videos.store import VideoRow
from api.videos.view import Snapshot, built
from api.videos.wire import obj, texts


def rfc3339(at_ms: int) -> str:
    """Unix milliseconds as RFC 3339 UTC."""
    text = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def source_of(row: VideoRow, view: Snapshot) -> dict[str, Any]:
    """What is known of the source: its bytes from the upload, the rest from the validation."""
    return {
        "sha256": row.source_sha256,
        "size": row.source_size,
        **({"filename": row.filename} if row.filename else {}),
        **view.source,
    }


def media_url(base_url: str, row: VideoRow, path: str, version: str = "") -> str:
    """Where a file of a version (the video's own unless named) is served."""
    return f"{base_url}/media/{row.id}/{version or row.version}/{path}"


def verdicts(row: VideoRow, view: Snapshot) -> list[VerdictView]:
    """What the upload itself showed, then what was found in the file."""
    found = []
    twin = row.options.get("duplicateOf")
    if isinstance(twin, dict):
        message = f"The same file was uploaded before, as {twin.get('id')} ({twin.get('title')})."
        found.append(
            VerdictView(
                code="duplicate_source",
                severity="info",
                message=message,
                remedy="Remove one of the two if you need it once.",
            )
        )
    return [*found, *(VerdictView.model_validate(each) for each in view.verdicts)]


def playback(row: VideoRow, view: Snapshot, base_url: str) -> PlaybackView | None:
    """Where the video plays, or its first rendition while the others are made; None before."""
    if view.status is VideoStatus.READY and view.playback:
        links = {name: media_url(base_url, row, path) for name, path in view.playback.items()}
        drm = DrmView.model_validate(view.drm) if view.drm else None
        return PlaybackView(**links, player=f"{base_url}/player/{row.id}", drm=drm)
    if view.status is VideoStatus.PROCESSING and view.preview and not row.options.get("live"):
        version = view.preview["version"]
        links = {
            name: media_url(base_url, row, path, version) for name, path in view.preview["playback"].items()
        }
        return PlaybackView(**links, player=f"{base_url}/player/{row.id}", preview=True)
    live = obj(row.options.get("live"))
    if live:
        # An earlier version plays on until a new one is ready, and when that fails.
        links = {
            name: media_url(base_url, row, path, str(live.get("version")))
            for name, path in texts(live.get("playback")).items()
        }
        drm = DrmView.model_validate(live["drm"]) if live.get("drm") else None
        return PlaybackView(**links, player=f"{base_url}/player/{row.id}", drm=drm)
    return None


def video(row: VideoRow, view: Snapshot, base_url: str) -> Video:
    """The Video document.

    Args:
        row: as stored.
        view: the newest view of its workflow.
        base_url: scheme and host without a closing slash; addresses in the answer are absolute.
    """
    return Video(
        id=row.id,
        status=view.status,
        title=row.title,
        profile=row.profile,
        created_at=rfc3339(row.created_ms),
        updated_at=rfc3339(row.updated_ms),
        ready_at=rfc3339(row.ready_ms) if row.ready_ms and view.status is VideoStatus.READY else None,
        workflow_id=row.workflow_id or None,
        progress=ProgressView.model_validate(built(view.progress)),
        source=source_of(row, view),
        verdicts=verdicts(row, view),
        renditions=[RenditionView.model_validate(built(each)) for each in view.renditions],
        audio=view.audio,
        subtitles=view.subtitles,
        playback=playback(row, view, base_url),
        version=row.version,
        cost=view.cost or None,
        metadata=row.metadata,
        passthrough=row.options.get("passthrough"),
        error=ErrorView.model_validate(built(view.error)) if view.error else None,
    )
