"""Files that somebody broke on purpose: the tools may fail, the worker may not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.procs.binaries import Binaries
from media_workers.sdk import TaskRejected
from media_workers.tasks.registry import WORKERS
from tests.media.awkward_files import H264, SINE, SMALL, Bench
from tests.workers.conftest import Desk

pytestmark = pytest.mark.media

RECIPES = {
    "a.mp4": f"{SMALL.format(d=0.6)} {SINE.format(d=0.6)} {H264} -c:a aac",
    "a.mkv": f"{SMALL.format(d=0.6)} {SINE.format(d=0.6)} {H264} -c:a libopus",
    "a.mpg": f"{SMALL.format(d=0.6)} {SINE.format(d=0.6)} -c:v mpeg2video -c:a mp2 -f vob",
}


def _spoiled(content: bytes, first: int, last: int, step: int) -> bytes:
    spoiled = bytearray(content)
    for number, at in enumerate(range(first, min(last, len(spoiled)), step)):
        spoiled[at] = (0, 255, 127, 128)[number % 4]
    return bytes(spoiled)


MUTATIONS: dict[str, Callable[[bytes], bytes]] = {
    "tables": lambda content: _spoiled(content, 60, 4000, 97),
    "index": lambda content: _spoiled(content, len(content) - 900, len(content), 53),
    "all_over": lambda content: _spoiled(content, 300, len(content), 501),
    "doubled": lambda content: content[: len(content) // 2] + content[len(content) // 3 :],
    "hole": lambda content: content[: len(content) // 3] + content[len(content) // 2 :],
}


@pytest.fixture(scope="module")
def whole(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    bench = Bench(tools, tmp_path_factory.mktemp("mutated") / "bench")
    return {name: bench.make(name, recipe).read_bytes() for name, recipe in RECIPES.items()}


@pytest.fixture
def desk(tmp_path: Path, tools: Binaries) -> Iterator[Desk]:
    place = Desk(tmp_path / "desk", tools)
    yield place
    place.close()


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("name", RECIPES)
def test_a_broken_file_is_judged(name: str, mutation: str, whole: dict[str, bytes], desk: Desk) -> None:
    """A broken file is taken or refused with a code and a sentence; nothing else happens, nothing is left."""
    place = desk.media / "sources" / "vid_1"
    place.mkdir(parents=True)
    (place / "input.bin").write_bytes(MUTATIONS[mutation](whole[name]))

    try:
        found = _call("media_validate", {"videoId": "vid_1"}, desk)
        verdicts = _call("media_scan", found, desk)["verdicts"]
    except TaskRejected as refused:
        verdicts = msgspec.to_builtins(refused.output["verdicts"])

    assert verdicts
    assert desk.leftovers() == []


def _call(name: str, given: dict[str, Any], desk: Desk) -> dict[str, Any]:
    output = WORKERS[name].run(msgspec.json.encode(given), desk.context())
    return msgspec.json.decode(msgspec.json.encode(output), type=dict[str, Any])
