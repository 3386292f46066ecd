"""A small player page for a published video: /player/VIDEO. It loads nothing from anywhere else."""

from __future__ import annotations

import re
from importlib.resources import files

from fastapi import APIRouter, Response

from api.videos.errors import ProblemError

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self' blob:; connect-src 'self'; frame-ancestors *; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_ASSETS = {"player.js": "text/javascript; charset=utf-8", "player.css": "text/css; charset=utf-8"}


def player_router() -> APIRouter:
    """The router of /player."""
    router = APIRouter(prefix="/player", tags=["playback"])

    async def page(video_id: str) -> Response:
        """The player page of a video; what it plays, it asks the API for."""
        if not _ID.fullmatch(video_id):
            raise ProblemError("not_found", "there is no such video")
        return Response(_asset("player.html"), headers=_HEADERS, media_type="text/html; charset=utf-8")

    async def asset(name: str) -> Response:
        """Script and style of the player page."""
        if name not in _ASSETS:
            raise ProblemError("not_found", "there is no such file")
        return Response(_asset(name), headers=_HEADERS, media_type=_ASSETS[name])

    router.add_api_route("/{video_id}", page, methods=["GET"], response_class=Response)
    router.add_api_route("/assets/{name}", asset, methods=["GET"], include_in_schema=False)
    return router


def _asset(name: str) -> bytes:
    return (files("api.videos") / "page" / name).read_bytes()
