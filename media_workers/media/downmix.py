"""Any channel layout to stereo, by written weights: a film's voices are in its centre."""

# -3 dB: what is shared by both sides keeps its power.
SHARED = "0.707"

_CENTRE = f"{SHARED}*FC"
_WEIGHTS: dict[str, tuple[str, str]] = {
    "3.0": (f"FL+{_CENTRE}", f"FR+{_CENTRE}"),
    "4.0": (f"FL+{_CENTRE}+{SHARED}*BC", f"FR+{_CENTRE}+{SHARED}*BC"),
    "quad": (f"FL+{SHARED}*BL", f"FR+{SHARED}*BR"),
    "quad(side)": (f"FL+{SHARED}*SL", f"FR+{SHARED}*SR"),
    "5.0": (f"FL+{_CENTRE}+{SHARED}*BL", f"FR+{_CENTRE}+{SHARED}*BR"),
    "5.0(side)": (f"FL+{_CENTRE}+{SHARED}*SL", f"FR+{_CENTRE}+{SHARED}*SR"),
    "5.1": (f"FL+{_CENTRE}+{SHARED}*BL", f"FR+{_CENTRE}+{SHARED}*BR"),
    "5.1(side)": (f"FL+{_CENTRE}+{SHARED}*SL", f"FR+{_CENTRE}+{SHARED}*SR"),
    "6.1": (f"FL+{_CENTRE}+{SHARED}*SL+0.5*BC", f"FR+{_CENTRE}+{SHARED}*SR+0.5*BC"),
    "7.1": (f"FL+{_CENTRE}+{SHARED}*SL+{SHARED}*BL", f"FR+{_CENTRE}+{SHARED}*SR+{SHARED}*BR"),
}
KNOWN_LAYOUTS = frozenset({"mono", "stereo", "downmix", *_WEIGHTS})


def stereo_filter(channels: int, layout: str | None) -> tuple[str, dict[str, str]]:
    """Name and options of the filter that makes a track stereo. The low-frequency channel is dropped."""
    if channels == 1:
        return "pan", {"args": "stereo|c0=c0|c1=c0"}
    if layout in _WEIGHTS:
        left, right = _WEIGHTS[layout]
        return "pan", {"args": f"stereo|FL={left}|FR={right}"}
    if channels == 2:
        return "aformat", {"channel_layouts": "stereo"}
    # Nobody knows which channel is which: the first two are the safest pair.
    return "pan", {"args": "stereo|c0=c0|c1=c1"}
