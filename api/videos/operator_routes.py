"""Routes for operators: profiles, queues, workers, and what every error code means."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from api.videos import present
from api.videos.errors import ProblemError, catalogue
from api.videos.models import Problem, QueueView, WorkerView
from api.videos.profiles import ProfileDocument, ProfileView
from api.videos.requests import PROFILE_NAME
from api.videos.service import VideoService
from api.videos.verdicts import VerdictEntry, verdict_catalogue

WORKER_LIVE_MS = 15_000
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}} for status in (404, 422, 503)
}
ProfileName = Annotated[str, Path(pattern=PROFILE_NAME)]


class OperatorRoutes:
    """Builds the router; `service` has the operations."""

    def __init__(self, service: VideoService) -> None:
        self.service = service
        router = APIRouter(prefix="/api/v1", tags=["videos"], responses=PROBLEMS)
        self.router = router
        add = router.add_api_route
        shown: dict[str, Any] = {"response_model_exclude_none": True}
        add("/profiles", self.profiles, methods=["GET"], response_model=list[ProfileView])
        add("/profiles/{name}", self.profile, methods=["GET"], response_model=ProfileView)
        add(
            "/profiles/{name}",
            self.put_profile,
            methods=["PUT"],
            response_model=ProfileView,
            responses={409: {"model": Problem}},
        )
        add(
            "/profiles/{name}",
            self.delete_profile,
            methods=["DELETE"],
            status_code=204,
            responses={409: {"model": Problem}},
        )
        add("/queues", self.queues, methods=["GET"], response_model=list[QueueView], **shown)
        add("/workers", self.workers, methods=["GET"], response_model=list[WorkerView])
        add("/verdicts", self.verdicts, methods=["GET"], response_model=list[VerdictEntry], **shown)
        add("/problems", self.problems, methods=["GET"], response_model=dict[str, Any])
        add("/problems/{code}", self.problem, methods=["GET"], response_model=dict[str, Any])

    async def verdicts(self) -> list[VerdictEntry]:
        """What may be found about an uploaded file: every code with its outcomes and sentences."""
        return list(verdict_catalogue())

    async def profiles(self) -> list[ProfileView]:
        """The profiles: those that are shipped, then the operator's own by name."""
        return await self.service.profiles.all()

    async def profile(self, name: str) -> ProfileView:
        """One profile, with every field."""
        return await self.service.profiles.get(name)

    async def put_profile(self, name: ProfileName, profile: ProfileDocument) -> ProfileView:
        """Create or replace a profile of the operator's own; fields left out take their usual value.

        A video takes its profile along when it is created: later changes do not reach it.
        """
        return await self.service.profiles.put(name, profile)

    async def delete_profile(self, name: str) -> Response:
        """Remove a profile of the operator's own."""
        await self.service.profiles.delete(name)
        return Response(status_code=204)

    async def queues(self) -> list[QueueView]:
        """Task queues: what waits and what runs."""
        detail = await self.service.engine.queues.detail()
        polls: dict[str, list[int]] = {}
        for each in await self.service.engine.queues.poll_data():
            domain = f"{each['domain']}:" if each.get("domain") else ""
            polls.setdefault(f"{domain}{each['queueName']}", []).append(int(each["lastPollTime"]))
        now_ms = self.service.clock.now_ms()
        return [
            QueueView(
                name=name,
                waiting=detail.get(name, (0, 0))[0],
                running=detail.get(name, (0, 0))[1],
                last_poll_at=present.rfc3339(max(polls[name])) if name in polls else None,
                polled_by=sum(now_ms - at_ms < WORKER_LIVE_MS for at_ms in polls.get(name, [])),
            )
            for name in sorted({*detail, *polls})
            if not name.startswith("_")
        ]

    async def workers(self) -> list[WorkerView]:
        """Workers by when they last asked for work."""
        types: dict[str, dict[str, int]] = {}
        for each in await self.service.engine.queues.poll_data():
            types.setdefault(str(each.get("workerId") or ""), {})[each["queueName"]] = int(
                each["lastPollTime"]
            )
        now_ms = self.service.clock.now_ms()
        return [
            WorkerView(
                id=worker,
                task_types=sorted(polled),
                last_poll_at=present.rfc3339(max(polled.values())),
                live=now_ms - max(polled.values()) < WORKER_LIVE_MS,
            )
            for worker, polled in sorted(types.items())
        ]

    async def problems(self) -> dict[str, Any]:
        """Every error code of this interface and of failed videos."""
        return catalogue()

    async def problem(self, code: str) -> dict[str, Any]:
        """One error code."""
        found = [each for kind in catalogue().values() for each in kind if each["code"] == code]
        if not found:
            raise ProblemError(
                "not_found", f"there is no problem {code[:80]!r}; GET /api/v1/problems lists them"
            )
        return dict(found[0])
