"""DASH manifests read as values, and what is added to our own."""

import math
import re
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction

import msgspec
from lxml import etree

from media_workers.media.mp4 import SegmentIndex
from media_workers.media.presentation import KeyLine, Kind, Ref, Segment, Stream, resolve
from media_workers.media.stills_plan import StillsPlan

_MPD = "urn:mpeg:dash:schema:mpd:2011"
_CENC = "urn:mpeg:cenc:2013"
NAMESPACE = {"mpd": _MPD, "cenc": _CENC}
MP4_PROTECTION = "urn:mpeg:dash:mp4protection:2011"
THUMBNAILS = "http://dashif.org/guidelines/thumbnail_tile"
SEGMENTS_MAX = 100_000
_KINDS: dict[str, Kind] = {"video": "video", "audio": "audio", "text": "text", "image": "image"}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One MPD; `images` are thumbnail sheets, `bare` the adaptation sets that say no content type."""

    path: str
    static: bool
    duration_seconds: float | None
    streams: tuple[Stream, ...]
    images: tuple[Stream, ...] = ()
    bare: tuple[str, ...] = ()


class _Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What holds inside a period: its base address and length."""

    manifest: str
    base: str
    seconds: float


def read_mpd(text: str, path: str = "manifest.mpd") -> Manifest:
    """Read a manifest.

    Args:
        text: its content.
        path: where it lies; its own paths are relative to it.

    Raises:
        ValueError: it is no manifest; the message says what is wrong.
    """
    root = _root(text)
    if etree.QName(root).localname != "MPD":
        raise ValueError("the manifest's outermost element is no MPD")
    duration = _seconds(root.get("mediaPresentationDuration"))
    streams: list[Stream] = []
    bare: list[str] = []
    try:
        periods = root.findall("mpd:Period", NAMESPACE)
        for period in periods:
            length = _seconds(period.get("duration"))
            if length is None and len(periods) == 1:
                length = duration
            base = _based(_based(path, root), period)
            scope = _Scope(manifest=path, base=base, seconds=length or 0.0)
            for number, adaptation in enumerate(period.findall("mpd:AdaptationSet", NAMESPACE)):
                found = list(_adaptation(adaptation, scope))
                streams += found
                if not adaptation.get("contentType") and not adaptation.get("mimeType"):
                    bare += [f"{path}#set{number}"] if not any(item.mime_type for item in found) else []
    except (ValueError, OverflowError) as error:
        raise ValueError(f"the manifest cannot be understood: {error}") from error
    return Manifest(
        path=path,
        static=root.get("type", "static") == "static",
        duration_seconds=duration,
        streams=tuple(item for item in streams if item.kind != "image"),
        images=tuple(item for item in streams if item.kind == "image"),
        bare=tuple(bare),
    )


def with_index(stream: Stream, index: SegmentIndex) -> Stream:
    """A single-file stream with the segments that its index lists."""
    path = stream.index.path if stream.index else ""
    segments = tuple(
        Segment(
            ref=Ref(path=path, offset=entry.offset, length=entry.size),
            seconds=entry.ticks / index.timescale,
            init=stream.init,
            keys=stream.keys,
        )
        for entry in index.entries
    )
    return msgspec.structs.replace(stream, segments=segments)


def with_storyboard(text: str, stills: StillsPlan, *, sheet_media: str = "sprite-$Number%03d$.jpg") -> str:
    """Add the storyboard's sheets as an image adaptation set (DASH-IF IOP 6.2.6).

    Args:
        text: a manifest of ours.
        stills: the plan of the sheets.
        sheet_media: address of a sheet relative to the manifest.
    """
    root = _root(text)
    period = root.find("mpd:Period", NAMESPACE)
    if period is None:
        raise ValueError("the manifest has no period")
    per_sheet = stills.columns * stills.rows
    width, height = stills.tile_width * stills.columns, stills.tile_height * stills.rows
    adaptation = etree.SubElement(
        period, f"{{{_MPD}}}AdaptationSet", contentType="image", mimeType="image/jpeg"
    )
    etree.SubElement(
        adaptation,
        f"{{{_MPD}}}SegmentTemplate",
        media=sheet_media,
        timescale="1000",
        duration=str(round(stills.interval_seconds * per_sheet * 1000)),
        startNumber="1",
    )
    representation = etree.SubElement(
        adaptation,
        f"{{{_MPD}}}Representation",
        id="storyboard",
        bandwidth=str(_SHEET_BANDWIDTH),
        width=str(width),
        height=str(height),
    )
    etree.SubElement(
        representation,
        f"{{{_MPD}}}EssentialProperty",
        schemeIdUri=THUMBNAILS,
        value=f"{stills.columns}x{stills.rows}",
    )
    etree.indent(root, space="  ")
    document: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return document.decode("utf-8") + "\n"


