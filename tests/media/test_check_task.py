"""media_check: what the workflow publishes has been looked at by every rule, decoded also when encrypted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from media_workers.procs.binaries import Binaries
from media_workers.sdk import TaskFailed
from media_workers.tasks.check import CheckInput, CheckOutput, check
from tests.media.package_defects import media_noise
from tests.media.packages import VIDEO_ID, Studio, Title

pytestmark = pytest.mark.media

Checked = Callable[..., CheckOutput]


@pytest.fixture(scope="module")
def studio(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(tmp_path_factory.mktemp("checks"), tools)
    yield made
    made.close()


@pytest.fixture(scope="module")
def title(studio: Studio) -> Title:
    return studio.title(overrides={"renditions": ["144p"], "codecs": ["h264", "av1"]})


@pytest.fixture
def checked(title: Title) -> Checked:
    """Package the title and check it; `spoil` does something to the stored package before."""

    def make(
        drm: dict[str, Any] | None = None, *, spoil: Callable[[Path], None] | None = None
    ) -> CheckOutput:
        protection = title.protect(drm) if drm else None
        packaged = title.package(protection)
        if spoil is not None:
            spoil(title.desk.media / packaged.artefact)
        job = CheckInput(
            video_id=VIDEO_ID,
            plan=title.plan,
            package=packaged.artefact,
            stills=title.stills,
            protection=protection,
            renditions=title.videos,
            audio=title.audios,
            text=title.texts,
        )
        return check(job, title.desk.context())

    return make


@pytest.mark.parametrize("drm", [None, {"scheme": "cbcs"}, {"scheme": "dual", "clearLeadSeconds": 2}])
def test_a_sound_package_passes(drm: dict[str, Any] | None, checked: Checked, title: Title) -> None:
    """Clear and protected packages pass; what could be looked at was, and no scratch file is left."""
    done = checked(drm)
    skipped = {rule.id for rule in done.rules if rule.state == "skipped"}

    assert done.passed
    assert done.findings == ()
    assert not {"decode_error", "file_stray", "file_changed", "frame_count_mismatch"} & skipped
    assert ("key_published" in skipped) == ("drm_system_missing" in skipped) == (drm is None)
    assert title.desk.leftovers() == []


@pytest.mark.parametrize("drm", [None, {"scheme": "cenc"}])
def test_broken_pictures_are_not_published(drm: dict[str, Any] | None, checked: Checked) -> None:
    """A stored segment whose pictures were spoilt fails the task in a sentence, also when it is encrypted."""
    spoil = media_noise("video/144p/00001.m4s")

    with pytest.raises(TaskFailed, match="video/144p") as caught:
        checked(drm, spoil=spoil)

    assert caught.value.code == "package_invalid"
    findings: Any = caught.value.output["findings"]
    assert {finding.rule for finding in findings} == {"decode_error", "file_changed"}
