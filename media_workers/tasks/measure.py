"""media_measure: how near a rendition is to its source, in a few windows."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from media_workers.media.gate import Measured, QualityPlan, RungTarget, is_aligned
from media_workers.media.plan import Plan, Rendition
from media_workers.media.quality import (
    SHIFT_LOGS,
    VMAF_LOG,
    XPSNR_LOG,
    Readings,
    bitrate_args,
    harmonic_mean,
    measure_args,
    parse_luma_psnr,
    parse_vmaf,
    parse_xpsnr,
    percentile,
    reaches,
    vmaf_frames,
    vmaf_model,
    window_bitrates,
    window_score,
)
from media_workers.media.windows import Window
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.storage import Artefact, MissingKeyError, artefact_key, facts_of
from media_workers.tasks.overlay import overlay_path, overlay_recipe
from media_workers.tasks.plan import load_plan
from media_workers.tasks.records import FileRef, Provenance
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import MEASURE_LIMITS, MIB, PROBE_LIMITS, run_tool, tool_versions

SERIES_NAME = "quality.json"
P5 = 0.05


class MeasureInput(Record, frozen=True, kw_only=True):
    """Input of media_measure: one stitched rendition of the plan, and its file."""

    video_id: str
    source_key: str
    source_sha256: str
    plan_key: str | None = None
    plan: Plan | None = None
    rendition: str
    file: FileRef


class MeasureOutput(Record, frozen=True, kw_only=True):
    """Output of media_measure; the series by frame are in the artefact's `quality.json`."""

    measured: Measured
    artefact: str
    reused: bool


class WindowSeries(Record, frozen=True, kw_only=True):
    """Everything read of one window; `vmaf` has every `subsample`-th frame from the first on."""

    first_frame: int
    frames: int
    bitrate_bps: int
    vmaf: tuple[float, ...]
    xpsnr_db: float
    shift_psnr_db: tuple[float, float, float] | None


