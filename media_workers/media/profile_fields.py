"""Readers of a profile's fields: the same for a request's overrides and for an operator's own profiles."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from media_workers.media.gate import QualityTargets
from media_workers.media.profile_records import (
    AUDIO_CODECS,
    BITRATE_BPS_MAX,
    BITRATE_BPS_MIN,
    CODECS,
    DEEP_CODECS,
    HDR_MODES,
    HEIGHT_MAX,
    HEIGHT_MIN,
    RUNG_NAMES,
    SCHEMA_VERSION,
    SPEEDS,
    Profile,
    RungWish,
)
from media_workers.media.values import (
    PlanError,
    fields,
    flag,
    items,
    name_of,
    names_of,
    number,
    shown,
    text,
    whole,
)
from media_workers.media.watermark import read_clip, read_crop, read_watermark

RENDITIONS_MAX = 32
# H.264 and HEVC count to 51, VP9 and AV1 to 63.
CRF_MIN, CRF_MAX, CRF_MAX_LONG = 10, 51, 63
CRF_SHIFT_MAX = 10.0
LOUDNESS_LUFS_MIN, LOUDNESS_LUFS_MAX = -40.0, -5.0
AUDIO_BPS_MIN, AUDIO_BPS_MAX = 32_000, 512_000
CHUNK_SECONDS_MIN, CHUNK_SECONDS_MAX = 2, 600
FRAME_RATE_LOWEST, FRAME_RATE_HIGHEST = 5, 120
THREADS_MAX = 64
GOP_SECONDS_MAX = 10
SEGMENT_GOPS_MAX = 10
DESCRIPTION_CHARS_MAX = 500
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,62}"

Change = dict[str, Any]
Reader = Callable[[str, object], Change]


def read_profile(path: str, document: object) -> Profile:
    """A whole profile from a document. Raises PlanError."""
    given = fields(path, document, tuple(_DOCUMENT))
    if "name" not in given:
        raise PlanError(f"{path}.name", "is missing")
    profile = Profile(name="-")
    for field, value in given.items():
        profile = msgspec.structs.replace(profile, **_DOCUMENT[field](f"{path}.{field}", value))
    if profile.video and not profile.rungs:
        raise PlanError(f"{path}.renditions", "must name at least one rendition, or video must be false")
    require_possible(path, profile)
    return profile


def require_possible(path: str, profile: Profile) -> None:
    """Refuse what no encode could be: each field was right by itself. Raises PlanError."""
    named = {rung.codec for rung in profile.rungs if rung.codec is not None}
    if profile.video and profile.hdr == "keep" and not {*profile.codecs, *named} & set(DEEP_CODECS):
        raise PlanError(f"{path}.hdr", "'keep' cannot be had with H.264 alone", ("auto", "sdr"))


def _plain(name: str, read: Callable[[str, object], object]) -> Reader:
    return lambda path, value: {name: read(path, value)}


def _whole_of(name: str, lowest: int, highest: int) -> Reader:
    return _plain(name, lambda path, value: whole(path, value, lowest, highest))


def _flag_of(name: str) -> Reader:
    return _plain(name, flag)


def _renditions(path: str, value: object) -> Change:
    wishes = items(path, value, RENDITIONS_MAX)
    rungs = tuple(_rendition(f"{path}[{position}]", item) for position, item in enumerate(wishes))
    seen: set[tuple[int, str | None]] = set()
    for rung in rungs:
        named = (rung.height, rung.codec)
        if named in seen or (rung.codec and (rung.height, None) in seen):
            raise PlanError(path, f"{rung.height}p is named twice")
        seen.add(named)
    return {"rungs": tuple(sorted(rungs, key=lambda rung: -rung.height))}


def _only_renditions(path: str, value: object) -> Change:
    # Who names the renditions gets those and no others.
    return {**_renditions(path, value), "renditions_min": 1, "h264_lines_max": HEIGHT_MAX}


def _rendition(path: str, item: object) -> RungWish:
    if isinstance(item, str):
        if not re.fullmatch(r"[1-9]\d{1,3}p", item) or not HEIGHT_MIN <= int(item[:-1]) <= HEIGHT_MAX:
            raise PlanError(path, f"there is no rendition {shown(item)}", RUNG_NAMES)
        return RungWish(height=int(item[:-1]))
    if not isinstance(item, Mapping):
        raise PlanError(path, 'must be a name such as "720p" or an object with a height')
    given = fields(path, item, ("height", "codec", "crf", "maxBitrate"))
    codec, crf, bitrate = given.get("codec"), given.get("crf"), given.get("maxBitrate")
    highest = CRF_MAX_LONG if codec in ("vp9", "av1") else CRF_MAX
    return RungWish(
        height=whole(f"{path}.height", given.get("height"), HEIGHT_MIN, HEIGHT_MAX),
        codec=None if codec is None else _codec(f"{path}.codec", codec),
        crf=None if crf is None else number(f"{path}.crf", crf, CRF_MIN, highest),
        max_bitrate_bps=None
        if bitrate is None
        else whole(f"{path}.maxBitrate", bitrate, BITRATE_BPS_MIN, BITRATE_BPS_MAX),
    )


def _codec(path: str, value: object) -> Any:
    return name_of(path, value, CODECS)


def _loudness(path: str, value: object) -> Change:
    if value is None:
        return {"loudness_lufs": None}
    return {"loudness_lufs": number(path, value, LOUDNESS_LUFS_MIN, LOUDNESS_LUFS_MAX)}


def _chunk_seconds(path: str, value: object) -> Change:
    if value is None:
        return {"chunk_seconds": None}
    return {"chunk_seconds": whole(path, value, CHUNK_SECONDS_MIN, CHUNK_SECONDS_MAX)}


def _quality(path: str, value: object) -> Change:
    names = {"rungMean": "rung_mean", "topMean": "top_mean", "topP5": "top_p5"}
    given = fields(path, value, tuple(names))
    wanted = {names[name]: number(f"{path}.{name}", score, 0.0, 100.0) for name, score in given.items()}
    return {"quality": QualityTargets(**wanted)}


def _name(path: str, value: object) -> Change:
    meaning = "lower-case letters, digits, - and _, a letter or digit first"
    return {"name": text(path, value, chars_max=63, pattern=NAME_PATTERN, meaning=meaning)}


def _description(path: str, value: object) -> Change:
    return {"description": text(path, value, chars_max=DESCRIPTION_CHARS_MAX) if value != "" else ""}


OVERRIDES: dict[str, Reader] = {
    "codecs": _plain("codecs", lambda path, value: names_of(path, value, CODECS)),
    "renditions": _only_renditions,
    "hdr": _plain("hdr", lambda path, value: name_of(path, value, HDR_MODES)),
    "audioCodecs": _plain("audio_codecs", lambda path, value: names_of(path, value, AUDIO_CODECS)),
    "loudness": _loudness,
    "perTitle": _flag_of("per_title"),
    "chunkSeconds": _chunk_seconds,
    "qualityGate": _flag_of("quality_gate"),
    "clip": _plain("clip", read_clip),
    "crop": _plain("crop", read_crop),
    "watermark": _plain("watermark", read_watermark),
}
"""What a request may change of a profile, by the request's field."""

