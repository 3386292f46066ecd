"""What a request may do to the picture itself: a part of the title, a part of the picture, a watermark."""

import hashlib
import unicodedata
from typing import Literal

import msgspec

from media_workers.media.values import PlanError, fields, name_of, number, shown, text, whole

TEXT_CHARS_MAX = 80
KEY_CHARS_MAX = 400
SECONDS_MAX = 24 * 3600.0
SIDE_MAX = 8192
# Of the picture's height: letters below this cannot be read, above it nothing else can be seen.
SCALE_MIN, SCALE_MAX = 0.02, 0.5
CLIP_SECONDS_MIN = 0.1
POSITIONS = ("top-left", "top-right", "bottom-left", "bottom-right", "centre")
# A key of the store: no step upwards, no scheme, no leading slash.
_KEY = r"(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9][A-Za-z0-9._/-]*"

Position = Literal["top-left", "top-right", "bottom-left", "bottom-right", "centre"]


class Clip(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of the title in seconds from its first picture; without `end` it goes to the last one."""

    start: float = 0.0
    end: float | None = None


class Crop(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of the picture in pixels as a viewer sees it: upright, with square pixels."""

    x: int
    y: int
    width: int
    height: int


class Watermark(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A text or an image (its key in the media store), drawn on every rendition.

    `scale` is its height in parts of the picture's height; `opacity` goes from 0, nothing, to 1.
    """

    text: str | None = None
    image: str | None = None
    position: Position = "bottom-right"
    opacity: float = 0.7
    scale: float = 0.06

    @property
    def recipe_name(self) -> str:
        """What stands for its file in a recipe: equal for equal watermarks and for no others."""
        digest = hashlib.sha256(f"{self.text}\0{self.image}".encode()).hexdigest()
        return f"WATERMARK-{digest[:16]}"


def read_clip(path: str, value: object) -> Clip | None:
    """The clip of a request; None for null. Raises PlanError."""
    if value is None:
        return None
    given = fields(path, value, ("start", "end"))
    start = number(f"{path}.start", given.get("start", 0.0), 0.0, SECONDS_MAX)
    end = given.get("end")
    if end is None:
        return Clip(start=start)
    end = number(f"{path}.end", end, 0.0, SECONDS_MAX)
    if end - start < CLIP_SECONDS_MIN:
        raise PlanError(f"{path}.end", f"must be at least {CLIP_SECONDS_MIN:g} seconds after start")
    return Clip(start=start, end=end)


def read_crop(path: str, value: object) -> Crop | None:
    """The crop of a request; None for null. Raises PlanError."""
    if value is None:
        return None
    given = fields(path, value, ("x", "y", "width", "height"))
    return Crop(
        x=whole(f"{path}.x", given.get("x", 0), 0, SIDE_MAX),
        y=whole(f"{path}.y", given.get("y", 0), 0, SIDE_MAX),
        width=whole(f"{path}.width", given.get("width"), 16, SIDE_MAX),
        height=whole(f"{path}.height", given.get("height"), 16, SIDE_MAX),
    )


def read_watermark(path: str, value: object) -> Watermark | None:
    """The watermark of a request; None for null. Raises PlanError."""
    if value is None:
        return None
    given = fields(path, value, ("text", "image", "position", "opacity", "scale"))
    words, image = given.get("text"), given.get("image")
    if (words is None) == (image is None):
        raise PlanError(path, "needs either a text or an image")
    if words is not None:
        words = _printable(f"{path}.text", words)
    if image is not None:
        image = text(
            f"{path}.image",
            image,
            chars_max=KEY_CHARS_MAX,
            pattern=_KEY,
            meaning="the key of a picture in the media store",
        )
    plain = Watermark(text="-")
    position = name_of(f"{path}.position", given.get("position", plain.position), POSITIONS)
    return Watermark(
        text=words,
        image=image,
        position=position,  # type: ignore[arg-type] # one of POSITIONS, as `name_of` proves
        opacity=number(f"{path}.opacity", given.get("opacity", plain.opacity), 0.05, 1.0),
        scale=number(f"{path}.scale", given.get("scale", plain.scale), SCALE_MIN, SCALE_MAX),
    )


def cropped_size(path: str, crop: Crop, width: int, height: int) -> tuple[int, int]:
    """Size of a crop of a picture of this display size.

    Raises:
        PlanError: it reaches over the picture's edge.
    """
    if crop.x + crop.width > width or crop.y + crop.height > height:
        raise PlanError(path, f"reaches over the edge of a picture of {width}x{height}")
    return crop.width, crop.height


def _printable(path: str, value: object) -> str:
    """One line of visible characters: it says nothing else to the tool that reads its file."""
    words = text(path, value, chars_max=TEXT_CHARS_MAX)
    clean = "".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in words)
    clean = " ".join(clean.split())
    if not clean:
        raise PlanError(path, f"{shown(value)} has nothing to show")
    return clean
