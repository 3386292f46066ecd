"""Rules 6 to 10: what a multivariant playlist says of its streams, and where keyframes are."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from media_workers.media.check_expected import Evidence
from media_workers.media.check_rules import finding
from media_workers.media.codec_names import eight_bit, same_codec
from media_workers.media.hls import Master, RenditionLine, Variant
from media_workers.media.mp4 import InitFacts
from media_workers.media.presentation import Ref, Stream
from media_workers.media.verify import Finding

BANDWIDTH_SHARE_OFF_MAX = 0.1
PEAK_RATIO_MAX = 2.0
FRAME_RATE_SHARE_OFF_MAX = 0.001
# A segment of a second or so says nothing about peaks.
PEAK_SEGMENTS_MIN = 3
_TEXT_CODECS = ("wvtt", "stpp")


def check_bandwidth(evidence: Evidence) -> Iterator[Finding]:
    """BANDWIDTH and AVERAGE-BANDWIDTH against the bytes, per variant and per representation."""
    for master in evidence.masters:
        for variant in master.variants:
            parts = _parts(evidence, master, variant)
            if parts:
                yield from _check_rates(
                    evidence, variant.path, parts, (variant.bandwidth, variant.average_bandwidth)
                )
    for manifest in evidence.manifests:
        for stream in manifest.streams:
            if evidence.kind_of(stream) != "text":
                yield from _check_rates(evidence, stream.subject, [[stream]], (stream.bandwidth, None))


def check_media(evidence: Evidence) -> Iterator[Finding]:
    """CODECS, RESOLUTION, FRAME-RATE and VIDEO-RANGE against the init segments and samples."""
    for master in evidence.masters:
        for variant in master.variants:
            yield from _check_codecs(evidence, master, variant)
            stream = evidence.playlists.get(variant.path)
            init = evidence.init_of(stream) if stream else None
            if stream is not None and init is not None and init.kind == "vide":
                yield from _check_picture(evidence, variant, stream, init)
        for variant in master.iframes:
            stream = evidence.playlists.get(variant.path)
            init = evidence.init_of(stream) if stream else None
            if (
                init is not None
                and variant.width
                and (variant.width, variant.height) != (init.width, init.height)
            ):
                yield finding("resolution_mismatch", variant.path, _sizes(variant, init))


def check_groups(evidence: Evidence) -> Iterator[Finding]:
    """Groups that variants name exist, have one default at most, and languages."""
    for master in evidence.masters:
        groups: dict[tuple[str, str], list[RenditionLine]] = defaultdict(list)
        for line in master.renditions:
            groups[line.kind, line.group].append(line)
        for variant in master.variants:
            for kind, group in (("AUDIO", variant.audio), ("SUBTITLES", variant.subtitles)):
                if group and (kind, group) not in groups:
                    yield finding(
                        "group_missing", variant.path, f"{master.path} has no rendition of {kind} {group}"
                    )
        yield from _check_use(master, groups)
        yield from _check_defaults(master, groups)
        for line in master.renditions:
            if line.kind in ("AUDIO", "SUBTITLES") and not line.language:
                yield finding("language_missing", line.path or line.name, f"{line.kind} {line.name} has none")


def check_iframes(evidence: Evidence) -> Iterator[Finding]:
    """Each range of a keyframe playlist is a keyframe, from its `moof` or alone."""
    places = _keyframe_places(evidence)
    for stream in evidence.playlists.values():
        if not stream.iframes_only:
            continue
        for number, segment in enumerate(stream.segments):
            known = places.get(segment.ref.path)
            if known is not None and segment.ref.key not in known:
                yield finding(
                    "iframe_range_wrong",
                    stream.subject,
                    f"entry {number + 1}, {segment.ref.key}, is no keyframe of that file",
                )
                break
    for master in evidence.masters:
        pictures = [variant for variant in master.variants if variant.width]
        if pictures and not master.iframes:
            yield finding("iframes_missing", master.path, "players cannot show pictures while seeking")


def _parts(evidence: Evidence, master: Master, variant: Variant) -> list[list[Stream]]:
    """The variant's own stream, and those of its sound, of which a player takes one."""
    own = evidence.playlists.get(variant.path)
    if own is None:
        return []
    paths = [line.path for line in master.renditions if line.kind == "AUDIO" and line.group == variant.audio]
    sounds = [evidence.playlists[path] for path in paths if path and path in evidence.playlists]
    if variant.audio and not paths:
        return []
    # A variant of sound alone names its own playlist in its group again.
    apart = [stream for stream in sounds if stream.subject != own.subject]
    if variant.audio and sounds and not apart:
        return [[own]]
    return [[own], *([apart] if apart else [])]


