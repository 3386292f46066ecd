"""media_keys and the operator's commands: ids leave, values never do."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from media_workers.drm.custody import Custody
from media_workers.drm.speke import SpekeServer
from media_workers.main import app
from media_workers.media.protection import DrmOptions
from media_workers.procs.binaries import Binaries
from media_workers.sdk import (
    Cancellation,
    Resources,
    Task,
    TaskContext,
    TaskFailed,
    TaskRejected,
    TaskStatus,
    Workflow,
)
from media_workers.settings import WorkerSettings
from media_workers.storage import LocalStorage, Scratch
from media_workers.tasks.cleanup import CleanupInput, cleanup
from media_workers.tasks.keys import KeysInput, key_values, keys, protection_flagfile

Opened = Callable[..., Custody]
Leaks = Callable[[Sequence[bytes], bytes], list[str]]
# As much of a plan as media_keys looks at.
PLAN: Any = SimpleNamespace(
    renditions=(SimpleNamespace(drm_label="UHD"), SimpleNamespace(drm_label="SD")), audio=("a track",)
)


class Desk:
    """A context whose notes are kept."""

    def __init__(self, root: Path, tools: Binaries, custody: Custody | None) -> None:
        self.notes: list[str] = []
        self.storage = LocalStorage(root / "media", writer="w1")
        self.scratch = Scratch(root / "scratch", "w1")
        self.context = TaskContext(
            task=Task(
                task_id="t-1",
                task_type="media_keys",
                workflow_instance_id="wf-1",
                status=TaskStatus.IN_PROGRESS,
            ),
            worker_id="w1",
            resources=Resources(storage=self.storage, scratch=self.scratch, binaries=tools, keys=custody),
            cancellation=Cancellation(),
            tell=lambda _progress: None,
            note=self.notes.append,
            fetch_workflow=lambda: msgspec.json.decode(b'{"workflowId": "wf-1"}', type=Workflow),
        )

    def close(self) -> None:
        self.scratch.close()
        self.storage.close()


@pytest.fixture
def desk(tmp_path: Path, tools: Binaries, custody: Opened) -> Iterator[Desk]:
    place = Desk(tmp_path, tools, custody())
    yield place
    place.close()


def job(drm: object = True, **more: Any) -> KeysInput:
    return KeysInput(video_id="vid_1", drm=drm, plan=PLAN, **more)  # type: ignore[arg-type] # also what is refused


def test_ids_leave_and_values_do_not(desk: Desk, leaks: Leaks, tmp_path: Path) -> None:
    """The output and the task's log name the keys of the title's tracks; no value is in them."""
    out = keys(job(), desk.context)

    assert out.protection is not None
    assert [key.label for key in out.protection.keys] == ["AUDIO", "SD", "UHD"]
    kept = list(key_values(desk.context, "vid_1", out.protection).values())
    told = msgspec.json.encode(out) + "\n".join(desk.notes).encode()
    assert leaks(kept, told) == []
    assert all(key.key_id.encode() in told for key in out.protection.keys)
    with protection_flagfile(desk.context, "vid_1", out.protection, "cbcs", tmp_path) as path:
        assert leaks(kept, Path(path).read_bytes())


def test_a_repeated_task(desk: Desk) -> None:
    """A task delivered twice answers the same."""
    assert keys(job(), desk.context) == keys(job(), desk.context)


def test_a_clear_title(desk: Desk, key_root: Path) -> None:
    """Without `drm` there is no protection and no key."""
    assert keys(job(None), desk.context).protection is None
    assert not key_root.exists()


def test_given_version(desk: Desk) -> None:
    """The workflow may name the key version; without it, it is the one that is current."""
    first = keys(job(), desk.context).protection
    second = keys(job(key_version=2), desk.context).protection

    assert first is not None
    assert second is not None
    assert (first.key_version, second.key_version) == (1, 2)
    assert not {key.key_id for key in first.keys} & {key.key_id for key in second.keys}
    assert keys(job(), desk.context).protection == first


def test_bad_options(desk: Desk) -> None:
    """An option that cannot be ends the workflow with the field's path, not with another attempt."""
    with pytest.raises(TaskRejected, match=r"drm\.scheme: there is no 'cbc1'") as refused:
        keys(job({"scheme": "cbc1"}), desk.context)
    assert refused.value.code == "invalid_options"


def test_source_away_is_tried_again(tmp_path: Path, tools: Binaries, custody: Opened) -> None:
    """A key server that is not there fails the attempt, so that the engine tries again."""
    place = Desk(tmp_path, tools, custody(speke=SpekeServer(url="http://127.0.0.1:1/", timeout_seconds=5)))
    with contextlib.closing(place), pytest.raises(TaskFailed) as failed:
        keys(job({"keySource": "speke"}), place.context)
    assert failed.value.code == "key_source_unavailable"


