"""Static HDR metadata: of what display the picture was graded on, and how bright it gets."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec

# Units of SMPTE ST 2086 as H.265 writes them: chromaticities in 1/50000, luminances in 1/10000 cd/m2.
CHROMA_UNITS, LUMINANCE_UNITS = 50_000, 10_000
_CORNERS = ("green", "blue", "red")


class Mastering(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Mastering display and content light of a PQ title.

    Chromaticities are whole units of 1/50000 as (x, y), luminances whole units of 1/10000 cd/m2. `max_cll`
    and `max_fall` are cd/m2; 0 means unknown.
    """

    green: tuple[int, int]
    blue: tuple[int, int]
    red: tuple[int, int]
    white: tuple[int, int]
    luminance_max: int
    luminance_min: int
    max_cll: int = 0
    max_fall: int = 0

    @property
    def x265_display(self) -> str:
        """As x265 takes it: "G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)"."""
        corners = (("G", self.green), ("B", self.blue), ("R", self.red), ("WP", self.white))
        text = "".join(f"{name}({x},{y})" for name, (x, y) in corners)
        return f"{text}L({self.luminance_max},{self.luminance_min})"

    @property
    def svt_display(self) -> str:
        """As SVT-AV1 takes it: the same order in real numbers."""
        corners = (("G", self.green), ("B", self.blue), ("R", self.red), ("WP", self.white))
        text = "".join(f"{name}({x / CHROMA_UNITS:.5f},{y / CHROMA_UNITS:.5f})" for name, (x, y) in corners)
        return (
            f"{text}L({self.luminance_max / LUMINANCE_UNITS:.4f},{self.luminance_min / LUMINANCE_UNITS:.4f})"
        )


def read_mastering(frames: Mapping[str, Any]) -> Mastering | None:
    """The metadata of a title's first picture.

    Args:
        frames: what `first_frame_args` printed.

    Returns:
        None when there is no mastering display, or one that makes no sense.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for frame in frames.get("frames", [])[:1]:
        for side in frame.get("side_data_list", []):
            found[str(side.get("side_data_type"))] = side
    display = found.get("Mastering display metadata")
    if display is None:
        return None
    light = found.get("Content light level metadata", {})
    try:
        corners = {
            name: (
                _units(display[f"{name}_x"], CHROMA_UNITS),
                _units(display[f"{name}_y"], CHROMA_UNITS),
            )
            for name in (*_CORNERS, "white_point")
        }
        made = Mastering(
            green=corners["green"],
            blue=corners["blue"],
            red=corners["red"],
            white=corners["white_point"],
            luminance_max=_units(display["max_luminance"], LUMINANCE_UNITS),
            luminance_min=_units(display["min_luminance"], LUMINANCE_UNITS),
            max_cll=int(light.get("max_content", 0)),
            max_fall=int(light.get("max_average", 0)),
        )
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    return made if 0 <= made.luminance_min < made.luminance_max else None


def _units(value: str, units: int) -> int:
    return round(Fraction(value) * units)
