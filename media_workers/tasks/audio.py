"""media_audio: one sound track, whole, at the wanted loudness."""

import math
from pathlib import Path

import msgspec

from media_workers.media.audio_check import check_audio, check_loudness
from media_workers.media.audio_plan import AudioPlan
from media_workers.media.loudness import CORRECTIONS_MAX, Loudness, correction, reachable_lufs
from media_workers.media.sound import audio_args
from media_workers.media.verify import Finding
from media_workers.procs.runner import ProcResult
from media_workers.sdk import Record, TaskContext, TaskRejected, worker
from media_workers.storage import Artefact, artefact_key, facts_of
from media_workers.tasks.encode import bitrate_bps, provenance, refuse_broken
from media_workers.tasks.loudness import heard_loudness, source_loudness
from media_workers.tasks.plan import BranchInput, plan_of
from media_workers.tasks.probing import measure
from media_workers.tasks.records import EncodedAudio, FileRef, Provenance, file_ref
from media_workers.tasks.source import source_path
from media_workers.tasks.tools import MIB, encode_limits, run_tool, time_progress, tool_versions

AUDIO_NAME = "audio.mp4"
SCRATCH_BYTES_MIN = 32 * MIB
ATTEMPTS_MAX = 1 + CORRECTIONS_MAX
# The measuring pass only decodes; it is about this share of the whole.
MEASURE_FRACTION = 0.4


class AudioOutput(Record, frozen=True, kw_only=True):
    """Output of media_audio; `reused` when an earlier run had already made it."""

    audio: EncodedAudio
    file: FileRef
    reused: bool


class _Attempt(msgspec.Struct, frozen=True, kw_only=True):
    path: Path
    correction_db: float
    result: ProcResult
    heard_lufs: float | None

    def missing(self, wanted_lufs: float) -> float:
        return abs(wanted_lufs - self.heard_lufs) if self.heard_lufs is not None else math.inf


@worker("media_audio")
def audio(job: BranchInput, ctx: TaskContext) -> AudioOutput:
    """Encode one sound track of the plan. Safe to repeat: the same work is found, not done again."""
    chosen = next((item for item in plan_of(ctx, job).audio if item.name == job.track), None)
    if chosen is None:
        raise TaskRejected("invalid_input", f"input field track: the plan has no sound track {job.track!r}")
    return encode_track(ctx, job, chosen)


def encode_track(ctx: TaskContext, job: BranchInput, track: AudioPlan) -> AudioOutput:
    """Measure and encode one track, check it, store it."""
    version = tool_versions(ctx.resources.binaries).get("ffmpeg", "")
    # What is measured follows from the source, so the recipe without a measurement is enough for the key.
    recipe = audio_args("ffmpeg", track, source="SOURCE", target="TARGET", measured=None)
    key = artefact_key("audio", job.source_sha256, recipe, track, version)
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return _output(found, reused=True)
    source = source_path(ctx, job.source_key)
    room = _room(track)
    with ctx.scratch(ATTEMPTS_MAX * room) as folder:
        measured = _measured(ctx, job, track, source)
        made = _best_attempt(ctx, track, source, folder, measured)
        refuse_broken(track_findings(ctx, track, made.path), code="encode_mismatch")
        finished = folder / "finished"
        finished.mkdir()
        made.path.rename(finished / AUDIO_NAME)
        shown = audio_args(
            "ffmpeg",
            track,
            source="SOURCE",
            target="TARGET",
            measured=measured,
            correction_db=made.correction_db,
        )
        how = provenance(ctx, shown, "ffmpeg", made.result, inputs=(job.source_sha256,))
        facts = _facts(ctx, track, finished / AUDIO_NAME, measured=measured, heard=made.heard_lufs, made=how)
        ctx.check_cancelled()
        artefact, reused = ctx.resources.artefacts.commit(
            job.video_id, key, finished, kind="audio", facts=facts
        )
    return _output(artefact, reused=reused)


def track_findings(ctx: TaskContext, track: AudioPlan, path: Path) -> tuple[Finding, ...]:
    """Measure an encoded track against the plan."""
    probe, packets = measure(ctx, path)
    return check_audio(track, probe, packets)


