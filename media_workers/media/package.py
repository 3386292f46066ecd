"""Packaging with Shaka Packager: one set of segments, HLS and DASH over it."""

from collections.abc import Mapping, Sequence

import msgspec

from media_workers.media.plan import AudioPlan, Plan, Rendition
from media_workers.media.protection import stream_label

__all__ = [
    "CBCS_MPD",
    "MASTER",
    "MPD",
    "Layout",
    "TextStream",
    "content_type",
    "packager_args",
    "publish_order",
    "text_to_end",
]

MASTER = "master.m3u8"
MPD = "manifest.mpd"
# Beside the older scheme's `manifest.mpd`, for players of one package in two schemes.
CBCS_MPD = "manifest_cbcs.mpd"
AUDIO_GROUP = "audio"
TEXT_GROUP = "subtitles"
EMPTY_CUE_SECONDS = 0.001
# Apple's devices decode H.264 up to High 4.2 (HLS authoring specification 1.3).
APPLE_PROFILE = "apple"
APPLE_H264_LEVEL_MAX = 4.2
SDH = "public.accessibility.transcribes-spoken-dialog;public.accessibility.describes-music-and-sound"
DESCRIBED = "public.accessibility.describes-video"
_ROLES = {"main", "alternate", "supplementary", "commentary", "dub", "description"}

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


