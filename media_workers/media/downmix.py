"""Any channel layout to stereo or 5.1, by written weights: a film's voices are in its centre.

The weights are ITU-R BS.775's: what two sides share, and what a side takes from behind, is 3 dB down; the
low-frequency channel is left out of stereo. Nothing is guessed: a layout that is not written here gives its
first two channels, and the plan says so.
"""

from typing import Literal

Mapping = Literal["kept", "doubled", "downmixed", "upmixed", "first_pair"]
"""As it is; mono to both sides; to fewer channels; to more, silent ones; the first two of unknown ones."""

CHANNELS = {"stereo": 2, "5.1(side)": 6}
"""The layouts tracks are made in, with their number of channels."""

# -3 dB: what is shared by both sides keeps its power.
SHARED = "0.707"

_CENTRE = f"{SHARED}*FC"
_STEREO: dict[str, tuple[str, str]] = {
    "2.1": ("FL", "FR"),
    "3.0": (f"FL+{_CENTRE}", f"FR+{_CENTRE}"),
    "3.0(back)": (f"FL+{SHARED}*BC", f"FR+{SHARED}*BC"),
    "3.1": (f"FL+{_CENTRE}", f"FR+{_CENTRE}"),
    "4.0": (f"FL+{_CENTRE}+{SHARED}*BC", f"FR+{_CENTRE}+{SHARED}*BC"),
    "4.1": (f"FL+{_CENTRE}+{SHARED}*BC", f"FR+{_CENTRE}+{SHARED}*BC"),
    "quad": (f"FL+{SHARED}*BL", f"FR+{SHARED}*BR"),
    "quad(side)": (f"FL+{SHARED}*SL", f"FR+{SHARED}*SR"),
    "5.0": (f"FL+{_CENTRE}+{SHARED}*BL", f"FR+{_CENTRE}+{SHARED}*BR"),
    "5.0(side)": (f"FL+{_CENTRE}+{SHARED}*SL", f"FR+{_CENTRE}+{SHARED}*SR"),
    "5.1": (f"FL+{_CENTRE}+{SHARED}*BL", f"FR+{_CENTRE}+{SHARED}*BR"),
    "5.1(side)": (f"FL+{_CENTRE}+{SHARED}*SL", f"FR+{_CENTRE}+{SHARED}*SR"),
    "6.0": (f"FL+{_CENTRE}+{SHARED}*SL+0.5*BC", f"FR+{_CENTRE}+{SHARED}*SR+0.5*BC"),
    "6.1": (f"FL+{_CENTRE}+{SHARED}*SL+0.5*BC", f"FR+{_CENTRE}+{SHARED}*SR+0.5*BC"),
    "6.1(back)": (f"FL+{_CENTRE}+{SHARED}*BL+0.5*BC", f"FR+{_CENTRE}+{SHARED}*BR+0.5*BC"),
    "7.0": (f"FL+{_CENTRE}+{SHARED}*SL+{SHARED}*BL", f"FR+{_CENTRE}+{SHARED}*SR+{SHARED}*BR"),
    "7.1": (f"FL+{_CENTRE}+{SHARED}*SL+{SHARED}*BL", f"FR+{_CENTRE}+{SHARED}*SR+{SHARED}*BR"),
    "7.1(wide)": (f"FL+{_CENTRE}+{SHARED}*FLC+{SHARED}*BL", f"FR+{_CENTRE}+{SHARED}*FRC+{SHARED}*BR"),
}

