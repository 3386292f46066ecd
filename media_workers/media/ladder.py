"""The rendition ladder of a source: which sizes, and with how many bits."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import msgspec

from media_workers.media.encoders import SOFTWARE
from media_workers.media.levels import Tier, level_of
from media_workers.media.profile_records import (
    BITRATE_BPS_MIN,
    CODECS,
    DEEP_CODECS,
    HEIGHT_MAX,
    RUNG_HEIGHTS,
    SMALL_HEIGHTS,
    Codec,
    Profile,
    RungWish,
)

# A rung this near to the one above adds files and no quality step.
NEIGHBOUR_RATIO_MIN = 1.05
# More frames a second than this cost half as many bits again.
HIGH_RATE_ABOVE = 30
HIGH_RATE_FACTOR = 1.5
BUFFER_FACTOR = 1.5
# A high dynamic range has more to say.
HDR_FACTOR = 1.2
SD_LINES_MAX = 576
HD_LINES_MAX = 1080

DynamicRange = Literal["sdr", "pq", "hlg"]
DrmLabel = Literal["SD", "HD", "UHD"]


class Rendition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One encoded size. `crf` with a cap: `maxrate_bps` and `bufsize_bits` bound the peaks.

    `encoder` is FFmpeg's name of it. `dynamic_range` says what the picture is after the plan's colour step.
    """

    name: str
    codec: Codec
    encoder: str
    width: int
    height: int
    crf: float
    maxrate_bps: int
    bufsize_bits: int
    preset: str
    profile: str
    level: str
    threads: int
    bit_depth: Literal[8, 10] = 8
    dynamic_range: DynamicRange = "sdr"
    tier: Tier = "main"

    @property
    def drm_label(self) -> DrmLabel:
        """Which content key protects it, by the short side in lines."""
        short = min(self.width, self.height)
        if short <= SD_LINES_MAX:
            return "SD"
        return "HD" if short <= HD_LINES_MAX else "UHD"


class _Anchor(msgspec.Struct, frozen=True):
    height: int
    crf: float
    cap_bps: int


def _anchors(*rows: tuple[int, float, int]) -> tuple[_Anchor, ...]:
    return tuple(_Anchor(height, crf, kilobits * 1000) for height, crf, kilobits in rows)


# Quality and cap (kb/s) of 16:9 pictures up to 30 fps, by short side.
_ANCHORS: dict[Codec, tuple[_Anchor, ...]] = {
    "h264": _anchors(
        *((144, 26, 200), (180, 25.5, 280), (240, 25, 400), (360, 24, 800), (480, 23, 1500)),
        *((720, 22.5, 3000), (1080, 22, 6000), (1440, 21.5, 10_000), (2160, 21, 17_000)),
    ),
    "hevc": _anchors(
        *((144, 28, 140), (180, 27.5, 200), (240, 27, 280), (360, 27, 550), (480, 26, 1000)),
        *((720, 25, 2000), (1080, 24, 4000), (1440, 24, 7000), (2160, 23, 12_000)),
    ),
    "vp9": _anchors(
        *((144, 38, 140), (180, 38, 200), (240, 37, 280), (360, 36, 550), (480, 35, 1000)),
        *((720, 34, 2000), (1080, 32, 4000), (1440, 31, 7000), (2160, 30, 12_000)),
    ),
    "av1": _anchors(
        *((144, 44, 110), (180, 44, 155), (240, 43, 220), (360, 42, 420), (480, 40, 750)),
        *((720, 38, 1500), (1080, 36, 3000), (1440, 35, 5500), (2160, 34, 9500)),
    ),
}
# These encoders take whole numbers alone, on a scale that is a quarter longer.
_WHOLE_CRF = frozenset({"vp9", "av1"})
_LONG_SCALE = 63 / 51


def ladder(
    display_width: int,
    display_height: int,
    rate: Fraction,
    profile: Profile,
    *,
    source_range: DynamicRange = "sdr",
) -> tuple[Rendition, ...]:
    """Choose the renditions: by codec, within a codec standard range first, then largest first.

    None is larger than the source, sides are always even. The "p" of a rendition is its short side, so that a
    portrait 1080x1920 is 1080p.

    Args:
        display_width: what a viewer sees, in pixels, after pixel aspect ratio, rotation and crop.
        display_height: likewise.
        rate: output frame rate.
        profile: wishes and encoder settings.
        source_range: the source's dynamic range.
    """
    source = _even_down(min(display_width, display_height))
    named = {rung.codec for rung in profile.rungs if rung.codec is not None}
    codecs = tuple(codec for codec in CODECS if codec in profile.codecs or codec in named)
    return tuple(
        _rendition(
            wish, codec, kept, even_size(display_width, display_height, wish.height), rate, profile=profile
        )
        for codec in codecs
        for kept in _ranges(codec, codecs, profile, source_range)
        for wish in _wishes(source, codec, profile)
    )


def even_size(display_width: int, display_height: int, short_side: int) -> tuple[int, int]:
    """Scale a display size to a short side, keeping the shape; even sides, none larger than the source's.

    Returns:
        width and height in pixels.
    """
    short, long = sorted((display_width, display_height))
    if short_side >= _even_down(short):
        return _even_down(display_width), _even_down(display_height)
    long_side = min(_even_near(Fraction(long * short_side, short)), _even_down(long))
    return (short_side, long_side) if display_width <= display_height else (long_side, short_side)


