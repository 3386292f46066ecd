"""keys: content keys of protected videos, which only the workers' side can reach. No value is ever shown."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from api.cli_options import AsJson

Video = Annotated[str, typer.Argument(help="A video's id.", show_default=False)]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Content keys: list, rekey, rotate-master.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("rekey")(rekey)
    group.command("rotate-master")(rotate_master)
    app.add_typer(group, name="keys")


def list_(video_id: Video, as_json: AsJson = False) -> None:
    """List the ids of a video's keys, by key version."""
    _ask("list", video_id, *(["--json"] if as_json else []))


def rekey(
    video_id: Video,
    reprocess: Annotated[
        bool, typer.Option(help="Have the video packaged again with the new keys at once.")
    ] = True,
) -> None:
    """Give a video new keys under new ids; nothing is encoded again."""
    _ask("rekey", video_id, *([] if reprocess else ["--no-reprocess"]))


def rotate_master() -> None:
    """Change the master key: the stored keys are wrapped again, no video is touched."""
    _ask("rotate-master")


def _ask(*arguments: str) -> None:
    from api.settings import worker_environment

    argv = [sys.executable, "-m", "media_workers", "keys", *arguments]
    sys.stdout.flush()
    raise typer.Exit(subprocess.run(argv, env=worker_environment(), check=False).returncode)
