"""plan, doctor and settings: what concerns this machine alone."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli_options import AsJson, Overrides, Profile, console, json_object, print_json
from api.failures import EXIT_FAILURE, UsageError

if TYPE_CHECKING:
    from api.settings import ServerSettings

TOOLS_S_MAX = 60


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(plan)
    app.command()(check)
    app.command()(doctor)
    app.command()(settings)


def plan(
    file: Annotated[Path, typer.Argument(help="A video file.", show_default=False)],
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what would be made of a file: renditions, time, size. Nothing is encoded."""
    from api.settings import worker_environment

    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    json_object("--overrides", overrides)
    argv = [sys.executable, "-m", "media_workers", "plan", str(file)]
    argv += ["--profile", profile] if profile else []
    argv += ["--overrides", overrides] if overrides else []
    argv += ["--json"] if as_json else []
    sys.stdout.flush()
    raise typer.Exit(subprocess.run(argv, env=worker_environment(), check=False).returncode)


def check(
    place: Annotated[str, typer.Argument(help="Folder, manifest, or http(s) address.", show_default=False)],
    decode: Annotated[bool, typer.Option(help="Decode three segments of each stream in the clear.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check an HLS or DASH package, ours or anybody's: exit 1 when something is wrong with it."""
    from api.settings import worker_environment

    argv = [sys.executable, "-m", "media_workers", "check", place]
    argv += ["--decode"] if decode else []
    argv += ["--json"] if as_json else []
    sys.stdout.flush()
    raise typer.Exit(subprocess.run(argv, env=worker_environment(), check=False).returncode)


def settings(as_json: AsJson = False) -> None:
    """List every setting with its value, where that comes from, and what it is for."""
    from rich.table import Table

    from api.settings import config_path, listing

    found = listing()
    if as_json:
        print_json([{name: getattr(each, name) for name in each.__struct_fields__} for each in found])
        return
    table = Table("setting", "value", "from", "description", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.name, each.value or "-", each.source, each.description)
    out = console()
    out.print(table)
    out.print(
        f"Change one with SHOWRUNNER_NAME in the environment, or in {config_path()}.",
        markup=False,
        soft_wrap=True,
    )


def doctor(as_json: AsJson = False) -> None:
    """Check tools, codecs, store, disk, clock and port; exit 1 with what to do when something is wrong."""
    from rich.table import Table

    from api.settings import load

    loaded = load()
    checks = [*_tools(), _store(loaded), _disk(loaded), _clock(), _port(loaded)]
    healthy = all(check["ok"] for check in checks)
    if as_json:
        print_json({"ok": healthy, "checks": checks})
    else:
        table = Table("", "check", "detail", box=None, pad_edge=False)
        for check in checks:
            table.add_row("ok" if check["ok"] else "!!", check["check"], check["detail"])
        console().print(table)
    if not healthy:
        raise typer.Exit(EXIT_FAILURE)


def _check(name: str, detail: str, *, ok: bool = True) -> dict[str, Any]:
    return {"check": name, "ok": ok, "detail": detail}


def _tools() -> list[dict[str, Any]]:
    from api.settings import worker_environment

    argv = [sys.executable, "-m", "media_workers", "doctor", "--json"]
    try:
        done = subprocess.run(
            argv, env=worker_environment(), capture_output=True, timeout=TOOLS_S_MAX, check=False
        )
        checks = json.loads(done.stdout)["checks"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return [
            _check("media tools", f"the workers' own check did not answer ({error}); reinstall", ok=False)
        ]
    return [_check(str(each["check"]), str(each["detail"]), ok=bool(each["ok"])) for each in checks]


def _store(loaded: ServerSettings) -> dict[str, Any]:
    place = _existing(loaded.data)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        detail = f"{place} cannot be written ({error.strerror}); name another folder with SHOWRUNNER_DATA"
        return _check("store", detail, ok=False)
    database = loaded.data / "showrunner.db"
    if loaded.database or not database.exists():
        return _check("store", f"{loaded.data} can be written; the database is made at the first start")
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        return _check("store", f"{database} is damaged ({verdict}); restore it from a backup", ok=False)
    return _check("store", f"SQLite {sqlite3.sqlite_version}, {database} is whole")


def _disk(loaded: ServerSettings) -> dict[str, Any]:
    import shutil

    free = shutil.disk_usage(_existing(loaded.media_root)).free
    detail = f"{free / (1 << 30):.1f} GiB free for media at {loaded.media_root}"
    if free < 2 * loaded.disk_free_bytes_min:
        return _check("disk", f"{detail}; free some space, uploads would be refused", ok=False)
    return _check("disk", detail)


def _clock() -> dict[str, Any]:
    from engine.adapters.system.real import SystemClock

    # A machine without a time source starts in 1970 or at its image's date.
    behind = SystemClock().now_ms() < int(Path(__file__).stat().st_mtime * 1000) - 24 * 3600 * 1000
    if behind:
        return _check("clock", "the clock is behind the installation's own files; set it", ok=False)
    return _check("clock", "the clock is plausible")


def _port(loaded: ServerSettings) -> dict[str, Any]:
    family = socket.AF_INET6 if ":" in loaded.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((loaded.host, loaded.port))
        except OSError as error:
            if _answers(loaded):
                return _check("port", f"a server answers at {loaded.host} port {loaded.port}")
            detail = f"{loaded.host} port {loaded.port}: {error.strerror}; name another with SHOWRUNNER_PORT"
            return _check("port", detail, ok=False)
    return _check("port", f"{loaded.host} port {loaded.port} is free")


def _answers(loaded: ServerSettings) -> bool:
    import httpx

    host = f"[{loaded.host}]" if ":" in loaded.host else loaded.host
    try:
        return httpx.get(f"http://{host}:{loaded.port}/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _existing(folder: Path) -> Path:
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())
