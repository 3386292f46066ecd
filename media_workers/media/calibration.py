"""What encoding costs on these machines: CPU seconds a frame, learned from every encode that was measured."""

import math
from collections.abc import Iterable

import msgspec

REFERENCE_PIXELS = 1280 * 720
# Short sides of 16:9 pictures; a measurement counts for the nearest one.
SIZES_LINES = (144, 240, 360, 480, 720, 1080, 1440, 2160)
# So much of a new measurement is believed when it is long enough to be sure of.
LEARNING_SHARE = 0.3
SURE_FRAMES = 500
# A measurement this far from what was believed is a machine that slept or a wrong clock, not news.
OUTLIER_FACTOR = 20.0
CELLS_MAX = 512
SECONDS_MIN, SECONDS_MAX = 1e-6, 1e3
PRESET_CHARS_MAX = 40
# Decoding one 1280x720 picture of an ordinary source.
DECODE_SECONDS_720P = 0.005
# An encoder nobody has measured yet, a graphics card above all.
UNKNOWN_SECONDS_720P = 0.02

# CPU seconds for a picture of 1280x720: measured on two cores, or between what was measured.
_START_720P: dict[str, dict[str, float]] = {
    "libx264": {
        "ultrafast": 0.006, "superfast": 0.009, "veryfast": 0.0132, "faster": 0.02, "fast": 0.025,
        "medium": 0.038, "slow": 0.054, "slower": 0.1, "veryslow": 0.18, "placebo": 0.5,
    },
    "libx265": {
        "ultrafast": 0.02, "superfast": 0.025, "veryfast": 0.035, "faster": 0.045, "fast": 0.05,
        "medium": 0.055, "slow": 0.15, "slower": 0.4, "veryslow": 0.8, "placebo": 2.0,
    },
    "libvpx-vp9": {"5": 0.06, "4": 0.1, "3": 0.12, "2": 0.15, "1": 0.25, "0": 0.6},
    "libsvtav1": {"10": 0.0106, "9": 0.017, "8": 0.0253, "7": 0.033, "6": 0.0444, "5": 0.07, "4": 0.12},
}  # fmt: skip


class Cell(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """CPU seconds for one picture of the cell's size, and how many pictures taught it."""

    seconds_per_frame: float
    frames: int


class Calibration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was learned, by "encoder/preset/lines"; and what the operator pays and has.

    `cores` is how many cores one encode keeps busy. `core_hour_price` is in the operator's currency.
    """

    cells: dict[str, Cell] = {}
    cores: int = 2
    core_hour_price: float = 0.04


class Measured(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One measured encode: pictures of this size by this encoder took so much CPU time."""

    encoder: str
    preset: str
    width: int
    height: int
    frames: int
    cpu_seconds: float


def seconds_per_frame(calibration: Calibration, encoder: str, preset: str, width: int, height: int) -> float:
    """CPU seconds to encode one picture: learned for its size, or for another size, or the start value."""
    pixels = width * height
    lines = _lines(pixels)
    known = {size: calibration.cells.get(_key(encoder, preset, size)) for size in SIZES_LINES}
    for size in sorted(SIZES_LINES, key=lambda other: abs(math.log(other / lines))):
        cell = known[size]
        if cell is not None:
            return cell.seconds_per_frame * pixels / _pixels(size)
    return _start(encoder, preset) * pixels / REFERENCE_PIXELS


def decode_seconds_per_frame(width: int, height: int) -> float:
    """CPU seconds to decode one picture of the source."""
    return DECODE_SECONDS_720P * width * height / REFERENCE_PIXELS


def learned(calibration: Calibration, measured: Iterable[Measured]) -> Calibration:
    """The calibration after some encodes: an exponential average, each weighed by its length.

    What cannot be true (no frames, no time, a factor of 20 from what was believed) teaches nothing. Of too
    many cells the least taught go.
    """
    cells = dict(calibration.cells)
    for one in measured:
        pixels = one.width * one.height
        if one.frames <= 0 or pixels <= 0 or len(one.preset) > PRESET_CHARS_MAX:
            continue
        lines = _lines(pixels)
        seen = one.cpu_seconds / one.frames * _pixels(lines) / pixels
        current = msgspec.structs.replace(calibration, cells=cells)
        size = _size(lines)
        believed = seconds_per_frame(current, one.encoder, one.preset, *size)
        if not SECONDS_MIN <= seen <= SECONDS_MAX:
            continue
        if not believed / OUTLIER_FACTOR <= seen <= believed * OUTLIER_FACTOR:
            continue
        share = LEARNING_SHARE * min(1.0, one.frames / SURE_FRAMES)
        key = _key(one.encoder, one.preset, lines)
        before = cells[key].frames if key in cells else 0
        cells[key] = Cell(
            seconds_per_frame=round(believed + share * (seen - believed), 9), frames=before + one.frames
        )
    if len(cells) > CELLS_MAX:
        cells = dict(sorted(cells.items(), key=lambda item: -item[1].frames)[:CELLS_MAX])
    return msgspec.structs.replace(calibration, cells=cells)


def _start(encoder: str, preset: str) -> float:
    table = _START_720P.get(encoder)
    if table is None:
        return UNKNOWN_SECONDS_720P
    return table.get(preset, max(table.values()))


def _lines(pixels: int) -> int:
    return min(SIZES_LINES, key=lambda size: abs(math.log(max(pixels, 1) / _pixels(size))))


def _size(lines: int) -> tuple[int, int]:
    return lines * 16 // 9, lines


def _pixels(lines: int) -> int:
    width, height = _size(lines)
    return width * height


def _key(encoder: str, preset: str, lines: int) -> str:
    return f"{encoder}/{preset}/{lines}"