def _check_rates(
    evidence: Evidence, subject: str, parts: Sequence[Sequence[Stream]], said: tuple[int | None, int | None]
) -> Iterator[Finding]:
    measured = [[_rates(evidence, stream) for stream in part] for part in parts]
    if any(rates is None for part in measured for rates in part):
        return
    known = [[rates for rates in part if rates] for part in measured]
    peak = sum(max(rates[0] for rates in part) for part in known)
    single = sum(max(rates[1] for rates in part) for part in known)
    average = sum(max(rates[2] for rates in part) for part in known)
    listed, listed_average = said
    low, high = peak * (1 - BANDWIDTH_SHARE_OFF_MAX), max(peak, single) * (1 + BANDWIDTH_SHARE_OFF_MAX)
    if listed is not None and not low <= listed <= high:
        yield finding("bandwidth_wrong", subject, f"{listed} bit/s listed, the measured peak is {peak:.0f}")
    if listed_average is not None and abs(listed_average - average) > average * BANDWIDTH_SHARE_OFF_MAX:
        yield finding(
            "average_bandwidth_wrong", subject, f"{listed_average} bit/s listed, measured are {average:.0f}"
        )
    if len(parts[0][0].segments) >= PEAK_SEGMENTS_MIN and peak > average * PEAK_RATIO_MAX:
        yield finding("peak_too_high", subject, f"a peak of {peak:.0f} bit/s, the average is {average:.0f}")


def _rates(evidence: Evidence, stream: Stream) -> tuple[float, float, float] | None:
    """Peak over half to one and a half target durations (RFC 8216 4.3.4.2), of one segment, and average."""
    sizes = [evidence.bytes_of(segment) for segment in stream.segments]
    seconds = evidence.seconds_of(stream)
    if not sizes or any(not size for size in sizes) or sum(seconds) <= 0:
        return None
    bits = [8 * (size or 0) for size in sizes]
    target = stream.target_seconds or max(seconds)
    peak = 0.0
    for first in range(len(bits)):
        length = total = 0.0
        for number in range(first, len(bits)):
            length, total = length + seconds[number], total + bits[number]
            if length > 1.5 * target:
                break
            if length >= 0.5 * target:
                peak = max(peak, total / length)
    average = sum(bits) / sum(seconds)
    single = max(bit / second for bit, second in zip(bits, seconds, strict=True) if second > 0)
    return peak or average, single, average


def _check_codecs(evidence: Evidence, master: Master, variant: Variant) -> Iterator[Finding]:
    parts = [stream for part in _parts(evidence, master, variant) for stream in part]
    inits = [init for stream in parts if (init := evidence.init_of(stream)) is not None]
    if not parts or len(inits) != len(parts):
        return
    real = {init.codec for init in inits}
    missing = [codec for codec in real if not any(same_codec(listed, codec) for listed in variant.codecs)]
    unknown = [
        listed
        for listed in variant.codecs
        if listed not in _TEXT_CODECS and not any(same_codec(listed, codec) for codec in real)
    ]
    if missing or unknown:
        listed = ", ".join(variant.codecs) or "nothing"
        yield finding(
            "codecs_mismatch", variant.path, f"{listed} listed, inside is {', '.join(sorted(real))}"
        )


