"""A DASH manifest with segment timelines, read as values."""

import re
import xml.etree.ElementTree as ET
from fractions import Fraction

import msgspec

NAMESPACE = {"mpd": "urn:mpeg:dash:schema:mpd:2011"}
SEGMENTS_MAX = 100_000


class Representation(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: its files and the length its timeline adds up to."""

    init: str
    segments: tuple[str, ...]
    seconds: Fraction


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    static: bool
    representations: tuple[Representation, ...]


def read_mpd(text: str) -> Manifest:
    """Read a manifest.

    Raises:
        ValueError: it is no manifest of this kind; the message says what is wrong.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("the manifest declares entities, which none needs")
    try:
        # Entities, the danger of XML from strangers, are refused above.
        root = ET.fromstring(text)  # noqa: S314
    except ET.ParseError as problem:
        raise ValueError(f"the manifest is not well-formed: {problem}") from problem
    found = [
        _representation(representation, adaptation)
        for adaptation in root.iterfind(".//mpd:AdaptationSet", NAMESPACE)
        for representation in adaptation.iterfind("mpd:Representation", NAMESPACE)
    ]
    return Manifest(static=root.get("type") == "static", representations=tuple(found))


def _representation(representation: ET.Element, adaptation: ET.Element) -> Representation:
    template = representation.find("mpd:SegmentTemplate", NAMESPACE)
    if template is None:
        template = adaptation.find("mpd:SegmentTemplate", NAMESPACE)
    timeline = template.find("mpd:SegmentTimeline", NAMESPACE) if template is not None else None
    if template is None or timeline is None:
        raise ValueError("a representation has no segment timeline")
    try:
        durations = [
            int(entry.get("d", "0"))
            for entry in timeline
            for _ in range(1 + min(int(entry.get("r", "0")), SEGMENTS_MAX))
        ]
        first, timescale = int(template.get("startNumber", "1")), int(template.get("timescale", "1"))
    except ValueError as problem:
        raise ValueError("a segment timeline holds something that is no number") from problem
    media = template.get("media", "")
    return Representation(
        init=template.get("initialization", ""),
        segments=tuple(_numbered(media, first + number) for number in range(len(durations))),
        seconds=Fraction(sum(durations), timescale),
    )


def _numbered(template: str, number: int) -> str:
    def fill(match: re.Match[str]) -> str:
        return f"{number:0{int(match.group(1) or 1)}d}"

    return re.sub(r"\$Number(?:%0(\d+)d)?\$", fill, template)
