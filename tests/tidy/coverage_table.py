"""The coverage table of ARCHITECTURE.md, made from tests/conformance/coverage.toml; `make docs` writes it."""

from __future__ import annotations

import re
import tomllib

from tests.tidy.tree import ROOT

DOCUMENT = ROOT / "ARCHITECTURE.md"
TABLE = ROOT / "tests" / "conformance" / "coverage.toml"
TITLES = {"task_types": "Task type", "operations": "Operation", "routes": "Route"}
EVERYWHERE = "tests/api/test_conductor_routes.py::test_status_and_content_type"
"""Calls every route; shown only where nothing more particular is named."""


def block() -> str:
    """What stands in the document between the markers."""
    sections = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    parts = []
    for section, title in TITLES.items():
        rows = [f"| {title} | covered by |", "|---|---|"]
        rows += [f"| `{subject}` | {_said(covers)} |" for subject, covers in sections[section].items()]
        parts.append("\n".join(rows))
    return "<!-- coverage -->\n" + "\n\n".join(parts) + "\n<!-- end of coverage -->"


def _said(covers: list[str]) -> str:
    particular = [cover for cover in covers if cover != EVERYWHERE]
    return ", ".join(f"`{cover.removeprefix('tests/')}`" for cover in particular) or "every route's test"


def with_table(text: str) -> str:
    """The document with its table made anew."""
    pattern = r"<!-- coverage -->.*?<!-- end of coverage -->"
    return re.sub(pattern, lambda _: block(), text, flags=re.DOTALL)


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
