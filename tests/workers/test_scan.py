"""media_scan: one decode of the whole source, kept, and judged."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.procs.binaries import Binaries
from media_workers.sdk import TaskCancelled, TaskFailed, TaskRejected
from media_workers.tasks.registry import WORKERS
from tests.workers.conftest import Desk

pytestmark = pytest.mark.media

Json = dict[str, Any]
Upload = Callable[..., Path]
H264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
MOVING = "-f lavfi -i mandelbrot=s=160x90:r=25"
TONE = "-f lavfi -i sine=d={d}:r=48000"


@pytest.fixture
def upload(desk: Desk, tools: Binaries, tmp_path: Path) -> Upload:
    """Make a clip by FFmpeg's words and put it where the server puts an upload."""

    def make(arguments: str, name: str = "a.mp4") -> Path:
        path = tmp_path / name
        argv = [tools.ffmpeg, "-v", "error", "-y", *arguments.split(), str(path)]
        subprocess.run(argv, check=True, timeout=60)
        desk.upload(path)
        return path

    return make


def call(desk: Desk, name: str, given: Json) -> Json:
    """Run a task as the wire would: JSON in, JSON out."""
    output = WORKERS[name].run(msgspec.json.encode(given), desk.context())
    return msgspec.json.decode(msgspec.json.encode(output), type=Json)


def scanned(desk: Desk, profile: str | None = None) -> Json:
    found = call(desk, "media_validate", {"videoId": "vid_1", "profile": profile})
    return call(desk, "media_scan", {**found, "profile": profile})


def test_everything_in_one_pass(desk: Desk, upload: Upload) -> None:
    """Frames, black, loudness and complexity of one clip come from one decode."""
    upload(
        f"-f lavfi -i color=black:s=160x90:r=25:d=1 {MOVING} {TONE.format(d=3)} -filter_complex "
        f"[1:v]trim=end=2,setpts=PTS-STARTPTS[m];[0:v][m]concat[v] -map [v] -map 2:a {H264} -c:a aac"
    )

    found = scanned(desk)

    scan = found["scan"]
    assert scan["frames"] == found["facts"]["video"]["frames"] == 75
    assert [(one["kind"], one["errors"], one["damaged"]) for one in scan["streams"]] == [
        ("video", 0, 0),
        ("audio", 0, 0),
    ]
    (black,) = scan["black"]
    assert (black["startSeconds"], black["endSeconds"]) == (0.0, pytest.approx(1.0, abs=0.05))
    (loudness,) = scan["loudness"]
    assert -24 < loudness["integratedLufs"] < -18
    assert -20 < loudness["truePeakDbtp"] < -12
    assert scan["complexity"]["frames"] == [25, 25, 25]
    assert scan["complexity"]["temporal"][0] < scan["complexity"]["temporal"][2]
    assert scan["complete"]
    assert desk.leftovers() == []


def test_what_is_seen_wins_over_what_is_claimed(desk: Desk, upload: Upload) -> None:
    """A file that says it has fields and has none is not deinterlaced, and the verdict goes."""
    waves = "nullsrc=s=160x120:r=25:d=1,geq=lum='128+100*sin((X+Y)/9+N/2)':cb=128:cr=128,format=yuv420p"
    upload(f"-f lavfi -i {waves} -vf setfield=tff -c:v mpeg2video -q:v 2 -flags +ildct+ilme -f vob", "a.mpg")
    claimed = call(desk, "media_validate", {"videoId": "vid_1"})

    found = call(desk, "media_scan", claimed)

    assert claimed["facts"]["video"]["interlaced"]
    assert not found["facts"]["video"]["interlaced"]
    assert "interlaced" in {verdict["code"] for verdict in claimed["verdicts"]}
    assert "interlaced" not in {verdict["code"] for verdict in found["verdicts"]}


