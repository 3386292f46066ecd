"""workflow: definitions and executions through the Conductor interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli_options import AsJson, Server, connected, console, json_object, print_json
from api.cli_replay import replay
from api.failures import CommandError, UsageError


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Workflow definitions and executions.", no_args_is_help=True)
    group.command()(register)
    group.command()(validate)
    group.command()(start)
    group.command()(status)
    group.command("list")(list_)
    group.command()(replay)
    app.add_typer(group, name="workflow")


def register(
    files: Annotated[list[Path], typer.Argument(help="Definitions in Conductor's JSON.", show_default=False)],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Register workflow definitions, or replace those of the same name and version."""
    definitions = [each for file in files for each in _definitions(file)]
    with connected(server) as client:
        client.register_workflows(definitions)
    names = [f"{each.get('name')} {each.get('version', 1)}" for each in definitions]
    if as_json:
        print_json({"registered": names})
    else:
        console().print(f"Registered {', '.join(names)}.", markup=False, soft_wrap=True)


def validate(
    files: Annotated[list[Path], typer.Argument(help="Definitions in Conductor's JSON.", show_default=False)],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Check workflow definitions without registering them; prints what looks wrong."""
    definitions = [each for file in files for each in _definitions(file)]
    with connected(server) as client:
        found = [(each, client.validate_workflow(each)) for each in definitions]
    if as_json:
        print_json({"warnings": [warning for _, warnings in found for warning in warnings]})
        return
    out = console()
    for definition, warnings in found:
        name = f"{definition.get('name')} {definition.get('version', 1)}"
        out.print(f"{name}: {_counted(warnings)}", markup=False, soft_wrap=True)
        for warning in warnings:
            out.print(f"  {warning['path']}: {warning['message']}", markup=False, soft_wrap=True)


def _counted(warnings: list[dict[str, str]]) -> str:
    if not warnings:
        return "valid"
    return f"valid, with {len(warnings)} warning{'s' if len(warnings) > 1 else ''}"


def start(
    name: Annotated[str, typer.Argument(help="A workflow's name.", show_default=False)],
    given: Annotated[str | None, typer.Option("--input", help="Its input, a JSON object.")] = None,
    version: Annotated[int | None, typer.Option(help="Its version; the latest when not given.")] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Start a workflow and print its id."""
    data = json_object("--input", given)
    with connected(server) as client:
        workflow_id = client.start_workflow(name, data, version)
    if as_json:
        print_json({"workflowId": workflow_id})
    else:
        console().print(workflow_id, markup=False)


def status(
    workflow_id: Annotated[str, typer.Argument(help="A workflow's id.", show_default=False)],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Show an execution with its tasks."""
    from rich.table import Table

    with connected(server) as client:
        workflow = client.workflow(workflow_id)
    if as_json:
        print_json(workflow)
        return
    out = console()
    name = workflow.get("workflowName") or workflow.get("workflowType")
    out.print(f"{workflow_id}  {name}  {workflow.get('status')}", markup=False, soft_wrap=True)
    if workflow.get("reasonForIncompletion"):
        out.print(workflow["reasonForIncompletion"], markup=False, soft_wrap=True)
    table = Table("task", "type", "status", "attempt", "worker", box=None, pad_edge=False)
    for task in workflow.get("tasks", []):
        attempt = str(int(task.get("retryCount", 0)) + 1)
        reference, kind = task["referenceTaskName"], task["taskType"]
        table.add_row(reference, kind, task["status"], attempt, task.get("workerId") or "")
    out.print(table)


def list_(
    query: Annotated[str, typer.Option(help="As in Conductor's search, e.g. status=FAILED.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List executions, newest first."""
    from rich.table import Table

    with connected(server) as client:
        page = client.search_workflows(query, size=limit)
    if as_json:
        print_json(page)
        return
    table = Table("id", "name", "status", "started", box=None, pad_edge=False)
    for each in page.get("results", []):
        table.add_row(
            each.get("workflowId"), each.get("workflowType"), each.get("status"), each.get("startTime")
        )
    out = console()
    out.print(table)
    out.print(f"{page.get('totalHits', 0)} in all", markup=False)


def _definitions(file: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {file}") from error
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{file} is not valid JSON: {error}") from error
    listed = document if isinstance(document, list) else [document]
    if not all(isinstance(each, dict) for each in listed):
        raise CommandError(f"{file} holds no workflow definition; it must be a JSON object or a list of them")
    return listed