def _ranges(
    codec: Codec, codecs: tuple[Codec, ...], profile: Profile, source_range: DynamicRange
) -> tuple[DynamicRange, ...]:
    """The dynamic ranges a codec is encoded in: somebody must always find a standard one, unless told not."""
    if source_range == "sdr" or profile.hdr == "sdr" or codec not in DEEP_CODECS:
        return ("sdr",)
    if profile.hdr == "auto" and "h264" not in codecs and codec == codecs[0]:
        return "sdr", source_range
    return (source_range,)


def _wishes(source: int, codec: Codec, profile: Profile) -> list[RungWish]:
    """The profile's rungs that fit a codec, with the source's own size on top and enough below it."""
    own = codec in profile.codecs
    lines_max = profile.h264_lines_max if codec == "h264" else HEIGHT_MAX
    rungs = [
        wish
        for wish in profile.rungs
        if wish.height <= lines_max and (wish.codec == codec or (wish.codec is None and own))
    ]
    fitting = [wish for wish in rungs if wish.height <= source]
    above = [wish for wish in rungs if wish.height > source]
    named = any(wish.height == source for wish in fitting)
    if rungs and not named and (not fitting or (profile.keep_source_size and above)):
        # The rung just above keeps its own settings when the source stands in for it.
        stand_in = above[-1]
        top = RungWish(height=source, crf=stand_in.crf, max_bitrate_bps=stand_in.max_bitrate_bps)
        fitting = [top, *(wish for wish in fitting if not _neighbours(wish.height, source))]
    for height in (*RUNG_HEIGHTS, *SMALL_HEIGHTS):
        if len(fitting) >= profile.renditions_min or not own:
            break
        if height < min(source, lines_max) and not any(_neighbours(wish.height, height) for wish in fitting):
            fitting.append(RungWish(height=height))
    return sorted(fitting, key=lambda wish: -wish.height)


def _neighbours(one: int, other: int) -> bool:
    return max(one, other) < min(one, other) * NEIGHBOUR_RATIO_MIN


def _rendition(
    wish: RungWish,
    codec: Codec,
    kept: DynamicRange,
    size: tuple[int, int],
    rate: Fraction,
    *,
    profile: Profile,
) -> Rendition:
    width, height = size
    short = min(width, height)
    anchor = _anchor(short, _ANCHORS[codec])
    cap = anchor.cap_bps * (HIGH_RATE_FACTOR if rate > HIGH_RATE_ABOVE else 1)
    cap *= 1 if kept == "sdr" else HDR_FACTOR
    maxrate = wish.max_bitrate_bps or max(round(cap), BITRATE_BPS_MIN)
    bufsize = round(maxrate * BUFFER_FACTOR)
    software = SOFTWARE[codec]
    preset = software.presets[profile.speed]
    # AV1 costs nothing more with ten bits, and bands less.
    deep = kept != "sdr" or codec == "av1"
    encoded_profile = software.deep_profile if deep else software.profile
    level, tier = level_of(
        codec,
        width,
        height,
        rate,
        maxrate_bps=maxrate,
        bufsize_bits=bufsize,
        references=software.references[profile.speed],
        profile=encoded_profile,
    )
    return Rendition(
        name=f"{short}p" + ("" if codec == "h264" else f"_{codec}") + ("" if kept == "sdr" else "_hdr"),
        codec=codec,
        encoder=software.encoder,
        width=width,
        height=height,
        crf=_crf(codec, wish.crf, anchor, profile.crf_shift),
        maxrate_bps=maxrate,
        bufsize_bits=bufsize,
        preset=preset,
        profile=encoded_profile,
        level=level,
        tier=tier,
        threads=profile.threads if software.threaded else 1,
        bit_depth=10 if deep else 8,
        dynamic_range=kept,
    )


def _crf(codec: Codec, wished: float | None, anchor: _Anchor, shift: float) -> float:
    if codec not in _WHOLE_CRF:
        return wished if wished is not None else anchor.crf + shift
    return float(round(wished if wished is not None else anchor.crf + shift * _LONG_SCALE))


def _anchor(height: int, table: tuple[_Anchor, ...]) -> _Anchor:
    """Settings of a short side: the table's, or between its rows by the logarithm of the height."""
    lowest, highest = table[0], table[-1]
    if height >= highest.height:
        return highest
    if height < lowest.height:
        return _Anchor(height, lowest.crf, round(lowest.cap_bps * (height / lowest.height) ** 1.5))
    below, above = next(pair for pair in pairwise(table) if pair[0].height <= height < pair[1].height)
    share = math.log(height / below.height) / math.log(above.height / below.height)
    cap = below.cap_bps * (above.cap_bps / below.cap_bps) ** share
    # A tenth of a step of CRF and a whole kilobit are finer than anyone can see or pay for.
    return _Anchor(height, round(below.crf + (above.crf - below.crf) * share, 1), round(cap / 1000) * 1000)


def _even_down(side: int) -> int:
    return max(2, side - side % 2)


def _even_near(side: Fraction) -> int:
    return max(2, 2 * math.floor(side / 2 + Fraction(1, 2)))
