"""tests/conformance/coverage.toml names every task type, route and operation, and tests that exist."""

import ast
import json
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from api.app import CONDUCTOR_ROUTERS
from engine.core.graph import SYSTEM_TYPES
from tests.conformance import kit
from tests.tidy.coverage_table import DOCUMENT, block
from tests.tidy.tree import ROOT, functions, parsed

TABLE = tomllib.loads((ROOT / "tests" / "conformance" / "coverage.toml").read_text(encoding="utf-8"))
CASE = "case "
DISPATCHED = {"SIMPLE", "DYNAMIC"}
"""Types that are no system types of their own: a worker's task, and one whose type is found when it runs."""


def served() -> set[str]:
    return {
        f"{method} {route.path}"  # type: ignore[attr-defined]  # all of them are routes with a path
        for router in CONDUCTOR_ROUTERS
        for route in router.routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]  # and with methods
    }


def named(kind: str) -> list[tuple[str, str]]:
    """(subject, what covers it) of all sections, of tests or of recorded cases."""
    return [
        (subject, cover)
        for section in TABLE.values()
        for subject, covers in section.items()
        for cover in covers
        if cover.startswith(CASE) == (kind == "case")
    ]


def test_every_route_is_in_the_table() -> None:
    """And the table has no route that is not served."""
    assert served() ^ TABLE["routes"].keys() == set()


def test_every_task_type_is_in_the_table() -> None:
    """The server's own, the worker's and the dynamic one."""
    assert (SYSTEM_TYPES | DISPATCHED) ^ TABLE["task_types"].keys() == set()


def test_everything_is_covered() -> None:
    """By at least one test or recorded case."""
    assert [subject for section in TABLE.values() for subject, covers in section.items() if not covers] == []


def test_the_named_tests_exist() -> None:
    """A renamed or removed test is renamed or replaced in the table, too."""
    missing = []
    for subject, cover in named("test"):
        file, _, name = cover.partition("::")
        path = ROOT / file
        if not path.is_file() or (name and name not in _test_names(path)):
            missing.append((subject, cover))
    assert missing == []


def test_the_named_cases_are_recorded() -> None:
    """Where the recording can be had, each pattern finds a case of it."""
    golden = kit.path() / "golden" / "postgres.json"
    if not golden.is_file():
        # Without the recording there is nothing to look into; CI fails for that in tests/conformance.
        pytest.skip(f"{golden.resolve()} is no part of this repository")
    cases = json.loads(golden.read_text(encoding="utf-8"))["cases"]

    missing = [
        (subject, cover)
        for subject, cover in named("case")
        if not any(fnmatch(case, cover.removeprefix(CASE)) for case in cases)
    ]

    assert missing == []


def _test_names(path: Path) -> set[str]:
    tree: ast.Module = parsed(path)
    return {function.name for function in functions(tree)}


def test_the_document_has_the_table() -> None:
    """ARCHITECTURE.md shows it as it is; `make docs` writes it there."""
    assert block() in DOCUMENT.read_text(encoding="utf-8")