class Series(Record, frozen=True, kw_only=True):
    """The document `quality.json`."""

    rendition: str
    metric: str
    model: str
    subsample: int
    frame_rate: str
    windows: tuple[WindowSeries, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class _Work:
    """One rendition to measure, and who measures it."""

    ctx: TaskContext
    job: MeasureInput
    plan: Plan
    rendition: Rendition
    quality: QualityPlan
    target: RungTarget

    @property
    def version(self) -> str:
        return tool_versions(self.ctx.resources.binaries).get("ffmpeg", "")

    @property
    def recipes(self) -> list[list[str]]:
        """The commands without a path, by window: what the result depends on."""
        overlay = overlay_recipe(self.ctx, self.plan)
        return [
            self.argv("ffmpeg", window, "SOURCE", "RENDITION", overlay=overlay)
            for window in self.quality.windows
        ]

    def argv(
        self, ffmpeg: str, window: Window, source: str, encoded: str, *, overlay: str | None
    ) -> list[str]:
        return measure_args(
            ffmpeg,
            self.plan,
            self.rendition,
            window,
            source=source,
            encoded=encoded,
            subsample=self.quality.subsample,
            overlay=overlay,
        )


@worker("media_measure")
def measure(job: MeasureInput, ctx: TaskContext) -> MeasureOutput:
    """Measure one rendition against the source. Safe to repeat: the same file is measured once."""
    plan = job.plan or load_plan(ctx, job.plan_key or "")
    rendition = next((item for item in plan.renditions if item.name == job.rendition), None)
    target = plan.quality.target(job.rendition) if plan.quality is not None else None
    if rendition is None or plan.quality is None or target is None:
        raise TaskRejected(
            "invalid_input", f"input field rendition: the plan has no {job.rendition!r} to measure"
        )
    work = _Work(ctx, job, plan, rendition, plan.quality, target)
    key = artefact_key("quality", job.source_sha256, job.file.sha256, work.recipes, target, work.version)
    found, reused = ctx.resources.artefacts.find(job.video_id, key), True
    if found is None:
        found, reused = _measure(work, key)
    return MeasureOutput(measured=facts_of(found, Measured), artefact=found.prefix, reused=reused)


def _measure(work: _Work, key: str) -> tuple[Artefact, bool]:
    ctx, job = work.ctx, work.job
    source, encoded = source_path(ctx, job.source_key), _encoded_path(ctx, job)
    what = f"measuring {work.rendition.name}"
    windows, cpu_seconds, wall_seconds = [], 0.0, 0.0
    with ctx.scratch(MIB) as folder:
        bitrates = _bitrates(work, encoded)
        (marks := folder / "marks").mkdir()
        overlay = overlay_path(ctx, work.plan, marks)
        for number, (window, bitrate) in enumerate(zip(work.quality.windows, bitrates, strict=True)):
            ctx.progress(number / len(bitrates), message=what)
            place = folder / f"window_{number}"
            place.mkdir()
            argv = work.argv(
                ctx.resources.binaries.ffmpeg, window, str(source), str(encoded), overlay=overlay
            )
            result = run_tool(ctx, argv, what=what, limits=MEASURE_LIMITS, cwd=place)
            cpu_seconds += result.cpu_seconds
            wall_seconds += result.wall_seconds
            windows.append(_read(work, place, window, bitrate))
            shutil.rmtree(place)
        series = Series(
            rendition=work.rendition.name,
            metric="vmaf",
            model=vmaf_model(work.rendition.width, work.rendition.height),
            subsample=work.quality.subsample,
            frame_rate=work.plan.frame_rate,
            windows=tuple(windows),
            provenance=Provenance(
                argv=tuple(word for recipe in work.recipes for word in recipe),
                tools={"ffmpeg": work.version},
                worker=ctx.worker_id,
                inputs=(job.source_sha256, job.file.sha256),
                cpu_seconds=round(cpu_seconds, 3),
                wall_seconds=round(wall_seconds, 3),
            ),
        )
        measured = summary(series, work.target, work.plan, cpu_seconds=round(cpu_seconds, 3))
        ctx.check_cancelled()
        shutil.rmtree(marks)
        (folder / SERIES_NAME).write_bytes(msgspec.json.encode(series))
        return ctx.resources.artefacts.commit(job.video_id, key, folder, kind="quality", facts=measured)


def summary(series: Series, target: RungTarget, plan: Plan, *, cpu_seconds: float) -> Measured:
    """What the gate decides on."""
    every = [score for window in series.windows for score in window.vmaf]
    mean, p5 = round(harmonic_mean(every), 2), round(percentile(every, P5), 2)
    shifts = [window.shift_psnr_db for window in series.windows if window.shift_psnr_db is not None]
    wrong = [shift for shift in shifts if not is_aligned(shift)]
    telling = wrong or sorted(shifts, key=lambda shift: max(shift[0], shift[2]) - shift[1])
    return Measured(
        rendition=series.rendition,
        mean=mean,
        p5=p5,
        minimum=round(min(every), 2),
        xpsnr_db=round(sum(window.xpsnr_db for window in series.windows) / len(series.windows), 2),
        aligned=not wrong,
        windows=tuple(
            window_score(
                Window(first_frame=window.first_frame, frames=window.frames),
                plan.rate,
                window.vmaf,
                window.bitrate_bps,
            )
            for window in series.windows
        ),
        cpu_seconds=cpu_seconds,
        target_mean=target.mean,
        target_p5=target.p5,
        passed=not wrong and reaches(target, mean, p5),
        metric=series.metric,
        model=series.model,
        shift_psnr_db=telling[0] if telling else None,
    )


def _read(work: _Work, folder: Path, window: Window, bitrate_bps: int) -> WindowSeries:
    """What FFmpeg has left in its folder.

    Raises:
        TaskFailed: `tool_failed` or `encode_mismatch`.
    """
    name = work.rendition.name
    try:
        readings = _readings(folder, work.rendition.bit_depth)
    except (OSError, ValueError) as error:
        raise TaskFailed("tool_failed", f"measuring {name}: {error}") from error
    expected = vmaf_frames(window.frames, work.quality.subsample)
    if len(readings.vmaf) != expected:
        raise TaskFailed(
            "encode_mismatch",
            f"{name}: {len(readings.vmaf)} of {expected} frames could be compared with the source from frame "
            f"{window.first_frame} on; the rendition or the source ends early there",
        )
    return WindowSeries(
        first_frame=window.first_frame,
        frames=window.frames,
        bitrate_bps=bitrate_bps,
        vmaf=readings.vmaf,
        xpsnr_db=readings.xpsnr_db,
        shift_psnr_db=readings.shift_psnr_db,
    )


def _readings(folder: Path, bit_depth: int) -> Readings:
    shifts = [folder / name for name in SHIFT_LOGS]
    early_in_place_late = None
    if shifts[0].exists():
        first, second, third = (parse_luma_psnr(path.read_text(), bit_depth=bit_depth) for path in shifts)
        early_in_place_late = (first, second, third)
    return Readings(
        vmaf=parse_vmaf((folder / VMAF_LOG).read_bytes()),
        xpsnr_db=parse_xpsnr((folder / XPSNR_LOG).read_text()),
        shift_psnr_db=early_in_place_late,
    )


def _bitrates(work: _Work, encoded: Path) -> tuple[int, ...]:
    ctx, windows, rate = work.ctx, work.quality.windows, work.plan.rate
    argv = bitrate_args(ctx.resources.binaries.ffprobe, str(encoded), windows, rate)
    result = run_tool(ctx, argv, what="reading the rendition's packets", limits=PROBE_LIMITS)
    try:
        return window_bitrates(result.stdout, windows, rate)
    except ValueError as error:
        raise TaskFailed("tool_failed", str(error)) from error


def _encoded_path(ctx: TaskContext, job: MeasureInput) -> Path:
    try:
        return ctx.resources.storage.local_path(job.file.key)
    except MissingKeyError as error:
        raise TaskFailed(
            "artefact_missing", f"{job.rendition}: its file has been removed; start again"
        ) from error
