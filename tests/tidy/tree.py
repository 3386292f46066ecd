"""The repository as the tidy tests see it: its files, and what each module defines and imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "media_workers", "api", "workflows")
PYTHON_FOLDERS = (*PACKAGES, "bench", "tests")
TEXT_SUFFIXES = frozenset(
    {".css", ".html", ".js", ".json", ".lock", ".md", ".py", ".svg", ".toml", ".ts", ".tsx", ".txt", ".yml"}
)
TOP_LEVEL_TEXTS = ("Makefile", ".gitignore", ".ci/run")
_SKIPPED = frozenset({"__pycache__", "node_modules", "static"})


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """Every Python file of these top-level folders, sorted."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(sorted(path for path in found if not _SKIPPED & set(path.relative_to(ROOT).parts)))


@cache
def text_files() -> tuple[Path, ...]:
    """Every text file that belongs to the repository, sorted."""
    folders = (*PYTHON_FOLDERS, "ui")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.is_file()]
    chosen = [path for path in found if path.suffix in TEXT_SUFFIXES]
    chosen += [ROOT / name for name in TOP_LEVEL_TEXTS]
    return tuple(sorted(path for path in chosen if not _SKIPPED & set(path.relative_to(ROOT).parts)))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def shown(path: Path) -> str:
    """A path as a reader of the repository knows it."""
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """`engine/core/step.py` is `engine.core.step`; a package is named like its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names a file imports, inside functions too; `from a import b` gives `a` and `a.b`."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)