# What a sheet costs a player that fetches it while its seconds pass; players only compare it.
_SHEET_BANDWIDTH = 20_000


def _root(text: str) -> etree._Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("the manifest declares entities, which none needs")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=True)
    try:
        return etree.fromstring(text.encode("utf-8"), parser)
    except etree.XMLSyntaxError as problem:
        raise ValueError(f"the manifest is not well-formed: {problem}") from problem


def _adaptation(adaptation: etree._Element, scope: _Scope) -> Iterator[Stream]:
    base = _based(scope.base, adaptation)
    for representation in adaptation.findall("mpd:Representation", NAMESPACE):
        inner = msgspec.structs.replace(scope, base=_based(base, representation))
        yield _stream(representation, adaptation, inner)


def _stream(representation: etree._Element, adaptation: etree._Element, scope: _Scope) -> Stream:
    def said(name: str) -> str | None:
        return representation.get(name) or adaptation.get(name)

    mime = said("mimeType") or ""
    kind = _KINDS.get(adaptation.get("contentType") or mime.split("/")[0])
    keys = tuple(_protections([*adaptation, *representation]))
    stream = Stream(
        subject=f"{scope.manifest}#{representation.get('id', '?')}",
        manifest=scope.manifest,
        protocol="dash",
        kind="text" if mime in ("application/ttml+xml", "text/vtt") else kind,
        segments=(),
        codecs=tuple((said("codecs") or "").split(",")) if said("codecs") else (),
        width=int(said("width") or 0),
        height=int(said("height") or 0),
        frame_rate=_rate(said("frameRate")),
        language=adaptation.get("lang"),
        bandwidth=int(representation.get("bandwidth") or 0) or None,
        keys=keys,
        mime_type=mime,
        roles=tuple(role.get("value") or "" for role in adaptation.findall("mpd:Role", NAMESPACE)),
    )
    return _with_segments(stream, representation, adaptation, scope)


def _with_segments(
    stream: Stream, representation: etree._Element, adaptation: etree._Element, scope: _Scope
) -> Stream:
    def find(name: str) -> etree._Element | None:
        own = representation.find(f"mpd:{name}", NAMESPACE)
        return own if own is not None else adaptation.find(f"mpd:{name}", NAMESPACE)

    template = find("SegmentTemplate")
    if template is not None:
        return _templated(stream, template, representation, scope)
    whole = Ref(path=scope.base)
    single = find("SegmentBase")
    if single is not None:
        initial = single.find("mpd:Initialization", NAMESPACE)
        init = _ranged(scope.base, initial.get("range")) if initial is not None else None
        return msgspec.structs.replace(stream, init=init, index=_ranged(scope.base, single.get("indexRange")))
    listed = find("SegmentList")
    if listed is not None:
        return _listed(stream, listed, scope)
    # One file without an index, as subtitles beside a film are.
    segment = Segment(ref=whole, seconds=scope.seconds, keys=stream.keys)
    return msgspec.structs.replace(stream, segments=(segment,))


def _templated(
    stream: Stream, template: etree._Element, representation: etree._Element, scope: _Scope
) -> Stream:
    names = {
        "RepresentationID": representation.get("id", ""),
        "Bandwidth": representation.get("bandwidth", "0"),
    }
    timescale = int(template.get("timescale", "1"))
    first = int(template.get("startNumber", "1"))
    initial, media = template.get("initialization"), template.get("media", "")
    init = Ref(path=resolve(scope.base, _filled(initial, names))) if initial else None
    segments = []
    for number, (start, ticks) in enumerate(_timeline(template, timescale, scope.seconds)):
        address = _filled(media, {**names, "Number": str(first + number), "Time": str(start)})
        segments.append(
            Segment(
                ref=Ref(path=resolve(scope.base, address)),
                seconds=ticks / timescale,
                init=init,
                keys=stream.keys,
            )
        )
    return msgspec.structs.replace(stream, init=init, segments=tuple(segments))


