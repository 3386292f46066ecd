"""demo: everything at once, on a scratch folder, with a real clip."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli_options import AsJson, Drm, Overrides, Profile, console, print_json, seconds_text, video_options
from api.failures import EXIT_FAILURE, CommandError

if TYPE_CHECKING:
    from api.client import ShowrunnerClient
    from api.client.check import HlsCheck
    from api.footage import Clip
    from api.processes import Child

READY_S_MAX = 60
LOG_LINES_SHOWN = 5


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Video files; Big Buck Bunny when none is given.")
    ] = None,
    *,
    profile: Profile = None,
    overrides: Overrides = None,
    drm: Drm = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder to work in; a new temporary one when not given.")
    ] = None,
    open_player: Annotated[
        bool, typer.Option("--open", help="Open the player in a browser, and keep serving for it.")
    ] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Keep serving until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a server and a worker, process a video, show where it plays."""
    from api.cli_videos import checked_file

    say = console(stderr=as_json)
    options = video_options(profile=profile, overrides=overrides, drm=drm)
    for file in files or []:
        checked_file(file)
    with _terminated_like_interrupted(), _folder(data) as folder:
        clips = _clips(files, say)
        say.print(f"Working in {folder}", markup=False, soft_wrap=True)
        with _processes(folder) as url:
            results = _run(url, clips, options, as_json=as_json)
            stay = stay or open_player
            _report(results, folder, as_json=as_json, serving=stay)
            good = all(each["ok"] for each in results)
            if good and open_player:
                import webbrowser

                webbrowser.open(results[0]["video"]["playback"]["player"])
            if stay:
                say.print(f"Serving at {url} until Ctrl-C.", markup=False, soft_wrap=True)
                signal.pause()
    if not good:
        raise typer.Exit(EXIT_FAILURE)


def _clips(files: list[Path] | None, say: Any) -> list[Clip]:
    from api.footage import Clip, FootageError, cache_folder, generated_clip, real_clip

    if files:
        return [Clip(path=file, about="") for file in files]
    cache = cache_folder()
    try:
        clip = real_clip(cache)
    except FootageError as error:
        say.print(f"The real clip is not available: {error}", markup=False, soft_wrap=True)
        try:
            clip = generated_clip(cache)
        except FootageError as failed:
            raise CommandError(f"there is no clip to show: {failed}; name a file") from failed
    say.print(f"Clip: {clip.about}", markup=False, soft_wrap=True)
    return [clip]


@contextmanager
def _folder(named: Path | None) -> Iterator[Path]:
    """The folder to work in. One of our own goes when the demo is interrupted, else it stays."""
    if named is not None:
        named.mkdir(parents=True, exist_ok=True)
        yield named.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="showrunner-demo-"))
    try:
        yield folder
    except (KeyboardInterrupt, CommandError):
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _processes(folder: Path) -> Iterator[str]:
    """A server and a worker on the folder; yields the server's URL. Both are gone afterwards."""
    from api.processes import Child, worker_argv
    from api.settings import worker_environment

    media = folder / "media"
    environment = worker_environment()
    serve = [sys.executable, "-m", "api.cli", "serve", "--json", "--host", "127.0.0.1", "--port", "0"]
    serve += ["--data", str(folder), "--media", str(media)]
    with (folder / "server.log").open("ab") as server_log, (folder / "worker.log").open("ab") as worker_log:
        server = Child(
            serve,
            death_signal=signal.SIGTERM,
            stop_signal=signal.SIGTERM,
            env=environment,
            stdout=-1,
            stderr=server_log,
        )
        try:
            url = _ready(server, folder / "server.log")
            worker = Child(
                worker_argv(server=url, data=folder, media=media),
                death_signal=signal.SIGINT,
                stop_signal=signal.SIGINT,
                env=environment,
                stdout=worker_log,
                stderr=worker_log,
            )
            try:
                with _watched(worker, folder / "worker.log"):
                    yield url
            finally:
                worker.stop()
        finally:
            server.stop()


@contextmanager
def _watched(worker: Child, log: Path) -> Iterator[None]:
    """End the block when the worker dies: nobody else would do its work.

    Raises:
        CommandError: it died; the sentence has its last words.
    """
    done, lost = threading.Event(), threading.Event()

    def watch() -> None:
        worker.process.wait()
        if not done.is_set():
            lost.set()
            # The main thread may be waiting for the server's next event, and only a signal wakes it.
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, name="worker-watch", daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if not lost.is_set():
            raise
        raise CommandError(f"the demo's worker has ended: {_last_words(log)}") from None
    finally:
        done.set()