_DOCUMENT: dict[str, Reader] = {
    **OVERRIDES,
    "renditions": lambda path, value: _renditions(path, value) if value else {"rungs": ()},
    "name": _name,
    "description": _description,
    "version": _whole_of("version", SCHEMA_VERSION, SCHEMA_VERSION),
    "speed": _plain("speed", lambda path, value: name_of(path, value, SPEEDS)),
    "crfShift": _plain("crf_shift", lambda path, value: number(path, value, -CRF_SHIFT_MAX, CRF_SHIFT_MAX)),
    "frameRateMax": _whole_of("frame_rate_max", FRAME_RATE_LOWEST, FRAME_RATE_HIGHEST),
    "h264LinesMax": _whole_of("h264_lines_max", HEIGHT_MIN, HEIGHT_MAX),
    "renditionsMin": _whole_of("renditions_min", 1, RENDITIONS_MAX),
    "keepSourceSize": _flag_of("keep_source_size"),
    "threads": _whole_of("threads", 1, THREADS_MAX),
    "gopSeconds": _whole_of("gop_seconds", 1, GOP_SECONDS_MAX),
    "segmentGops": _whole_of("segment_gops", 1, SEGMENT_GOPS_MAX),
    "audioBitrate": _whole_of("audio_bitrate_bps", AUDIO_BPS_MIN, AUDIO_BPS_MAX),
    "quality": _quality,
    "video": _flag_of("video"),
    "audioOnlyAllowed": _flag_of("audio_only_allowed"),
}
