"""The cases recorded from the real server, played against ours on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.testing.postgres_server import PostgresServer
from tests.cli.conftest import Serving
from tests.conformance import kit

SHOWN_MAX = 40

Found = dict[str, list[kit.Difference]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Found]:
    """Every difference, by store. Most cases wait for timeouts, so both stores are asked at once."""
    if not (kit.path() / "run.py").is_file():
        problem = f"the recorded cases are not at {kit.path().resolve()}; name them with {kit.VARIABLE}"
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)  # they are no part of this repository
    databases = {"sqlite": "", "postgresql": postgres_server.create("conformance")}
    servers: dict[str, Serving] = {}
    runs: dict[str, tuple[subprocess.Popen[str], Path]] = {}
    try:
        for store, database in databases.items():
            folder = tmp_path_factory.mktemp(store)
            where = ("--database", database) if database else ()
            servers[store] = Serving(folder, "--port", "0", "--data", "data", *where)
            recording = folder / "recording.json"
            runs[store] = kit.start(servers[store].url, recording), recording
        yield {store: _differences(*run) for store, run in runs.items()}
    finally:
        for process, _ in runs.values():
            process.kill()
            process.communicate()
        for server in servers.values():
            server.end(signal.SIGTERM)


def _differences(process: subprocess.Popen[str], recording: Path) -> list[kit.Difference]:
    said, _ = process.communicate(timeout=kit.RUN_S_MAX)
    assert process.returncode == 0, said
    return kit.differences(recording)


@pytest.mark.server
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_it_answers_as_the_real_server(found: Found, store: str) -> None:
    """Case by case and value by value, but for what accepted.json explains."""
    explanations = kit.accepted()

    unexplained = [
        str(each) for each in found[store] if not any(entry.explains(each) for entry in explanations)
    ]

    assert "\n".join(unexplained[:SHOWN_MAX]) == "", f"{len(unexplained)} differences"


@pytest.mark.server
def test_what_is_accepted_still_differs(found: Found) -> None:
    """An entry that explains nothing any more is taken out of accepted.json."""
    differences = found["sqlite"] + found["postgresql"]

    idle = [entry for entry in kit.accepted() if not any(map(entry.explains, differences))]

    assert idle == []


def test_every_accepted_difference_has_a_reason() -> None:
    """One sentence that a user of the protocol can judge, said once."""
    entries = kit.accepted()

    assert [entry for entry in entries if not entry.reason.endswith(".")] == []
    assert len({(entry.case, entry.where, entry.got) for entry in entries}) == len(entries)
