"""A SQLite file whose tables stand already, copied for each test: making them takes longer than the test."""

import asyncio
import shutil
from pathlib import Path

import pytest

from engine.adapters.sql.sqlite import SqliteExecutionStore


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blank") / "blank.db"

    async def make() -> None:
        await SqliteExecutionStore(path).close()

    asyncio.run(make())
    return path


@pytest.fixture
def database_path(blank_database: Path, tmp_path: Path) -> Path:
    path = tmp_path / "showrunner.db"
    shutil.copy(blank_database, path)
    return path