def _last_words(log: Path) -> str:
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " / ".join(said[-LOG_LINES_SHOWN:])


def _ready(server: Any, log: Path) -> str:
    out = server.process.stdout
    readable, _, _ = select.select([out], [], [], READY_S_MAX)
    line = out.readline() if readable else b""
    try:
        return str(json.loads(line)["url"])
    except (ValueError, KeyError) as error:
        server.stop()
        reason = _last_words(log) or f"it said nothing within {READY_S_MAX} s"
        raise CommandError(f"the demo's server did not start: {reason}") from error


def _run(url: str, clips: list[Clip], options: dict[str, Any], *, as_json: bool) -> list[dict[str, Any]]:
    from api.cli_progress import follow, shown
    from api.client import ShowrunnerClient

    results: list[dict[str, Any]] = []
    with ShowrunnerClient(url) as client:
        # These wait in the queue while the first is shown.
        uploaded = [client.upload(clip.path, options)["id"] for clip in clips[1:]]
        for index, clip in enumerate(clips):
            with shown(clip.path, as_json=as_json) as view:
                if index == 0:
                    first = client.upload(clip.path, options, on_sent=view.sent)["id"]
                video = follow(client, uploaded[index - 1] if index else first, view)
            results.append(_judged(client, clip, video))
    return results


def _judged(client: ShowrunnerClient, clip: Clip, video: dict[str, Any]) -> dict[str, Any]:
    from api.client.check import check_hls

    check: HlsCheck | None = None
    hls = (video.get("playback") or {}).get("hls")
    if video["status"] == "ready" and hls:
        check = check_hls(client, hls)
    return {
        "file": str(clip.path),
        "credit": clip.about,
        "video": video,
        "check": check and {name: getattr(check, name) for name in check.__slots__},
        "ok": check is not None and not check.problems,
    }


def _report(results: list[dict[str, Any]], folder: Path, *, as_json: bool, serving: bool) -> None:
    for each in results:
        video = each["video"]
        each["folder"] = str(folder / "media" / "published" / video["id"] / video["version"])
    if as_json:
        print_json({"ok": all(each["ok"] for each in results), "data": str(folder), "videos": results})
        return
    for each in results:
        _report_one(each, serving=serving)
    out = console()
    ready = [each["video"]["id"] for each in results if each["ok"]]
    if ready:
        if not serving:
            out.print(f"Play it:    {_command()} serve --data {folder}", markup=False, soft_wrap=True)
            for video_id in ready:
                page = f"            then open http://127.0.0.1:8080/player/{video_id}"
                out.print(page, markup=False, soft_wrap=True)
    else:
        out.print(
            f"Logs:   {folder / 'server.log'} and {folder / 'worker.log'}", markup=False, soft_wrap=True
        )


def _command() -> str:
    """How this program is called here: by its name when that is found, else by the path it was started by."""
    found = shutil.which("showrunner")
    if found is not None and Path(found).resolve() == Path(sys.argv[0]).resolve():
        return "showrunner"
    return os.path.relpath(sys.argv[0])


def _report_one(result: dict[str, Any], *, serving: bool) -> None:
    from api.cli_videos import rendition_table, track_lines

    out, video, check = console(), result["video"], result["check"]
    out.print(f"\n{video['title']}: {video['status']}", markup=False, soft_wrap=True)
    if video.get("error"):
        error = video["error"]
        out.print(f"{error['code']}: {error['message']}", markup=False, soft_wrap=True)
        return
    if video.get("renditions"):
        out.print(rendition_table(video))
    if check is None:
        return
    counted = f"{check['variants']} renditions, {check['playlists']} playlists, {check['segments']} segments"
    if check["problems"]:
        for problem in check["problems"]:
            out.print(f"HLS is broken: {problem}", markup=False, soft_wrap=True)
    else:
        text = f"HLS checked: {counted}, {seconds_text(check['seconds'])}, nothing missing"
        out.print(text, markup=False, soft_wrap=True)
    out.print(f"Streams:    {result['folder']}", markup=False, soft_wrap=True)
    for line in track_lines(video):
        out.print(line, markup=False, soft_wrap=True)
    for name, url in video["playback"].items():
        if not isinstance(url, str):
            continue
        # An address is of use only while the demo serves; the file stays.
        shown = url if serving else f"{result['folder']}/{url.rsplit('/', 1)[-1]}"
        if serving or name != "player":
            out.print(f"{name + ':':<12}{shown}", markup=False, soft_wrap=True)
