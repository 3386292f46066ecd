"""media_package: HLS and DASH over one set of CMAF segments, in the clear or protected."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from media_workers.media.check_expected import Expectation
from media_workers.media.check_files import BESIDE
from media_workers.media.dash import with_storyboard
from media_workers.media.hls_edit import with_defaults, with_ranges
from media_workers.media.package import (
    CBCS_MPD,
    MASTER,
    MPD,
    Layout,
    TextStream,
    packager_args,
    text_to_end,
)
from media_workers.media.package_check import check_package
from media_workers.media.plan import Plan
from media_workers.media.protection import CopyScheme, ProtectionPlan, protection_args, rewrite_fairplay
from media_workers.media.verify import Finding
from media_workers.procs.runner import ProcResult
from media_workers.sdk import Record, TaskContext, TaskFailed, TaskRejected, worker
from media_workers.storage import Artefact, MissingKeyError, artefact_key, facts_of
from media_workers.tasks.encode import provenance, refuse_broken
from media_workers.tasks.keys import protection_flagfile
from media_workers.tasks.package_reader import read_package
from media_workers.tasks.package_sites import LocalFolder
from media_workers.tasks.plan import load_plan
from media_workers.tasks.records import AudioFile, FileRef, Package, TextFile, VideoFile
from media_workers.tasks.tools import MIB, PACKAGE_LIMITS, run_tool, tool_versions

# Raised when what is done beside the packager changes, as its command does not show that.
FORMAT_VERSION = 2
SCRATCH_BYTES_MIN = 64 * MIB
# Segments repeat a little header each; the rest is the encodes' own bytes.
SIZE_FACTOR = 1.1
CHECK_FRACTION = 0.7
SHEET_MEDIA = "sprite-$Number%03d$.jpg"


class PackageInput(Record, frozen=True, kw_only=True):
    """Input of media_package: the plan or where it is stored, and the verified files.

    Renditions and tracks of the plan without a file are left out. `stills` is the artefact whose sheets are
    published beside the package.
    """

    video_id: str
    plan: Plan | None = None
    plan_key: str | None = None
    renditions: tuple[VideoFile, ...] = ()
    audio: tuple[AudioFile, ...] = ()
    text: tuple[TextFile, ...] = ()
    stills: str | None = None
    protection: ProtectionPlan | None = None


class PackageOutput(Record, frozen=True, kw_only=True):
    """Output of media_package: storage prefix of the package; `reused` when an earlier run had made it."""

    package: Package
    artefact: str
    findings: tuple[Finding, ...]
    reused: bool


class _Stored(Record, frozen=True, kw_only=True):
    package: Package
    findings: tuple[Finding, ...]


class _Streams(Record, frozen=True, kw_only=True):
    """What goes into the packager, files by name."""

    plan: Plan
    videos: dict[str, FileRef]
    audios: dict[str, FileRef]
    texts: tuple[TextFile, ...]

    @property
    def files(self) -> tuple[FileRef, ...]:
        return (*self.videos.values(), *self.audios.values(), *(text.file for text in self.texts))


@worker("media_package")
def package(job: PackageInput, ctx: TaskContext) -> PackageOutput:
    """Package the verified files and check the result. Safe to repeat: the same package is found."""
    streams = _streams(job, plan_given(ctx, job.plan, job.plan_key))
    runs = _runs(job.protection)
    recipe = [_recipe(streams, layout, job.protection, copy) for copy, layout in runs]
    hashes = tuple(file.sha256 for file in streams.files)
    version = tool_versions(ctx.resources.binaries).get("packager", "")
    # Key ids and addresses are part of it, key values never are.
    key = artefact_key("package", FORMAT_VERSION, recipe, hashes, job.protection, bool(job.stills), version)
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return _output(found, reused=True)
    size = sum(file.size for file in streams.files) * len(runs)
    with ctx.scratch(SCRATCH_BYTES_MIN + int(size * SIZE_FACTOR)) as scratch:
        folder = scratch / "package"
        folder.mkdir()
        results = []
        for number, run in enumerate(runs):
            ctx.progress(CHECK_FRACTION * number / len(runs), message="packaging")
            results.append(_run_packager(ctx, job, streams, run, folder))
        _finish_manifests(job, streams.plan, folder)
        ctx.progress(CHECK_FRACTION, message="checking the package")
        findings = package_findings(streams.plan, folder, job.protection)
        refuse_broken(findings, code="package_invalid")
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        argv = [word for words in recipe for word in words]
        stored = _Stored(
            package=Package(
                hls=MASTER,
                dash=MPD,
                files=len(sizes),
                size=sum(sizes),
                provenance=provenance(ctx, argv, "packager", _longest(results), inputs=hashes),
            ),
            findings=findings,
        )
        ctx.check_cancelled()
        artefact, reused = ctx.resources.artefacts.commit(
            job.video_id, key, folder, kind="package", facts=stored
        )
    return _output(artefact, reused=reused)


def package_findings(
    plan: Plan, folder: Path, protection: ProtectionPlan | None = None
) -> tuple[Finding, ...]:
    """Check a package folder by every rule that needs neither decoding nor what lies beside it."""
    expected = Expectation(plan=plan, protection=protection)
    findings = check_package(read_package(LocalFolder(folder)), expected).findings
    # Pictures join the package when it is published; media_check looks at both together.
    return tuple(item for item in findings if not item.subject.startswith(BESIDE))


def plan_given(ctx: TaskContext, plan: Plan | None, plan_key: str | None) -> Plan:
    """The plan of a task's input.

    Raises:
        TaskFailed, TaskRejected: there is none.
    """
    if plan is not None:
        return plan
    if plan_key is None:
        raise TaskRejected("invalid_input", "input field planKey is missing; it names the stored plan")
    return load_plan(ctx, plan_key)


def _streams(job: PackageInput, plan: Plan) -> _Streams:
    """The plan narrowed to what there are files for."""
    videos = {item.video.rendition: item.file for item in job.renditions}
    audios = {item.audio.track: item.file for item in job.audio}
    if not videos and not audios:
        raise TaskRejected("invalid_input", "input field renditions: there is nothing to package")
    narrowed = msgspec.structs.replace(
        plan,
        renditions=tuple(item for item in plan.renditions if item.name in videos),
        audio=tuple(item for item in plan.audio if item.name in audios),
    )
    # A track that says nothing (captions that were announced and never came) is no choice for a viewer.
    texts = tuple(item for item in job.text if item.text.cues)
    return _Streams(plan=narrowed, videos=videos, audios=audios, texts=texts)


def _runs(protection: ProtectionPlan | None) -> list[tuple[CopyScheme | None, Layout]]:
    """One run of the packager a copy; of two, HLS has the first and `manifest.mpd` the older scheme."""
    if protection is None:
        return [(None, Layout())]
    if len(protection.copies) == 1:
        return [(protection.copies[0], Layout())]
    return [
        ("cbcs", Layout(folder="cbcs/", mpd=CBCS_MPD)),
        ("cenc", Layout(folder="cenc/", hls=False)),
    ]


def _recipe(
    streams: _Streams, layout: Layout, protection: ProtectionPlan | None, copy: CopyScheme | None
) -> list[str]:
    """The command without a path, and without a key."""
    return packager_args(
        "packager",
        streams.plan,
        videos=dict.fromkeys(streams.videos, "SOURCE"),
        audios=dict.fromkeys(streams.audios, "SOURCE"),
        texts=[_text_stream(text, "SOURCE") for text in streams.texts],
        layout=layout,
        protection=protection_args(protection, copy) if protection and copy else (),
    )


def _run_packager(
    ctx: TaskContext,
    job: PackageInput,
    streams: _Streams,
    run: tuple[CopyScheme | None, Layout],
    folder: Path,
) -> ProcResult:
    copy, layout = run
    with _secret_flags(ctx, job, copy, folder.parent) as flags:
        argv = packager_args(
            ctx.resources.binaries.packager,
            streams.plan,
            videos={name: str(_local(ctx, file, name)) for name, file in streams.videos.items()},
            audios={name: str(_local(ctx, file, name)) for name, file in streams.audios.items()},
            texts=[_padded_text(ctx, item, streams.plan, folder.parent) for item in streams.texts],
            layout=layout,
            protection=flags,
        )
        return run_tool(ctx, argv, what="packaging", limits=PACKAGE_LIMITS, cwd=folder)


@contextlib.contextmanager
def _secret_flags(
    ctx: TaskContext, job: PackageInput, copy: CopyScheme | None, folder: Path
) -> Iterator[Sequence[str]]:
    """The packager's flags for a protected copy; the keys are in a file that only this task can read."""
    if job.protection is None or copy is None:
        yield ()
        return
    with protection_flagfile(ctx, job.video_id, job.protection, copy, folder) as path:
        yield [*protection_args(job.protection, copy), f"--flagfile={path}"]


