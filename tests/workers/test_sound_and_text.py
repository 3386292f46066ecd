"""Sound, text and stills as tasks: what is shared, what is found again, what sound alone gets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcLimits, run
from media_workers.sdk import TaskRejected
from media_workers.tasks.registry import WORKERS
from tests.workers.conftest import Desk

pytestmark = pytest.mark.media

Json = dict[str, Any]
SRT = "1\n00:00:00,500 --> 00:00:01,500\n<b>caf\xe9</b> <script>x</script>\n"
SURROUND = "aevalsrc=" + "|".join(["0.1*sin(880*t)"] * 6) + ":c=5.1:d=2:s=48000"


class Branches:
    """The branches of a plan that are not pictures, run where they are asked for."""

    def __init__(self, desk: Desk, clip: Path, profile: str, overrides: Json) -> None:
        self.desk = desk
        desk.upload(clip)
        wish = {"profile": profile, "overrides": overrides}
        validated = self.call("media_validate", {"videoId": "vid_1", **wish})
        planned = self.call("media_plan", {**validated, **wish})
        self.plan: Json = planned["plan"]
        self.inputs: Json = {**planned["previewInputs"], **planned["forkInputs"]}

    def call(self, name: str, given: Json) -> Json:
        output = WORKERS[name].run(json.dumps(given).encode(), self.desk.context())
        return msgspec.json.decode(msgspec.json.encode(output), type=Json)

    def run(self, kind: str, ref: str) -> Json:
        return self.call(kind, self.inputs[ref])


@pytest.fixture(scope="module")
def title(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branches]:
    """A picture, 5.1 sound, and a subtitle track in cp1252."""
    folder = tmp_path_factory.mktemp("title")
    text, clip = folder / "text.srt", folder / "clip.mkv"
    text.write_bytes(SRT.encode("cp1252"))
    inputs = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=2", "-f", "lavfi", "-i", SURROUND]
    maps = ["-i", str(text), "-map", "0", "-map", "1", "-map", "2"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-c:s", "copy"]
    languages = ["-metadata:s:a", "language=ger", "-metadata:s:s", "language=fre"]
    argv = [tools.ffmpeg, "-v", "error", "-y", *inputs, *maps, *codecs, *languages]
    run([*argv, "-disposition:s", "forced", str(clip)], limits=ProcLimits(wall_seconds=60)).check("clip")
    desk = Desk(folder / "desk", tools)
    yield Branches(desk, clip, "fast", {"audioCodecs": ["aac", "opus", "eac3"]})
    desk.close()


def kept(desk: Desk, kind: str) -> int:
    """How many artefacts of a kind are stored."""
    manifests = (desk.media / "artefacts").rglob("manifest.json")
    return sum(json.loads(path.read_text())["kind"] == kind for path in manifests)


def test_codecs_share_a_measurement(title: Branches) -> None:
    """Two codecs of one track are measured once, and the finished files are as loud as asked."""
    outputs = [title.run("media_audio", ref) for ref in ("audio_0_aac", "audio_0_opus")]

    assert kept(title.desk, "loudness") == 1
    for output in outputs:
        assert output["audio"]["loudnessTargetLufs"] == -16.0
        assert abs(output["audio"]["loudnessLufs"] + 16.0) <= 1.0
        assert output["audio"]["language"] == "de"
        assert output["audio"]["warnings"] == []


def test_surround(title: Branches) -> None:
    """The 5.1 form says what it is, and is found again by the next attempt."""
    first = title.run("media_audio", "audio_0_eac3")
    again = title.run("media_audio", "audio_0_eac3")

    shown = {key: first["audio"][key] for key in ("codec", "group", "channels", "layout", "default")}
    assert shown == {"codec": "eac3", "group": "eac3", "channels": 6, "layout": "5.1(side)", "default": True}
    assert again == {**first, "reused": True}


def test_text(title: Branches) -> None:
    """A subtitle track in another encoding becomes clean WebVTT, with what it is for."""
    output = title.run("media_text", "text_0")

    text = title.desk.storage.local_path(output["file"]["key"]).read_text(encoding="utf-8")
    assert text == "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\n<b>café</b> x\n"
    shown = {key: output["text"][key] for key in ("index", "language", "label", "kind", "forced", "cues")}
    assert shown == {
        "index": 0,
        "language": "fr",
        "label": "French - forced",
        "kind": "subtitles",
        "forced": True,
        "cues": 1,
    }
    assert title.run("media_text", "text_0") == {**output, "reused": True}
    assert title.desk.leftovers() == []


def test_text_that_is_not_planned(title: Branches) -> None:
    """A number that the plan does not have is refused."""
    given = {**title.inputs["text_0"], "text": 7}

    with pytest.raises(TaskRejected, match="no text track 7"):
        title.call("media_text", given)


def test_stills_have_a_small_poster(title: Branches) -> None:
    """The poster is there in two sizes, beside the storyboard."""
    output = title.run("media_stills", "stills")

    folder = title.desk.storage.local_path(f"{output['artefact']}/poster.jpg").parent
    files = {path.name for path in folder.iterdir()}
    assert files == {"poster.jpg", "poster-small.jpg", "storyboard.vtt", "sprite-001.jpg", "manifest.json"}
    assert output["stills"]["posterSmall"] == "poster-small.jpg"


@pytest.mark.parametrize(
    ("sound", "warnings"),
    [
        # The codec leaves out the highest tones, and with them a good part of the noise.
        ("anoisesrc=d=4:a=0.9:r=48000", []),
        # All of its loudness is in its peaks.
        ("aevalsrc=0.01*sin(880*t)+lt(mod(t\\,2)\\,0.005)*sin(6000*t):d=6:s=48000", ["loudness"]),
    ],
    ids=["noise", "clicks"],
)
def test_what_is_lost_is_made_up_for(
    sound: str, warnings: list[str], *, desk: Desk, tools: Binaries, tmp_path: Path
) -> None:
    """Loudness that an encode took away is given back; where the peaks do not allow it, that is told."""
    clip = tmp_path / "sound.wav"
    argv = [tools.ffmpeg, "-v", "error", "-f", "lavfi", "-i", sound, str(clip)]
    run(argv, limits=ProcLimits(wall_seconds=60)).check("sound")

    audio = Branches(desk, clip, "audio", {}).run("media_audio", "audio_0_aac")["audio"]

    assert audio["warnings"] == warnings
    assert audio["loudnessTargetLufs"] == -16.0
    assert (abs(audio["loudnessLufs"] + 16.0) <= 1.0) == (not warnings)
    assert desk.leftovers() == []


def test_sound_alone(desk: Desk, tools: Binaries, tmp_path: Path) -> None:
    """A silent song with cover art: its loudness is left alone, and the art is its poster."""
    clip = tmp_path / "song.m4a"
    sound = ["-f", "lavfi", "-i", "anullsrc=d=1", "-f", "lavfi", "-i", "testsrc2=s=300x300:r=1:d=1"]
    maps = ["-map", "0", "-map", "1", "-t", "1", "-frames:v", "1", "-c:v", "png"]
    argv = [tools.ffmpeg, "-v", "error", *sound, *maps, "-disposition:v", "attached_pic", str(clip)]
    run(argv, limits=ProcLimits(wall_seconds=60)).check("song")

    song = Branches(desk, clip, "audio", {})
    high, low = (song.run("media_audio", ref) for ref in ("audio_0_aac", "audio_0_aac_low"))
    stills = song.run("media_stills", "stills")

    assert high["audio"]["warnings"] == low["audio"]["warnings"] == ["silent_audio"]
    assert high["audio"]["loudnessLufs"] is None
    assert stills["stills"]["poster"] == "poster.jpg"
    assert stills["stills"]["storyboard"] is None
    assert stills["stills"]["sheets"] == []
