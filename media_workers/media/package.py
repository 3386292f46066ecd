"""Packaging with Shaka Packager: one set of segments, HLS and DASH over it."""

from collections.abc import Mapping

from media_workers.media.package_check import MASTER, MPD, check_package
from media_workers.media.plan import AudioPlan, Plan

__all__ = ["MASTER", "MPD", "check_package", "content_type", "packager_args", "publish_order"]

AUDIO_GROUP = "audio"
_CONTENT_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
    ".mp4": "video/mp4",
    ".m4s": "video/iso.segment",
    ".vtt": "text/vtt; charset=utf-8",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".json": "application/json",
}
# What names other files becomes visible after them; the masters come last of all.
_RANKS = {".m3u8": 1, ".vtt": 1, ".mpd": 2}


def packager_args(
    packager: str, plan: Plan, *, videos: Mapping[str, str], audios: Mapping[str, str]
) -> list[str]:
    """Package into the current directory: run it with the output folder as `cwd`.

    Args:
        packager: the binary.
        plan: the title's plan.
        videos: absolute path of each encoded rendition by its name ("720p").
        audios: absolute path of each encoded track by its name ("audio_0").

    Returns:
        the list; it makes `master.m3u8`, `manifest.mpd`, and per stream `video/720p/` and `audio/audio_0/`
        with `init.mp4`, `00001.m4s`, ... and `playlist.m3u8` (and `iframes.m3u8` for pictures).

    Raises:
        ValueError: a path the packager's own syntax cannot carry, or a stream of the plan without a file.
    """
    streams = [_video_stream(rendition.name, _path(videos, rendition.name)) for rendition in plan.renditions]
    streams += [_audio_stream(track, _path(audios, track.name)) for track in plan.audio]
    default = next((track.language for track in plan.audio if track.default), None)
    seconds = f"{plan.segment_seconds:.6f}"
    return [
        packager,
        *streams,
        "--quiet",
        f"--segment_duration={seconds}",
        f"--fragment_duration={seconds}",
        *([f"--default_language={default}"] if default else []),
        "--generate_static_live_mpd",
        f"--mpd_output={MPD}",
        f"--hls_master_playlist_output={MASTER}",
        "--hls_playlist_type=VOD",
        "--per_playlist_target_duration",
    ]


def content_type(path: str) -> str:
    """The media type a published file is served with."""
    name = path.rsplit("/", 1)[-1]
    suffix = name[name.rfind(".") :] if "." in name else ""
    if suffix == ".mp4" and path.startswith("audio/"):
        return "audio/mp4"
    return _CONTENT_TYPES.get(suffix, "application/octet-stream")


def publish_order(paths: list[str]) -> list[str]:
    """Segments and pictures first, media playlists next, `manifest.mpd` and `master.m3u8` last."""

    def rank(path: str) -> tuple[int, str]:
        return (3 if path == MASTER else _RANKS.get(path[path.rfind(".") :], 0), path)

    return sorted(paths, key=rank)


def _video_stream(name: str, path: str) -> str:
    folder = f"video/{name}"
    return ",".join(
        (
            f"in={path}",
            "stream=video",
            *_outputs(folder),
            f"iframe_playlist_name={folder}/iframes.m3u8",
        )
    )


def _audio_stream(track: AudioPlan, path: str) -> str:
    return ",".join(
        (
            f"in={path}",
            "stream=audio",
            f"language={track.language}",
            f"hls_group_id={AUDIO_GROUP}",
            f"hls_name={track.label}",
            *_outputs(f"audio/{track.name}"),
        )
    )


def _outputs(folder: str) -> tuple[str, str, str]:
    return (
        f"init_segment={folder}/init.mp4",
        f"segment_template={folder}/$Number%05d$.m4s",
        f"playlist_name={folder}/playlist.m3u8",
    )


def _path(files: Mapping[str, str], name: str) -> str:
    path = files.get(name)
    if path is None:
        raise ValueError(f"{name}: the plan has this stream and no file was given for it")
    if "," in path or "=" in path:
        raise ValueError(f"{name}: the packager cannot read a path with a comma or an equals sign: {path}")
    return path
