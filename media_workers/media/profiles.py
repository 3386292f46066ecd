"""Encoding profiles: typed, named, and narrowed by a request's overrides."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

CODECS = ("h264",)
AUDIO_CODECS = ("aac",)
HDR_MODES = ("auto", "sdr")
RUNG_HEIGHTS = (2160, 1440, 1080, 720, 480, 360, 240)
# Below the ladder's foot: only to make a small source's set adaptive.
SMALL_HEIGHTS = (180, 144)
RUNG_NAMES = tuple(f"{height}p" for height in RUNG_HEIGHTS + SMALL_HEIGHTS)
RENDITIONS_MAX = 12
HEIGHT_MIN, HEIGHT_MAX = 64, 4320
CRF_MIN, CRF_MAX = 10, 45
BITRATE_BPS_MIN, BITRATE_BPS_MAX = 50_000, 100_000_000
LOUDNESS_LUFS_MIN, LOUDNESS_LUFS_MAX = -40.0, -5.0
CHUNK_SECONDS_MIN, CHUNK_SECONDS_MAX = 6, 600


class PlanError(ValueError):
    """A request that cannot be planned. `path` names the field, `accepted` what it may hold."""

    def __init__(self, path: str, message: str, accepted: tuple[str, ...] = ()) -> None:
        self.path = path
        self.message = message
        self.accepted = accepted
        super().__init__(f"{path}: {message}" + (f" (accepted: {', '.join(accepted)})" if accepted else ""))


class RungWish(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One wanted rendition: `height` is the short side in lines; None takes the ladder's own value."""

    height: int
    codec: str = "h264"
    crf: float | None = None
    max_bitrate_bps: int | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a title is encoded. `rungs` are wishes: what exceeds the source is dropped, never upscaled.

    `keep_source_size` makes a source that lies between two rungs its own top rung. `crf_shift` moves the
    quality of every rung: negative is better. `renditions_min` is reached with smaller rungs where the source
    allows.
    """

    name: str
    codecs: tuple[str, ...] = CODECS
    rungs: tuple[RungWish, ...] = ()
    preset: str = "medium"
    h264_profile: str = "high"
    crf_shift: float = 0.0
    frame_rate_max: int = 60
    renditions_min: int = 3
    keep_source_size: bool = True
    threads: int = 4
    gop_seconds: int = 2
    segment_gops: int = 3
    hdr: str = "auto"
    audio_codecs: tuple[str, ...] = AUDIO_CODECS
    audio_bitrate_bps: int = 128_000
    loudness_lufs: float | None = -16.0
    chunk_seconds: int | None = None
    video: bool = True
    audio_only_allowed: bool = False


def _rungs(*heights: int) -> tuple[RungWish, ...]:
    return tuple(RungWish(height=height) for height in heights)


_PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        # H.264 beyond 1080p costs more than it gives on a processor: premium and overrides offer it.
        Profile(name="default", rungs=_rungs(1080, 720, 480, 360, 240)),
        Profile(name="fast", rungs=_rungs(1080, 720, 480, 240), preset="veryfast"),
        Profile(
            name="premium",
            rungs=_rungs(*RUNG_HEIGHTS),
            preset="slow",
            crf_shift=-1.0,
            audio_bitrate_bps=192_000,
        ),
        # Apple's devices decode H.264 up to High@4.2: 1080p60.
        Profile(name="apple", rungs=_rungs(1080, 720, 480, 360, 240), audio_bitrate_bps=160_000),
        Profile(
            name="archive",
            rungs=_rungs(*RUNG_HEIGHTS),
            preset="slow",
            crf_shift=-4.0,
            audio_bitrate_bps=256_000,
            loudness_lufs=None,
        ),
        Profile(name="mobile", rungs=_rungs(480, 360, 240), frame_rate_max=30, audio_bitrate_bps=96_000),
        Profile(name="audio", video=False, audio_only_allowed=True),
    )
}


def profile_names() -> tuple[str, ...]:
    """Names of the built-in profiles, `default` first."""
    return tuple(_PROFILES)


def resolve_profile(name: str | None, overrides: Mapping[str, Any] | None = None) -> Profile:
    """The named profile with a request's overrides applied.

    Args:
        name: a profile's name; None or "" for `default`.
        overrides: the request's `overrides` object (`codecs`, `renditions`, `hdr`, `audioCodecs`, `loudness`,
            `chunkSeconds`; `perTitle` and `qualityGate` only as false, `clip` and `watermark` only as null).

    Raises:
        PlanError: an unknown profile, field or value; names the field's path and the accepted values.
    """
    profile = _PROFILES.get(name or "default")
    if profile is None:
        raise PlanError("profile", f"there is no profile {_shown(name)}", profile_names())
    if overrides is not None and not isinstance(overrides, Mapping):
        raise PlanError("overrides", "must be an object")
    for field, value in (overrides or {}).items():
        reader = _OVERRIDES.get(field)
        if reader is None:
            raise PlanError(f"overrides.{_bounded(field)}", "is no override", tuple(_OVERRIDES))
        profile = msgspec.structs.replace(profile, **reader(f"overrides.{field}", value))
    return profile


Change = dict[str, Any]


def _codecs(path: str, value: object) -> Change:
    return {"codecs": _names(path, value, CODECS)}


def _audio_codecs(path: str, value: object) -> Change:
    return {"audio_codecs": _names(path, value, AUDIO_CODECS)}


def _renditions(path: str, value: object) -> Change:
    items = _list(path, value)
    rungs = tuple(_rendition(f"{path}[{position}]", item) for position, item in enumerate(items))
    heights = [rung.height for rung in rungs]
    twice = next((height for height in heights if heights.count(height) > 1), None)
    if twice is not None:
        raise PlanError(path, f"{twice}p is named twice")
    # Who names the renditions gets those and no others.
    return {"rungs": tuple(sorted(rungs, key=lambda rung: -rung.height)), "renditions_min": 1}


def _rendition(path: str, item: object) -> RungWish:
    if isinstance(item, str):
        if not re.fullmatch(r"[1-9]\d{1,3}p", item) or not HEIGHT_MIN <= int(item[:-1]) <= HEIGHT_MAX:
            raise PlanError(path, f"there is no rendition {_shown(item)}", RUNG_NAMES)
        return RungWish(height=int(item[:-1]))
    if not isinstance(item, Mapping):
        raise PlanError(path, 'must be a name such as "720p" or an object with a height')
    fields = ("height", "codec", "crf", "maxBitrate")
    unknown = next((field for field in item if field not in fields), None)
    if unknown is not None:
        raise PlanError(f"{path}.{_bounded(unknown)}", "is no field of a rendition", fields)
    if item.get("codec", "h264") not in CODECS:
        raise PlanError(f"{path}.codec", f"there is no codec {_shown(item['codec'])}", CODECS)
    crf = item.get("crf")
    bitrate = item.get("maxBitrate")
    return RungWish(
        height=_whole(f"{path}.height", item.get("height"), HEIGHT_MIN, HEIGHT_MAX),
        crf=None if crf is None else _number(f"{path}.crf", crf, CRF_MIN, CRF_MAX),
        max_bitrate_bps=None
        if bitrate is None
        else _whole(f"{path}.maxBitrate", bitrate, BITRATE_BPS_MIN, BITRATE_BPS_MAX),
    )


def _hdr(path: str, value: object) -> Change:
    if value not in HDR_MODES:
        raise PlanError(path, f"{_shown(value)} cannot be had with H.264", HDR_MODES)
    return {"hdr": value}


def _loudness(path: str, value: object) -> Change:
    if value is None:
        return {"loudness_lufs": None}
    return {"loudness_lufs": _number(path, value, LOUDNESS_LUFS_MIN, LOUDNESS_LUFS_MAX)}


def _chunk_seconds(path: str, value: object) -> Change:
    return {"chunk_seconds": _whole(path, value, CHUNK_SECONDS_MIN, CHUNK_SECONDS_MAX)}


def _only_false(path: str, value: object) -> Change:
    if value is not False:
        raise PlanError(path, "is not available in this version", ("false",))
    return {}


def _only_null(path: str, value: object) -> Change:
    if value is not None:
        raise PlanError(path, "is not available in this version", ("null",))
    return {}


_OVERRIDES: dict[str, Callable[[str, object], Change]] = {
    "codecs": _codecs,
    "renditions": _renditions,
    "hdr": _hdr,
    "audioCodecs": _audio_codecs,
    "loudness": _loudness,
    "perTitle": _only_false,
    "chunkSeconds": _chunk_seconds,
    "qualityGate": _only_false,
    "clip": _only_null,
    "watermark": _only_null,
}


def _list(path: str, value: object) -> list[object]:
    if not isinstance(value, list | tuple) or not value:
        raise PlanError(path, "must be a list with at least one item")
    if len(value) > RENDITIONS_MAX:
        raise PlanError(path, f"has {len(value)} items; at most {RENDITIONS_MAX} are accepted")
    return list(value)


def _names(path: str, value: object, accepted: tuple[str, ...]) -> tuple[str, ...]:
    names = _list(path, value)
    for position, name in enumerate(names):
        if name not in accepted:
            raise PlanError(f"{path}[{position}]", f"{_shown(name)} is not available", accepted)
    return tuple(dict.fromkeys(str(name) for name in names))


def _number(path: str, value: object, lowest: float, highest: float) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or not lowest <= float(value) <= highest:  # type: ignore[arg-type] # `usable` proves it a number
        raise PlanError(path, f"must be a number from {lowest:g} to {highest:g}")
    return float(value)  # type: ignore[arg-type] # proved a number above


def _whole(path: str, value: object, lowest: int, highest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise PlanError(path, f"must be a whole number from {lowest} to {highest}")
    return value


def _shown(value: object) -> str:
    return _bounded(repr(value))


def _bounded(text: object) -> str:
    return str(text)[:80]
