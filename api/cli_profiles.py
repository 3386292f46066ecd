"""profiles: the encoding profiles of a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli_options import AsJson, Server, connected, console, print_json
from api.failures import CommandError, UsageError

Name = Annotated[str, typer.Argument(help="A profile's name.", show_default=False)]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Encoding profiles: list, show, put, rm.", invoke_without_command=True)
    group.callback()(profiles)
    group.command("show")(show)
    group.command("put")(put)
    group.command("rm")(rm)
    app.add_typer(group, name="profiles")


def profiles(context: typer.Context, server: Server = None, as_json: AsJson = False) -> None:
    """List the profiles: the shipped ones, then your own."""
    from rich.table import Table

    if context.invoked_subcommand is not None:
        return
    with connected(server) as client:
        found = client.profiles()
    if as_json:
        print_json(found)
        return
    table = Table("profile", "", "codecs", "description", box=None, pad_edge=False)
    for each in found:
        codecs = ", ".join(each["profile"].get("codecs") or ["h264"])
        table.add_row(each["name"], "" if each["shipped"] else "own", codecs, each["description"])
    console().print(table)


def show(name: Name, server: Server = None) -> None:
    """Print one profile as `put` takes it."""
    with connected(server) as client:
        print_json(client.profile(name)["profile"])


def put(
    name: Name,
    file: Annotated[Path, typer.Argument(help="A JSON file with the profile.", show_default=False)],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Create or replace a profile of your own."""
    with connected(server) as client:
        stored = client.put_profile(name, _document(file))
    if as_json:
        print_json(stored)
    else:
        console().print(f"Stored {name}, revision {stored['revision']}.", markup=False)


def rm(name: Name, server: Server = None) -> None:
    """Remove a profile of your own; videos made with it keep it."""
    with connected(server) as client:
        client.delete_profile(name)
    console().print(f"Removed {name}.", markup=False)


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {file}") from error
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise CommandError(f"{file} holds no profile; it must be a JSON object")
    return document
