"""The quality gate at work: measured, caught, encoded again, and failed honestly, by the task functions."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.gate import QualityTargets, RungTarget
from media_workers.media.plan import Plan
from media_workers.media.profiles import resolve_profile
from media_workers.procs.binaries import Binaries
from media_workers.sdk import TaskRejected
from media_workers.tasks.encode import encode
from media_workers.tasks.gate import GateInput, GateOutput, MeasuredBranch, gate
from media_workers.tasks.measure import (
    SERIES_NAME,
    MeasureInput,
    MeasureOutput,
    Series,
    measure,
)
from media_workers.tasks.plan import EncodeInput, plan_title
from media_workers.tasks.probing import inspect_source
from media_workers.tasks.records import Branch, VideoFile
from media_workers.tasks.source import source_path
from media_workers.tasks.stitch import StitchInput, stitch
from tests.workers.conftest import Desk

pytestmark = pytest.mark.media

SOURCE: dict[str, Any] = {
    "video_id": "vid_1",
    "source_key": "sources/vid_1/input.bin",
    "source_sha256": "ab" * 32,
}
MOVING = "testsrc2=s=320x180:r=25,noise=alls=12:allf=t"
GRAIN = "testsrc2=s=320x180:r=25,noise=alls=60:allf=t"
STILL = "smptehdbars=s=320x180:r=25"


@pytest.fixture(scope="module")
def film(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Three seconds of a generated picture."""
    folder = tmp_path_factory.mktemp("films")
    made: dict[str, Path] = {}

    def make(picture: str) -> Path:
        if picture not in made:
            made[picture] = folder / f"{len(made)}.mp4"
            argv = shlex.split("-v error -f lavfi -i PICTURE -t 3 -c:v libx264 -preset ultrafast -crf 8")
            argv = [picture if word == "PICTURE" else word for word in argv]
            subprocess.run(
                [tools.ffmpeg, *argv, "-pix_fmt", "yuv420p", str(made[picture])], check=True, timeout=60
            )
        return made[picture]

    return make


class Title:
    """One title between its plan and the gate's last word."""

    def __init__(
        self, desk: Desk, clip: Path, *renditions: dict[str, float], targets: QualityTargets | None = None
    ) -> None:
        desk.upload(clip)
        self.desk = desk
        ctx = desk.context()
        facts = inspect_source(ctx, source_path(ctx, SOURCE["source_key"])).facts
        profile = resolve_profile("default", {"renditions": list(renditions), "audioCodecs": ["aac"]})
        profile = msgspec.structs.replace(
            profile, speed="veryfast", renditions_min=1, quality=targets or profile.quality
        )
        self.plan: Plan = plan_title(facts, profile)
        self.branches: dict[str, Branch] = {}

    def encode(self, plan: Plan | None = None) -> None:
        """Every rendition once."""
        names = tuple(rendition.name for rendition in self.plan.renditions)
        self._run({"all": EncodeInput(**SOURCE, plan=plan or self.plan, renditions=names, chunk=0)})

    def judge(self) -> GateOutput:
        """Stitch, measure, decide."""
        joined = stitch(StitchInput(**SOURCE, plan=self.plan, branches=self.branches), self.desk.context())
        measured = {f"measure_{file.video.rendition}": self.measure(file) for file in joined.renditions}
        return gate(
            GateInput(
                **SOURCE,
                plan=self.plan,
                renditions=joined.renditions,
                measured={ref: MeasuredBranch(measured=output.measured) for ref, output in measured.items()},
            ),
            self.desk.context(),
        )

    def measure(self, file: VideoFile) -> MeasureOutput:
        job = MeasureInput(**SOURCE, plan=self.plan, rendition=file.video.rendition, file=file.file)
        return measure(job, self.desk.context())

    def redo(self, decided: GateOutput) -> None:
        """What the gate asked for."""
        assert [task.name for task in decided.redo_tasks] == ["media_encode"] * len(decided.redo_inputs)
        self._run(decided.redo_inputs)

    def files(self) -> tuple[VideoFile, ...]:
        job = StitchInput(**SOURCE, plan=self.plan, branches=self.branches)
        return stitch(job, self.desk.context()).renditions

    def _run(self, jobs: dict[str, EncodeInput]) -> None:
        for ref, job in jobs.items():
            self.branches[ref] = Branch(chunks=encode(job, self.desk.context()).chunks)


