"""`python -m media_workers keys ...`: what an operator does with content keys. No command prints a value."""

import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import httpx
import msgspec
import typer
from rich.console import Console
from rich.table import Table

from media_workers.drm.custody import Custody
from media_workers.drm.errors import DrmError

REQUEST_SECONDS = 30.0
EXIT_FAILURE = 1

OpenCustody = Callable[[], Custody]
AskServer = Callable[[str], httpx.Response]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
VideoArgument = Annotated[str, typer.Argument(help="Id of a video.")]


def keys_app(open_custody: OpenCustody, ask_server: AskServer) -> typer.Typer:
    """The command group.

    Args:
        open_custody: the key custody of the settings.
        ask_server: sends an empty POST to a path of the server.
    """
    app = typer.Typer(
        help="Content keys of protected videos: list, renew, change the master.", no_args_is_help=True
    )

    @app.command("list")
    def list_keys(video: VideoArgument, as_json: JsonFlag = False) -> None:
        """List the key ids of a video, by key version. Values are never shown."""
        try:
            rows = _rows(open_custody(), video)
        except DrmError as error:
            _fail(str(error))
        if as_json:
            _print_json(rows)
        else:
            _show(video, rows)

    @app.command("rekey")
    def rekey(
        video: VideoArgument,
        reprocess: Annotated[
            bool, typer.Option(help="Ask the server to package the video again with the new keys.")
        ] = True,
    ) -> None:
        """Give a video new keys under new ids: packaged again from its finished encodes."""
        try:
            version = open_custody().store.start_version(video)
        except DrmError as error:
            _fail(str(error))
        sys.stdout.write(f"{video} gets keys of version {version} when it is packaged next\n")
        if reprocess:
            _reprocess(ask_server, video)

    @app.command("rotate-master")
    def rotate_master() -> None:
        """Change the master key: data keys are wrapped again, no video is touched."""
        try:
            version = open_custody().store.rotate_master()
        except DrmError as error:
            _fail(str(error))
        sys.stdout.write(f"the master key is now version {version}\n")

    return app


def _rows(custody: Custody, video: str) -> list[dict[str, object]]:
    current = custody.store.current_version(video)
    return [
        {
            "keyVersion": document.key_version,
            "current": document.key_version == current,
            "source": document.source,
            "label": key.label,
            "scheme": key.scheme,
            "keyId": key.key_id,
            "iv": key.iv,
            "createdAt": document.created_at,
        }
        for document in custody.store.versions(video)
        for key in document.keys
    ]


def _show(video: str, rows: list[dict[str, object]]) -> None:
    table = Table("version", "source", "label", "scheme", "key id", box=None)
    for row in rows:
        mark = "*" if row["current"] else ""
        cells = (str(row[name]) for name in ("source", "label", "scheme", "keyId"))
        table.add_row(f"{row['keyVersion']}{mark}", *cells)
    Console().print(table if rows else f"{video} has no keys")


def _reprocess(ask_server: AskServer, video: str) -> None:
    try:
        answer = ask_server(f"/api/v1/videos/{video}/reprocess")
    except httpx.HTTPError as error:
        _fail(
            f"the server does not answer ({type(error).__name__}); reprocess {video} once it does: its new "
            "keys are used then"
        )
    if answer.is_error:
        _fail(
            f"the server answers {answer.status_code} to the request to package {video} again: "
            f"{_detail(answer)}; reprocess it later: its new keys are used then"
        )
    sys.stdout.write(f"{video} is packaged again\n")


def _detail(answer: httpx.Response) -> str:
    try:
        document = answer.json()
    except ValueError:
        return "no reason given"
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail or "no reason given")[:300]


def _print_json(document: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def _fail(sentence: str) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    raise typer.Exit(EXIT_FAILURE)
