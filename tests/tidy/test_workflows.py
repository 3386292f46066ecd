"""What ships in workflows/ works: the engine accepts it, and somebody serves every task in it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.scripts.quickjs_runner import QuickJsRunner
from engine.core.graph import SYSTEM_TYPES, compile_definition
from engine.core.model import WorkflowDef, collect_tasks, decode_task_def, decode_workflow_def
from engine.core.validation import validate_task_def, validate_workflow_def
from tests.tidy.tree import ROOT, shown

TYPES_S_MAX = 60
FILES = sorted((ROOT / "workflows").glob("*.json"))
CONTENTS: dict[Path, Any] = {path: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
WORKFLOWS = [path for path in FILES if isinstance(CONTENTS[path], dict)]
TASK_DEFS = {
    each["name"]: decode_task_def(json.dumps(each).encode())
    for path in FILES
    if isinstance(CONTENTS[path], list)
    for each in CONTENTS[path]
}


@pytest.fixture(scope="module")
def served() -> set[str]:
    """Task types of the worker process, as it tells them itself."""
    argv = [sys.executable, "-m", "media_workers", "types", "--json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=TYPES_S_MAX, check=True)
    return {each["type"] for each in json.loads(done.stdout)}


def _definition(path: Path) -> WorkflowDef:
    return decode_workflow_def(path.read_bytes())


@pytest.mark.parametrize("path", WORKFLOWS, ids=shown)
def test_a_workflow_is_valid(path: Path) -> None:
    """The engine's own validation, scripts included, has nothing to say, and it compiles."""
    definition = _definition(path)

    problems = validate_workflow_def(
        definition, js_problem=QuickJsRunner().syntax_problem, task_def=TASK_DEFS.get
    )

    assert problems == []
    assert compile_definition(definition).first is not None


@pytest.mark.parametrize("path", WORKFLOWS, ids=shown)
def test_a_workflow_is_served(path: Path, served: set[str]) -> None:
    """Every task a worker has to do is one that our workers serve and that has a definition."""
    names = {task.name for task in collect_tasks(_definition(path)) if task.type not in SYSTEM_TYPES}

    assert names
    assert names <= served
    assert names <= set(TASK_DEFS)


@pytest.mark.parametrize("name", sorted(TASK_DEFS))
def test_a_task_definition_is_valid(name: str, served: set[str]) -> None:
    """The engine accepts it, and a worker serves it."""
    assert validate_task_def(TASK_DEFS[name]) == []
    assert name in served


def test_a_failure_workflow_exists() -> None:
    """A workflow that names a failure workflow names one that ships."""
    shipped = {_definition(path).name for path in WORKFLOWS}
    named = {_definition(path).failure_workflow for path in WORKFLOWS} - {None, ""}

    assert named <= shipped
