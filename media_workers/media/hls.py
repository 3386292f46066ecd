"""HLS playlists read as values."""

import math
import re
from typing import Any

import m3u8
import msgspec

from media_workers.media.presentation import KeyLine, Kind, Ref, Segment, Stream, resolve

_SYSTEMS = {
    "com.apple.streamingkeydelivery": "fairplay",
    "com.microsoft.playready": "9a04f079-9840-4286-ab92-e65be0885f95",
}
_SCHEMES = {"SAMPLE-AES": "cbcs", "SAMPLE-AES-CTR": "cenc", "AES-128": "aes-128"}
_KEY_ID = re.compile(r"(?:0x)?([0-9a-fA-F]{32})$")
_KINDS: dict[str, Kind] = {"AUDIO": "audio", "SUBTITLES": "text", "VIDEO": "video"}


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One EXT-X-STREAM-INF or EXT-X-I-FRAME-STREAM-INF."""

    path: str
    bandwidth: int | None
    average_bandwidth: int | None
    codecs: tuple[str, ...]
    width: int
    height: int
    frame_rate: float | None
    video_range: str | None
    audio: str | None = None
    subtitles: str | None = None


class RenditionLine(msgspec.Struct, frozen=True, kw_only=True):
    """One EXT-X-MEDIA; `path` is None for what is inside the picture's own segments."""

    kind: str
    group: str
    name: str
    path: str | None
    language: str | None
    default: bool
    autoselect: bool
    forced: bool
    characteristics: str


class Master(msgspec.Struct, frozen=True, kw_only=True):
    """A multivariant playlist."""

    path: str
    variants: tuple[Variant, ...]
    iframes: tuple[Variant, ...]
    renditions: tuple[RenditionLine, ...]
    session_keys: tuple[KeyLine, ...]


def is_master(text: str) -> bool:
    """Whether a playlist lists playlists."""
    return "#EXT-X-STREAM-INF" in text or "#EXT-X-MEDIA:" in text or "#EXT-X-I-FRAME-STREAM-INF" in text


def read_master(path: str, text: str) -> Master:
    """Read a multivariant playlist.

    Args:
        path: where it lies; its own paths are relative to it.
        text: its content.

    Raises:
        ValueError: it is none.
    """
    parsed = _parsed(text)
    return Master(
        path=path,
        variants=tuple(_variant(resolve(path, item.uri), item.stream_info) for item in parsed.playlists),
        iframes=tuple(
            _variant(resolve(path, item.uri), item.iframe_stream_info) for item in parsed.iframe_playlists
        ),
        renditions=tuple(
            RenditionLine(
                kind=item.type or "",
                group=item.group_id or "",
                name=item.name or "",
                path=resolve(path, item.uri) if item.uri else None,
                language=item.language,
                default=item.default == "YES",
                autoselect=item.autoselect == "YES",
                forced=item.forced == "YES",
                characteristics=item.characteristics or "",
            )
            for item in parsed.media
        ),
        session_keys=tuple(
            key
            for line in text.splitlines()
            if line.startswith("#EXT-X-SESSION-KEY:") and (key := _key_line(line)) is not None
        ),
    )


def read_playlist(path: str, text: str, *, kind: Kind | None = None) -> Stream:
    """Read a media playlist.

    Args:
        path: where it lies; its own paths are relative to it.
        text: its content.
        kind: what the master says it holds.

    Raises:
        ValueError: it is none.
    """
    parsed = _parsed(text)
    keys = _keys_by_segment(text)
    segments = []
    ends: dict[str, int] = {}
    for number, item in enumerate(parsed.segments):
        if not item.uri:
            raise ValueError("a segment has no address")
        init = item.init_section
        segments.append(
            Segment(
                ref=_ref(resolve(path, item.uri), item.byterange, ends),
                seconds=float(item.duration or 0.0),
                init=_ref(resolve(path, init.uri), init.byterange, {}) if init and init.uri else None,
                keys=keys[number] if number < len(keys) else (),
            )
        )
    return Stream(
        subject=path,
        manifest=path,
        protocol="hls",
        kind=kind,
        segments=tuple(segments),
        target_seconds=float(parsed.target_duration or 0),
        ended=bool(parsed.is_endlist),
        iframes_only=bool(parsed.is_i_frames_only),
    )


def _parsed(text: str) -> m3u8.M3U8:
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise ValueError("it does not begin with #EXTM3U")
    try:
        return m3u8.loads(text)
    except Exception as error:
        # The library raises whatever its conversions happen to raise.
        raise ValueError(f"it cannot be read: {error}") from error


def _variant(path: str, info: Any) -> Variant:
    width, height = info.resolution or (0, 0)
    rate = getattr(info, "frame_rate", None)
    return Variant(
        path=path,
        bandwidth=_whole(info.bandwidth),
        average_bandwidth=_whole(getattr(info, "average_bandwidth", None)),
        codecs=tuple(part.strip() for part in (info.codecs or "").split(",") if part.strip()),
        width=int(width),
        height=int(height),
        frame_rate=float(rate) if rate else None,
        video_range=getattr(info, "video_range", None),
        audio=_unquoted(getattr(info, "audio", None)),
        subtitles=_unquoted(getattr(info, "subtitles", None)),
    )


def _ref(path: str, byte_range: str | None, ends: dict[str, int]) -> Ref:
    """A range without a place goes on where the one before it in the same file ended."""
    if not byte_range:
        return Ref(path=path)
    length, _, place = byte_range.partition("@")
    offset = int(place) if place else ends.get(path, 0)
    ends[path] = offset + int(length)
    return Ref(path=path, offset=offset, length=int(length))


def _keys_by_segment(text: str) -> list[tuple[KeyLine, ...]]:
    """The key lines that hold for each segment; several for one segment are several systems."""
    current: list[KeyLine] = []
    fresh = True
    found: list[tuple[KeyLine, ...]] = []
    for line in text.splitlines():
        if line.startswith("#EXT-X-KEY:"):
            if fresh:
                current = []
            fresh = False
            key = _key_line(line)
            current += [key] if key else []
        elif line.startswith("#EXTINF"):
            fresh = True
            found.append(tuple(current))
    return found


def _key_line(line: str) -> KeyLine | None:
    """One key line, None for METHOD=NONE."""
    pairs = re.findall(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)', line.partition(":")[2])
    said = {name: value.strip('"') for name, value in pairs}
    method = said.get("METHOD", "NONE")
    if method == "NONE":
        return None
    form = said.get("KEYFORMAT", "identity")
    system = _SYSTEMS.get(form) or form.lower().removeprefix("urn:uuid:")
    stated = _KEY_ID.match(said.get("KEYID", ""))
    addressed = _KEY_ID.search(said.get("URI", "")) if system == "fairplay" else None
    chosen = stated or addressed
    return KeyLine(
        system=system,
        scheme=_SCHEMES.get(method, method.lower()),
        key_id=chosen.group(1).lower() if chosen else None,
        uri=said.get("URI"),
    )


def _whole(value: object) -> int | None:
    number = float(str(value)) if value is not None else math.nan
    return None if math.isnan(number) else int(number)


def _unquoted(value: str | None) -> str | None:
    return value.strip('"') if value else None
