"""media_package: HLS and DASH over one set of CMAF segments."""

from collections.abc import Sequence
from pathlib import Path

from media_workers.media.mp4 import InitFacts, SegmentFacts, init_facts, segment_facts
from media_workers.media.package import MASTER, MPD, packager_args
from media_workers.media.package_check import check_package
from media_workers.media.plan import Plan
from media_workers.media.verify import Finding
from media_workers.sdk import Record, TaskContext, TaskFailed, worker
from media_workers.storage import Artefact, MissingKeyError, artefact_key, facts_of
from media_workers.tasks.encode import provenance, refuse_broken
from media_workers.tasks.records import AudioFile, FileRef, Package, VideoFile
from media_workers.tasks.tools import MIB, PACKAGE_LIMITS, run_tool, tool_versions

SCRATCH_BYTES_MIN = 64 * MIB
# Segments repeat a little header each; the rest is the encodes' own bytes.
SIZE_FACTOR = 1.1
CHECK_FRACTION = 0.7


class PackageInput(Record, frozen=True, kw_only=True):
    """Input of media_package: the plan, and the verified files."""

    video_id: str
    plan: Plan
    renditions: tuple[VideoFile, ...]
    audio: tuple[AudioFile, ...] = ()


class PackageOutput(Record, frozen=True, kw_only=True):
    """Output of media_package: storage prefix of the package; `reused` when an earlier run had made it."""

    package: Package
    artefact: str
    findings: tuple[Finding, ...]
    reused: bool


class _Stored(Record, frozen=True, kw_only=True):
    package: Package
    findings: tuple[Finding, ...]


@worker("media_package")
def package(job: PackageInput, ctx: TaskContext) -> PackageOutput:
    """Package the verified files and check the result. Safe to repeat: the same package is found."""
    files = {item.video.rendition: item.file for item in job.renditions}
    tracks = {item.audio.track: item.file for item in job.audio}
    hashes = tuple(file.sha256 for file in (*files.values(), *tracks.values()))
    recipe = packager_args(
        "packager", job.plan, videos=dict.fromkeys(files, "SOURCE"), audios=dict.fromkeys(tracks, "SOURCE")
    )
    version = tool_versions(ctx.resources.binaries).get("packager", "")
    key = artefact_key("package", recipe, hashes, version)
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return _output(found, reused=True)
    size = sum(file.size for file in (*files.values(), *tracks.values()))
    with ctx.scratch(SCRATCH_BYTES_MIN + int(size * SIZE_FACTOR)) as folder:
        ctx.progress(0.0, message="packaging")
        result = run_tool(
            ctx,
            packager_args(
                ctx.resources.binaries.packager,
                job.plan,
                videos={name: str(_local(ctx, file, name)) for name, file in files.items()},
                audios={name: str(_local(ctx, file, name)) for name, file in tracks.items()},
            ),
            what="packaging",
            limits=PACKAGE_LIMITS,
            cwd=folder,
        )
        ctx.progress(CHECK_FRACTION, message="checking the package")
        findings = package_findings(job.plan, folder)
        refuse_broken(findings, code="package_invalid")
        paths = _paths(folder)
        stored = _Stored(
            package=Package(
                hls=MASTER,
                dash=MPD,
                files=len(paths),
                size=sum((folder / path).stat().st_size for path in paths),
                provenance=provenance(ctx, recipe, "packager", result, inputs=hashes),
            ),
            findings=findings,
        )
        ctx.check_cancelled()
        artefact, reused = ctx.resources.artefacts.commit(
            job.video_id, key, folder, kind="package", facts=stored
        )
    return _output(artefact, reused=reused)


def package_findings(plan: Plan, folder: Path) -> tuple[Finding, ...]:
    """Check a package folder, segment by segment.

    Raises:
        TaskFailed: a file is no media segment at all.
    """
    paths = _paths(folder)
    texts = {
        path: (folder / path).read_text(encoding="utf-8")
        for path in paths
        if path.endswith((".m3u8", ".mpd"))
    }
    inits: dict[str, InitFacts] = {}
    segments: dict[str, SegmentFacts] = {}
    try:
        for path in paths:
            if path.endswith("init.mp4"):
                inits[path] = init_facts((folder / path).read_bytes())
        for path in paths:
            if path.endswith(".m4s"):
                init = inits[f"{path.rpartition('/')[0]}/init.mp4"]
                segments[path] = segment_facts((folder / path).read_bytes(), init)
    except (ValueError, KeyError) as error:
        raise TaskFailed(
            "package_invalid", f"the packager made a file that is no segment: {error}"
        ) from error
    sizes = {path: (folder / path).stat().st_size for path in paths}
    return check_package(plan, sizes=sizes, texts=texts, inits=inits, segments=segments)


def _paths(folder: Path) -> Sequence[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _local(ctx: TaskContext, file: FileRef, name: str) -> Path:
    try:
        return ctx.resources.storage.local_path(file.key)
    except MissingKeyError as error:
        raise TaskFailed("artefact_missing", f"{name}: its file has been removed; start again") from error


def _output(artefact: Artefact, *, reused: bool) -> PackageOutput:
    stored = facts_of(artefact, _Stored)
    return PackageOutput(
        package=stored.package,
        artefact=artefact.prefix,
        findings=stored.findings,
        reused=reused,
    )
