"""workflow replay: decide a recorded history again, with this version of the engine or another definition."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from api.cli_options import AsJson, Server, connected, console, print_json
from api.failures import EXIT_FAILURE, CommandError, UsageError

if TYPE_CHECKING:
    from engine.core.model import WorkflowDef
    from engine.ports.scripts import ScriptRunner
    from engine.services.replay import Recording, Replayed

DATABASE = "showrunner.db"

Definition = Annotated[
    Path | None,
    typer.Option("--definition", help="Decide by this definition (JSON) instead.", show_default=False),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Read the database in this data folder, no server.", show_default=False),
]
History = Annotated[
    Path | None,
    typer.Option("--history", help="Read a history that --save wrote.", show_default=False),
]
Save = Annotated[
    Path | None, typer.Option("--save", help="Write the history to this file.", show_default=False)
]


def replay(  # noqa: PLR0917 - the options of a command
    workflow_id: Annotated[str, typer.Argument(help="A workflow's id.", show_default=False)],
    definition: Definition = None,
    data: Data = None,
    history: History = None,
    save: Save = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Decide an execution's history again and show the first decision that differs.

    Exits with 1 when one does.
    """
    if sum(source is not None for source in (data, history, server)) > 1:
        raise UsageError("name one of --server, --data and --history")
    document = _document(workflow_id, data, history, server)
    if save is not None:
        try:
            save.write_bytes(document)
        except OSError as error:
            raise CommandError(f"{save} cannot be written: {error.strerror}") from error
    replayed = asyncio.run(_replayed(workflow_id, document, definition))
    if as_json:
        print_json(msgspec.to_builtins(replayed))
    else:
        console().print(_told(replayed), markup=False, soft_wrap=True)
    if replayed.divergence is not None:
        raise typer.Exit(EXIT_FAILURE)


def _document(workflow_id: str, data: Path | None, history: Path | None, server: str | None) -> bytes:
    if history is not None:
        return _read(history)
    if data is not None:
        return asyncio.run(_from_database(data, workflow_id))
    with connected(server) as client:
        return client.history(workflow_id)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {file}") from error
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error


async def _from_database(data: Path, workflow_id: str) -> bytes:
    from engine.adapters.backends import open_backend
    from engine.core.errors import EngineError
    from engine.services.replay import encode_recording, record
    from engine.settings import EngineSettings

    if not (data / DATABASE).is_file():
        raise UsageError(f"there is no {DATABASE} in {data}")
    try:
        backend = await open_backend("", data, "FULL", 0)
        try:
            environment = EngineSettings(data=data).environment()
            return encode_recording(await record(backend.store, workflow_id, environment=environment))
        finally:
            await backend.store.close()
    except EngineError as error:
        raise CommandError(str(error)) from error


async def _replayed(workflow_id: str, document: bytes, file: Path | None) -> Replayed:
    from engine.adapters.scripts.quickjs_runner import QuickJsRunner
    from engine.core.errors import EngineError
    from engine.services.replay import decode_recording
    from engine.services.replay import replay as decide_again

    scripts = QuickJsRunner()
    try:
        recording = decode_recording(document)
        if recording.header.workflow_id != workflow_id:
            raise CommandError(f"the history is that of workflow {recording.header.workflow_id}")
        other = None if file is None else _definition(file, scripts, recording)
        return await decide_again(recording, scripts, definition=other)
    except EngineError as error:
        raise CommandError(str(error)) from error
    finally:
        await scripts.aclose()


def _definition(file: Path, scripts: ScriptRunner, recording: Recording) -> WorkflowDef:
    """The other definition, held to the rules of a registration."""
    from engine.core.model import MalformedBodyError, decode_workflow_def
    from engine.core.validation import validate_workflow_def

    try:
        document = json.loads(_read(file))
        if isinstance(document, list) and len(document) == 1:
            [document] = document
        definition = decode_workflow_def(document)
    except (ValueError, MalformedBodyError) as error:
        raise CommandError(f"{file} is no workflow definition: {error}") from error
    problems = validate_workflow_def(
        definition, path="workflow", js_problem=scripts.syntax_problem, env_names=recording.environment
    )
    if problems:
        raise CommandError(f"{file}: {problems[0].path}: {problems[0].message}")
    return definition


def _told(replayed: Replayed) -> str:
    lines = []
    if replayed.before:
        lines.append(f"Left out: {replayed.before} events before the last restart, whose tasks are gone.")
    found = replayed.divergence
    if found is None:
        lines.append(f"{replayed.workflow_id}: {replayed.events} events decided again, each as it was then.")
        return "\n".join(lines)
    at = datetime.fromtimestamp(found.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    about = f" about {found.about}" if found.about else ""
    total = replayed.before + replayed.events
    lines.append(
        f"{replayed.workflow_id} diverges at event {found.event} of {total}, {found.type}{about}, {at}"
    )
    lines += [f"  then: {said}" for said in found.then]
    lines += [f"  now:  {said}" for said in found.now]
    return "\n".join(lines)
