"""Colour: what a source is taken to be, and what every output is made and tagged as."""

from typing import Literal

import msgspec

from media_workers.media.facts import Colour, VideoFacts
from media_workers.media.hdr import Mastering

# From this height on, a picture without tags is taken for high definition.
HD_LINES_MIN = 720
_BT709 = Colour(primaries="bt709", transfer="bt709", matrix="bt709", range="tv")
_NTSC = Colour(primaries="smpte170m", transfer="smpte170m", matrix="smpte170m", range="tv")
_PAL = Colour(primaries="bt470bg", transfer="smpte170m", matrix="bt470bg", range="tv")
_BY_MATRIX = {"bt709": _BT709, "smpte170m": _NTSC, "bt470bg": _PAL}
_PAL_LINES = frozenset({576, 288})
_KEPT_PRIMARIES = frozenset({"bt709", "smpte170m", "bt470bg"})
_KEPT_TRANSFERS = frozenset({"bt709", "smpte170m", "iec61966-2-1", "bt470bg", "gamma28"})
_RANGES: dict[str, Literal["pq", "hlg"]] = {"smpte2084": "pq", "arib-std-b67": "hlg"}
_HDR_TRANSFERS = {"hdr10": "smpte2084", "hlg": "arib-std-b67", "dolby_vision": "smpte2084"}


class ColourPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """From `source` to `output`. `assumed` when the source said nothing (or not all) about itself.

    `tone_map` is set for a high dynamic range that must become standard, `convert` when primaries or matrix
    are none that players of SDR agree on, `from_rgb` when there was no luma to begin with. `output` is for
    the standard range; `delivered` gives any. `mastering` is what a PQ source says of its display.
    """

    source: Colour
    output: Colour
    assumed: bool
    tone_map: bool = False
    convert: bool = False
    from_rgb: bool = False
    dynamic_range: Literal["sdr", "pq", "hlg"] = "sdr"
    mastering: Mastering | None = None


def plan_colour(video: VideoFacts) -> ColourPlan:
    """Decide the colour of a title's SDR outputs."""
    tags = video.colour
    if video.chroma == "rgb":
        source = Colour(primaries="bt709", transfer="bt709", matrix="gbr", range="pc")
        return ColourPlan(source=source, output=_BT709, assumed=tags.primaries == "unknown", from_rgb=True)
    if video.hdr is not None:
        source = Colour(
            primaries=_known(tags.primaries, "bt2020"),
            transfer=_HDR_TRANSFERS[video.hdr],
            matrix=_known(tags.matrix, "bt2020nc"),
            range=_known(tags.range, "tv"),
        )
        return ColourPlan(
            source=source,
            output=_BT709,
            assumed=source != tags,
            tone_map=True,
            dynamic_range=_RANGES[source.transfer],
            mastering=video.mastering,
        )
    default = _BY_MATRIX.get(tags.matrix) or _untagged(video)
    source = Colour(
        primaries=_known(tags.primaries, default.primaries),
        transfer=_known(tags.transfer, default.transfer),
        matrix=_known(tags.matrix, default.matrix),
        range=_known(tags.range, "pc" if video.pix_fmt.startswith("yuvj") else "tv"),
    )
    assumed = "unknown" in {tags.primaries, tags.transfer, tags.matrix}
    convert = (
        source.primaries not in _KEPT_PRIMARIES
        or source.transfer not in _KEPT_TRANSFERS
        or source.matrix not in _BY_MATRIX
    )
    output = _BT709 if convert else msgspec.structs.replace(source, range="tv")
    return ColourPlan(source=source, output=output, assumed=assumed, convert=convert)


def delivered(colour: ColourPlan, kept: Literal["sdr", "pq", "hlg"]) -> Colour:
    """What a rendition of this dynamic range is made and tagged as."""
    if kept == "sdr":
        return colour.output
    transfer = "smpte2084" if kept == "pq" else "arib-std-b67"
    return Colour(primaries="bt2020", transfer=transfer, matrix="bt2020nc", range="tv")


def _untagged(video: VideoFacts) -> Colour:
    if min(video.coded_width, video.coded_height) >= HD_LINES_MIN:
        return _BT709
    return _PAL if video.coded_height in _PAL_LINES else _NTSC


def _known(tag: str, default: str) -> str:
    return default if tag == "unknown" else tag
