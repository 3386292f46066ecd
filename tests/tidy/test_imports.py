"""The import contracts of pyproject.toml hold, and each of them bites."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT

LINT_S_MAX = 60
PACKAGES = ("engine", "media_workers", "api")

# Contract -> file of ours and a line that breaks the contract.
PLANTS = {
    "api over engine; media_workers and api meet only on the wire": (
        "api/settings.py",
        "import media_workers.settings",
    ),
    "media_workers never imports the engine, nor the engine them": (
        "media_workers/settings.py",
        "import engine.core.values",
    ),
    "engine knows no api": ("engine/settings.py", "import fastapi"),
    "engine layers": ("engine/ports/system.py", "import engine.services.feed"),
    "adapters are independent of each other": (
        "engine/adapters/memory/matching.py",
        "import engine.adapters.sql.codec",
    ),
    "core and ports are pure": ("engine/core/values.py", "import time"),
    "engine.testing is protected from production": (
        "engine/services/feed.py",
        "import engine.testing.builders",
    ),
    "media_workers layers": ("media_workers/media/rates.py", "import media_workers.procs.runner"),
    "media is pure": ("media_workers/media/rates.py", "import subprocess"),
    "only the farm knows Celery": ("media_workers/main.py", "import celery"),
}
NEW_FOLDERS = {"engine layers": "engine/utils", "media_workers layers": "media_workers/utils"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources whose import graph is known already."""
    folder = tmp_path_factory.mktemp("tree")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    assert _broken(folder) == []
    return folder


@pytest.fixture
def plant(clean: Path, tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Add a line to a file of a fresh copy; gives the names of the contracts that break."""

    def planted(file: str, line: str) -> list[str]:
        folder = tmp_path / "tree"
        shutil.copytree(clean, folder)
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(f"{before}\n{line}\n", encoding="utf-8")
        return _broken(folder)

    return planted


def _broken(folder: Path) -> list[str]:
    """Names of the contracts that import-linter reports as broken."""
    linter = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run(
        [linter], cwd=folder, capture_output=True, text=True, timeout=LINT_S_MAX, check=False
    )
    names = [line.removesuffix(" BROKEN") for line in done.stdout.splitlines() if line.endswith(" BROKEN")]
    assert done.returncode == (1 if names else 0), done.stdout + done.stderr
    return names


def test_every_contract_has_a_plant() -> None:
    """A contract that nobody has seen fail may be one that cannot."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]

    assert {contract["name"] for contract in tool["importlinter"]["contracts"]} == set(PLANTS)


@pytest.mark.parametrize("contract", PLANTS)
def test_a_planted_import_is_caught(plant: Callable[[str, str], list[str]], contract: str) -> None:
    """One forbidden import breaks the contract that is there against it."""
    assert contract in plant(*PLANTS[contract])


@pytest.mark.parametrize("contract", NEW_FOLDERS)
def test_a_new_folder_must_be_placed(plant: Callable[[str, str], list[str]], contract: str) -> None:
    """The layers are exhaustive: a folder that no layer names breaks them, whatever it imports."""
    assert contract in plant(f"{NEW_FOLDERS[contract]}/__init__.py", '"""Something new."""')
