"""The worker's command line: run, plan, doctor, types, verdicts."""

import contextlib
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import msgspec
import structlog
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from media_workers.drm.custody import Custody
from media_workers.drm.errors import DrmError
from media_workers.media.catalogue import CATALOGUE, catalogue_document
from media_workers.media.facts import SourceFacts
from media_workers.media.plan import Plan
from media_workers.media.verdicts import Verdict
from media_workers.procs.binaries import Binaries, find_binaries, versions
from media_workers.procs.errors import MissingBinaryError, ProcError
from media_workers.sdk import (
    Cancellation,
    ConductorClient,
    HostTimings,
    PoolSpec,
    Record,
    Resources,
    Task,
    TaskContext,
    TaskFailed,
    TaskRejected,
    TaskStatus,
    WorkerHost,
    Workflow,
)
from media_workers.settings import WorkerSettings
from media_workers.storage import LocalStorage, Scratch
from media_workers.tasks.check_command import add_check
from media_workers.tasks.doctor import chosen_hardware, disk_check, sandbox_check, tool_checks
from media_workers.tasks.keys_commands import REQUEST_SECONDS, keys_app
from media_workers.tasks.plan import plan_title
from media_workers.tasks.probing import inspect_source
from media_workers.tasks.registry import CLASS_OF, WORKERS, ResourceClass, task_types
from media_workers.tasks.validate import profile_for

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Media workers: they take tasks from a server and process video.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_log = structlog.get_logger(__name__)


def main() -> None:
    """Entry point of `python -m media_workers`."""
    app()


@app.command()
def run(  # noqa: PLR0917 - the parameters are the command line's options
    server: Annotated[str | None, typer.Option(help="URL of the server.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder.")] = None,
    media: Annotated[Path | None, typer.Option(help="Media folder shared with the server.")] = None,
    types: Annotated[str | None, typer.Option(help="Only these task types, comma-separated.")] = None,
    classes: Annotated[
        str | None, typer.Option("--class", help="Only these resource classes, comma-separated.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Encodes at once.")] = None,
    domain: Annotated[str | None, typer.Option(help="Only tasks of this domain.")] = None,
) -> None:
    """Work until told to stop: SIGTERM finishes what is running, a second one or Ctrl-C hands it back."""
    given = {"server": server, "data": data, "media": media, "concurrency": concurrency, "domain": domain}
    settings = _settings(given)
    _configure_log(settings.log_format)
    try:
        served = task_types(names=_split(types), classes=_split(classes))
    except ValueError as error:
        _fail(str(error), EXIT_USAGE)
    tools = _binaries(settings)
    worker_id = _worker_id()
    try:
        storage = LocalStorage(settings.media_root, writer=worker_id)
        scratch = Scratch(settings.scratch_root.resolve(), worker_id)
    except OSError as error:
        _fail(
            f"{error.filename} cannot be used: {error.strerror}; name another folder with --data or --media"
        )
    dead = sorted({*scratch.remove_dead(), *storage.remove_dead()})
    if dead:
        _log.info("scratch_of_dead_workers_removed", workers=dead)
    key = settings.worker_api_key
    try:
        with ConductorClient(settings.server, api_key=key.get_secret_value() if key else None) as client:
            code = _serve(
                WorkerHost(
                    client=client,
                    workers=WORKERS,
                    pools=_pools(served, settings),
                    resources=Resources(
                        storage=storage,
                        scratch=scratch,
                        binaries=tools,
                        keys=_custody(settings),
                        hardware=chosen_hardware(tools, settings.hardware),
                        core_hour_price=settings.core_hour_price,
                    ),
                    worker_id=worker_id,
                    domain=settings.domain,
                    timings=HostTimings(long_poll_ms=settings.long_poll_ms),
                )
            )
    finally:
        scratch.close()
        storage.close()
    raise typer.Exit(code)


