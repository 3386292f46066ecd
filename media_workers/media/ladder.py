"""The rendition ladder of a source: which sizes, and with how many bits."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import msgspec

from media_workers.media.levels import h264_level
from media_workers.media.profiles import BITRATE_BPS_MIN, RUNG_HEIGHTS, SMALL_HEIGHTS, Profile, RungWish

# A rung this near to the one above adds files and no quality step.
NEIGHBOUR_RATIO_MIN = 1.05
# More frames a second than this cost half as many bits again.
HIGH_RATE_ABOVE = 30
HIGH_RATE_FACTOR = 1.5
BUFFER_FACTOR = 1.5
SD_LINES_MAX = 576
HD_LINES_MAX = 1080

Codec = Literal["h264", "hevc", "vp9", "av1"]
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


# Quality and cap of 16:9 pictures up to 30 fps, by short side.
_H264_ANCHORS = (
    _Anchor(144, 26.0, 200_000),
    _Anchor(180, 25.5, 280_000),
    _Anchor(240, 25.0, 400_000),
    _Anchor(360, 24.0, 800_000),
    _Anchor(480, 23.0, 1_500_000),
    _Anchor(720, 22.5, 3_000_000),
    _Anchor(1080, 22.0, 6_000_000),
    _Anchor(1440, 21.5, 10_000_000),
    _Anchor(2160, 21.0, 17_000_000),
)


def ladder(
    display_width: int, display_height: int, rate: Fraction, profile: Profile
) -> tuple[Rendition, ...]:
    """Choose the renditions, largest first; never larger than the source, sides always even.

    The "p" of a rendition is its short side, so that a portrait 1080x1920 is 1080p.

    Args:
        display_width: what a viewer sees, in pixels, after pixel aspect ratio and rotation.
        display_height: likewise.
        rate: output frame rate.
        profile: wishes and encoder settings.
    """
    source = _even_down(min(display_width, display_height))
    return tuple(
        _rendition(wish, display_width, display_height, rate, profile) for wish in _wishes(source, profile)
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


def _wishes(source: int, profile: Profile) -> list[RungWish]:
    """The profile's rungs that fit, with the source's own size on top and enough below it."""
    fitting = [wish for wish in profile.rungs if wish.height <= source]
    above = [wish for wish in profile.rungs if wish.height > source]
    named = any(wish.height == source for wish in fitting)
    if not named and (not fitting or (profile.keep_source_size and above)):
        # The rung just above keeps its own settings when the source stands in for it.
        stand_in = above[-1] if above else RungWish(height=source)
        top = RungWish(height=source, crf=stand_in.crf, max_bitrate_bps=stand_in.max_bitrate_bps)
        fitting = [top, *(wish for wish in fitting if not _neighbours(wish.height, source))]
    for height in (*RUNG_HEIGHTS, *SMALL_HEIGHTS):
        if len(fitting) >= profile.renditions_min:
            break
        if height < source and not any(_neighbours(wish.height, height) for wish in fitting):
            fitting.append(RungWish(height=height))
    return sorted(fitting, key=lambda wish: -wish.height)


def _neighbours(one: int, other: int) -> bool:
    return max(one, other) < min(one, other) * NEIGHBOUR_RATIO_MIN


def _rendition(
    wish: RungWish, display_width: int, display_height: int, rate: Fraction, profile: Profile
) -> Rendition:
    width, height = even_size(display_width, display_height, wish.height)
    anchor = _anchor(min(width, height))
    cap = anchor.cap_bps * (HIGH_RATE_FACTOR if rate > HIGH_RATE_ABOVE else 1)
    maxrate = wish.max_bitrate_bps or max(round(cap), BITRATE_BPS_MIN)
    bufsize = round(maxrate * BUFFER_FACTOR)
    return Rendition(
        name=f"{min(width, height)}p",
        codec="h264",
        encoder="libx264",
        width=width,
        height=height,
        crf=wish.crf if wish.crf is not None else anchor.crf + profile.crf_shift,
        maxrate_bps=maxrate,
        bufsize_bits=bufsize,
        preset=profile.preset,
        profile=profile.h264_profile,
        level=h264_level(
            width,
            height,
            rate,
            maxrate_bps=maxrate,
            bufsize_bits=bufsize,
            preset=profile.preset,
            profile=profile.h264_profile,
        ),
        threads=profile.threads,
    )


def _anchor(height: int) -> _Anchor:
    """Settings of a short side: the table's, or between its rows by the logarithm of the height."""
    lowest, highest = _H264_ANCHORS[0], _H264_ANCHORS[-1]
    if height >= highest.height:
        return highest
    if height < lowest.height:
        return _Anchor(height, lowest.crf, round(lowest.cap_bps * (height / lowest.height) ** 1.5))
    below, above = next(pair for pair in pairwise(_H264_ANCHORS) if pair[0].height <= height < pair[1].height)
    share = math.log(height / below.height) / math.log(above.height / below.height)
    cap = below.cap_bps * (above.cap_bps / below.cap_bps) ** share
    # A tenth of a step of CRF and a whole kilobit are finer than anyone can see or pay for.
    return _Anchor(height, round(below.crf + (above.crf - below.crf) * share, 1), round(cap / 1000) * 1000)


def _even_down(side: int) -> int:
    return max(2, side - side % 2)


def _even_near(side: Fraction) -> int:
    return max(2, 2 * math.floor(side / 2 + Fraction(1, 2)))
