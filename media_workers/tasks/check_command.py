"""`python -m media_workers check ...`: the validator on anybody's HLS or DASH package."""

import contextlib
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from media_workers.media.check_expected import Expectation
from media_workers.media.check_rules import RULES
from media_workers.media.package_check import Report, check_package
from media_workers.procs.errors import ProcError
from media_workers.sdk import TaskContext, TaskFailed, TaskRejected
from media_workers.tasks.check import SCRATCH_BYTES
from media_workers.tasks.package_decode import decode_samples
from media_workers.tasks.package_reader import read_package
from media_workers.tasks.package_sites import SiteError, open_site

EXIT_FAILURE, EXIT_USAGE = 1, 2
OpenContext = Callable[[], contextlib.AbstractContextManager[TaskContext]]


def add_check(app: typer.Typer, open_context: OpenContext) -> None:
    """Add the command.

    Args:
        app: to this.
        open_context: what tools run in, for `--decode`.
    """

    @app.command()
    def check(
        place: Annotated[
            str | None, typer.Argument(help="Folder, manifest, or http(s) address.", show_default=False)
        ] = None,
        decode: Annotated[
            bool, typer.Option(help="Decode three segments of each stream in the clear.")
        ] = False,
        rules: Annotated[bool, typer.Option("--rules", help="List every rule and check nothing.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    ) -> None:
        """Check an HLS or DASH package, ours or anybody's: exit 1 when something is wrong with it."""
        if rules:
            _show_rules(as_json=as_json)
            return
        if place is None:
            _fail("Missing argument 'PLACE': name a folder, a manifest or an http(s) address", EXIT_USAGE)
        try:
            report = examine(place, open_context if decode else None)
        except SiteError as error:
            _fail(str(error), EXIT_USAGE)
        except (TaskFailed, TaskRejected, ProcError, OSError) as error:
            _fail(f"{place} cannot be checked: {error}", EXIT_FAILURE)
        if as_json:
            _print_json(report)
        else:
            show(report)
        raise typer.Exit(0 if report.passed else EXIT_FAILURE)


def examine(place: str, open_context: OpenContext | None = None) -> Report:
    """Check what lies at a place; with a context, samples are decoded too.

    Raises:
        SiteError: nothing can be read there.
    """
    with contextlib.closing(open_site(place)) as site:
        evidence = read_package(site)
        if open_context is None:
            return check_package(evidence)
        with open_context() as ctx, ctx.scratch(SCRATCH_BYTES) as folder:
            decoded = decode_samples(ctx, site, evidence, folder, protection=None, values={})
    return check_package(evidence, Expectation(decoded=decoded))


def show(report: Report) -> None:
    """Print a report for people."""
    console = Console()
    if report.findings:
        table = Table("", "rule", "where", "what", box=None)
        for finding in report.findings:
            mark = "error" if finding.severity == "error" else "warning"
            table.add_row(mark, finding.rule, finding.subject, finding.message)
        console.print(table)
    passed = sum(rule.state == "passed" for rule in report.rules)
    skipped = [rule for rule in report.rules if rule.state == "skipped"]
    verdict = "sound" if report.passed else "not sound"
    console.print(
        f"{report.place} is {verdict}: {report.streams} streams, {report.segments} segments; "
        f"{passed} of {len(report.rules)} rules hold, {len(skipped)} could not be looked at",
        soft_wrap=True,
    )
    for reason in dict.fromkeys(rule.reason for rule in skipped):
        names = ", ".join(rule.id for rule in skipped if rule.reason == reason)
        console.print(f"  skipped, {reason}: {names}", soft_wrap=True)


def _show_rules(*, as_json: bool) -> None:
    if as_json:
        _print_json(tuple(RULES.values()))
        return
    table = Table("", "rule", "severity", "promise", box=None)
    for rule in RULES.values():
        table.add_row(str(rule.number), rule.id, rule.severity, rule.sentence)
    Console().print(table)


def _print_json(document: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def _fail(sentence: str, code: int) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    raise typer.Exit(code)
