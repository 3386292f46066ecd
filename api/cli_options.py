"""Options and output that the commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.failures import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from api.client import ShowrunnerClient

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Server = Annotated[str | None, typer.Option("--server", help="URL of the server.", show_default=False)]
Profile = Annotated[str | None, typer.Option("--profile", help="Encoding profile.", show_default=False)]
Overrides = Annotated[
    str | None,
    typer.Option("--overrides", help="Overrides of the profile, a JSON object.", show_default=False),
]


Drm = Annotated[
    str | None,
    typer.Option(
        "--drm", help="Encrypt: cbcs, cenc or dual, or a JSON object of options.", show_default=False
    ),
]


def video_options(*, profile: str | None, overrides: str | None, drm: str | None) -> dict[str, Any]:
    """The options of a video from the flags that were given.

    Raises:
        UsageError: a flag is no JSON object.
    """
    options: dict[str, Any] = {}
    if profile is not None:
        options["profile"] = profile
    if overrides is not None:
        options["overrides"] = json_object("--overrides", overrides)
    if drm is not None:
        options["drm"] = json_object("--drm", drm) if drm.lstrip().startswith("{") else {"scheme": drm}
    return options


@contextmanager
def connected(server: str | None) -> Iterator[ShowrunnerClient]:
    """A client of the server that the flag, or else the settings, name."""
    from api.client import ShowrunnerClient
    from api.settings import load

    with ShowrunnerClient(load({"server": server}).server) as client:
        yield client


def console(*, stderr: bool = False) -> Console:
    """Where people read; without colour and at a fixed width when it is no terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr, highlight=False)
    return Console(stderr=stderr, no_color=True, highlight=False, width=140, force_terminal=False)


def print_json(document: Any) -> None:
    """One document for machines."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def json_object(flag: str, text: str | None) -> dict[str, Any]:
    """The value of a flag that takes a JSON object; empty when it was not given.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{flag} must be a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f'{flag} must be a JSON object such as \'{{"key": "value"}}\'')
    return value


def size_text(size_bytes: float | None) -> str:
    """Bytes for people."""
    if size_bytes is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024 or unit == "GiB":
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def bitrate_text(bits_per_second: float | None) -> str:
    return "-" if bits_per_second is None else f"{bits_per_second / 1000:.0f} kbit/s"


def seconds_text(seconds: float | None) -> str:
    """Seconds for people: 7.4 s, 3:05, 1:02:00."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
