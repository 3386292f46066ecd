"""up, videos, show, cancel, retry, rm: videos on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli_options import (
    AsJson,
    Drm,
    Overrides,
    Profile,
    Server,
    bitrate_text,
    connected,
    console,
    print_json,
    seconds_text,
    size_text,
    video_options,
)
from api.failures import EXIT_FAILURE, CommandError, UsageError

VideoId = Annotated[str, typer.Argument(help="A video's id.", show_default=False)]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(videos)
    app.command()(show)
    app.command()(cancel)
    app.command()(retry)
    app.command()(reprocess)
    app.command()(rm)


def checked_file(file: Path) -> Path:
    """A file that can be uploaded.

    Raises:
        UsageError: there is no such file.
        CommandError: it has no bytes.
    """
    if file.is_dir():
        raise UsageError(f"{file} is a folder; name a video file")
    if not file.exists():
        raise UsageError(f"there is no file {file}")
    if file.is_file() and file.stat().st_size == 0:
        raise CommandError(f"{file} has no bytes; choose another file")
    return file


def up(
    file: Annotated[Path, typer.Argument(help="A video file.", show_default=False)],
    *,
    profile: Profile = None,
    overrides: Overrides = None,
    drm: Drm = None,
    title: Annotated[str | None, typer.Option(help="Shown to people.", show_default=False)] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is ready.")] = True,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Upload a video, show its progress, print where it plays."""
    from api.cli_progress import follow, shown

    if "://" in str(file) or str(file).startswith(("http:/", "https:/")):
        raise CommandError("videos from an address are not available in this version; name a file")
    checked_file(file)
    options = video_options(profile=profile, overrides=overrides, drm=drm)
    if title is not None:
        options["title"] = title
    with connected(server) as client, shown(file, as_json=as_json) as view:
        try:
            video = client.upload(file, options, on_sent=view.sent)
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}") from error
        if wait:
            video = follow(client, video["id"], view)
    if as_json:
        print_json(video)
    else:
        print_video(video)
    _exit_by_status(video)