class PlanReport(Record, frozen=True, kw_only=True):
    """What `plan --json` prints."""

    source: SourceFacts
    verdicts: tuple[Verdict, ...]
    plan: Plan


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="A video file.")],
    profile: Annotated[str | None, typer.Option(help="Encoding profile.")] = None,
    overrides: Annotated[str | None, typer.Option(help="Overrides of the profile, a JSON object.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan as JSON.")] = False,
) -> None:
    """Show what would be made of a file: renditions, time, size. Nothing is encoded."""
    settings = _settings({})
    _configure_log(settings.log_format)
    if not file.is_file():
        _fail(f"there is no file {file}", EXIT_USAGE)
    try:
        chosen = profile_for(profile, _json_object(overrides))
        with _lone_context(_binaries(settings)) as context:
            found = inspect_source(context, file.resolve(), audio_only_allowed=chosen.audio_only_allowed)
        report = PlanReport(source=found.facts, verdicts=found.verdicts, plan=plan_title(found.facts, chosen))
    except TaskRejected as refused:
        if as_json:
            error = {"code": refused.code, "message": refused.message, "retryable": refused.retryable}
            _print_json({"error": error, **refused.output})
        _fail(refused.message)
    except (TaskFailed, ProcError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{file} cannot be read: {error.strerror}")
    if as_json:
        _print_json(report)
    else:
        _show_plan(report)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the tools, the encoders and the disk; exit 1 with what to do when something is missing."""
    settings = _settings({})
    checks: list[dict[str, object]] = []
    try:
        tools = _find(settings)
        for name, version in versions(tools).items():
            checks.append({"check": name, "ok": True, "detail": version, "path": getattr(tools, name, "")})
        checks += tool_checks(tools)
    except ProcError as error:
        checks.append({"check": "tools", "ok": False, "detail": str(error)})
    checks += [
        disk_check("media", settings.media_root),
        disk_check("scratch", settings.scratch_root),
        sandbox_check(),
    ]
    healthy = all(check["ok"] for check in checks)
    if as_json:
        _print_json({"ok": healthy, "checks": checks})
    else:
        table = Table("", "check", "detail", box=None)
        for check in checks:
            table.add_row("ok" if check["ok"] else "!!", str(check["check"]), str(check["detail"]))
        Console().print(table)
    raise typer.Exit(0 if healthy else EXIT_FAILURE)


@app.command("types")
def list_types(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the task types with the kind of machine each needs."""
    if as_json:
        _print_json([{"type": name, "class": kind} for name, kind in CLASS_OF.items()])
        return
    table = Table("task type", "class", box=None)
    for name, kind in CLASS_OF.items():
        table.add_row(name, kind)
    Console().print(table)


@app.command("verdicts")
def list_verdicts(
    as_json: Annotated[bool, typer.Option("--json", help="Print the catalogue as JSON.")] = False,
) -> None:
    """List what may be found about an upload: codes, what follows from each, and the sentences."""
    if as_json:
        _print_json(catalogue_document())
        return
    table = Table("code", "severity", "sentence", box=None)
    for entry in CATALOGUE.values():
        for outcome in entry.outcomes:
            table.add_row(entry.code, outcome.severity, outcome.message)
    Console().print(table)


def _custody(settings: WorkerSettings) -> Custody:
    try:
        return Custody(settings.custody)
    except DrmError as error:
        _fail(str(error), EXIT_USAGE)


def _ask_server(path: str) -> httpx.Response:
    settings = _settings({})
    key = settings.worker_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    base = settings.server.rstrip("/").removesuffix("/api")
    return httpx.post(f"{base}{path}", json={}, headers=headers, timeout=REQUEST_SECONDS)


def _tools_context() -> contextlib.AbstractContextManager[TaskContext]:
    return _lone_context(_binaries(_settings({})))


add_check(app, _tools_context)
app.add_typer(keys_app(lambda: _custody(_settings({})), _ask_server), name="keys")


def _serve(host: WorkerHost) -> int:
    """Run the host in a thread and turn signals into its calls; the exit code.

    Python hands signals to the main thread between two instructions, where taking a lock may deadlock; so
    the handlers do nothing, and the signal's number arrives as a byte on a socket instead.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ignore)
    ended = b"\0"  # no signal has the number 0

    def work() -> None:
        try:
            host.run()
        finally:
            writer.send(ended)

    threading.Thread(target=work, name="host", daemon=True).start()
    draining, interrupted = False, False
    while (told := reader.recv(1)) != ended:
        interrupted = interrupted or told[0] == signal.SIGINT
        if told[0] == signal.SIGTERM and not draining:
            draining = True
            host.drain()
        elif told[0] in (signal.SIGTERM, signal.SIGINT):
            host.stop()
    return EXIT_INTERRUPTED if interrupted else 0


def _ignore(_number: int, _frame: object) -> None:
    """Installed so that the signal does not end the process; the wake-up socket carries it."""


# Tasks of one pool wait for each other; light work never waits behind an encode.
_POOL_OF: dict[ResourceClass, str] = {
    "io": "light",
    "cpu-small": "small",
    # Apart from the small ones, or a preview would wait behind another title's sound.
    "package": "package",
    "cpu-large": "large",
}


def _pools(served: list[str], settings: WorkerSettings) -> list[PoolSpec]:
    busy = dict.fromkeys(("small", "package", "large"), settings.concurrency)
    slots = {"light": settings.io_slots, **busy}
    members: dict[str, list[str]] = {}
    for name in served:
        members.setdefault(_POOL_OF[CLASS_OF[name]], []).append(name)
    return [PoolSpec(name, slots[name], tuple(types)) for name, types in members.items()]


def _settings(given: dict[str, Any]) -> WorkerSettings:
    try:
        return WorkerSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        _fail(f"setting {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}", EXIT_USAGE)


def _configure_log(wanted: str) -> None:
    as_json = wanted == "json" or (wanted == "auto" and not sys.stderr.isatty())
    last: list[Any] = [structlog.dev.ConsoleRenderer()]
    if as_json:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def _find(settings: WorkerSettings) -> Binaries:
    return find_binaries(ffmpeg=settings.ffmpeg, ffprobe=settings.ffprobe, packager=settings.packager)


def _binaries(settings: WorkerSettings) -> Binaries:
    try:
        return _find(settings)
    except MissingBinaryError as error:
        _fail(str(error))


def _worker_id() -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()).strip("-")[:60] or "worker"
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


@contextlib.contextmanager
def _lone_context(tools: Binaries) -> Iterator[TaskContext]:
    """A context for work outside any workflow, in a folder of its own that disappears."""

    def no_workflow() -> Workflow:
        raise TaskFailed("server_unavailable", "there is no workflow here")

    with (
        tempfile.TemporaryDirectory(prefix="showrunner-plan-") as name,
        contextlib.closing(LocalStorage(Path(name) / "media", writer="local")) as storage,
        contextlib.closing(Scratch(Path(name) / "scratch", "local")) as scratch,
    ):
        yield TaskContext(
            task=Task(
                task_id="local",
                task_type="local",
                workflow_instance_id="local",
                status=TaskStatus.IN_PROGRESS,
            ),
            worker_id="local",
            resources=Resources(storage=storage, scratch=scratch, binaries=tools),
            cancellation=Cancellation(),
            tell=lambda _progress: None,
            note=lambda _text: None,
            fetch_workflow=no_workflow,
        )


def _json_object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        _fail(f"--overrides must be a JSON object: {error}", EXIT_USAGE)


def _show_plan(report: PlanReport) -> None:
    console = Console()
    source, made = report.source, report.plan
    picture = source.video
    if picture is not None:
        console.print(
            f"{source.container}, {picture.codec} {picture.display_width}x{picture.display_height}, "
            f"{made.frame_rate} frames a second, {made.frames_total} frames, {made.duration_seconds:.2f} s"
        )
    for verdict in report.verdicts:
        console.print(f"  {verdict.severity}: {verdict.message}")
    table = Table("rendition", "size", "codec", "crf", "peak kbit/s", "together with", "s a chunk", box=None)
    groups = {name: group for group in made.groups for name in group.renditions}
    for item in made.renditions:
        codec = item.codec if item.dynamic_range == "sdr" else f"{item.codec} {item.dynamic_range}"
        group = groups.get(item.name)
        first = group is not None and group.name == item.name
        table.add_row(
            item.name,
            f"{item.width}x{item.height}",
            codec,
            f"{item.crf:g}",
            f"{item.maxrate_bps / 1000:.0f}",
            "" if group is None or first else group.name,
            f"{group.predicted_seconds:.1f}" if group is not None and first else "",
        )
    console.print(table)
    for track in made.audio:
        console.print(f"{track.name}: {track.codec} {track.bitrate_bps // 1000} kbit/s, {track.language}")
    for words in made.text:
        console.print(f"{words.name}: {words.kind}, {words.language}")
    estimate = made.estimate
    console.print(
        f"{_counted(len(made.chunks), 'chunk')}, {_counted(len(made.groups), 'group')}; "
        f"about {estimate.wall_seconds:.1f} s of work ({estimate.cpu_seconds:.1f} s of processor time), "
        f"{estimate.output_bytes / (1 << 20):.1f} MiB, "
        f"cost {estimate.cost:.4f}"
    )


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _print_json(document: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def _split(text: str | None) -> frozenset[str]:
    return frozenset(part.strip() for part in (text or "").split(",") if part.strip())


def _fail(sentence: str, code: int = EXIT_FAILURE) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    raise typer.Exit(code)
