"""Encoders on graphics cards: used when asked for, reported by FFmpeg and tried; never assumed."""

import re
from collections.abc import Collection, Iterable, Mapping

import msgspec

from media_workers.media.guards import QUIET
from media_workers.media.ladder import Rendition
from media_workers.media.profile_records import Codec

KINDS = ("nvenc", "qsv", "vaapi", "videotoolbox")
TRIAL_SIZE, TRIAL_FRAMES = "320x180", 10
_FORMATS = {"vaapi": "format=nv12,hwupload", "qsv": "format=nv12"}
_LINE = re.compile(r"^ V[A-Z.]{5} (\S+)", re.MULTILINE)


def hardware_encoders(listing: str) -> tuple[str, ...]:
    """Encoders on graphics cards that a build of FFmpeg knows of.

    Args:
        listing: what `ffmpeg -encoders` printed.

    Returns:
        names such as "hevc_nvenc"; a build knows of them whether or not there is a card.
    """
    known = {f"{codec}_{kind}" for codec in ("h264", "hevc", "av1") for kind in KINDS}
    return tuple(name for name in _LINE.findall(listing) if name in known)


def listing_args(ffmpeg: str) -> list[str]:
    """Print the encoders of a build, for `hardware_encoders`."""
    return [ffmpeg, "-hide_banner", "-nostdin", "-encoders"]


def trial_args(ffmpeg: str, encoder: str) -> list[str]:
    """Encode a few generated pictures: exit code 0 means that there is a card that can."""
    kind = encoder.rpartition("_")[2]
    device = ["-init_hw_device", f"{kind}=card", "-filter_hw_device", "card"] if kind == "vaapi" else []
    picture = ["-f", "lavfi", "-i", f"color=c=black:s={TRIAL_SIZE}:r=25"]
    return [
        *(ffmpeg, *QUIET, "-loglevel", "error", *device, *picture),
        *("-frames:v", str(TRIAL_FRAMES), "-vf", _FORMATS.get(kind, "format=nv12")),
        *("-c:v", encoder, "-f", "null", "-"),
    ]


def choose_hardware(wanted: Iterable[str], usable: Collection[str]) -> dict[Codec, str]:
    """The encoder of each codec that a card takes over.

    Args:
        wanted: kinds the operator's settings ask for, best first, such as ("nvenc",).
        usable: encoders that were reported and whose trial went well.
    """
    chosen: dict[Codec, str] = {}
    codecs: tuple[Codec, ...] = ("h264", "hevc", "av1")
    for kind in wanted:
        for codec in codecs:
            if f"{codec}_{kind}" in usable:
                chosen.setdefault(codec, f"{codec}_{kind}")
    return chosen


def on_hardware(renditions: Iterable[Rendition], chosen: Mapping[Codec, str]) -> tuple[Rendition, ...]:
    """The renditions with their encoders replaced where a card takes them over.

    Standard range alone: what a card's encoder does with HDR metadata differs from card to card.
    """
    return tuple(
        msgspec.structs.replace(rendition, encoder=chosen[rendition.codec], preset="hardware")
        if rendition.codec in chosen and rendition.dynamic_range == "sdr" and rendition.bit_depth == 8
        else rendition
        for rendition in renditions
    )