def _measured(ctx: TaskContext, job: BranchInput, track: AudioPlan, source: Path) -> Loudness | None:
    if track.loudness_lufs is None:
        return None
    ctx.progress(0.0, message=f"measuring the loudness of {track.name}")
    measured = source_loudness(ctx, job, track, source)
    ctx.progress(MEASURE_FRACTION, message=f"measured the loudness of {track.name}")
    return measured


def _best_attempt(
    ctx: TaskContext, track: AudioPlan, source: Path, folder: Path, measured: Loudness | None
) -> _Attempt:
    """Encode, listen, and where the limiter or the codec took loudness away encode again with more gain."""
    best = _attempt(ctx, track, source=source, target=folder / "attempt-0.mp4", measured=measured)
    correction_db = 0.0
    if measured is None or track.loudness_lufs is None:
        return best
    wanted = reachable_lufs(track.loudness_lufs, measured)
    last = best
    for number in range(1, ATTEMPTS_MAX):
        step = correction(wanted, last.heard_lufs) if last.heard_lufs is not None else 0.0
        if not step:
            break
        correction_db += step
        path = folder / f"attempt-{number}.mp4"
        last = _attempt(
            ctx, track, source=source, target=path, measured=measured, correction_db=correction_db
        )
        if last.missing(wanted) >= best.missing(wanted):
            break
        best = last
    return best


def _attempt(
    ctx: TaskContext,
    track: AudioPlan,
    *,
    source: Path,
    target: Path,
    measured: Loudness | None,
    correction_db: float = 0.0,
) -> _Attempt:
    seconds = track.samples_total / track.sample_rate
    what = f"encoding {track.name}"
    command = audio_args(
        ctx.resources.binaries.ffmpeg,
        track,
        source=str(source),
        target=str(target),
        measured=measured,
        correction_db=correction_db,
    )
    result = run_tool(
        ctx,
        command,
        what=what,
        limits=encode_limits(seconds, _room(track)),
        on_line=time_progress(ctx, seconds_total=seconds, message=what, start=MEASURE_FRACTION),
    )
    heard = heard_loudness(ctx, track, target) if measured is not None else None
    return _Attempt(
        path=target,
        correction_db=correction_db,
        result=result,
        heard_lufs=heard.input_i if heard is not None else None,
    )


def _room(track: AudioPlan) -> int:
    """Bytes to reserve for one encode."""
    return SCRATCH_BYTES_MIN + int(2 * track.bitrate_bps * track.samples_total / track.sample_rate / 8)


def _facts(
    ctx: TaskContext,
    track: AudioPlan,
    target: Path,
    *,
    measured: Loudness | None,
    heard: float | None,
    made: Provenance,
) -> EncodedAudio:
    seconds = track.samples_total / track.sample_rate
    warnings: list[str] = [track.mapping] if track.mapping == "first_pair" else []
    wanted = None
    if measured is not None and track.loudness_lufs is not None:
        wanted = reachable_lufs(track.loudness_lufs, measured)
        for finding in check_loudness(track, wanted, heard) if heard is not None else ():
            ctx.note(f"{finding.subject}: {finding.message}")
            warnings.append(finding.rule)
    elif track.loudness_lufs is not None:
        ctx.note(f"{track.name}: the track is silent, its loudness is left alone")
        warnings.append("silent_audio")
    return EncodedAudio(
        track=track.name,
        codec=track.codec,
        language=track.language,
        channels=track.channels,
        duration_seconds=round(seconds, 6),
        average_bitrate=bitrate_bps(target, seconds),
        loudness_lufs=heard,
        loudness_target_lufs=wanted,
        warnings=tuple(warnings),
        layout=track.layout,
        label=track.label,
        default=track.default,
        role=track.role,
        group=track.group,
        provenance=made,
    )


def _output(artefact: Artefact, *, reused: bool) -> AudioOutput:
    return AudioOutput(
        audio=facts_of(artefact, EncodedAudio), file=file_ref(artefact, AUDIO_NAME), reused=reused
    )
