"""showrunner demo, as a newcomer runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import BOUND_S, environment, processes_naming

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.media]


def demo(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli", "demo", "--profile", "fast", *arguments],
        cwd=folder,
        env=environment(folder, **env, TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=2 * BOUND_S,
        check=False,
    )


def test_a_file_of_ones_own(tiny: Path, tmp_path: Path) -> None:
    """The demo of a file ends with a table of renditions and a folder of streams, and no process is left."""
    done = demo(tmp_path, str(tiny))

    assert (done.returncode, done.stderr) == (0, "")
    assert "tiny.mp4: ready" in done.stdout
    assert "192x108" in done.stdout
    assert "HLS checked:" in done.stdout
    streams = next(
        line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("Streams:")
    )
    assert (Path(streams) / "master.m3u8").is_file()
    assert processes_naming(tmp_path) == []


def test_nothing_given_and_no_index(tmp_path: Path) -> None:
    """Without a network and with an empty cache the demo says so, and shows a clip of its own making."""
    done = demo(tmp_path, "--json", PIP_NO_INDEX="1")

    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (0, True)
    assert "The real clip is not available: pip could not fetch" in done.stderr
    assert "Clip: a generated test picture" in done.stderr
    [each] = report["videos"]
    assert len(each["video"]["renditions"]) >= 3
    assert (Path(each["folder"]) / "master.m3u8").is_file()
