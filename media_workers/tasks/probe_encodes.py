"""media_probe_encodes: trial encodes of a title, and the ladder they suggest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from media_workers.media.facts import SourceFacts
from media_workers.media.hull import Probe, upper_hull
from media_workers.media.per_title import (
    PROBE_CRFS,
    PROBE_PRESET,
    PerTitle,
    choose_rungs,
    probe_sizes,
)
from media_workers.media.plan import Plan
from media_workers.media.profile_records import HEIGHT_MAX, Profile, RungWish
from media_workers.media.quality import harmonic_mean, parse_vmaf
from media_workers.media.scan import Complexity, Interval
from media_workers.media.trials import (
    REFERENCE_BYTES_A_PIXEL,
    REFERENCE_NAME,
    reference_args,
    score_args,
    score_name,
    trial_args,
    trial_name,
)
from media_workers.media.windows import Window, complex_windows
from media_workers.procs.runner import ProcResult
from media_workers.sdk import Record, TaskContext, TaskFailed, worker
from media_workers.storage import artefact_key, facts_of
from media_workers.tasks.plan import plan_title
from media_workers.tasks.records import Provenance
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import MEASURE_LIMITS, MIB, run_tool, tool_versions
from media_workers.tasks.validate import profile_for

EVIDENCE_NAME = "per_title.json"
SCRATCH_BYTES_MIN = 64 * MIB
# Lossless windows are the first part of the work.
REFERENCE_FRACTION = 0.1


class ProbeEncodesInput(Record, frozen=True, kw_only=True):
    """Input of media_probe_encodes: as of media_plan, and what the scan saw of the title's complexity."""

    video_id: str
    source_key: str
    source_sha256: str
    facts: SourceFacts
    profile: str | dict[str, Any] | None = None
    overrides: dict[str, Any] | None = None
    complexity: Complexity | None = None
    black: tuple[Interval, ...] | None = None


class ProbeEncodesOutput(Record, frozen=True, kw_only=True):
    """Output of media_probe_encodes; None for a title without a picture."""

    per_title: PerTitle | None
    artefact: str | None = None
    reused: bool = False


class Evidence(Record, frozen=True, kw_only=True):
    """The document `per_title.json`: the choice, its probes, and how they were made."""

    per_title: PerTitle
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class _Work:
    """One title to try, and who tries it."""

    ctx: TaskContext
    job: ProbeEncodesInput
    plan: Plan
    windows: tuple[Window, ...]
    sizes: tuple[tuple[int, int], ...]

    @property
    def version(self) -> str:
        return tool_versions(self.ctx.resources.binaries).get("ffmpeg", "")

    @property
    def recipe(self) -> list[list[str]]:
        """The commands without a path: what the result depends on."""
        return [
            reference_args("ffmpeg", self.plan, self.windows, source="SOURCE", target=REFERENCE_NAME),
            *(trial_args("ffmpeg", self.plan, size, reference=REFERENCE_NAME) for size in self.sizes),
            score_args("ffmpeg", self.plan, reference=REFERENCE_NAME),
        ]


@worker("media_probe_encodes")
def probe_encodes(job: ProbeEncodesInput, ctx: TaskContext) -> ProbeEncodesOutput:
    """Try a title at several sizes and qualities. Safe to repeat: the same trials are made once."""
    profile = profile_for(job.profile, job.overrides)
    plan = plan_title(job.facts, trial_profile(profile))
    if plan.video is None or not plan.renditions:
        return ProbeEncodesOutput(per_title=None)
    black = [(span.start_seconds, span.end_seconds) for span in job.black or ()]
    complexity = job.complexity.per_second() if job.complexity is not None else ()
    windows = complex_windows(complexity, plan.frames_total, plan.gop_frames, plan.rate, black=black)
    work = _Work(ctx, job, plan, windows, probe_sizes(plan.renditions))
    key = artefact_key(
        "per_title", job.source_sha256, plan.renditions, work.recipe, profile.renditions_min, work.version
    )
    found, reused = ctx.resources.artefacts.find(job.video_id, key), True
    if found is None:
        with ctx.scratch(_room(work)) as folder:
            evidence = _try(work, folder, profile.renditions_min)
            ctx.check_cancelled()
            (folder / EVIDENCE_NAME).write_bytes(msgspec.json.encode(evidence))
            found, reused = ctx.resources.artefacts.commit(
                job.video_id, key, folder, kind="per_title", facts=evidence.per_title
            )
    return ProbeEncodesOutput(per_title=facts_of(found, PerTitle), artefact=found.prefix, reused=reused)