def test_progress_is_told(desk: Desk, upload: Upload) -> None:
    """The fraction rises to the whole while it looks."""
    upload(f"{MOVING} -t 2 {H264}", "a.mp4")
    found = call(desk, "media_validate", {"videoId": "vid_1"})
    desk.progress.clear()

    call(desk, "media_scan", found)

    fractions = [one.fraction for one in desk.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {one.message for one in desk.progress} == {"looking at every frame"}


def test_a_scan_is_not_done_twice(desk: Desk, upload: Upload) -> None:
    """A repeated task finds what the first one saw, and answers the same."""
    upload(f"{MOVING} -t 1 {H264}", "a.mp4")
    found = call(desk, "media_validate", {"videoId": "vid_1"})

    first = call(desk, "media_scan", found)
    desk.progress.clear()
    again = call(desk, "media_scan", found)

    assert (first.pop("reused"), again.pop("reused")) == (False, True)
    assert first == again
    assert desk.progress == []


def test_sound_alone(desk: Desk, upload: Upload) -> None:
    """A source without a picture is measured by its sound."""
    upload(f"{TONE.format(d=2)} -c:a aac", "a.m4a")

    found = scanned(desk, "audio")

    assert found["facts"]["video"] is None
    assert found["scan"]["frames"] == 0
    assert found["scan"]["loudness"][0]["integratedLufs"] is not None
    assert [verdict["code"] for verdict in found["verdicts"]] == ["audio_only"]
    assert desk.progress[-1].fraction == 1.0


def test_each_track_is_measured(desk: Desk, upload: Upload) -> None:
    """Loudness is told for every track by its number, a silent one among them."""
    upload(
        f"{MOVING} {TONE.format(d=2)} -f lavfi -i anullsrc=d=2 -map 0 -map 1 -map 2 -t 2 {H264} -c:a aac",
        "a.mp4",
    )

    found = scanned(desk)

    loud, silent = found["scan"]["loudness"]
    assert (loud["track"], silent["track"]) == (0, 1)
    assert loud["integratedLufs"] is not None
    assert silent["integratedLufs"] is None
    assert [verdict["message"] for verdict in found["verdicts"] if verdict["code"] == "silent_audio"] == [
        "Sound track 2 is silent."
    ]


def test_a_refused_source_keeps_what_was_seen(desk: Desk, upload: Upload) -> None:
    """The reject carries all verdicts and the scan, for the report."""
    path = upload(f"{MOVING} -t 2 -c:v mpeg2video -q:v 3 -g 12 -f vob", "a.mpg")
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 5, len(content) - 100, len(content) // 40):
        content[at : at + 64] = bytes(range(64))
    path.write_bytes(content)
    desk.upload(path)

    with pytest.raises(TaskRejected) as refused:
        scanned(desk)

    told = msgspec.to_builtins(refused.value.output)
    assert refused.value.code == told["verdicts"][0]["code"] == "corrupt"
    assert told["scan"]["streams"][0]["damaged"] > 0
    assert desk.leftovers() == []


def test_a_cancelled_scan_leaves_nothing(desk: Desk, upload: Upload) -> None:
    """Cancelled on the way, it stores nothing and leaves no folder."""
    upload(f"{MOVING} -t 2 {H264}", "a.mp4")
    found = call(desk, "media_validate", {"videoId": "vid_1"})
    desk.cancel_on_progress = True

    with pytest.raises(TaskCancelled):
        call(desk, "media_scan", found)

    assert desk.leftovers() == []
    assert not (desk.media / "artefacts").exists()


def test_a_source_that_is_gone(desk: Desk, upload: Upload) -> None:
    """A source that was removed in between is missed by name, not by a traceback."""
    upload(f"{MOVING} -t 1 {H264}", "a.mp4")
    found = call(desk, "media_validate", {"videoId": "vid_1"})
    desk.storage.delete("sources/vid_1")

    with pytest.raises(TaskRejected, match="upload it again"):
        call(desk, "media_scan", found)


def test_a_tool_that_is_stopped_is_a_failure_of_the_attempt(
    desk: Desk, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan that passes its limits fails and may be tried again: that says nothing about the file."""
    upload(f"{MOVING} -t 1 {H264}", "a.mp4")
    found = call(desk, "media_validate", {"videoId": "vid_1"})
    monkeypatch.setattr("media_workers.tasks.scan.SECONDS_MIN", 0)
    monkeypatch.setattr("media_workers.tasks.scan.WALL_SECONDS_FACTOR", 0)

    with pytest.raises(TaskFailed, match="took longer than allowed"):
        call(desk, "media_scan", found)
