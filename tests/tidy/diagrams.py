"""The status diagrams of ARCHITECTURE.md, drawn from the engine's tables. `make docs` writes them there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

from engine.core.statuses import (
    TASK_MOVES,
    TASK_OPEN,
    TASK_REVIVALS,
    WORKFLOW_MOVES,
    WORKFLOW_OPEN,
    WORKFLOW_REVIVALS,
)
from tests.tidy.tree import ROOT

DOCUMENT = ROOT / "ARCHITECTURE.md"
Moves = Mapping[StrEnum, frozenset[StrEnum]]


def drawn(moves: Moves, revivals: Moves, open_statuses: frozenset[StrEnum]) -> str:
    """A Mermaid state diagram of two tables; `open` stands for all open statuses where they move alike.

    A move of a status to itself is left out: it is no change.
    """
    statuses = list(moves)
    inside = [status for status in statuses if status in open_statuses]
    lines = ["stateDiagram-v2", f"    [*] --> {inside[0]}", "    state open {"]
    lines += [f"        {a} --> {b}" for a in inside for b in inside if a is not b and b in moves[a]]
    lines.append("    }")
    for target in statuses:
        sources = [s for s in statuses if s is not target and target in moves[s]]
        if target in inside:
            sources = [s for s in sources if s not in inside]
        elif set(inside) <= set(sources):
            lines.append(f"    open --> {target}")
            sources = [s for s in sources if s not in inside]
        lines += [f"    {source} --> {target}" for source in sources]
    for source in statuses:
        reached = revivals.get(source, frozenset())
        if reached == frozenset(inside):
            lines.append(f"    {source} --> open: brought back")
        else:
            lines += [f"    {source} --> {target}: brought back" for target in statuses if target in reached]
    return "\n".join(lines)


def read(diagram: str, open_statuses: Iterable[StrEnum]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(moves, revivals) of a diagram as pairs of names, `open` written out."""
    moves: set[tuple[str, str]] = set()
    revivals: set[tuple[str, str]] = set()
    members = {"open": [str(status) for status in open_statuses]}
    for source, target, label in re.findall(r"(\w+) --> (\w+)(: brought back)?", diagram):
        pairs = {(a, b) for a in members.get(source, [source]) for b in members.get(target, [target])}
        (revivals if label else moves).update(pairs)
    return moves, revivals


DIAGRAMS: dict[str, str] = {
    "task": drawn(TASK_MOVES, TASK_REVIVALS, TASK_OPEN),  # type: ignore[arg-type]  # enums of one kind each
    "workflow": drawn(WORKFLOW_MOVES, WORKFLOW_REVIVALS, WORKFLOW_OPEN),  # type: ignore[arg-type]  # as above
}


def block(name: str) -> str:
    """What stands in the document between the markers."""
    return f"<!-- statuses: {name} -->\n```mermaid\n{DIAGRAMS[name]}\n```\n<!-- end -->"


def with_diagrams(text: str) -> str:
    """The document with its diagrams drawn anew."""
    for name in DIAGRAMS:
        pattern = rf"<!-- statuses: {name} -->.*?<!-- end -->"
        text = re.sub(pattern, lambda _, name=name: block(name), text, flags=re.DOTALL)  # type: ignore[misc]  # the default binds the loop's name
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(with_diagrams(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
