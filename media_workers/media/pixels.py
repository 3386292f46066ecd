"""What FFmpeg's pixel format names and display matrices mean."""

import re
from typing import Literal

import msgspec

Chroma = Literal["420", "422", "444", "411", "rgb", "gray"]

_RGB = re.compile(r"rgb|bgr|^gbr|^pal8$|^0rgb|^0bgr")
_ALPHA = re.compile(r"^yuva|^gbrap|rgba|bgra|argb|abgr|^ya\d|^pal8$|^ayuv|^vuya")
_DEPTH = re.compile(r"p(\d{1,2})(?:le|be)$|^gray(\d{1,2})(?:le|be)$|^[px]0?(\d{2})(?:le|be)$")
# The packed formats whose depth is not written as "p10".
_NAMED_DEPTH = {"rgb48": 16, "bgr48": 16, "rgba64": 16, "bgra64": 16, "p010": 10, "p016": 16, "x2rgb10": 10}
_SUBSAMPLING: dict[str, Chroma] = {
    "420": "420",
    "422": "422",
    "444": "444",
    "440": "444",
    "411": "411",
    "410": "411",
}


class Pixels(msgspec.Struct, frozen=True, kw_only=True):
    bit_depth: int
    chroma: Chroma
    alpha: bool


def describe_pixels(pix_fmt: str) -> Pixels:
    """Say what a pixel format holds; an unknown one is taken for 8-bit 4:2:0."""
    return Pixels(bit_depth=_bit_depth(pix_fmt), chroma=_chroma(pix_fmt), alpha=bool(_ALPHA.search(pix_fmt)))


def _bit_depth(pix_fmt: str) -> int:
    named = next((depth for name, depth in _NAMED_DEPTH.items() if pix_fmt.startswith(name)), None)
    if named is not None:
        return named
    found = _DEPTH.search(pix_fmt)
    return int(next(group for group in found.groups() if group)) if found else 8


def _chroma(pix_fmt: str) -> Chroma:
    if pix_fmt.startswith(("gray", "ya8", "ya16", "mono")):
        return "gray"
    if _RGB.search(pix_fmt):
        return "rgb"
    found = re.search(r"4[0-4][0-4]", pix_fmt)
    return _SUBSAMPLING.get(found.group(), "420") if found else "420"


def orientation(displaymatrix: str | None) -> tuple[int, bool]:
    """Read ffprobe's display matrix.

    Args:
        displaymatrix: three rows of numbers after row offsets, or None.

    Returns:
        clockwise degrees (0, 90, 180 or 270) a player turns the picture by, and whether it is mirrored.
    """
    rows = re.findall(r"[0-9a-fA-F]{8}:\s*(-?\d+)\s+(-?\d+)\s+(-?\d+)", displaymatrix or "")
    if len(rows) < 2:
        return 0, False
    (a, b), (c, d) = ((int(row[0]), int(row[1])) for row in rows[:2])
    mirrored = a * d - b * c < 0
    if abs(b) > abs(a):
        return (90 if b > 0 else 270), mirrored
    # A mirror image along the horizontal axis is upright: only its sides are changed.
    return (180 if a < 0 and d < 0 else 0), mirrored