def trial_profile(profile: Profile) -> Profile:
    """The profile's ladder as H.264 in SDR, at every size that it has in any codec."""
    rungs: dict[int, RungWish] = {}
    for wish in profile.rungs:
        own = wish.codec in (None, "h264")
        if own or wish.height not in rungs:
            rungs[wish.height] = msgspec.structs.replace(
                wish,
                codec=None,
                crf=wish.crf if own else None,
                max_bitrate_bps=wish.max_bitrate_bps if own else None,
            )
    return msgspec.structs.replace(
        profile,
        codecs=("h264",),
        rungs=tuple(rungs[height] for height in sorted(rungs, reverse=True)),
        h264_lines_max=HEIGHT_MAX,
        hdr="sdr",
        watermark=None,
        quality_gate=False,
    )


def _try(work: _Work, folder: Path, renditions_min: int) -> Evidence:
    """Every trial, and the rungs chosen from them; leaves nothing in the folder."""
    ctx, plan = work.ctx, work.plan
    binary = ctx.resources.binaries.ffmpeg
    source = source_path(ctx, work.job.source_key)
    reference = folder / REFERENCE_NAME
    results: list[ProcResult] = []

    def run(argv: list[str], what: str) -> None:
        results.append(run_tool(ctx, argv, what=what, limits=MEASURE_LIMITS, cwd=folder))

    ctx.progress(0.0, message="cutting windows for trial encodes")
    run(
        reference_args(binary, plan, work.windows, source=str(source), target=str(reference)),
        "cutting windows for trial encodes",
    )
    probes: list[Probe] = []
    for number, size in enumerate(work.sizes):
        what = f"trying {size[0]}x{size[1]}"
        ctx.progress(REFERENCE_FRACTION + (1 - REFERENCE_FRACTION) * number / len(work.sizes), message=what)
        run(trial_args(binary, plan, size, reference=str(reference)), what)
        run(score_args(binary, plan, reference=str(reference)), what)
        probes += _probes(work, size, folder)
    reference.unlink()
    cpu_seconds = round(sum(result.cpu_seconds for result in results), 3)
    per_title = PerTitle(
        rungs=choose_rungs(probes, plan.renditions, renditions_min=renditions_min),
        probes=tuple(probes),
        hull=upper_hull(probes),
        windows=work.windows,
        preset=PROBE_PRESET,
        cpu_seconds=cpu_seconds,
    )
    return Evidence(
        per_title=per_title,
        provenance=Provenance(
            argv=tuple(word for command in work.recipe for word in command),
            tools={"ffmpeg": work.version},
            worker=ctx.worker_id,
            inputs=(work.job.source_sha256,),
            cpu_seconds=cpu_seconds,
            wall_seconds=round(sum(result.wall_seconds for result in results), 3),
        ),
    )


def _probes(work: _Work, size: tuple[int, int], folder: Path) -> list[Probe]:
    """What the trials of one size came to; their files are removed."""
    frames = sum(window.frames for window in work.windows)
    probes = []
    for crf in PROBE_CRFS:
        trial, scores = folder / trial_name(crf), folder / score_name(crf)
        try:
            vmaf = harmonic_mean(parse_vmaf(scores.read_bytes()))
        except (OSError, ValueError) as error:
            raise TaskFailed("tool_failed", f"trying {size[0]}x{size[1]}: {error}") from error
        bits = trial.stat().st_size * 8
        probes.append(
            Probe(
                width=size[0],
                height=size[1],
                crf=crf,
                bitrate_bps=max(1, round(bits * work.plan.rate / frames)),
                vmaf=round(vmaf, 3),
            )
        )
        trial.unlink()
        scores.unlink()
    return probes


def _room(work: _Work) -> int:
    top = work.plan.renditions[0]
    frames = sum(window.frames for window in work.windows)
    return SCRATCH_BYTES_MIN + int(top.width * top.height * frames * REFERENCE_BYTES_A_PIXEL)