class TextStream(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One WebVTT file to package. `name` becomes its folder ("text_0"); `path` is absolute."""

    name: str
    path: str
    language: str
    label: str
    default: bool = False
    forced: bool = False
    sdh: bool = False


class Layout(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where one run of the packager puts its files, relative to the package.

    Attributes:
        folder: prefix of all streams, with a slash at its end, or empty.
        hls: whether this run writes the HLS master.
        mpd: name of the DASH manifest it writes.
    """

    folder: str = ""
    hls: bool = True
    mpd: str = MPD


def packager_args(
    packager: str,
    plan: Plan,
    *,
    videos: Mapping[str, str],
    audios: Mapping[str, str],
    texts: Sequence[TextStream] = (),
    layout: Layout | None = None,
    protection: Sequence[str] = (),
) -> list[str]:
    """Package into the current directory: run it with the output folder as `cwd`.

    Args:
        packager: the binary.
        plan: the title's plan.
        videos: absolute path of each encoded rendition by its name ("720p").
        audios: absolute path of each encoded track by its name ("audio_0").
        texts: subtitles and captions.
        layout: where things go.
        protection: flags that encrypt, from `protection.packager_flags`; none for a clear package.

    Returns:
        the list; it makes `master.m3u8`, `manifest.mpd`, and per stream `video/720p/`, `audio/audio_0/` and
        `text/text_0/` with `init.mp4`, `00001.m4s`, ..., `playlist.m3u8` (and `iframes.m3u8`).

    Raises:
        ValueError: a path the packager's own syntax cannot carry, or a stream of the plan without a file.
    """
    layout = layout or Layout()
    labelled = bool(protection)
    streams = [
        _video_stream(plan, rendition, _path(videos, rendition.name), layout, protection=protection)
        for rendition in plan.renditions
    ]
    streams += [
        _audio_stream(
            track, _path(audios, track.name), layout, group=audio_group(plan, track), labelled=labelled
        )
        for track in plan.audio
    ]
    for text in texts:
        streams += _text_streams(text, _path({text.name: text.path}, text.name), layout)
    default = next((_language(track.language) for track in plan.audio if track.default), None)
    shown = next((_language(text.language) for text in texts if text.default), None)
    seconds = f"{plan.segment_seconds:.6f}"
    return [
        packager,
        *streams,
        "--quiet",
        f"--segment_duration={seconds}",
        f"--fragment_duration={seconds}",
        *([f"--default_language={default}"] if default else []),
        # Without a default of its own the sound's language would switch its subtitles on.
        *([f"--default_text_language={shown or 'zxx'}"] if texts else []),
        "--generate_static_live_mpd",
        # No hour of the day and no race between threads in the output: equal inputs, equal bytes.
        "--use_fake_clock_for_muxer",
        "--single_threaded",
        f"--mpd_output={layout.mpd}",
        *([f"--hls_master_playlist_output={MASTER}", "--hls_playlist_type=VOD"] if layout.hls else []),
        *(["--per_playlist_target_duration"] if layout.hls else []),
        *protection,
    ]


def audio_group(plan: Plan, track: AudioPlan) -> str:
    """The HLS group of a track: one for each codec where there are several, as a group has one codec."""
    groups = {other.group for other in plan.audio}
    return AUDIO_GROUP if len(groups) == 1 else f"{AUDIO_GROUP}_{track.group}"


def kept_out_of_hls(plan: Plan, rendition: Rendition) -> bool:
    """Whether a rendition is for DASH alone, as the devices of the plan's profile cannot decode it in HLS."""
    if plan.profile != APPLE_PROFILE or rendition.codec != "h264":
        return False
    others = any(r.codec == "h264" and float(r.level) <= APPLE_H264_LEVEL_MAX for r in plan.renditions)
    return others and float(rendition.level) > APPLE_H264_LEVEL_MAX


def text_to_end(text: str, seconds: float) -> str:
    """WebVTT with an empty cue in the title's last instant.

    The packager's text ends with the segment of its last cue, and players stop or complain where one of a
    title's tracks is shorter than the others. The empty cue itself leaves no trace in the segments.
    """
    first, last = _clock(max(0.0, seconds - EMPTY_CUE_SECONDS)), _clock(seconds)
    return f"{text.rstrip()}\n\n{first} --> {last}\n\n"


def content_type(path: str) -> str:
    """The media type a published file is served with."""
    name = path.rsplit("/", 1)[-1]
    suffix = name[name.rfind(".") :] if "." in name else ""
    if suffix == ".mp4" and "audio/" in path:
        return "audio/mp4"
    if suffix == ".mp4" and "text/" in path:
        return "application/mp4"
    return _CONTENT_TYPES.get(suffix, "application/octet-stream")


def publish_order(paths: list[str]) -> list[str]:
    """Segments and pictures first, media playlists next, `manifest.mpd` and `master.m3u8` last."""

    def rank(path: str) -> tuple[int, str]:
        return (3 if path == MASTER else _RANKS.get(path[path.rfind(".") :], 0), path)

    return sorted(paths, key=rank)


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"


def _video_stream(
    plan: Plan, rendition: Rendition, path: str, layout: Layout, *, protection: Sequence[str]
) -> str:
    folder = f"{layout.folder}video/{rendition.name}"
    apart = kept_out_of_hls(plan, rendition)
    return ",".join(
        (
            f"in={path}",
            "stream=video",
            *([f"drm_label={stream_label(rendition.drm_label, protection)}"] if protection else []),
            *_outputs(folder, playlist=layout.hls and not apart),
            *([f"iframe_playlist_name={folder}/iframes.m3u8"] if layout.hls and not apart else []),
            *(["dash_only=1"] if layout.hls and apart else []),
        )
    )


def _audio_stream(track: AudioPlan, path: str, layout: Layout, *, group: str, labelled: bool) -> str:
    return ",".join(
        (
            f"in={path}",
            "stream=audio",
            *(["drm_label=AUDIO"] if labelled else []),
            f"language={_language(track.language)}",
            f"hls_group_id={group}",
            f"hls_name={track.label}",
            f"dash_label={track.label}",
            *([f"dash_roles={track.role}"] if track.role in _ROLES else []),
            *([f"hls_characteristics={DESCRIBED}"] if track.role == "description" else []),
            *_outputs(f"{layout.folder}audio/{track.name}", playlist=layout.hls),
        )
    )


def _text_streams(text: TextStream, path: str, layout: Layout) -> list[str]:
    """The text twice: WebVTT files for HLS, and inside MP4 for DASH, whose players know text so best."""
    folder = f"{layout.folder}text/{text.name}"
    said = [f"in={path}", "stream=text", f"language={_language(text.language)}"]
    role = "forced-subtitle" if text.forced else "caption" if text.sdh else "subtitle"
    in_dash = [
        *said,
        f"dash_label={text.label}",
        f"dash_roles={role}",
        f"init_segment={folder}/init.mp4",
        f"segment_template={folder}/$Number%05d$.m4s",
        *(["dash_only=1"] if layout.hls else []),
    ]
    in_hls = [
        *said,
        f"hls_group_id={TEXT_GROUP}",
        f"hls_name={text.label}",
        *(["forced_subtitle=1"] if text.forced else []),
        *([f"hls_characteristics={SDH}"] if text.sdh else []),
        f"segment_template={folder}/$Number%05d$.vtt",
        f"playlist_name={folder}/playlist.m3u8",
        "hls_only=1",
    ]
    return [",".join(stream) for stream in ([in_hls, in_dash] if layout.hls else [in_dash])]


def _outputs(folder: str, *, playlist: bool) -> tuple[str, ...]:
    return (
        f"init_segment={folder}/init.mp4",
        f"segment_template={folder}/$Number%05d$.m4s",
        *([f"playlist_name={folder}/playlist.m3u8"] if playlist else []),
    )


def _language(code: str) -> str:
    """The packager refuses "und"; "mis" is what ISO 639 has for a language without a code."""
    return "mis" if code in ("", "und") else code


def _path(files: Mapping[str, str], name: str) -> str:
    path = files.get(name)
    if path is None:
        raise ValueError(f"{name}: the plan has this stream and no file was given for it")
    if "," in path or "=" in path:
        raise ValueError(f"{name}: the packager cannot read a path with a comma or an equals sign: {path}")
    return path
