"""A protected title through server and worker: its keys are nowhere but in the key folder, wrapped."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import pytest

from media_workers.drm.custody import Custody, CustodySettings
from tests.e2e.conftest import BOUND_S, Installation, environment

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.media]


def spellings(key: bytes) -> list[bytes]:
    """How a key could be written down."""
    hexes = key.hex()
    return [
        key,
        hexes.encode(),
        hexes.upper().encode(),
        base64.b64encode(key).rstrip(b"="),
        base64.urlsafe_b64encode(key).rstrip(b"="),
    ]


def values(data: Path) -> dict[str, bytes]:
    """Every content key of the installation, by id."""
    keeper = Custody(CustodySettings(root=data / "keys", published=data / "media"))
    return {
        key_id: value
        for path in (data / "keys" / "videos").iterdir()
        for document in keeper.store.versions(path.name)
        for key_id, value in keeper.store.values(
            path.name,
            document.key_version,
            [key.key_id for key in document.keys],
            reader="test",
            purpose="test",
        ).items()
    }


def holding(contents: Iterable[tuple[str, bytes]], keys: Iterable[bytes]) -> list[str]:
    """Names of the contents that hold a key."""
    written = [text for key in keys for text in spellings(key)]
    return [name for name, content in contents if any(text in content for text in written)]


def files(folder: Path) -> Iterable[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


class Onlooker:
    """Reads the arguments and environments of all processes, over and over."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.01):
            for name in ("cmdline", "environ"):
                for path in Path("/proc").glob(f"[0-9]*/{name}"):
                    try:
                        self.seen.add(path.read_bytes())
                    except OSError:
                        continue


def tasks_of(installation: Installation, video: dict[str, Any]) -> dict[str, Any]:
    workflow = installation.get(f"/api/workflow/{video['workflowId']}")
    return {task["referenceTaskName"]: task for task in workflow["tasks"]}


def test_keys_are_nowhere(
    installation: Installation, make: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    """A `dual` title, packaged again with new keys without encoding: no key is in any file, database, log,
    answer or argument list.
    """
    clip = make(
        tmp_path / "clip.mp4",
        "-f lavfi -i testsrc2=s=192x108:r=25:d=2 -f lavfi -i sine=d=2:r=48000 "
        "-c:v libx264 -preset ultrafast -c:a aac",
    )
    with Onlooker() as onlooker:
        installation.start_server()
        installation.start_worker()
        video_id = installation.uploaded(clip, profile="fast", drm={"scheme": "dual"})
        first = installation.ready(video_id)
        rekey = subprocess.run(
            [sys.executable, "-m", "media_workers", "keys", "rekey", video_id],
            env=environment(
                tmp_path,
                SHOWRUNNER_DATA=str(installation.data),
                SHOWRUNNER_SERVER=str(installation.http.base_url),
            ),
            capture_output=True,
            check=False,
            timeout=BOUND_S,
        )
        assert rekey.returncode == 0, rekey.stderr
        second = installation.ready(video_id)

    answers = [
        (path, installation.http.get(path).content)
        for path in (
            f"/api/v1/videos/{video_id}",
            f"/api/v1/videos/{video_id}/report",
            f"/api/v1/videos/{video_id}/files",
            f"/api/workflow/{first['workflowId']}",
            f"/api/workflow/{second['workflowId']}",
        )
    ]
    kept = values(installation.data)
    assert len(kept) == 2 * 2 * 2  # sound and SD, two schemes, two versions
    assert first["workflowId"] != second["workflowId"]
    assert holding(files(tmp_path), kept.values()) == []
    assert holding(answers, kept.values()) == []
    assert holding([("rekey", rekey.stdout + rekey.stderr)], kept.values()) == []
    assert any(b"--flagfile=" in content for content in onlooker.seen)
    assert holding([("a process", content) for content in onlooker.seen], kept.values()) == []

    old, new = (tasks_of(installation, video) for video in (first, second))
    key_ids = [
        {key["keyId"] for key in tasks["keys"]["outputData"]["protection"]["keys"]} for tasks in (old, new)
    ]
    assert not key_ids[0] & key_ids[1]
    assert set(kept) == key_ids[0] | key_ids[1]
    encodes = [task for task in new.values() if task["taskDefName"] == "media_encode"]
    assert encodes
    assert all(chunk["reused"] for task in encodes for chunk in task["outputData"]["chunks"])
