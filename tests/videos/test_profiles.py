"""Encoding profiles: the shipped ones as the workers have them, the operator's own kept and taken along."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from api.videos.profile_document import ProfileDocument
from api.videos.profiles import shipped_profiles
from media_workers.media.profiles import PlanError, Profile, parse_profile, profile_names, profiles_document
from tests.videos.conftest import RunningServer, ScriptedWorker

PROFILES = "/api/v1/profiles"
OWN: dict[str, Any] = {
    "description": "Lectures: small and careful with text.",
    "codecs": ["h264", "av1"],
    "renditions": ["720p", {"height": 360, "codec": "av1", "crf": 40}],
    "loudness": None,
    "quality": {"topMean": 95},
}


@pytest.fixture
def own(shared: RunningServer) -> Iterator[str]:
    """A profile of the operator's own, gone afterwards."""
    assert shared.http.put(f"{PROFILES}/lectures", json=OWN).status_code == 200
    yield "lectures"
    shared.http.delete(f"{PROFILES}/lectures")


def test_shipped_profiles_are_the_workers() -> None:
    """The data beside the API is what the workers have. If it differs, write `profiles_document()` there."""
    shipped = list(shipped_profiles().values())

    assert shipped == msgspec.json.decode(msgspec.json.encode(profiles_document()))
    assert tuple(shipped_profiles()) == profile_names()


def test_every_field_of_the_workers_profile_can_be_written() -> None:
    """No field is missing on either side, and what is left out means the same on both."""
    ours = {str(field.alias) for field in ProfileDocument.model_fields.values()}
    defaults = ProfileDocument.model_validate({"video": False}).model_dump(mode="json", by_alias=True)

    read = parse_profile({**defaults, "name": "own"})

    assert ours == {field.encode_name for field in msgspec.structs.fields(Profile)}
    assert read == Profile(name="own", video=False)


numbers = st.integers(-5, 200) | st.floats(-50, 600, allow_nan=False)
values = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.sampled_from(["auto", "keep", "sdr", "slow", "720p", "h264"]),
    st.lists(st.sampled_from(["h264", "av1", "aac", "eac3", "720p", "9p"]), max_size=3),
    st.fixed_dictionaries({"topMean": numbers}),
)
documents = st.dictionaries(
    st.sampled_from(sorted(str(field.alias) for field in ProfileDocument.model_fields.values())),
    values,
    max_size=4,
)


@settings(deadline=None)  # a slow machine is no bug
@given(documents)
def test_what_the_api_takes_the_workers_take(document: dict[str, Any]) -> None:
    """No profile is stored that would fail every video made with it."""
    try:
        stored = ProfileDocument.model_validate({"renditions": ["720p"], **document, "name": "own"}).stored()
    except ValidationError:
        return
    try:
        parse_profile({**stored, "name": "own"})
    except PlanError as error:
        pytest.fail(f"{stored}: {error}")


def test_an_own_profile_is_kept_and_listed(shared: RunningServer, own: str) -> None:
    """PUT answers the document; GET and the list have it; another PUT is the next revision."""
    listed = shared.http.get(PROFILES).json()
    found = shared.http.get(f"{PROFILES}/{own}").json()
    changed = shared.http.put(f"{PROFILES}/{own}", json={**OWN, "codecs": ["h264"]}).json()

    assert [each["name"] for each in listed] == [*profile_names(), own]
    assert found["profile"] == {**OWN, "name": own}
    assert (found["shipped"], found["revision"]) == (False, 1)
    assert (changed["revision"], changed["profile"]["codecs"]) == (2, ["h264"])


def test_a_video_takes_its_profile_along(shared: RunningServer, worker: ScriptedWorker, own: str) -> None:
    """The workflow's input has the whole document: a later change or removal does not reach the video."""
    video = shared.upload(b"lecture", {"profile": own}).json()
    shared.http.delete(f"{PROFILES}/{own}")

    task = worker.take("media_validate")

    assert video["profile"] == own
    assert task["inputData"]["profile"] == {**OWN, "name": own}
    assert parse_profile(task["inputData"]["profile"]).codecs == ("h264", "av1")
    shared.http.delete(f"/api/v1/videos/{video['id']}")


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"renditions": ["720p"], "crfShift": 99}, "crfShift"),
        ({"renditions": ["720p"], "colour": 1}, "colour"),
        ({"renditions": ["720p"], "speed": "slower"}, "speed"),
        ({"renditions": [{"height": 9}]}, "renditions.0.height"),
        ({"renditions": ["720p"], "quality": {"topMean": 101}}, "quality.topMean"),
        ({}, "body"),
    ],
)
def test_a_wrong_profile_names_its_field(shared: RunningServer, document: dict[str, Any], path: str) -> None:
    """422 with the field and the reason; nothing is stored."""
    answer = shared.http.put(f"{PROFILES}/wrong", json=document)

    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, path)
    assert shared.http.get(f"{PROFILES}/wrong").status_code == 404


@pytest.mark.parametrize(("name", "status"), [("default", 409), ("Not A Name", 422)])
def test_names_that_cannot_be_ones_own(shared: RunningServer, name: str, status: int) -> None:
    """A shipped profile is not replaced, and a name is a safe part of a path."""
    assert shared.http.put(f"{PROFILES}/{name}", json=OWN).status_code == status


def test_what_is_not_there_cannot_be_removed(shared: RunningServer) -> None:
    """404 for an unknown profile, 409 for a shipped one."""
    assert shared.http.delete(f"{PROFILES}/nobody").status_code == 404
    assert shared.http.delete(f"{PROFILES}/default").status_code == 409


def test_an_own_profile_survives_a_restart(start_server: Callable[..., RunningServer]) -> None:
    """It is a document of the engine's store."""
    first = start_server()
    first.http.put(f"{PROFILES}/lectures", json=OWN)
    first.stop()

    assert start_server().http.get(f"{PROFILES}/lectures").json()["profile"]["codecs"] == ["h264", "av1"]
