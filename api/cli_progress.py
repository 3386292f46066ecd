"""Live progress of videos: bars on a terminal, plain lines elsewhere, nothing for machines."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from api.cli_options import console, seconds_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from api.client import ShowrunnerClient

PLAIN_STEP = 0.10
"""Without a terminal, a line each so much of the whole."""


class View(Protocol):
    """Where progress is shown."""

    def sent(self, done_bytes: int) -> None: ...
    def event(self, name: str, data: Mapping[str, Any]) -> None: ...


class Silent:
    """For machines."""

    def sent(self, done_bytes: int) -> None:
        """Say nothing."""

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        """Say nothing."""


class Plain:
    """One line now and then."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown: tuple[str, int] = ("", -1)
        self._done: set[str] = set()

    def sent(self, done_bytes: int) -> None:
        """Uploads to this machine are quick; their end is told by the first event."""

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "progress":
            step = (str(data.get("phase")), int(float(data.get("fraction") or 0) / PLAIN_STEP))
            if step != self._shown:
                self._shown = step
                percent = round(100 * float(data.get("fraction") or 0))
                self._say(f"{percent:3} % {data.get('message') or data.get('phase')}")
        elif name == "previewReady":
            self._say(f"      {data.get('rendition') or 'the first rendition'} can be played already")
        elif name == "rendition" and data.get("status") == "ready" and data.get("name") not in self._done:
            self._done.add(str(data.get("name")))
            again = "found, made before" if data.get("reused") else "encoded"
            self._say(f"      {data.get('name')} {again} in {seconds_text(data.get('encodeSeconds'))}")

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{self._title}: {text}\n")
        sys.stdout.flush()


class Bars:
    """A bar for the upload, for the whole, and for each rendition."""

    def __init__(self, progress: Progress, title: str, size_bytes: int) -> None:
        self._progress = progress
        self._size = max(size_bytes, 1)
        self._whole = progress.add_task(title, total=1.0, note="uploading")
        self._renditions: dict[str, TaskID] = {}

    def sent(self, done_bytes: int) -> None:
        self._progress.update(
            self._whole, completed=done_bytes / self._size, note=f"uploading {done_bytes >> 20} MiB"
        )

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "progress":
            eta = data.get("etaSeconds")
            note = str(data.get("message") or "") + (f", {seconds_text(eta)} left" if eta else "")
            self._progress.update(self._whole, completed=float(data.get("fraction") or 0), note=note)
        elif name == "rendition":
            self._rendition(data)
        elif name == "previewReady":
            self._progress.console.print(f"{data.get('rendition') or 'one rendition'} can be played already")
        elif name == "status" and data.get("status") == "failed":
            self._progress.update(self._whole, note="failed")

    def _rendition(self, data: Mapping[str, Any]) -> None:
        name = str(data.get("name"))
        if name not in self._renditions:
            self._renditions[name] = self._progress.add_task(f"  {name}", total=1.0, note="")
        status, note = data.get("status"), ""
        if status == "running":
            shown = [f"{data['fps']:.0f} fps" if data.get("fps") else "", _times(data.get("speed"))]
            note = ", ".join(part for part in shown if part) or "running"
        elif status == "ready":
            note = "made before" if data.get("reused") else seconds_text(data.get("encodeSeconds"))
        else:
            note = str(status)
        done = 1.0 if status == "ready" else float(data.get("progress") or 0)
        self._progress.update(self._renditions[name], completed=done, note=note)


def _times(speed: Any) -> str:
    return f"{speed:.1f} x real time" if speed else ""


@contextmanager
def shown(file: Path, *, as_json: bool) -> Iterator[View]:
    """The view that fits where the output goes."""
    if as_json:
        yield Silent()
        return
    if not sys.stdout.isatty():
        yield Plain(file.name)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console(), refresh_per_second=8) as progress:
        yield Bars(progress, file.name, file.stat().st_size)


def follow(client: ShowrunnerClient, video_id: str, view: View) -> dict[str, Any]:
    """Show a video's events until its end; answers the video as it is then."""
    for event in client.follow(video_id):
        view.event(event.name, event.data)
    return client.video(video_id)
