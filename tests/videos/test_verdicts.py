"""The catalogue of verdicts: listed by the API as the workers have it."""

from __future__ import annotations

import msgspec

from api.videos.errors import VIDEO_PROBLEMS
from api.videos.verdicts import verdict_catalogue
from media_workers.media.catalogue import CATALOGUE, catalogue_document
from tests.videos.conftest import RunningServer


def test_shipped_verdicts_are_the_workers() -> None:
    """The data beside the API is what the workers have. If it differs, write `catalogue_document()` there."""
    shipped = [entry.model_dump(mode="json", by_alias=True) for entry in verdict_catalogue()]

    assert shipped == msgspec.json.decode(msgspec.json.encode(catalogue_document()))


def test_every_reason_to_refuse_is_a_known_problem() -> None:
    """A failed video's code is always one that the API can explain."""
    refusing = {
        entry.code
        for entry in CATALOGUE.values()
        if any(outcome.severity == "reject" for outcome in entry.outcomes)
    }

    assert refusing <= set(VIDEO_PROBLEMS)


def test_the_catalogue_is_listed(shared: RunningServer) -> None:
    """GET /api/v1/verdicts names every code with what follows from it."""
    listed = shared.http.get("/api/v1/verdicts").json()

    assert [entry["code"] for entry in listed] == list(CATALOGUE)
    assert listed[0]["outcomes"][0]["action"] == "reject"
