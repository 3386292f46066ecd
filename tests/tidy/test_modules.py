"""Every module is there for somebody: a process we start reaches it, or the tests it was written for."""

import re
import tomllib

from tests.tidy.tree import PACKAGES, ROOT, imported_names, module_name, python_files, shown

ENTRY_POINTS = {
    "api.cli": "the command `showrunner`",
    "media_workers.__main__": "`python -m media_workers`",
    "media_workers.procs.launch": "run as a script between fork and exec of every tool",
    "api.server_process": "run as a child process by api.supervisor",
    "engine.adapters.scripts.quickjs_worker": "run as a child process by quickjs_runner",
    "engine.adapters.scripts.schema_worker": "run as a child process by quickjs_runner",
    "engine.adapters.sql.migrations.env": "run by Alembic",
    "engine.adapters.sql.migrations.versions.*": "found by Alembic, one a schema version",
    "workflows": "data that the API reads as package resources",
}
TESTING = "engine.testing"
AWAITED: dict[str, str] = {}


def modules() -> dict[str, set[str]]:
    """Module -> modules of ours it imports, each with the packages around it."""
    files = {module_name(path): path for path in python_files(*PACKAGES)}
    return {
        name: {target for found in imported_names(path) for target in _chain(found) if target in files}
        for name, path in files.items()
    }


def _chain(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _reached(graph: dict[str, set[str]], roots: set[str]) -> set[str]:
    reached: set[str] = set()
    waiting = [around for root in roots for around in _chain(root)]
    while waiting:
        name = waiting.pop()
        if name in graph and name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached


def _entry_points(graph: dict[str, set[str]]) -> dict[str, list[str]]:
    """Entry point as written in the table -> modules it stands for."""
    return {
        written: [
            name for name in graph if re.fullmatch(written.replace(".", r"\.").replace("*", r"\w+"), name)
        ]
        for written in ENTRY_POINTS
    }


def test_no_dead_module() -> None:
    """Every module is reached by imports from an entry point; those of engine.testing from a test."""
    graph = modules()
    roots = {name for names in _entry_points(graph).values() for name in names}
    from_tests = {name for path in python_files("tests", "bench") for name in imported_names(path)}
    production, tested = _reached(graph, roots), _reached(graph, from_tests)

    dead = [
        name for name in graph if name not in production and not (name.startswith(TESTING) and name in tested)
    ]

    assert dead == list(AWAITED)


def test_entry_points_exist() -> None:
    """The table of entry points names modules that exist, and the installed command is one of them."""
    graph = modules()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]

    assert [written for written, names in _entry_points(graph).items() if not names] == []
    assert {target.partition(":")[0] for target in scripts.values()} <= set(ENTRY_POINTS)


def test_no_folder_for_everything() -> None:
    """A module is named after its subject: nothing is called utils, helpers, common or misc."""
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    found = [shown(path) for path in python_files(*PACKAGES) if vague & set(module_name(path).split("."))]

    assert found == []