def videos(
    *,
    status: Annotated[str | None, typer.Option(help="Only these.", show_default=False)] = None,
    q: Annotated[str | None, typer.Option(help="Occurs in title or file name.", show_default=False)] = None,
    profile: Profile = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on from there.", show_default=False)] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List videos, newest first."""
    from rich.table import Table

    with connected(server) as client:
        page = client.videos(status=status, q=q, profile=profile, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    table = Table("id", "status", "progress", "title", "created", box=None, pad_edge=False)
    for each in page["items"]:
        percent = f"{100 * each['progress']['fraction']:.0f} %"
        table.add_row(each["id"], each["status"], percent, _plain(each["title"]), each["createdAt"])
    out = console()
    out.print(table if page["items"] else "There are no videos.")
    if page.get("nextCursor"):
        out.print(f"More: --cursor {page['nextCursor']}", soft_wrap=True)


def show(video_id: VideoId, server: Server = None, as_json: AsJson = False) -> None:
    """Show one video."""
    with connected(server) as client:
        video = client.video(video_id)
    if as_json:
        print_json(video)
    else:
        print_video(video)


def cancel(video_id: VideoId, server: Server = None, as_json: AsJson = False) -> None:
    """End the work on a video; what is finished is kept for a retry."""
    with connected(server) as client:
        _told(client.cancel(video_id), as_json=as_json)


def retry(
    video_id: VideoId,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is ready.")] = False,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Run a failed or cancelled video again; finished renditions are reused."""
    from api.cli_progress import follow, shown

    with connected(server) as client:
        video = client.retry(video_id)
        if wait:
            with shown(Path(video["title"]), as_json=as_json) as view:
                video = follow(client, video_id, view)
    _told(video, as_json=as_json)
    if wait:
        _exit_by_status(video)


def reprocess(
    video_id: VideoId,
    *,
    profile: Profile = None,
    overrides: Overrides = None,
    drm: Drm = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is ready.")] = False,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Make a new version of a video; the published one plays until that is ready."""
    from api.cli_progress import follow, shown

    options = video_options(profile=profile, overrides=overrides, drm=drm)
    with connected(server) as client:
        video = client.reprocess(video_id, options)
        if wait:
            with shown(Path(video["title"]), as_json=as_json) as view:
                video = follow(client, video_id, view)
    _told(video, as_json=as_json)
    if wait:
        _exit_by_status(video)


def rm(
    video_ids: Annotated[list[str], typer.Argument(help="Ids of videos.", show_default=False)],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Remove videos: their work ends and their files go."""
    with connected(server) as client:
        for video_id in video_ids:
            client.delete(video_id)
    if as_json:
        print_json({"deleted": video_ids})
    else:
        console().print(f"Removed {', '.join(video_ids)}.", soft_wrap=True, markup=False)


def print_video(video: dict[str, Any]) -> None:
    """A video for people."""
    out = console()
    out.print(f"{video['id']}  {video['status']}  {video['title']}", markup=False, soft_wrap=True)
    source = video.get("source", {})
    if source.get("displayWidth"):
        facts = f"{source['displayWidth']}x{source['displayHeight']} at {source.get('frameRate')} fps"
        out.print(f"source: {facts}, {seconds_text(source.get('durationSeconds'))}", markup=False)
    for verdict in video.get("verdicts", []):
        out.print(f"  {verdict['severity']}: {verdict['message']}", markup=False, soft_wrap=True)
    if video["status"] in {"queued", "processing"}:
        progress = video["progress"]
        out.print(f"{100 * progress['fraction']:.0f} %: {progress['message']}", markup=False, soft_wrap=True)
    if video.get("renditions"):
        out.print(rendition_table(video))
    if video.get("error"):
        error = video["error"]
        out.print(f"failed ({error['code']}): {error['message']}", markup=False, soft_wrap=True)
    for line in (*track_lines(video), *playback_lines(video)):
        out.print(line, markup=False, soft_wrap=True)


def track_lines(video: dict[str, Any]) -> list[str]:
    """Sound and subtitles, a line each."""
    lines = []
    for each in video.get("audio") or []:
        channels = f"{each['channels']} channels" if each.get("channels") else ""
        facts = (each.get("codec"), each.get("language"), each.get("layout") or channels)
        lines.append(f"sound: {', '.join(str(fact) for fact in facts if fact)}")
    for each in video.get("subtitles") or []:
        marks = [name for name in ("forced", "sdh", "default") if each.get(name)]
        facts = (each.get("language"), each.get("label"), *marks)
        lines.append(f"{each.get('kind') or 'subtitles'}: {', '.join(str(fact) for fact in facts if fact)}")
    return lines


def playback_lines(video: dict[str, Any]) -> list[str]:
    """Where it plays, and how it is protected."""
    playback = video.get("playback") or {}
    lines = [f"{name}: {url}" for name, url in playback.items() if isinstance(url, str)]
    if playback.get("preview"):
        lines.append("one rendition plays already; the others follow")
    drm = playback.get("drm")
    if drm:
        lines.append(f"protected: {drm['scheme']} for {', '.join(drm['systems'])}")
        lines += [f"  key id {label}: {key_id}" for label, key_id in drm["keyIds"].items()]
    return lines


def vmaf_text(rendition: dict[str, Any]) -> str:
    """Mean and 5th percentile, or - before it was measured."""
    vmaf = (rendition.get("quality") or {}).get("vmaf") or {}
    return f"{vmaf['mean']:.1f} / {vmaf['p5']:.1f}" if "mean" in vmaf and "p5" in vmaf else "-"


def rendition_table(video: dict[str, Any]) -> Any:
    """The renditions: codec, size, bitrate, VMAF (mean / p5), frames, time and speed against real time."""
    from rich.table import Table

    columns = ("rendition", "codec", "picture", "frames", "bitrate", "VMAF", "size", "time", "x real time")
    table = Table(*columns, box=None)
    duration = float(video.get("source", {}).get("durationSeconds") or 0)
    for each in video["renditions"]:
        seconds = each.get("encodeSeconds")
        picture = f"{each['width']}x{each['height']}" if each.get("width") else "-"
        table.add_row(
            each["name"],
            each.get("codec") or "-",
            picture,
            str(each.get("frames") or "-"),
            bitrate_text(each.get("averageBitrate")),
            vmaf_text(each),
            size_text(each.get("size")),
            "made before" if each.get("reused") else seconds_text(seconds),
            f"{duration / seconds:.1f}" if seconds and duration and not each.get("reused") else "-",
        )
    return table


def _told(video: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(video)
    else:
        console().print(f"{video['id']} is {video['status']}.", markup=False)


def _exit_by_status(video: dict[str, Any]) -> None:
    if video["status"] in {"failed", "cancelled"}:
        raise typer.Exit(EXIT_FAILURE)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