def test_far_too_low_is_caught_encoded_again_once_and_passes(desk: Desk, film: Callable[[str], Path]) -> None:
    """CRF 45 misses the profile's own targets; the second attempt does not, and only it was encoded again."""
    title = Title(desk, film(MOVING), {"height": 180, "crf": 45}, {"height": 120, "crf": 20})
    title.encode()
    first = title.judge()
    assert first.again
    assert list(first.redo_inputs) == ["redo_180p_c0000"]
    asked = first.redo_inputs["redo_180p_c0000"]
    assert asked.attempt == 2
    assert asked.crf["180p"] < 45
    title.redo(first)
    second = title.judge()
    assert not second.again
    verdict = next(item for item in second.verdicts if item.rendition == "180p")
    assert verdict.outcome == "passed"
    assert verdict.first.mean < verdict.first.target_mean
    assert verdict.second is not None
    assert verdict.second.mean >= verdict.second.target_mean
    assert (verdict.crf_before, verdict.crf_after) == (45, asked.crf["180p"])
    assert desk.leftovers() == []


def test_what_cannot_pass_fails_with_both_numbers(desk: Desk, film: Callable[[str], Path]) -> None:
    """Grain at the lowest cap there is: a lower CRF changes nothing, and one sentence says so."""
    title = Title(
        desk,
        film(GRAIN),
        {"height": 180, "crf": 30, "maxBitrate": 50_000},
        targets=QualityTargets(rung_mean=97.0, top_mean=97.0, top_p5=90.0),
    )
    title.encode()
    first = title.judge()
    assert first.again
    title.redo(first)
    with pytest.raises(TaskRejected) as failure:
        title.judge()
    before, after = (first.quality[0], failure.value.output["verdicts"])
    assert failure.value.code == "quality_failed"
    assert f"{before.mean:.1f} of 97" in failure.value.message
    assert "at CRF 30" in failure.value.message
    assert "encoded again at CRF" in failure.value.message
    assert isinstance(after, list)
    assert len(after) == 1


def test_a_rung_at_its_cap_passes_with_a_warning(desk: Desk, film: Callable[[str], Path]) -> None:
    """Where the bits are spent and the picture is watchable, the cap's owner decides."""
    title = Title(desk, film(GRAIN), {"height": 180, "crf": 20, "maxBitrate": 700_000})
    title.encode()
    mean = title.measure(title.files()[0]).measured.mean
    wanted = RungTarget(rendition="180p", mean=mean + 5)
    assert title.plan.quality is not None
    title.plan = msgspec.structs.replace(
        title.plan, quality=msgspec.structs.replace(title.plan.quality, targets=(wanted,))
    )
    decided = title.judge()
    assert not decided.again
    assert [verdict.outcome for verdict in decided.verdicts] == ["capped"]


def test_a_measurement_is_kept_with_its_series_and_made_once(desk: Desk, film: Callable[[str], Path]) -> None:
    """Every score is in the artefact, with the whole command and no path of ours."""
    title = Title(desk, film(MOVING), {"height": 180, "crf": 23})
    title.encode()
    (file,) = title.files()
    first, again = title.measure(file), title.measure(file)
    assert (first.reused, again.reused) == (False, True)
    assert again.measured == first.measured
    with desk.storage.open(f"{first.artefact}/{SERIES_NAME}") as stored:
        series = msgspec.json.decode(stored.read(), type=Series)
    (window,) = series.windows
    assert len(window.vmaf) == -(-window.frames // series.subsample)
    assert min(window.vmaf) == pytest.approx(first.measured.minimum, abs=0.01)
    assert "SOURCE" in series.provenance.argv
    assert not any(str(desk.media) in word for word in series.provenance.argv)
    assert first.measured.windows[0].bitrate_bps > 0


def test_frames_that_are_one_late_are_found_out(desk: Desk, film: Callable[[str], Path]) -> None:
    """An encode of the right length with every frame shifted by one is refused, whatever its score."""
    title = Title(desk, film(MOVING), {"height": 180, "crf": 16})
    video = title.plan.video
    assert video is not None
    early = msgspec.structs.replace(video, offset_seconds=video.offset_seconds + 0.04)
    title.encode(msgspec.structs.replace(title.plan, video=early))
    with pytest.raises(TaskRejected) as failure:
        title.judge()
    assert failure.value.code == "quality_failed"
    assert "not the source's" in failure.value.message


def test_a_picture_that_stands_still_is_no_misalignment(desk: Desk, film: Callable[[str], Path]) -> None:
    """All shifts are alike there, and that proves nothing against it."""
    title = Title(desk, film(STILL), {"height": 180, "crf": 20})
    title.encode()
    assert title.judge().quality[0].aligned


def test_a_rendition_that_is_not_in_the_plan_is_refused_by_name(
    desk: Desk, film: Callable[[str], Path]
) -> None:
    title = Title(desk, film(STILL), {"height": 180, "crf": 20})
    title.encode()
    (file,) = title.files()
    job = MeasureInput(**SOURCE, plan=title.plan, rendition="9000p", file=file.file)
    with pytest.raises(TaskRejected, match="9000p"):
        measure(job, desk.context())
