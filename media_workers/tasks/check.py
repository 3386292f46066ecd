"""media_check: the finished package by every rule of the validator, before anybody may see it."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from media_workers.media.check_expected import Evidence, Expectation, Loudness, PublishedFile
from media_workers.media.check_plan import name_of
from media_workers.media.check_rules import RuleResult
from media_workers.media.gate import Measured, Verdict
from media_workers.media.package_check import check_package
from media_workers.media.plan import Plan
from media_workers.media.protection import ProtectionPlan
from media_workers.media.verify import Finding
from media_workers.sdk import Record, TaskContext, TaskFailed, worker
from media_workers.storage import Artefact, MissingKeyError
from media_workers.tasks.encode import refuse_broken
from media_workers.tasks.keys import key_values
from media_workers.tasks.package import plan_given
from media_workers.tasks.package_decode import decode_samples
from media_workers.tasks.package_reader import read_package
from media_workers.tasks.package_sites import MIB, SiteError, StoredFiles
from media_workers.tasks.records import AudioFile, TextFile, VideoFile

# Three segments of the largest rendition, twice when they are encrypted.
SCRATCH_BYTES = 512 * MIB
READ_FRACTION, DECODED_FRACTION = 0.3, 0.9
LET_THROUGH = ("passed", "capped")
_RANGES = {"pq": "PQ", "hlg": "HLG", "sdr": "SDR"}


class CheckInput(Record, frozen=True, kw_only=True):
    """Input of media_check: the package, what was put into it, and the quality gate's word on it.

    `package` and `stills` are storage prefixes of artefacts. A rendition that the gate let through at its
    bitrate cap has a verdict, although its measurement misses the target.
    """

    video_id: str
    plan: Plan | None = None
    plan_key: str | None = None
    package: str
    stills: str | None = None
    protection: ProtectionPlan | None = None
    renditions: tuple[VideoFile, ...] = ()
    audio: tuple[AudioFile, ...] = ()
    text: tuple[TextFile, ...] | None = None
    quality: tuple[Measured, ...] | None = None
    verdicts: tuple[Verdict, ...] | None = None


class CheckOutput(Record, frozen=True, kw_only=True):
    """Output of media_check: what is to be said of the package, and how it did by each rule."""

    findings: tuple[Finding, ...]
    rules: tuple[RuleResult, ...]
    passed: bool


@worker("media_check")
def check(job: CheckInput, ctx: TaskContext) -> CheckOutput:
    """Check the package; an error fails the task, as nothing wrong may be published. Safe to repeat."""
    plan = plan_given(ctx, job.plan, job.plan_key)
    parts = [_artefact(ctx, prefix) for prefix in (job.package, job.stills) if prefix]
    places = {path: place for part in parts for path, place in _places(ctx, part).items()}
    site = StoredFiles("package", places)
    values = _key_values(ctx, job)
    ctx.progress(0.0, message="reading the package")
    try:
        keys = tuple(values.values()) or None
        evidence = read_package(site, keys=keys, published=_published(parts))
    except SiteError as error:
        raise TaskFailed("artefact_missing", f"the package cannot be read: {error}") from error
    evidence = msgspec.structs.replace(evidence, ranges=_ranges(evidence, plan))
    ctx.progress(READ_FRACTION, message="decoding samples")
    with ctx.scratch(SCRATCH_BYTES) as folder:
        decoded = decode_samples(ctx, site, evidence, folder, protection=job.protection, values=values)
    ctx.progress(DECODED_FRACTION, message="checking the package")
    report = check_package(
        evidence,
        Expectation(
            plan=plan,
            protection=job.protection,
            # A track without a cue is not packaged.
            texts=None if job.text is None else sum(bool(item.text.cues) for item in job.text),
            decoded=decoded,
            loudness=_loudness(job.audio) or None,
            quality=_quality(plan, job),
        ),
    )
    for finding in report.findings:
        ctx.note(f"{finding.severity} {finding.rule} {finding.subject}: {finding.message}")
    refuse_broken(report.findings, code="package_invalid")
    ctx.progress(1.0, message="the package is sound")
    return CheckOutput(findings=report.findings, rules=report.rules, passed=report.passed)


def _artefact(ctx: TaskContext, prefix: str) -> Artefact:
    found = ctx.resources.artefacts.at(prefix)
    if found is None:
        raise TaskFailed("artefact_missing", "the finished files of this video are gone; start again")
    return found


def _places(ctx: TaskContext, artefact: Artefact) -> dict[str, Path]:
    try:
        return {
            file.path: ctx.resources.storage.local_path(artefact.key(file.path)) for file in artefact.files
        }
    except MissingKeyError as error:
        raise TaskFailed("artefact_missing", f"a file of the package is gone: {error}") from error


def _published(parts: list[Artefact]) -> tuple[PublishedFile, ...]:
    return tuple(
        PublishedFile(path=file.path, size=file.size, sha256=file.sha256)
        for part in parts
        for file in part.files
    )


def _key_values(ctx: TaskContext, job: CheckInput) -> Mapping[str, bytes]:
    """Nothing without protection, or where the keys are known to their server alone."""
    if job.protection is None or not job.protection.keys:
        return {}
    return key_values(ctx, job.video_id, job.protection)


def _ranges(evidence: Evidence, plan: Plan) -> dict[str, str]:
    """The dynamic range of each rendition: its encode was proved to have it."""
    planned = {item.name: _RANGES[item.dynamic_range] for item in plan.renditions}
    named = {stream.subject: name_of(stream) for stream in evidence.playlists.values()}
    return {path: planned[name] for path, name in named.items() if name in planned}


def _loudness(tracks: tuple[AudioFile, ...]) -> dict[str, Loudness]:
    return {
        item.audio.track: Loudness(measured=item.audio.loudness_lufs, target=item.audio.loudness_target_lufs)
        for item in tracks
        # What a limiter held back has been told as a warning: no other package would have it louder.
        if item.audio.loudness_lufs is not None
        and item.audio.loudness_target_lufs is not None
        and "loudness" not in item.audio.warnings
    }


def _quality(plan: Plan, job: CheckInput) -> dict[str, bool | None] | None:
    """What became of each rendition that the plan wants judged."""
    if plan.quality is None or (job.quality is None and not job.renditions):
        return None
    measured = {item.rendition: item.passed for item in job.quality or ()}
    measured |= {item.rendition: item.outcome in LET_THROUGH for item in job.verdicts or ()}
    made = {item.video.rendition: item.video.quality for item in job.renditions}
    verdicts: dict[str, bool | None] = {}
    for target in plan.quality.targets:
        quality = made.get(target.rendition)
        verdicts[target.rendition] = measured.get(target.rendition, quality.passed if quality else None)
    return verdicts
