"""Serves what the workers published: /media/VIDEO/VERSION/PATH, with ranges, validators and caching."""

from __future__ import annotations

import os
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from api.videos.errors import ProblemError
from api.videos.files import MANIFEST_SUFFIXES, MediaFolder, content_type

MANIFEST_CACHE = "public, max-age=60"  # a late rendition or a token may change a manifest under the same path
SEGMENT_CACHE = "public, max-age=31536000, immutable"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, Accept-Ranges, ETag, Last-Modified",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}
PREFLIGHT = {
    **CORS,
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range, If-None-Match, If-Range, Authorization",
    "Access-Control-Max-Age": "86400",
}


def media_router(folder: MediaFolder) -> APIRouter:
    """The router of /media."""
    router = APIRouter(prefix="/media", tags=["playback"])

    async def serve(request: Request, video_id: str, version: str, path: str) -> Response:
        """A published file; HEAD, Range and conditional requests as usual."""
        found = folder.published(video_id, version, path)
        if found is None:
            raise ProblemError("not_found", "there is no such published file")
        return _file(request, found)

    async def preflight(video_id: str, version: str, path: str) -> Response:
        """Any site's player may read published files."""
        return Response(status_code=204, headers=PREFLIGHT)

    address = "/{video_id}/{version}/{path:path}"
    router.add_api_route(address, serve, methods=["GET"], response_class=FileResponse)
    router.add_api_route(address, serve, methods=["HEAD"], include_in_schema=False)
    router.add_api_route(address, preflight, methods=["OPTIONS"], include_in_schema=False)
    return router


def _file(request: Request, path: Path) -> Response:
    stat = path.stat()
    manifest = path.suffix.lower() in MANIFEST_SUFFIXES
    headers = {
        **CORS,
        "ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"',
        "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
        "Cache-Control": MANIFEST_CACHE if manifest else SEGMENT_CACHE,
    }
    if _unchanged(request, headers["ETag"], stat):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type=content_type(path.name), stat_result=stat)


def _unchanged(request: Request, etag: str, stat: os.stat_result) -> bool:
    asked = request.headers.get("if-none-match")
    if asked is not None:
        return asked.strip() == "*" or etag in {each.strip().removeprefix("W/") for each in asked.split(",")}
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return int(stat.st_mtime) <= parsedate_to_datetime(since).timestamp()
    except (TypeError, ValueError):
        return False