def test_setting_missing_is_final(desk: Desk) -> None:
    """A source that nobody set up ends the workflow with the setting's name."""
    with pytest.raises(TaskRejected, match="SHOWRUNNER_SPEKE_URL") as refused:
        keys(job({"keySource": "speke"}), desk.context)
    assert refused.value.code == "key_source_refused"


def test_deleted_with_the_video(desk: Desk, custody: Opened) -> None:
    """Cleaning up after a deleted video forgets its keys; doing it again is fine."""
    keys(job(), desk.context)
    for _ in range(2):
        cleanup(CleanupInput(video_id="vid_1", drop_keys=True), desk.context)

    assert custody().store.versions("vid_1") == ()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key_root: Path) -> None:
    monkeypatch.setenv("SHOWRUNNER_KEYS", str(key_root))
    monkeypatch.setenv("SHOWRUNNER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SHOWRUNNER_SERVER", "http://127.0.0.1:1")


@pytest.mark.usefixtures("settings")
def test_list_shows_no_value(custody: Opened, leaks: Leaks) -> None:
    """`keys list` names every key id with its version and label, and no value."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("AUDIO", "SD"))
    kept = list(keeper.values("vid_1", plan, reader="w", purpose="test").values())

    result = CliRunner().invoke(app, ["keys", "list", "vid_1", "--json"])
    shown = CliRunner().invoke(app, ["keys", "list", "vid_1"])

    assert result.exit_code == shown.exit_code == 0
    rows = json.loads(result.output)
    assert [(row["label"], row["keyId"], row["current"]) for row in rows] == [
        (key.label, key.key_id, True) for key in plan.keys
    ]
    assert leaks(kept, (result.output + shown.output).encode()) == []


@pytest.mark.usefixtures("settings")
def test_rotate_master_command(custody: Opened) -> None:
    """`keys rotate-master` changes the master and leaves every value as it was."""
    keeper = custody()
    plan = keeper.protect("vid_1", DrmOptions(), ("SD",))
    before = keeper.values("vid_1", plan, reader="w", purpose="test")

    result = CliRunner().invoke(app, ["keys", "rotate-master"])

    assert (result.exit_code, result.output) == (0, "the master key is now version 2\n")
    assert keeper.values("vid_1", plan, reader="w", purpose="test") == before


@pytest.mark.usefixtures("settings")
def test_rekey_asks_the_server(custody: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """`keys rekey` starts a new version and asks the server, with the key given, to process the video."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    custody().protect("vid_1", DrmOptions(), ("SD",))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.setenv("SHOWRUNNER_SERVER", f"http://127.0.0.1:{server.server_port}/api")
        monkeypatch.setenv("SHOWRUNNER_WORKER_API_KEY", "sr_operator")
        result = CliRunner().invoke(app, ["keys", "rekey", "vid_1"])
        server.shutdown()
        thread.join()

    assert result.exit_code == 0, result.output
    assert asked == [("/api/v1/videos/vid_1/reprocess", "Bearer sr_operator")]
    assert custody().store.current_version("vid_1") == 2


@pytest.mark.usefixtures("settings")
def test_rekey_without_a_server(custody: Opened) -> None:
    """A server that is away is said in a sentence; the new version is kept for the next run."""
    custody().protect("vid_1", DrmOptions(), ("SD",))

    result = CliRunner().invoke(app, ["keys", "rekey", "vid_1"])

    assert result.exit_code == 1
    assert "reprocess vid_1 once it does" in result.output
    assert custody().store.current_version("vid_1") == 2


@pytest.mark.usefixtures("settings")
def test_rekey_of_nothing() -> None:
    """A video without keys is refused in a sentence."""
    result = CliRunner().invoke(app, ["keys", "rekey", "vid_9"])

    assert (result.exit_code, result.output) == (
        1,
        "vid_9 has no keys; protect it first, with drm in its options\n",
    )


def test_settings_hide_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings nor what is made of them shows the token in words."""
    monkeypatch.setenv("SHOWRUNNER_SPEKE_URL", "https://keys.example")
    monkeypatch.setenv("SHOWRUNNER_SPEKE_TOKEN", "hunter2")
    settings = WorkerSettings()

    assert "hunter2" not in f"{settings!r} {settings.custody!r} {settings.model_dump()}"
    assert settings.custody.speke is not None
    assert settings.custody.speke.token == "hunter2"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"data": "d"}, "d/keys"),
        ({"media": "m/media"}, "m/keys"),
        ({"data": "d", "media": "m/media"}, "d/keys"),
        ({"keys": "k"}, "k"),
    ],
)
def test_where_keys_lie(given: dict[str, str], expected: str) -> None:
    """Keys lie beside the media, unless the operator names a folder."""
    assert WorkerSettings.model_validate(given).custody.root == Path(expected)
