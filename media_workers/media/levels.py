"""H.264 levels: the smallest one that holds a picture size, rate and bitrate."""

import math
from fractions import Fraction

import msgspec

# High profile may carry a quarter more bits than the table, which is written for Main.
HIGH_PROFILE_FACTOR = Fraction(5, 4)
# x264's reference frames by preset; the decoded picture buffer must hold them.
REFERENCE_FRAMES = {"veryfast": 1, "fast": 2, "medium": 3, "slow": 5}


class _Level(msgspec.Struct, frozen=True):
    name: str
    macroblocks_per_second_max: int
    frame_macroblocks_max: int
    buffer_macroblocks_max: int
    bitrate_bps_max: int
    coded_buffer_bits_max: int


# ITU-T H.264, table A-1.
_LEVELS = (
    _Level("1.0", 1_485, 99, 396, 64_000, 175_000),
    _Level("1.1", 3_000, 396, 900, 192_000, 500_000),
    _Level("1.2", 6_000, 396, 2_376, 384_000, 1_000_000),
    _Level("1.3", 11_880, 396, 2_376, 768_000, 2_000_000),
    _Level("2.0", 11_880, 396, 2_376, 2_000_000, 2_000_000),
    _Level("2.1", 19_800, 792, 4_752, 4_000_000, 4_000_000),
    _Level("2.2", 20_250, 1_620, 8_100, 4_000_000, 4_000_000),
    _Level("3.0", 40_500, 1_620, 8_100, 10_000_000, 10_000_000),
    _Level("3.1", 108_000, 3_600, 18_000, 14_000_000, 14_000_000),
    _Level("3.2", 216_000, 5_120, 20_480, 20_000_000, 20_000_000),
    _Level("4.0", 245_760, 8_192, 32_768, 20_000_000, 25_000_000),
    _Level("4.1", 245_760, 8_192, 32_768, 50_000_000, 62_500_000),
    _Level("4.2", 522_240, 8_704, 34_816, 50_000_000, 62_500_000),
    _Level("5.0", 589_824, 22_080, 110_400, 135_000_000, 135_000_000),
    _Level("5.1", 983_040, 36_864, 184_320, 240_000_000, 240_000_000),
    _Level("5.2", 2_073_600, 36_864, 184_320, 240_000_000, 240_000_000),
    _Level("6.0", 4_177_920, 139_264, 696_320, 240_000_000, 240_000_000),
    _Level("6.1", 8_355_840, 139_264, 696_320, 480_000_000, 480_000_000),
    _Level("6.2", 16_711_680, 139_264, 696_320, 800_000_000, 800_000_000),
)


def h264_level(
    width: int, height: int, rate: Fraction, *, maxrate_bps: int, bufsize_bits: int, preset: str, profile: str
) -> str:
    """The smallest level that holds an encode; the largest there is when none does."""
    columns, rows = math.ceil(width / 16), math.ceil(height / 16)
    frame = columns * rows
    factor = HIGH_PROFILE_FACTOR if profile == "high" else 1
    references = REFERENCE_FRAMES.get(preset, max(REFERENCE_FRAMES.values()))
    for level in _LEVELS:
        if (
            frame <= level.frame_macroblocks_max
            and max(columns, rows) ** 2 <= 8 * level.frame_macroblocks_max
            and frame * rate <= level.macroblocks_per_second_max
            and frame * references <= level.buffer_macroblocks_max
            and maxrate_bps <= level.bitrate_bps_max * factor
            and bufsize_bits <= level.coded_buffer_bits_max * factor
        ):
            return level.name
    return _LEVELS[-1].name
