"""Small real clips, and contexts to run task functions in."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.procs.binaries import Binaries, find_binaries
from media_workers.sdk import (
    Cancellation,
    CancelReason,
    Progress,
    Resources,
    Task,
    TaskContext,
    TaskStatus,
    Workflow,
)
from media_workers.storage import LocalStorage, Scratch

CLIP_SECONDS = 2


class Desk:
    """Where the tests work: a media folder, a scratch folder, and contexts that remember what was said."""

    def __init__(self, root: Path, tools: Binaries) -> None:
        self.media = root / "media"
        self.scratch_root = root / "scratch"
        self.storage = LocalStorage(self.media, writer="w1")
        self.scratch = Scratch(self.scratch_root, "w1")
        self.resources = Resources(storage=self.storage, scratch=self.scratch, binaries=tools)
        self.progress: list[Progress] = []
        self.notes: list[str] = []
        self.cancellation = Cancellation()
        self.cancel_on_progress = False

    def context(self, workflow: Mapping[str, Any] | None = None, *, workflow_id: str = "wf-1") -> TaskContext:
        def fetch() -> Workflow:
            document = {"workflowId": workflow_id, "tasks": [], **(workflow or {})}
            return msgspec.json.decode(msgspec.json.encode(document), type=Workflow)

        return TaskContext(
            task=Task(
                task_id="t-1",
                task_type="test",
                workflow_instance_id=workflow_id,
                status=TaskStatus.IN_PROGRESS,
            ),
            worker_id="w1",
            resources=self.resources,
            cancellation=self.cancellation,
            tell=self._tell,
            note=self.notes.append,
            fetch_workflow=fetch,
        )

    def _tell(self, progress: Progress) -> None:
        self.progress.append(progress)
        if self.cancel_on_progress:
            self.cancellation.cancel(CancelReason.SERVER)

    def upload(self, clip: Path, video_id: str = "vid_1") -> None:
        self.storage.put_file(f"sources/{video_id}/input.bin", clip)

    def leftovers(self) -> list[str]:
        """Files in scratch folders and unfinished writes; there must be none between tasks."""
        homes = (self.scratch_root / "w1", self.media / ".incoming" / "w1")
        return [str(path) for home in homes for path in home.iterdir() if path.name != ".alive"]

    def close(self) -> None:
        self.scratch.close()
        self.storage.close()


@pytest.fixture(scope="session")
def tools() -> Binaries:
    return find_binaries()


@pytest.fixture(scope="session")
def clip(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, 320x240 at 29.97 frames a second, with a tone in stereo."""
    return make_clip(tools, tmp_path_factory.mktemp("clips") / "clip.mp4")


def make_clip(
    tools: Binaries,
    path: Path,
    *,
    size: str = "320x240",
    rate: str = "30000/1001",
    seconds: int = CLIP_SECONDS,
) -> Path:
    subprocess.run(
        [
            tools.ffmpeg, "-v", "error", "-y",
            "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}",
            "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}",
            "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2",
            str(path),
        ],
        check=True,
    )  # fmt: skip
    return path


@pytest.fixture
def desk(tmp_path: Path, tools: Binaries) -> Iterator[Desk]:
    place = Desk(tmp_path, tools)
    yield place
    place.close()
