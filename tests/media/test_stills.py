"""Posters and storyboards, really made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.facts import SourceFacts
from media_workers.media.packets import PacketScan
from media_workers.media.plan import make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.stills import poster_args, storyboard_args
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcResult

pytestmark = pytest.mark.media

Clip = Callable[[str], Path]
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Execute = Callable[..., ProcResult]


def jpeg_size(path: Path) -> tuple[int, int]:
    """Width and height from a JPEG's start-of-frame marker."""
    data = path.read_bytes()
    at = data.index(b"\xff\xc0")
    return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])


@pytest.mark.parametrize(
    "name", ["odd.mpg", "portrait.mp4", "start.ts", "interlaced.mpg", "hdr10.mp4", "one_frame.mp4", "vfr.mp4"]
)
def test_stills(
    name: str, *, clip: Clip, probe: Probe, tools: Binaries, execute: Execute, tmp_path: Path
) -> None:
    """Each poster candidate and every planned sheet is made, in the planned size."""
    source = str(clip(name))
    plan = make_plan(probe(clip(name))[2], resolve_profile("fast"))
    assert plan.stills is not None
    stills = plan.stills

    for number, seconds in enumerate(stills.poster_seconds):
        poster = tmp_path / f"poster-{number}.jpg"
        execute(poster_args(tools.ffmpeg, plan, source=source, target=str(poster), at_seconds=seconds))
        assert jpeg_size(poster) == (stills.poster_width, stills.poster_height)
    execute(storyboard_args(tools.ffmpeg, plan, source=source, pattern=str(tmp_path / "sprite-%03d.jpg")))

    sheets = sorted(tmp_path.glob("sprite-*.jpg"))
    sheet = (stills.columns * stills.tile_width, stills.rows * stills.tile_height)
    assert len(sheets) == stills.sheets
    assert {jpeg_size(path) for path in sheets} == {sheet}


def test_several_sheets(
    *, clip: Clip, probe: Probe, tools: Binaries, execute: Execute, tmp_path: Path
) -> None:
    """A long storyboard goes on over as many sheets as the plan says."""
    plan = make_plan(probe(clip("long.mp4"))[2], resolve_profile("fast"))
    assert plan.stills is not None
    small = msgspec.structs.replace(plan, stills=msgspec.structs.replace(plan.stills, columns=2, rows=2))
    assert small.stills is not None

    execute(
        storyboard_args(
            tools.ffmpeg, small, source=str(clip("long.mp4")), pattern=str(tmp_path / "sprite-%03d.jpg")
        )
    )

    assert len(list(tmp_path.glob("sprite-*.jpg"))) == small.stills.sheets == 2
