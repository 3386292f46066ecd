"""One server process for the folder; what is sent to it is meant to hurt."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.cli.conftest import Serving

ANSWER_S_MAX = 30


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    running = Serving(
        tmp_path_factory.mktemp("fuzz"), "--port", "0", "--data", "data", SHOWRUNNER_DISK_FREE_BYTES_MIN="1"
    )
    yield running
    assert running.end(signal.SIGTERM).code == 0


@pytest.fixture(scope="session")
def http(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/api", timeout=ANSWER_S_MAX) as client:
        yield client