# FL, FR, FC, LFE, SL, SR of a 5.1 track; a channel the source lacks stays silent.
_SILENT = "0*FL"
_SURROUND: dict[str, tuple[str, str, str, str, str, str]] = {
    "3.0": ("FL", "FR", "FC", _SILENT, _SILENT, _SILENT),
    "3.1": ("FL", "FR", "FC", "LFE", _SILENT, _SILENT),
    "4.0": ("FL", "FR", "FC", _SILENT, f"{SHARED}*BC", f"{SHARED}*BC"),
    "4.1": ("FL", "FR", "FC", "LFE", f"{SHARED}*BC", f"{SHARED}*BC"),
    "quad": ("FL", "FR", _SILENT, _SILENT, "BL", "BR"),
    "quad(side)": ("FL", "FR", _SILENT, _SILENT, "SL", "SR"),
    "5.0": ("FL", "FR", "FC", _SILENT, "BL", "BR"),
    "5.0(side)": ("FL", "FR", "FC", _SILENT, "SL", "SR"),
    "5.1": ("FL", "FR", "FC", "LFE", "BL", "BR"),
    "5.1(side)": ("FL", "FR", "FC", "LFE", "SL", "SR"),
    "6.0": ("FL", "FR", "FC", _SILENT, f"SL+{SHARED}*BC", f"SR+{SHARED}*BC"),
    "6.1": ("FL", "FR", "FC", "LFE", f"SL+{SHARED}*BC", f"SR+{SHARED}*BC"),
    "6.1(back)": ("FL", "FR", "FC", "LFE", f"BL+{SHARED}*BC", f"BR+{SHARED}*BC"),
    "7.0": ("FL", "FR", "FC", _SILENT, f"{SHARED}*SL+{SHARED}*BL", f"{SHARED}*SR+{SHARED}*BR"),
    "7.1": ("FL", "FR", "FC", "LFE", f"{SHARED}*SL+{SHARED}*BL", f"{SHARED}*SR+{SHARED}*BR"),
    "7.1(wide)": (f"FL+{SHARED}*FLC", f"FR+{SHARED}*FRC", "FC", "LFE", "BL", "BR"),
}
_KEPT = {"stereo": {"stereo", "downmix"}, "5.1(side)": {"5.1", "5.1(side)"}}
# Channels of a layout by its name: "5.1(side)" has six.
_NAMED_CHANNELS = {"quad": 4, "quad(side)": 4}

KNOWN_LAYOUTS = frozenset({"mono", "stereo", "downmix", *_STEREO})


def has_surround(channels: int, layout: str | None) -> bool:
    """Whether a 5.1 track can be made of this one without guessing."""
    return layout in _SURROUND and channels == _channels_of(layout)


def mapping_of(channels: int, layout: str | None, target: str) -> Mapping:
    """What `pan_filter` does to a track's channels.

    Args:
        channels: the source's.
        layout: the source's, in FFmpeg's words; None when it says none.
        target: a layout of `CHANNELS`.
    """
    if layout in _KEPT[target] and channels == CHANNELS[target]:
        return "kept"
    if channels == 1:
        return "doubled"
    if target != "stereo":
        return "upmixed" if channels < CHANNELS[target] else "downmixed"
    if layout in _STEREO and channels == _channels_of(layout):
        return "downmixed"
    # Two channels without a name are left and right in every container that has pairs.
    return "kept" if channels == 2 else "first_pair"


def pan_filter(channels: int, layout: str | None, target: str) -> tuple[str, dict[str, str]]:
    """Name and options of the filter that brings a track to a layout of `CHANNELS`.

    Raises:
        ValueError: a 5.1 track of channels nobody knows; ask `has_surround` first.
    """
    if target == "stereo":
        return "pan", {"args": f"stereo|{_stereo(channels, layout)}"}
    if layout not in _SURROUND or not has_surround(channels, layout):
        raise ValueError(f"layout {layout!r} with {channels} channels: no 5.1 track can be made of it")
    weights = zip(("FL", "FR", "FC", "LFE", "SL", "SR"), _SURROUND[layout], strict=True)
    return "pan", {"args": "|".join(("5.1(side)", *(f"{name}={weight}" for name, weight in weights)))}


def _stereo(channels: int, layout: str | None) -> str:
    match mapping_of(channels, layout, "stereo"):
        case "doubled":
            return "c0=c0|c1=c0"
        case "downmixed":
            left, right = _STEREO[layout or ""]
            return f"FL={left}|FR={right}"
        case _:
            return "c0=c0|c1=c1"


def _channels_of(layout: str | None) -> int:
    name = layout or ""
    if name in _NAMED_CHANNELS:
        return _NAMED_CHANNELS[name]
    digits = name.split("(")[0].split(".")
    return sum(int(digit) for digit in digits) if all(digit.isdigit() for digit in digits) else 0
