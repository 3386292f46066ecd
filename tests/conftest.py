"""What holds for every test."""

from collections.abc import Iterator

import pytest
import structlog

from tests.postgres_fixtures import (
    empty_postgres_url,
    postgres_module_url,
    postgres_server,
    postgres_template,
    postgres_url,
)

__all__ = [
    "empty_postgres_url",
    "postgres_module_url",
    "postgres_server",
    "postgres_template",
    "postgres_url",
]


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command that a test runs in this process sets up logging; the next test must not inherit that."""
    yield
    structlog.reset_defaults()