def _check_picture(
    evidence: Evidence, variant: Variant, stream: Stream, init: InitFacts
) -> Iterator[Finding]:
    if (variant.width, variant.height) != (init.width, init.height):
        yield finding("resolution_mismatch", variant.path, _sizes(variant, init))
    rates = frame_rates(evidence, stream, init)
    listed = variant.frame_rate
    if listed and rates and all(abs(listed - rate) > rate * FRAME_RATE_SHARE_OFF_MAX for rate in rates):
        yield finding("frame_rate_mismatch", variant.path, f"{listed:g} listed, measured are {rates[0]:.3f}")
    real = init.video_range or evidence.ranges.get(variant.path) or ("SDR" if eight_bit(init.codec) else None)
    if real is not None and (variant.video_range or "SDR") != real:
        yield finding(
            "video_range_mismatch", variant.path, f"{variant.video_range or 'SDR'} listed, it is {real}"
        )


def frame_rates(evidence: Evidence, stream: Stream, init: InitFacts) -> list[float]:
    """Pictures a second by the usual picture, and on average; empty when unknown."""
    facts = evidence.facts_of(stream)
    ticks, samples = sum(fact.duration_ticks for _, fact in facts), sum(fact.samples for _, fact in facts)
    if not ticks or not facts[0][1].sample_ticks:
        return []
    return [init.timescale / facts[0][1].sample_ticks, samples * init.timescale / ticks]


def _check_use(master: Master, groups: dict[tuple[str, str], list[RenditionLine]]) -> Iterator[Finding]:
    used = {("AUDIO", variant.audio) for variant in master.variants}
    used |= {("SUBTITLES", variant.subtitles) for variant in master.variants}
    for kind, group in groups:
        if master.variants and kind in ("AUDIO", "SUBTITLES") and (kind, group) not in used:
            yield finding("group_missing", master.path, f"no variant names the {kind} group {group}")


def _check_defaults(master: Master, groups: dict[tuple[str, str], list[RenditionLine]]) -> Iterator[Finding]:
    for (kind, group), lines in groups.items():
        if sum(line.default for line in lines) > 1:
            yield finding("default_wrong", master.path, f"{kind} {group} has more than one default")
        if any(line.default and not line.autoselect for line in lines):
            yield finding("default_wrong", master.path, f"{kind} {group}: a default must be chosen by itself")
    sounds = [line for line in master.renditions if line.kind == "AUDIO"]
    if sounds and not any(line.default for line in sounds):
        yield finding("default_missing", master.path, "no sound is the default; players take any")


def _keyframe_places(evidence: Evidence) -> dict[str, set[str]]:
    """For each file with known boxes, the keys of all ranges that show a keyframe."""
    places: dict[str, set[str]] = defaultdict(set)
    for stream in evidence.streams:
        if stream.protocol != "hls":
            continue
        for segment, facts in evidence.facts_of(stream):
            path, base = segment.ref.path, segment.ref.offset or 0
            for offset, size in facts.keyframes:
                places[path].add(Ref(path=path, offset=base + offset, length=size).key)
                starts = [start for start in facts.fragments if start < offset]
                # From the moof box on, so that the first keyframe of a fragment can be read by itself.
                for start in starts[-1:]:
                    whole = Ref(path=path, offset=base + start, length=offset + size - start)
                    places[path].add(whole.key)
    # What begins with no keyframe is told by another rule.
    return {path: found for path, found in places.items() if path not in _unkeyed(evidence)}


def _unkeyed(evidence: Evidence) -> set[str]:
    return {
        segment.ref.path
        for stream in evidence.streams
        for segment, facts in evidence.facts_of(stream)
        if facts.first_is_key is False
    }


def _sizes(variant: Variant, init: InitFacts) -> str:
    return f"{variant.width}x{variant.height} listed, the picture has {init.width}x{init.height}"
