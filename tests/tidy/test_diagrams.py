"""ARCHITECTURE.md shows the moves that the engine makes, no other."""

from collections.abc import Mapping
from typing import Any

import pytest

from engine.core.statuses import (
    TASK_MOVES,
    TASK_OPEN,
    TASK_REVIVALS,
    WORKFLOW_MOVES,
    WORKFLOW_OPEN,
    WORKFLOW_REVIVALS,
)
from tests.tidy.diagrams import DIAGRAMS, DOCUMENT, block, read

TABLES: dict[str, tuple[Mapping[Any, Any], Mapping[Any, Any], Any]] = {
    "task": (TASK_MOVES, TASK_REVIVALS, TASK_OPEN),
    "workflow": (WORKFLOW_MOVES, WORKFLOW_REVIVALS, WORKFLOW_OPEN),
}


def _pairs(table: Mapping[Any, Any]) -> set[tuple[str, str]]:
    return {(str(a), str(b)) for a, targets in table.items() for b in targets if a is not b}


@pytest.mark.parametrize("name", DIAGRAMS)
def test_the_document_shows_the_tables(name: str) -> None:
    """The diagram in ARCHITECTURE.md is the one drawn from the tables; `make docs` draws it anew."""
    assert block(name) in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_says_what_the_tables_say(name: str) -> None:
    """Read back, a diagram gives every move and every revival of its tables, and nothing else."""
    moves, revivals, open_statuses = TABLES[name]

    assert read(DIAGRAMS[name], open_statuses) == (_pairs(moves), _pairs(revivals))
