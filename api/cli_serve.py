"""serve and worker: the processes of an installation."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.cli_options import AsJson, Server

Data = Annotated[Path | None, typer.Option(help="Data folder: database, media, scratch.", show_default=False)]
Media = Annotated[Path | None, typer.Option(help="Media folder shared with the workers.", show_default=False)]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(worker)


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", show_default=False)] = None,
    data: Data = None,
    database: Annotated[
        str | None,
        typer.Option(help="Database URL instead of SQLite in the data folder.", show_default=False),
    ] = None,
    media: Media = None,
    public_url: Annotated[
        str | None, typer.Option(help="Scheme and host that clients see.", show_default=False)
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(help="Server processes on this port; needs PostgreSQL.", show_default=False),
    ] = None,
    with_workers: Annotated[
        bool | None, typer.Option("--with-workers", help="Start a worker process too.", show_default=False)
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="Listen beyond loopback without API keys.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the server: API, engine and published media. SIGTERM or Ctrl-C ends it."""
    from api.server import is_loopback, run
    from api.settings import load

    flags = {
        "host": host,
        "port": port,
        "data": data,
        "database": database,
        "media": media,
        "public_url": public_url,
        "processes": processes,
        "with_workers": with_workers,
        "insecure": insecure,
    }
    settings = load(flags)

    def ready(url: str) -> None:
        open_to_all = "" if is_loopback(settings.host) else ", OPEN TO EVERYBODY who reaches it"
        text = f"Showrunner is ready at {url} (data in {settings.data}; no API keys{open_to_all})"
        sys.stdout.write(json.dumps({"ready": True, "url": url}) + "\n" if as_json else text + "\n")
        sys.stdout.flush()

    if settings.processes > 1:
        from api.supervisor import supervise

        raise typer.Exit(supervise(settings, flags, ready))
    raise typer.Exit(run(settings, ready))


def worker(
    *,
    server: Server = None,
    types: Annotated[
        str | None, typer.Option(help="Only these task types, comma-separated.", show_default=False)
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--class", help="Only these resource classes, comma-separated.", show_default=False),
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Encodes at once.", show_default=False)] = None,
    domain: Annotated[str | None, typer.Option(help="Only tasks of this domain.", show_default=False)] = None,
    data: Data = None,
    media: Media = None,
) -> None:
    """Run a worker: SIGTERM finishes what is running, a second one or Ctrl-C hands it back."""
    from api.processes import worker_argv
    from api.settings import load, worker_environment

    settings = load({"server": server, "data": data, "media": media})
    given = {"--types": types, "--class": classes, "--concurrency": concurrency, "--domain": domain}
    extra = [text for flag, value in given.items() if value is not None for text in (flag, str(value))]
    argv = worker_argv(server=settings.server, data=settings.data, media=settings.media_root, extra=extra)
    sys.stdout.flush()
    # In place of this process: signals reach the worker itself.
    os.execve(argv[0], argv, worker_environment())  # noqa: S606 - no shell is wanted
