"""Every row of the table of awkward uploads, with a real file, through the real tasks.

A row is walked as an upload is: the file is put where the server puts uploads, validated, and (where the row
is about content) scanned. What comes out is held against the row, and nothing may be left behind.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.catalogue import CATALOGUE, ROWS, codes_of_row
from media_workers.media.facts import SourceFacts
from media_workers.media.verdicts import Limits, judge
from media_workers.procs.binaries import Binaries
from media_workers.sdk import TaskRejected
from media_workers.tasks.registry import WORKERS
from tests.media.awkward_case import BESIDE_THE_TABLE, Case
from tests.media.awkward_contents import CONTENTS
from tests.media.awkward_files import Bench
from tests.media.awkward_uploads import UPLOADS
from tests.workers.conftest import Desk

CASES: tuple[Case, ...] = (*UPLOADS, *CONTENTS)
ROOT = Path(__file__).parents[2]
# What uploads themselves show is found by the server, before a worker ever sees a file.
ELSEWHERE = {
    46: ("tests/videos/test_uploads.py", "test_the_same_file_again_is_recognised"),
    47: ("tests/videos/test_uploads.py", "test_the_announced_checksum_is_kept_to"),
}
Json = dict[str, Any]


@pytest.fixture
def desk(tmp_path: Path, tools: Binaries) -> Iterator[Desk]:
    place = Desk(tmp_path / "desk", tools)
    yield place
    place.close()


@pytest.fixture
def no_strays() -> Iterator[None]:
    """No child process is left, neither running nor unreaped."""
    before = _children()
    yield
    assert _children() == before


def _children() -> set[str]:
    return {pid for task in Path("/proc/self/task").iterdir() for pid in _words(task / "children")}


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except FileNotFoundError:
        return []


@pytest.mark.media
@pytest.mark.usefixtures("no_strays")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row:02d}-{case.name}")
def test_row(case: Case, desk: Desk, tools: Binaries, tmp_path: Path) -> None:
    """The row's file is taken or refused as the table says, with its code, and leaves nothing behind."""
    bench = Bench(tools, tmp_path / "bench")
    place = desk.media / "sources" / "vid_1"
    place.mkdir(parents=True)
    case.build(bench, place / "input.bin")

    verdicts = _walked(case, desk)

    found = {(one["code"], one["severity"]) for one in verdicts}
    assert case.expected <= found, found
    assert not {code for code, _ in found} & case.absent
    assert all(one["message"].endswith(".") and one["action"] for one in verdicts)
    assert ("reject" in {severity for _, severity in found}) == case.refused
    assert case.security == any(note.startswith("security event") for note in desk.notes)
    assert desk.leftovers() == []
    assert {path.name for path in place.iterdir()} == {"input.bin", *case.beside}


def _walked(case: Case, desk: Desk) -> list[Json]:
    """The verdicts of the last task that spoke: validation's, or the scan's in their place."""
    given: Json = {"videoId": "vid_1", "profile": case.profile}
    try:
        validated = _call("media_validate", given, desk)
        verdicts: list[Json] = validated["verdicts"]
        if case.seconds_min:
            facts = msgspec.convert(validated["facts"], SourceFacts)
            verdicts = msgspec.to_builtins(judge(facts, Limits(duration_seconds_min=case.seconds_min)))
        if case.scan:
            scanned = _call("media_scan", {**validated, "profile": case.profile}, desk)
            verdicts = scanned["verdicts"]
            if case.frames is not None:
                assert scanned["scan"]["frames"] == case.frames
    except TaskRejected as refused:
        told = list(msgspec.to_builtins(refused.output["verdicts"]))
        # The reason that is given is the first of the verdicts.
        return told if told[0]["code"] == refused.code else []
    return verdicts


def _call(name: str, given: Json, desk: Desk) -> Json:
    output = WORKERS[name].run(msgspec.json.encode(given), desk.context())
    return msgspec.json.decode(msgspec.json.encode(output), type=Json)


def test_every_row_has_a_file() -> None:
    """A row of the table without a test would be a promise without proof."""
    rows = {case.row for case in CASES} - {BESIDE_THE_TABLE}

    assert rows | set(ELSEWHERE) == set(range(1, ROWS + 1))


def test_every_code_has_a_file() -> None:
    """Each code of the catalogue is given to a real file by some row, its own row first of all."""
    shown = {code for case in CASES for code, _ in case.expected}
    elsewhere = {code for row in ELSEWHERE for code in codes_of_row(row)}

    assert set(CATALOGUE) - elsewhere == shown
    for case in CASES:
        own = codes_of_row(case.row) & {code for code, _ in case.expected}
        assert own or case.accepted_as_is or case.row == BESIDE_THE_TABLE, case.name


def test_every_outcome_has_a_file() -> None:
    """A code that may end in several ways ends in each of them for some file."""
    shown = {found for case in CASES for found in case.expected}
    several = {
        (entry.code, outcome.severity)
        for entry in CATALOGUE.values()
        for outcome in entry.outcomes
        if len(entry.outcomes) > 1
    }

    assert several <= shown


@pytest.mark.parametrize("row", ELSEWHERE)
def test_rows_of_the_upload_have_their_tests(row: int) -> None:
    """What the server finds while it receives a file is tested there."""
    path, name = ELSEWHERE[row]
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))

    assert name in {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
