"""Levels: the smallest one of a codec that holds a picture size, rate and bitrate."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import msgspec

Tier = Literal["main", "high"]

# High profile may carry a quarter more bits than the table, which is written for Main.
HIGH_PROFILE_FACTOR = Fraction(5, 4)


class _Avc(msgspec.Struct, frozen=True):
    name: str
    macroblocks_per_second_max: int
    frame_macroblocks_max: int
    buffer_macroblocks_max: int
    bitrate_bps_max: int
    coded_buffer_bits_max: int


class _Hevc(msgspec.Struct, frozen=True):
    """`bitrate_bps_max` is that of the coded picture buffer as well, in bits."""

    name: str
    samples_max: int
    samples_per_second_max: int
    bitrate_bps_max: int
    high_bitrate_bps_max: int


class _Open(msgspec.Struct, frozen=True):
    """VP9 and AV1: a bound for each side too; `high_bitrate_bps_max` 0 where there is no second tier."""

    name: str
    samples_max: int
    width_max: int
    height_max: int
    samples_per_second_max: int
    bitrate_bps_max: int
    high_bitrate_bps_max: int = 0


# ITU-T H.264, table A-1.
_AVC = (
    _Avc("1.0", 1_485, 99, 396, 64_000, 175_000),
    _Avc("1.1", 3_000, 396, 900, 192_000, 500_000),
    _Avc("1.2", 6_000, 396, 2_376, 384_000, 1_000_000),
    _Avc("1.3", 11_880, 396, 2_376, 768_000, 2_000_000),
    _Avc("2.0", 11_880, 396, 2_376, 2_000_000, 2_000_000),
    _Avc("2.1", 19_800, 792, 4_752, 4_000_000, 4_000_000),
    _Avc("2.2", 20_250, 1_620, 8_100, 4_000_000, 4_000_000),
    _Avc("3.0", 40_500, 1_620, 8_100, 10_000_000, 10_000_000),
    _Avc("3.1", 108_000, 3_600, 18_000, 14_000_000, 14_000_000),
    _Avc("3.2", 216_000, 5_120, 20_480, 20_000_000, 20_000_000),
    _Avc("4.0", 245_760, 8_192, 32_768, 20_000_000, 25_000_000),
    _Avc("4.1", 245_760, 8_192, 32_768, 50_000_000, 62_500_000),
    _Avc("4.2", 522_240, 8_704, 34_816, 50_000_000, 62_500_000),
    _Avc("5.0", 589_824, 22_080, 110_400, 135_000_000, 135_000_000),
    _Avc("5.1", 983_040, 36_864, 184_320, 240_000_000, 240_000_000),
    _Avc("5.2", 2_073_600, 36_864, 184_320, 240_000_000, 240_000_000),
    _Avc("6.0", 4_177_920, 139_264, 696_320, 240_000_000, 240_000_000),
    _Avc("6.1", 8_355_840, 139_264, 696_320, 480_000_000, 480_000_000),
    _Avc("6.2", 16_711_680, 139_264, 696_320, 800_000_000, 800_000_000),
)

# ITU-T H.265, tables A.8 and A.9; where there is no high tier, its bound is the main one's.
_HEVC = (
    _Hevc("1.0", 36_864, 552_960, 128_000, 128_000),
    _Hevc("2.0", 122_880, 3_686_400, 1_500_000, 1_500_000),
    _Hevc("2.1", 245_760, 7_372_800, 3_000_000, 3_000_000),
    _Hevc("3.0", 552_960, 16_588_800, 6_000_000, 6_000_000),
    _Hevc("3.1", 983_040, 33_177_600, 10_000_000, 10_000_000),
    _Hevc("4.0", 2_228_224, 66_846_720, 12_000_000, 30_000_000),
    _Hevc("4.1", 2_228_224, 133_693_440, 20_000_000, 50_000_000),
    _Hevc("5.0", 8_912_896, 267_386_880, 25_000_000, 100_000_000),
    _Hevc("5.1", 8_912_896, 534_773_760, 40_000_000, 160_000_000),
    _Hevc("5.2", 8_912_896, 1_069_547_520, 60_000_000, 240_000_000),
    _Hevc("6.0", 35_651_584, 1_069_547_520, 60_000_000, 240_000_000),
    _Hevc("6.1", 35_651_584, 2_139_095_040, 120_000_000, 480_000_000),
    _Hevc("6.2", 35_651_584, 4_278_190_080, 240_000_000, 800_000_000),
)

# VP9 bitstream and decoding process specification, annex A.
_VP9 = (
    _Open("1.0", 36_864, 512, 512, 829_440, 200_000),
    _Open("1.1", 73_728, 768, 768, 2_764_800, 800_000),
    _Open("2.0", 122_880, 960, 960, 4_608_000, 1_800_000),
    _Open("2.1", 245_760, 1_344, 1_344, 9_216_000, 3_600_000),
    _Open("3.0", 552_960, 2_048, 2_048, 20_736_000, 7_200_000),
    _Open("3.1", 983_040, 2_752, 2_752, 36_864_000, 12_000_000),
    _Open("4.0", 2_228_224, 4_160, 4_160, 83_558_400, 18_000_000),
    _Open("4.1", 2_228_224, 4_160, 4_160, 160_432_128, 30_000_000),
    _Open("5.0", 8_912_896, 8_384, 8_384, 311_951_360, 60_000_000),
    _Open("5.1", 8_912_896, 8_384, 8_384, 588_251_136, 120_000_000),
    _Open("5.2", 8_912_896, 8_384, 8_384, 1_176_502_272, 180_000_000),
    _Open("6.0", 35_651_584, 16_832, 16_832, 1_176_502_272, 180_000_000),
    _Open("6.1", 35_651_584, 16_832, 16_832, 2_353_004_544, 240_000_000),
    _Open("6.2", 35_651_584, 16_832, 16_832, 4_706_009_088, 480_000_000),
)

# AV1 bitstream and decoding process specification, annex A.3.
_AV1 = (
    _Open("2.0", 147_456, 2_048, 1_152, 4_423_680, 1_500_000),
    _Open("2.1", 278_784, 2_816, 1_584, 8_363_520, 3_000_000),
    _Open("3.0", 665_856, 4_352, 2_448, 19_975_680, 6_000_000),
    _Open("3.1", 1_065_024, 5_504, 3_096, 31_950_720, 10_000_000),
    _Open("4.0", 2_359_296, 6_144, 3_456, 70_778_880, 12_000_000, 30_000_000),
    _Open("4.1", 2_359_296, 6_144, 3_456, 141_557_760, 20_000_000, 50_000_000),
    _Open("5.0", 8_912_896, 8_192, 4_352, 267_386_880, 30_000_000, 100_000_000),
    _Open("5.1", 8_912_896, 8_192, 4_352, 534_773_760, 40_000_000, 160_000_000),
    _Open("5.2", 8_912_896, 8_192, 4_352, 1_069_547_520, 60_000_000, 240_000_000),
    _Open("5.3", 8_912_896, 8_192, 4_352, 1_069_547_520, 60_000_000, 240_000_000),
    _Open("6.0", 35_651_584, 16_384, 8_704, 1_069_547_520, 60_000_000, 240_000_000),
    _Open("6.1", 35_651_584, 16_384, 8_704, 2_139_095_040, 100_000_000, 480_000_000),
    _Open("6.2", 35_651_584, 16_384, 8_704, 4_278_190_080, 160_000_000, 800_000_000),
)


def level_of(
    codec: str,
    width: int,
    height: int,
    rate: Fraction,
    *,
    maxrate_bps: int,
    bufsize_bits: int,
    references: int,
    profile: str,
) -> tuple[str, Tier]:
    """The smallest level and tier that hold an encode; the largest there is when none does.

    Args:
        codec: "h264", "hevc", "vp9" or "av1".
        width: of the picture, in pixels.
        height: likewise.
        rate: frames a second.
        maxrate_bps: bound of the peaks.
        bufsize_bits: over what they are counted.
        references: frames the encoder refers to; H.264 alone bounds them by the picture's size.
        profile: the codec's profile.
    """
    if codec == "h264":
        level = h264_level(
            width,
            height,
            rate,
            maxrate_bps=maxrate_bps,
            bufsize_bits=bufsize_bits,
            references=references,
            profile=profile,
        )
        return level, "main"
    if codec == "hevc":
        return hevc_level(width, height, rate, maxrate_bps=maxrate_bps, bufsize_bits=bufsize_bits)
    if codec == "vp9":
        # Its bound is for the longer side, whichever that is.
        longer = max(width, height)
        return _open_level(_VP9, (longer, longer), width * height, rate, maxrate_bps)
    return _open_level(_AV1, (width, height), width * height, rate, maxrate_bps)


def h264_level(
    width: int,
    height: int,
    rate: Fraction,
    *,
    maxrate_bps: int,
    bufsize_bits: int,
    references: int,
    profile: str,
) -> str:
    """The smallest level that holds an H.264 encode; the largest there is when none does."""
    columns, rows = math.ceil(width / 16), math.ceil(height / 16)
    frame = columns * rows
    factor = HIGH_PROFILE_FACTOR if profile == "high" else 1
    for level in _AVC:
        if (
            frame <= level.frame_macroblocks_max
            and max(columns, rows) ** 2 <= 8 * level.frame_macroblocks_max
            and frame * rate <= level.macroblocks_per_second_max
            and frame * references <= level.buffer_macroblocks_max
            and maxrate_bps <= level.bitrate_bps_max * factor
            and bufsize_bits <= level.coded_buffer_bits_max * factor
        ):
            return level.name
    return _AVC[-1].name


def hevc_level(
    width: int, height: int, rate: Fraction, *, maxrate_bps: int, bufsize_bits: int
) -> tuple[str, Tier]:
    """The smallest HEVC level, and the tier its bitrate needs."""
    samples = width * height
    peak = max(maxrate_bps, bufsize_bits)
    fitting = [
        level
        for level in _HEVC
        if samples <= level.samples_max
        and max(width, height) ** 2 <= 8 * level.samples_max
        and samples * rate <= level.samples_per_second_max
    ] or [_HEVC[-1]]
    return _tiered(fitting, peak)


def _open_level(
    table: tuple[_Open, ...], sides: tuple[int, int], samples: int, rate: Fraction, maxrate_bps: int
) -> tuple[str, Tier]:
    fitting = [
        level
        for level in table
        if samples <= level.samples_max
        and sides[0] <= level.width_max
        and sides[1] <= level.height_max
        and samples * rate <= level.samples_per_second_max
    ] or [table[-1]]
    return _tiered(fitting, maxrate_bps)


def _tiered(fitting: Sequence[_Hevc | _Open], bits: int) -> tuple[str, Tier]:
    """Decoders of the high tier are rare: a higher level of the main one is better, but not another class."""
    smallest = fitting[0].name.partition(".")[0]
    near = (level for level in fitting if level.name.partition(".")[0] == smallest)
    main = next((level.name for level in near if bits <= level.bitrate_bps_max), None)
    if main is not None:
        return main, "main"
    high = next((level.name for level in fitting if bits <= level.high_bitrate_bps_max), None)
    if high is not None:
        return high, "high"
    beyond = next((level.name for level in fitting if bits <= level.bitrate_bps_max), fitting[-1].name)
    return beyond, "main"
