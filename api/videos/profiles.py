"""Encoding profiles: those that are shipped, and the operator's own in the engine's store of documents.

The shipped ones are data beside this module, and the document's fields are the workers' own: the API never
imports them; tests hold both equal.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from pydantic import Field

from api.videos.errors import ProblemError
from api.videos.models import Answer, FieldError
from api.videos.profile_document import ProfileDocument
from engine.ports.documents import Document, DocumentStore
from engine.ports.system import Clock

__all__ = ["ProfileDocument", "ProfileView", "Profiles", "shipped_profiles"]

KIND = "video_profile"
PROFILES_MAX = 200
"""Of the operator's own."""


class ProfileView(Answer):
    """A profile with every field that was given. `revision` counts the changes of an operator's own."""

    name: str
    description: str
    shipped: bool
    revision: int
    profile: dict[str, Any] = Field(description="As PUT takes it.")


@cache
def shipped_profiles() -> dict[str, dict[str, Any]]:
    """The profiles that come with this version, by name."""
    content = (files("api.videos") / "shipped_profiles.json").read_bytes()
    return {str(each["name"]): each for each in msgspec.json.decode(content)}


class Profiles:
    """Reads and writes profiles.

    Args:
        documents: the engine's store of small documents.
        clock: Unix milliseconds.
    """

    def __init__(self, documents: DocumentStore, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def all(self) -> list[ProfileView]:
        """The shipped ones, `default` first, then the operator's own by name."""
        own = await self._documents.list(KIND, limit=PROFILES_MAX)
        return [*(_shipped(name) for name in shipped_profiles()), *(_own(each) for each in own)]

    async def get(self, name: str) -> ProfileView:
        """One profile; raises ProblemError `not_found`."""
        if name in shipped_profiles():
            return _shipped(name)
        found = await self._documents.get(KIND, name)
        if found is None:
            raise ProblemError(
                "not_found", f"there is no profile {name[:80]!r}; GET /api/v1/profiles lists them"
            )
        return _own(found)

    async def put(self, name: str, profile: ProfileDocument) -> ProfileView:
        """Create or replace one of the operator's own.

        Raises:
            ProblemError: the name is a shipped one's, or there are too many.
        """
        _require_own(name)
        own = {each.name for each in await self._documents.list(KIND, limit=PROFILES_MAX)}
        if name not in own and len(own) >= PROFILES_MAX:
            raise ProblemError(
                "invalid_request", f"there are {PROFILES_MAX} profiles; remove one before you add another"
            )
        body = profile.stored()
        revision = await self._documents.put(
            KIND, name, msgspec.json.encode(body), at_ms=self._clock.now_ms()
        )
        return _view(name, body, revision)

    async def delete(self, name: str) -> None:
        """Remove one of the operator's own. Raises ProblemError."""
        _require_own(name)
        if not await self._documents.delete(KIND, name):
            raise ProblemError(
                "not_found", f"there is no profile {name[:80]!r}; GET /api/v1/profiles lists them"
            )

    async def for_workflow(self, name: str) -> str | dict[str, Any]:
        """What a workflow is told: a shipped profile's name, or the operator's whole document.

        Raises:
            ProblemError: `invalid_request`: no such profile, with the names there are.
        """
        if name in shipped_profiles():
            return name
        found = await self._documents.get(KIND, name)
        if found is None:
            own = [each.name for each in await self._documents.list(KIND, limit=PROFILES_MAX)]
            accepted = [*shipped_profiles(), *own]
            raise ProblemError(
                "invalid_request",
                f"profile: there is no profile {name!r} (accepted: {', '.join(accepted)})",
                errors=[FieldError(path="profile", message="there is no such profile", accepted=accepted)],
            )
        return _own(found).profile


def _require_own(name: str) -> None:
    if name in shipped_profiles():
        raise ProblemError(
            "profile_in_use", f"the profile {name} is shipped and cannot be changed; choose another name"
        )


def _shipped(name: str) -> ProfileView:
    profile = shipped_profiles()[name]
    return ProfileView(
        name=name, description=profile["description"], shipped=True, revision=1, profile=profile
    )


def _own(document: Document) -> ProfileView:
    body = msgspec.json.decode(document.body)
    return _view(document.name, body if isinstance(body, dict) else {}, document.revision)


def _view(name: str, body: dict[str, Any], revision: int) -> ProfileView:
    return ProfileView(
        name=name,
        description=str(body.get("description") or ""),
        shipped=False,
        revision=revision,
        profile={**body, "name": name},
    )
