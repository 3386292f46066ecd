"""From an upload to a package that FFmpeg plays: what is published is what was planned, frame by frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import m3u8
import pytest

from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import run
from tests.e2e.conftest import LIMITS, Installation

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.media]

SINE = "-f lavfi -i sine=d={}:r=48000"
X264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
NTSC = Fraction(30_000, 1001)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the uploaded clip shows: display size, frame rate, frames; and whether it has sound."""

    width: int
    height: int
    rate: Fraction
    frames: int
    sound: bool


EXPECTED = {
    "city": Shown(720, 405, Fraction(25), 190, sound=False),
    "portrait": Shown(360, 640, Fraction(30), 270, sound=True),
    "ntsc": Shown(640, 360, NTSC, 225, sound=True),
}


@dataclass(frozen=True, slots=True)
class Published:
    """A finished video of the running installation."""

    shown: Shown
    video: dict[str, Any]
    report: dict[str, Any]
    folder: Path
    master: m3u8.M3U8

    @property
    def playlists(self) -> dict[str, Path]:
        """Media playlists of the pictures, by their uri in the master."""
        return {variant.uri: self.folder / variant.uri for variant in self.master.playlists}


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def published(
    request: pytest.FixtureRequest,
    running: Installation,
    city: Path,
    make: Callable[[Path, str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Published:
    """Upload a clip of the kind, wait until it is ready, and go to its folder."""
    folder, kind = tmp_path_factory.mktemp("clips"), request.param
    if kind == "city":
        file = city
    elif kind == "portrait":
        # A phone records lying down and says how it was held.
        lying = make(
            folder / "lying.mp4", f"-f lavfi -i testsrc2=s=640x360:r=30:d=9 {SINE.format(9)} {X264} -c:a aac"
        )
        file = make(folder / "portrait.mp4", f"-display_rotation 90 -i {lying} -c copy")
    else:
        source = f"-f lavfi -i testsrc2=s=640x360:r=30000/1001:d=7.5 {SINE.format(7.4)}"
        file = make(folder / "ntsc.mp4", f"{source} {X264} -bf 2 -c:a aac")
    video = running.ready(running.uploaded(file, profile="fast"))
    path = running.media / "published" / video["id"] / video["version"]
    return Published(
        shown=EXPECTED[kind],
        video=video,
        report=running.get(f"/api/v1/videos/{video['id']}/report"),
        folder=path,
        master=m3u8.load(str(path / "master.m3u8")),
    )


@pytest.fixture(scope="module")
def streams(published: Published, tools: Binaries) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The picture of every media playlist as a player opens it: its stream, and its frames in order."""
    return {uri: _frames(tools, path) for uri, path in published.playlists.items()}


def _frames(tools: Binaries, playlist: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    entries = "stream=width,height,sample_aspect_ratio,r_frame_rate,avg_frame_rate:frame=key_frame,pts_time"
    argv = [tools.ffprobe, "-loglevel", "error", "-of", "json", "-select_streams", "v"]
    argv += ["-allowed_extensions", "ALL", "-show_entries", entries, "-show_frames", str(playlist)]
    done = run(argv, limits=LIMITS).check(playlist.name)
    assert done.stderr_tail == ""
    document = json.loads(done.stdout)
    return document["streams"][0], document["frames"]


def test_decodes_without_a_word(published: Published, tools: Binaries) -> None:
    """FFmpeg decodes every stream of the master and complains about nothing."""
    argv = [tools.ffmpeg, "-loglevel", "warning", "-nostdin", "-i", str(published.folder / "master.m3u8")]

    done = run([*argv, "-map", "0", "-f", "null", "-"], limits=LIMITS)

    # The demuxer of playlists says where it opens files; only that is no complaint.
    assert [line for line in done.stderr_tail.splitlines() if "Opening '" not in line] == []
    assert done.exit_code == 0


def test_exactly_the_planned_frames(
    published: Published, streams: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]
) -> None:
    """Every rendition has the frames that the plan promised, and those are the clip's own."""
    assert published.report["plan"]["framesTotal"] == published.shown.frames
    assert {uri: len(frames) for uri, (_, frames) in streams.items()} == dict.fromkeys(
        published.playlists, published.shown.frames
    )
    assert {item["frames"] for item in published.video["renditions"]} == {published.shown.frames}


def test_at_the_clips_own_pace(
    published: Published, streams: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]
) -> None:
    """Frame n is shown at n over the frame rate, exactly to the clock of the file, in every rendition."""
    rate = published.shown.rate
    planned = [float(number / rate) for number in range(published.shown.frames)]
    for uri, (_, frames) in streams.items():
        start = float(frames[0]["pts_time"])
        times = [float(frame["pts_time"]) - start for frame in frames]
        assert times == pytest.approx(planned, abs=2e-5), uri


def test_keyframes_on_one_grid(
    published: Published, streams: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]
) -> None:
    """Keyframes stand at the same frames in every rendition: the first, and one each GOP."""
    gop = published.report["plan"]["gopFrames"]
    grid = list(range(0, published.shown.frames, gop))

    assert gop == round(2 * published.shown.rate)
    for uri, (_, frames) in streams.items():
        assert [number for number, frame in enumerate(frames) if frame["key_frame"]] == grid, uri


def test_square_pixels_never_upscaled(
    published: Published, streams: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]
) -> None:
    """Each picture has square pixels, the clip's shape, even sides, and is no larger than the clip."""
    shown = published.shown
    assert len(streams) >= 2
    for uri, (stream, _) in streams.items():
        width, height = stream["width"], stream["height"]
        assert stream.get("sample_aspect_ratio", "1:1") == "1:1", uri
        assert (width % 2, height % 2) == (0, 0), uri
        assert width <= shown.width, uri
        assert height <= shown.height, uri
        # Within the two pixels that even sides may cost.
        assert abs(width - height * shown.width / shown.height) <= 2, uri
    top = max(stream["width"] * stream["height"] for stream, _ in streams.values())
    assert top == shown.width * (shown.height - shown.height % 2)


