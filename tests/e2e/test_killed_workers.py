"""Workers killed with SIGKILL in the middle of random tasks: the title is what it would have been."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.kill_workers import run

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.media]


def test_killed_workers_change_nothing(tmp_path: Path) -> None:
    """The title is ready, byte for byte the undisturbed one's; what was finished is kept; nothing is left."""
    outcome = run(kills=3, seed=5, data=tmp_path)

    assert len(outcome.kills) == 3
    assert outcome.not_ready == []
    assert outcome.different == []
    assert outcome.made_again == []
    assert outcome.left == []