def _timeline(template: etree._Element, timescale: int, seconds: float) -> Iterator[tuple[int, int]]:
    """Begin and length in ticks of each segment."""
    timeline = template.find("mpd:SegmentTimeline", NAMESPACE)
    if timeline is None:
        ticks = int(template.get("duration", "0"))
        if ticks <= 0:
            raise ValueError("a segment template has neither a timeline nor a duration")
        total = Fraction(seconds).limit_denominator(1_000_000) * timescale
        count = min(math.ceil(total / ticks), SEGMENTS_MAX)
        for number in range(count):
            yield number * ticks, min(ticks, math.ceil(total - number * ticks))
        return
    start = count = 0
    for entry in timeline:
        start = int(entry.get("t") or start)
        for _ in range(1 + max(0, int(entry.get("r", "0")))):
            count += 1
            if count > SEGMENTS_MAX:
                raise ValueError(f"a segment timeline has more than {SEGMENTS_MAX} segments")
            yield start, int(entry.get("d", "0"))
            start += int(entry.get("d", "0"))


def _listed(stream: Stream, listed: etree._Element, scope: _Scope) -> Stream:
    timescale, ticks = int(listed.get("timescale", "1")), int(listed.get("duration", "0"))
    initial = listed.find("mpd:Initialization", NAMESPACE)
    init = None
    if initial is not None:
        init = _ranged(resolve(scope.base, initial.get("sourceURL") or ""), initial.get("range"))
    segments = tuple(
        Segment(
            ref=_ranged(resolve(scope.base, item.get("media") or ""), item.get("mediaRange")),
            seconds=ticks / timescale,
            init=init,
            keys=stream.keys,
        )
        for item in listed.findall("mpd:SegmentURL", NAMESPACE)
    )
    return msgspec.structs.replace(stream, init=init, segments=segments)


def _protections(elements: list[etree._Element]) -> Iterator[KeyLine]:
    """One line for the scheme, one for each system; the key id stands beside the scheme."""
    found = [item for item in elements if item.tag == f"{{{_MPD}}}ContentProtection"]
    general = next((item for item in found if item.get("schemeIdUri") == MP4_PROTECTION), None)
    scheme = (general.get("value") or "") if general is not None else ""
    for item in found:
        key_id = item.get(f"{{{_CENC}}}default_KID")
        if key_id is None and general is not None:
            key_id = general.get(f"{{{_CENC}}}default_KID")
        system = (item.get("schemeIdUri") or "").lower()
        yield KeyLine(
            system="" if system == MP4_PROTECTION else system.removeprefix("urn:uuid:"),
            scheme=scheme,
            key_id=key_id.replace("-", "").lower() if key_id else None,
        )


def _based(base: str, element: etree._Element) -> str:
    found = element.find("mpd:BaseURL", NAMESPACE)
    if found is None or not found.text:
        return base
    joined = resolve(base, found.text.strip())
    # What ends in a slash names a folder, which normalising a path forgets.
    return f"{joined}/" if found.text.strip().endswith("/") and not joined.endswith("/") else joined


def _ranged(path: str, text: str | None) -> Ref:
    if not text:
        return Ref(path=path)
    first, _, last = text.partition("-")
    return Ref(path=path, offset=int(first), length=int(last) - int(first) + 1)


def _filled(template: str, names: dict[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if not match.group(1):
            return "$"
        value = names.get(match.group(1), match.group(0))
        return value.zfill(int(match.group(2))) if match.group(2) else value

    return re.sub(r"\$(\w*)(?:%0(\d+)d)?\$", fill, template)


def _seconds(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return msgspec.convert(text, timedelta).total_seconds()
    except msgspec.ValidationError as error:
        raise ValueError(f"the manifest has a duration that is none: {text[:40]}") from error


def _rate(text: str | None) -> float | None:
    try:
        return float(Fraction(text)) if text else None
    except (ValueError, ZeroDivisionError):
        return None
