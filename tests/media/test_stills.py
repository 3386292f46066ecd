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
from media_workers.media.stills import cover_args, poster_args, small_poster_args, storyboard_args
from media_workers.media.watermark import Clip as Cut
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcLimits, ProcResult, run

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


def test_poster_is_not_black(
    *, clip: Clip, probe: Probe, tools: Binaries, execute: Execute, tmp_path: Path
) -> None:
    """Of a title that is black for most of its time every candidate shows something."""
    source = clip("late_picture.mp4")
    plan = make_plan(probe(source)[2], resolve_profile("fast"))
    assert plan.stills is not None

    for seconds in plan.stills.poster_seconds:
        target = tmp_path / f"{seconds}.jpg"
        execute(poster_args(tools.ffmpeg, plan, source=str(source), target=str(target), at_seconds=seconds))

    shown = list(tmp_path.iterdir())
    assert shown
    assert all(brightest(execute, tools, path) > 100 for path in shown)


def test_black_title_has_a_poster(
    *, clip: Clip, probe: Probe, tools: Binaries, execute: Execute, tmp_path: Path
) -> None:
    """A title that is black throughout has no candidate, until a black one is asked for."""
    source, target = clip("black.mp4"), tmp_path / "poster.jpg"
    plan = make_plan(probe(source)[2], resolve_profile("fast"))
    ask: dict[str, Any] = {"source": str(source), "target": str(target), "at_seconds": 0.0}

    run(poster_args(tools.ffmpeg, plan, **ask), limits=ProcLimits(wall_seconds=60))
    assert not target.exists()
    execute(poster_args(tools.ffmpeg, plan, black=True, **ask))

    assert jpeg_size(target) == (160, 90)


@pytest.mark.parametrize(("name", "size", "small"), [("cover.m4a", (1280, 768), (320, 192))])
def test_cover_art(
    name: str,
    size: tuple[int, int],
    small: tuple[int, int],
    *,
    clip: Clip,
    probe: Probe,
    tools: Binaries,
    execute: Execute,
    tmp_path: Path,
) -> None:
    """A title that is sound alone has the poster of its cover art, in its shape, and a small copy."""
    source = clip(name)
    plan = make_plan(probe(source)[2], resolve_profile("audio"))
    assert plan.stills is not None
    poster, copy = tmp_path / "poster.jpg", tmp_path / "small.jpg"

    execute(cover_args(tools.ffmpeg, plan.stills, source=str(source), target=str(poster)))
    execute(small_poster_args(tools.ffmpeg, plan.stills, poster=str(poster), target=str(copy)))

    assert plan.stills.sheets == 0
    assert jpeg_size(poster) == size
    assert jpeg_size(copy) == small


@pytest.mark.parametrize("gop", [10, 250], ids=["keyframes", "every picture"])
@pytest.mark.parametrize("start", [0.0, 2.0], ids=["whole", "clip"])
def test_cue_times_are_true(
    gop: int, start: float, *, probe: Probe, tools: Binaries, execute: Execute, tmp_path: Path
) -> None:
    """Each tile shows a picture of the very seconds that its cue names."""
    source = tmp_path / "seconds.mp4"
    grey = "color=s=160x90:r=25:d=8,geq=lum='16+20*floor(N/25)':cb=128:cr=128"
    x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", str(gop), "-sc_threshold", "0"]
    execute([tools.ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", grey, *x264, str(source)])
    profile = msgspec.structs.replace(resolve_profile("fast"), clip=Cut(start=start, end=8.0))
    plan = make_plan(probe(source)[2], profile)
    assert plan.stills is not None

    execute(storyboard_args(tools.ffmpeg, plan, source=str(source), pattern=str(tmp_path / "s-%03d.jpg")))

    assert plan.stills.keyframes_only == (gop == 10)
    assert plan.stills.interval_seconds == 1.0
    stills = plan.stills
    sheet = pixels(execute, tools, tmp_path / "s-001.jpg")
    width = stills.columns * stills.tile_width
    seconds = [
        round(sheet[stills.tile_height // 2 * width + int((tile + 0.5) * stills.tile_width)] * 219 / 255 / 20)
        for tile in range(stills.tiles)
    ]
    assert seconds == list(range(int(start), 8))


def pixels(execute: Execute, tools: Binaries, path: Path) -> bytes:
    """Luma of a JPEG, from 0 to 255."""
    gray = ["-pix_fmt", "gray", "-f", "rawvideo", "-"]
    return execute([tools.ffmpeg, "-loglevel", "error", "-i", str(path), *gray]).stdout


def brightest(execute: Execute, tools: Binaries, path: Path) -> int:
    return max(pixels(execute, tools, path))
