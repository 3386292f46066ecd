"""A setting exists where it is declared, and is named nowhere else."""

import ast
import re

from api.settings import FILE_VARIABLE, PREFIX, ServerSettings, listing
from media_workers.settings import WorkerSettings
from tests.tidy.tree import PACKAGES, ROOT, parsed, python_files, shown

OF_THE_TESTS = {"SHOWRUNNER_SEED_DOCUMENT", "SHOWRUNNER_CONFORMANCE_KIT"}
READERS = {
    "api/settings.py",
    "engine/settings.py",
    "media_workers/settings.py",
    "api/footage.py",  # XDG_CACHE_HOME: where the user's caches are
}
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docker-compose.yml", "Makefile")


def test_every_setting_says_what_it_is_for() -> None:
    """Server, engine and worker settings have descriptions, and `showrunner settings` lists them all."""
    declared = {**ServerSettings.model_fields, **WorkerSettings.model_fields}
    listed = {each.name: each.description for each in listing()}

    assert [name for name, field in declared.items() if not field.description] == []
    assert [name for name in declared if not listed.get(name)] == []


def test_documents_name_settings_that_exist() -> None:
    """Every SHOWRUNNER_ variable in the documents and files for operators is a setting."""
    known = {each.variable for each in listing()} | {FILE_VARIABLE} | OF_THE_TESTS
    named = {
        name: shown(ROOT / document)
        for document in DOCUMENTS
        for name in re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", (ROOT / document).read_text(encoding="utf-8"))
    }

    assert {name: where for name, where in named.items() if name not in known} == {}


def test_the_environment_is_read_in_one_place() -> None:
    """No module but the settings reads SHOWRUNNER_ variables or other choices from the environment."""
    readers = {
        shown(path)
        for path in python_files(*PACKAGES)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }

    assert readers <= READERS