def _finish_manifests(job: PackageInput, plan: Plan, folder: Path) -> None:
    """What the packager cannot say: one key address for each key, the plan's default, the storyboard."""
    for path in folder.rglob("*.m3u8"):
        text = path.read_text(encoding="utf-8")
        edited = with_ranges(with_defaults(text, plan), plan) if path.name == MASTER else text
        if job.protection is not None:
            edited = rewrite_fairplay(edited, job.protection)
        if edited != text:
            path.write_text(edited, encoding="utf-8")
    if job.stills is None or plan.stills is None or not plan.stills.tiles:
        return
    for path in folder.glob("*.mpd"):
        text = path.read_text(encoding="utf-8")
        path.write_text(with_storyboard(text, plan.stills, sheet_media=SHEET_MEDIA), encoding="utf-8")


def _text_stream(item: TextFile, path: str) -> TextStream:
    text = item.text
    return TextStream(
        name=f"text_{text.index}",
        path=path,
        language=text.language,
        label=text.label,
        default=text.default,
        forced=text.forced,
        sdh=text.sdh,
    )


def _padded_text(ctx: TaskContext, item: TextFile, plan: Plan, scratch: Path) -> TextStream:
    """The text as long as the title, in a file of the task's own."""
    path = scratch / f"text_{item.text.index}.vtt"
    text = _local(ctx, item.file, f"text {item.text.index}").read_text(encoding="utf-8")
    path.write_text(text_to_end(text, plan.duration_seconds), encoding="utf-8")
    return _text_stream(item, str(path))


def _longest(results: Sequence[ProcResult]) -> ProcResult:
    return max(results, key=lambda result: result.wall_seconds)


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