def test_segments_are_aligned(published: Published) -> None:
    """All renditions are cut at the same times, on whole GOPs; sound is cut near them and as long."""
    rate = published.shown.rate
    segment = float(published.report["plan"]["segmentFrames"] / rate)
    total = float(published.shown.frames / rate)
    lengths = {
        uri: [part.duration for part in m3u8.load(str(path)).segments]
        for uri, path in published.playlists.items()
    }

    assert len({tuple(each) for each in lengths.values()}) == 1
    cuts = list(accumulate(next(iter(lengths.values()))))
    assert cuts[:-1] == pytest.approx([segment * number for number in range(1, len(cuts))], abs=2e-3)
    assert cuts[-1] == pytest.approx(total, abs=2e-3)
    assert bool(published.master.media) is published.shown.sound
    for sound in published.master.media:
        parts = [part.duration for part in m3u8.load(str(published.folder / sound.uri)).segments]
        assert sum(parts) == pytest.approx(total, abs=0.05)


def test_served_as_published(published: Published, running: Installation) -> None:
    """Every listed file is served under its address with its size, and nothing unlisted lies beside them."""
    video = published.video
    listed = running.get(f"/api/v1/videos/{video['id']}/files?limit=200")["items"]
    for item in listed:
        answer = running.http.head(item["url"])
        assert (answer.status_code, int(answer.headers["content-length"])) == (200, item["size"]), item
    lying = {path.relative_to(published.folder).as_posix() for path in published.folder.rglob("*.*")}

    assert lying == {item["path"] for item in listed} | {"manifest.json"}
    assert video["playback"]["hls"].endswith("/master.m3u8")
    assert running.http.get(video["playback"]["hls"]).text.startswith("#EXTM3U")
