"""Server processes killed under load, and every workflow counted afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.kill_servers import run

pytestmark = pytest.mark.server


def test_killed_servers_lose_nothing_and_do_nothing_twice(postgres_url: str, tmp_path: Path) -> None:
    """All workflows complete, none exists twice, no (task, attempt) is executed or scheduled twice."""
    outcome = run(seconds=4, every_s=1, database=postgres_url, data=tmp_path)

    assert outcome.lost == outcome.doubled == outcome.executed_twice == outcome.scheduled_twice == []
    assert outcome.good
    assert outcome.executed >= 4 * outcome.started
