"""The real PostgreSQL of the tests: one server for all of them, an empty database for each.

tests/conftest.py imports the fixtures, so that every test may ask for `postgres_url`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from engine.adapters.sql.postgres_connection import connect
from engine.adapters.sql.postgres_schema import bring_up_to_date
from engine.adapters.sql.tables import METADATA
from engine.testing.postgres_server import PostgresServer, postgres_running

_serial = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole run, started when the first test asks."""
    with postgres_running() as server:
        yield server


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without any table."""
    name = f"empty_{next(_serial)}"
    yield postgres_server.create(name)
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """The name of a database whose tables stand; copying it is quicker than making them."""
    url = postgres_server.create("showrunner_blank")
    asyncio.run(bring_up_to_date(url))
    return "showrunner_blank"


@pytest.fixture(scope="module")
def postgres_module_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A database of one test file; `emptied` makes it fit for the next test, quicker than a new one."""
    name = f"module_{next(_serial)}"
    yield postgres_server.create(name, postgres_template)
    postgres_server.drop(name)


async def emptied(url: str) -> None:
    """Delete every row of a database of ours."""
    connection = await connect(url)
    try:
        await connection.execute(";".join(f'DELETE FROM "{table}"' for table in METADATA.tables))  # noqa: S608 - names of ours
    finally:
        await connection.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A database of the test's own, its tables brought up to date and empty."""
    name = f"test_{next(_serial)}"
    yield postgres_server.create(name, postgres_template)
    postgres_server.drop(name)
