"""`showrunner workflow replay`: from a server, from its data folder, from a file, by another definition."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Done, Serving

Run = Callable[..., Done]


def _definition(*refs: str) -> dict[str, object]:
    tasks = [
        {
            "name": ref,
            "taskReferenceName": ref,
            "type": "INLINE",
            "inputParameters": {"evaluatorType": "javascript", "expression": "1 + 1"},
        }
        for ref in refs
    ]
    return {"name": "replayed", "version": 1, "ownerEmail": "a@b.example", "tasks": tasks}


@pytest.fixture
def workflow_id(shared: Serving) -> str:
    """A finished execution of two scripts."""
    with httpx.Client(base_url=shared.url, timeout=30) as http:
        http.put("/api/metadata/workflow", json=[_definition("one", "two")]).raise_for_status()
        return http.post("/api/workflow/replayed", json={}).raise_for_status().text


def test_a_history_of_a_server_is_decided_the_same(
    showrunner: Run, shared: Serving, workflow_id: str
) -> None:
    """One sentence, exit code 0."""
    done = showrunner("workflow", "replay", workflow_id, "--server", shared.url)

    assert (done.code, done.out) == (0, f"{workflow_id}: 1 events decided again, each as it was then.\n")


def test_a_saved_history_needs_no_server(
    showrunner: Run, shared: Serving, workflow_id: str, tmp_path: Path
) -> None:
    """What was saved yesterday is replayed by tomorrow's version."""
    showrunner("workflow", "replay", workflow_id, "--server", shared.url, "--save", "history.json")

    done = showrunner("workflow", "replay", workflow_id, "--history", "history.json", "--json")

    assert done.json() == {"workflow_id": workflow_id, "events": 1, "before": 0, "divergence": None}


def test_another_definition_shows_the_first_difference(
    showrunner: Run, shared: Serving, workflow_id: str, tmp_path: Path
) -> None:
    """Exit code 1, the event, then and now."""
    (tmp_path / "other.json").write_text(json.dumps(_definition("one", "three")))

    done = showrunner("workflow", "replay", workflow_id, "--server", shared.url, "--definition", "other.json")

    first, *lines = done.out.splitlines()
    assert done.code == 1
    assert first.startswith(f"{workflow_id} diverges at event 1 of 1, Start, ")
    assert "  then: scheduled two (INLINE)" in lines
    assert "  now:  schedules three (INLINE)" in lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], (1, "No such workflow found by id: nobody")),
        (["nobody", "--data", "nowhere"], (2, "there is no showrunner.db in nowhere")),
        (["nobody", "--history", "nowhere.json"], (2, "there is no file nowhere.json")),
        (["nobody", "--history", "bad.json"], (1, "the history cannot be replayed: it cannot be read")),
        (
            ["nobody", "--history", "bad.json", "--data", "."],
            (2, "name one of --server, --data and --history"),
        ),
    ],
)
def test_what_cannot_be_replayed_is_one_sentence(
    showrunner: Run, shared: Serving, tmp_path: Path, arguments: list[str], said: tuple[int, str]
) -> None:
    """Names the thing and what is wrong with it."""
    code, sentence = said
    (tmp_path / "bad.json").write_text("{}")
    of_server = [] if len(arguments) > 1 else ["--server", shared.url]

    done = showrunner("workflow", "replay", *arguments, *of_server)

    assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 1)
    assert sentence in done.err


def test_a_data_folder_is_read_without_its_server(
    showrunner: Run, serve: Callable[..., Serving], tmp_path: Path
) -> None:
    """The database of a server, also while it runs."""
    server = serve(SHOWRUNNER_DISK_FREE_BYTES_MIN="1")
    with httpx.Client(base_url=server.url, timeout=30) as http:
        http.put("/api/metadata/workflow", json=[_definition("one")]).raise_for_status()
        workflow_id = http.post("/api/workflow/replayed", json={}).raise_for_status().text

    done = showrunner("workflow", "replay", workflow_id, "--data", "data")

    assert done.code == 0
