"""The API repeats the media workers' names, because it never imports them: here the two are held equal."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from api.videos import options, profile_document
from api.videos.options import Clip, Overrides, drm_input
from media_workers.media import profile_fields, profile_records, profiles, protection, watermark
from tests.videos.conftest import RunningServer, ScriptedWorker


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (get_args(options.Codec), profile_records.CODECS),
        (get_args(options.AudioCodec), profile_records.AUDIO_CODECS),
        (get_args(options.HdrMode), profile_records.HDR_MODES),
        (get_args(options.DrmScheme), protection.SCHEMES),
        (get_args(options.DrmSystem), protection.SYSTEMS),
        (get_args(options.KeySource), protection.KEY_SOURCES),
        (get_args(options.Position), watermark.POSITIONS),
        (get_args(profile_document.Speed), profile_records.SPEEDS),
        (options.RENDITION_NAMES, profile_records.RUNG_NAMES),
    ],
)
def test_accepted_names_are_the_workers(ours: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    """What a request may name is what the workers know, in the same order."""
    assert ours == tuple(theirs)


def test_bounds_are_the_workers() -> None:
    """A value that one side takes is taken by the other: every bound of the same name is the same number."""
    compared = set()
    for ours in (options, profile_document):
        for theirs in (profile_fields, profile_records, protection):
            for name in vars(ours).keys() & vars(theirs).keys():
                if name.endswith(("_MIN", "_MAX", "_LOWEST", "_HIGHEST", "_LONG", "_VERSION")):
                    compared.add(name)
                    assert getattr(ours, name) == getattr(theirs, name), name
    assert len(compared) >= 20


EVERY_OVERRIDE: dict[str, Any] = {
    "codecs": ["h264", "hevc", "vp9", "av1"],
    "renditions": ["1080p", {"height": 360, "codec": "av1", "crf": 40, "maxBitrate": 500_000}],
    "hdr": "keep",
    "audioCodecs": ["aac", "opus", "ac3", "eac3"],
    "loudness": None,
    "perTitle": True,
    "chunkSeconds": 12,
    "qualityGate": False,
    "clip": {"start": 1.5, "end": 3},
    "crop": {"x": 0, "y": 60, "width": 1280, "height": 600},
    "watermark": {"text": "Draft", "position": "top-left"},
}


def test_every_override_is_taken_by_the_workers() -> None:
    """The whole of what a request may override makes a profile, and no field is missing on either side."""
    asked = Overrides.model_validate(EVERY_OVERRIDE).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )

    profile = profiles.resolve_profile("default", asked)

    assert profile.codecs == ("h264", "hevc", "vp9", "av1")
    assert set(EVERY_OVERRIDE) == {field.alias for field in Overrides.model_fields.values()}
    assert set(EVERY_OVERRIDE) == set(profile_fields.OVERRIDES)


def test_a_clip_without_an_end_lasts_to_the_end() -> None:
    """Only the start is needed."""
    assert Clip.model_validate({"start": 2}).end is None


@pytest.mark.parametrize(
    ("asked", "scheme"),
    [
        (True, "cbcs"),
        ({}, "cbcs"),
        ({"scheme": "dual", "clearLeadSeconds": 6}, "dual"),
        ({"scheme": "cenc"}, "cenc"),
    ],
)
def test_every_protection_is_taken_by_the_workers(asked: object, scheme: str) -> None:
    """What the workflow is told of the request is what the workers read."""
    told = drm_input(asked)

    read = protection.parse_drm(told)

    assert read is not None
    assert read.scheme == scheme


@pytest.mark.parametrize("asked", [None, False])
def test_a_clear_video_has_no_protection(asked: object) -> None:
    """Nothing asked for is null in the workflow."""
    assert drm_input(asked) is None


def test_options_reach_the_workflow(shared: RunningServer, worker: ScriptedWorker) -> None:
    """Overrides and protection stand in the workflow's input as they were asked for, without nulls."""
    asked = {
        "profile": "premium",
        "overrides": {"codecs": ["av1"], "loudness": None, "hdr": None},
        "drm": {"scheme": "dual"},
    }
    video = shared.upload(b"options", asked).json()

    document = shared.http.get(f"/api/workflow/{video['workflowId']}").json()["input"]

    assert document["profile"] == "premium"
    assert document["overrides"] == {"codecs": ["av1"], "loudness": None}
    assert document["drm"] == {"scheme": "dual", "clearLeadSeconds": 0}
    shared.http.delete(f"/api/v1/videos/{video['id']}")
