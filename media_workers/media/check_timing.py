"""Rules 2, 3, 4, 5, 11 and 16: durations, the segment grid, keyframes, subtitles."""

from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise

from media_workers.media.check_expected import Evidence, Expectation
from media_workers.media.check_rules import finding
from media_workers.media.presentation import Stream, suffix_of
from media_workers.media.verify import Finding

EXTINF_SECONDS_OFF_MAX = 0.001
# A frame of AAC at 48 kHz, and one of AC-3, the longest of the codecs made here.
AUDIO_FRAME_SECONDS = 1536 / 48_000
# Rounding of whole numbers in lists of thousandths.
ROUNDING_SECONDS = 0.0006


def check_durations(evidence: Evidence) -> Iterator[Finding]:
    """Each listed duration against the segment's own boxes, net of the edit list or with it."""
    for stream in evidence.streams:
        rule = "extinf_mismatch" if stream.protocol == "hls" else "dash_timeline_mismatch"
        init, facts = evidence.init_of(stream), evidence.facts_of(stream)
        if init is None or evidence.kind_of(stream) == "text":
            continue
        priming = init.priming_ticks / init.timescale
        for number, (segment, fact) in enumerate(facts):
            real = fact.duration_ticks / init.timescale
            # The packager leaves the encoder's priming out of the first segment's duration.
            allowed = [real, real - priming] if number == 0 else [real]
            # A timeline may be shifted by the priming as a whole, which the last segment makes up for.
            if stream.protocol == "dash" and number == len(facts) - 1:
                allowed += [real - priming, real + priming]
            if min(abs(segment.seconds - value) for value in allowed) > EXTINF_SECONDS_OFF_MAX:
                yield finding(
                    rule,
                    stream.subject,
                    f"segment {number + 1} lasts {real:.3f} s, listed are {segment.seconds:.3f} s",
                )
                break


def check_totals(evidence: Evidence, expected: Expectation) -> Iterator[Finding]:
    """Pictures are exactly as long as the title; sound and text as rules 16 and 11 say."""
    title = title_seconds(evidence, expected)
    frame = frame_seconds(evidence, expected)
    if title is None:
        return
    for stream in evidence.streams:
        kind = evidence.kind_of(stream)
        real = sum(evidence.seconds_of(stream))
        if kind == "video" and abs(real - title) > frame + ROUNDING_SECONDS * len(stream.segments):
            yield finding("duration_mismatch", stream.subject, f"{real:.3f} s, the title has {title:.3f} s")
        elif (
            kind == "audio"
            and abs(real - _primed(evidence, stream) - title) > frame + 2 * AUDIO_FRAME_SECONDS
        ):
            yield finding("av_length_mismatch", stream.subject, f"{real:.3f} s, the title has {title:.3f} s")
        elif kind == "text" and stream.segments and stream.seconds < title - frame - AUDIO_FRAME_SECONDS:
            yield finding(
                "subtitles_short", stream.subject, f"{stream.seconds:.3f} s, the title has {title:.3f} s"
            )
    for manifest in evidence.manifests:
        said = manifest.duration_seconds
        if manifest.static and said is not None and abs(said - title) > frame + 2 * AUDIO_FRAME_SECONDS:
            yield finding(
                "dash_duration_mismatch", manifest.path, f"{said:.3f} s, the title has {title:.3f} s"
            )


def check_targets(evidence: Evidence) -> Iterator[Finding]:
    """TARGETDURATION bounds every segment (RFC 8216 4.3.3.1), and a finished playlist says so."""
    for stream in evidence.playlists.values():
        longest = max((segment.seconds for segment in stream.segments), default=0.0)
        if round(longest) > (stream.target_seconds or 0):
            yield finding(
                "target_duration_exceeded",
                stream.subject,
                f"a segment of {longest:.3f} s, the target is {stream.target_seconds or 0:g} s",
            )
        if not stream.ended:
            yield finding("endlist_missing", stream.subject, "the playlist has no end mark")


def check_grid(evidence: Evidence, expected: Expectation) -> Iterator[Finding]:
    """All pictures of a manifest are cut at the same instants, so that players may change between them."""
    frame = frame_seconds(evidence, expected)
    for protocol in ("hls", "dash"):
        cuts = {
            stream.subject: [*accumulate(evidence.seconds_of(stream))][:-1]
            for stream in evidence.streams
            if stream.protocol == protocol and evidence.kind_of(stream) == "video" and stream.segments
        }
        if len(cuts) < 2:
            continue
        usual = Counter(tuple(round(cut, 2) for cut in found) for found in cuts.values()).most_common(1)[0][0]
        reference = next(found for found in cuts.values() if tuple(round(cut, 2) for cut in found) == usual)
        for subject, found in cuts.items():
            pairs = list(zip(found, reference, strict=False))
            wrong = next(
                (number for number, (one, other) in enumerate(pairs) if abs(one - other) > frame), None
            )
            if wrong is not None:
                yield finding(
                    "segment_grid_mismatch",
                    subject,
                    f"cut {wrong + 1} lies at {found[wrong]:.3f} s, the others' at {reference[wrong]:.3f} s",
                )


def check_segments(evidence: Evidence) -> Iterator[Finding]:
    """Pictures start with a keyframe, and each segment where the one before it ended."""
    for stream in evidence.streams:
        init, facts = evidence.init_of(stream), evidence.facts_of(stream)
        kind = evidence.kind_of(stream)
        if init is None or kind == "text":
            continue
        unkeyed = next((s for s, fact in facts if kind == "video" and fact.first_is_key is False), None)
        if unkeyed is not None:
            yield finding(
                "segment_without_keyframe", unkeyed.ref.path, "its first picture needs an earlier one"
            )
        room = max(1, init.timescale // 1000)
        for (_, earlier), (segment, later) in pairwise(facts):
            if abs(earlier.decode_ticks + earlier.duration_ticks - later.decode_ticks) > room:
                yield finding(
                    "timeline_gap", segment.ref.path, "it does not start where the one before it ends"
                )
                break


def check_subtitles(evidence: Evidence) -> Iterator[Finding]:
    """Text segments are WebVTT."""
    for stream in evidence.streams:
        for segment in stream.segments:
            text = evidence.texts.get(segment.ref.path)
            if suffix_of(segment.ref.path) == ".vtt" and text is not None and not text.startswith("WEBVTT"):
                yield finding("subtitles_invalid", segment.ref.path, "it does not begin with WEBVTT")


def title_seconds(evidence: Evidence, expected: Expectation) -> float | None:
    """How long the title is: as planned, else as most of its pictures, else as its longest sound."""
    if expected.plan is not None:
        return expected.plan.duration_seconds
    lengths: dict[str, list[float]] = {"video": [], "audio": []}
    for stream in evidence.streams:
        kind = evidence.kind_of(stream)
        if kind is not None and kind in lengths and stream.segments:
            lengths[kind].append(round(sum(evidence.seconds_of(stream)) - _primed(evidence, stream), 3))
    found = lengths["video"] or lengths["audio"]
    if not found:
        return None
    most, times = Counter(found).most_common(1)[0]
    return most if times > 1 else max(found)


def frame_seconds(evidence: Evidence, expected: Expectation) -> float:
    """The length of a picture."""
    if expected.plan is not None and expected.plan.video is not None:
        return float(1 / expected.plan.rate)
    for stream in evidence.streams:
        init, facts = evidence.init_of(stream), evidence.facts_of(stream)
        if init is not None and init.kind == "vide" and facts:
            return facts[0][1].sample_ticks / init.timescale
    return 0.04


def _primed(evidence: Evidence, stream: Stream) -> float:
    init = evidence.init_of(stream)
    return init.priming_ticks / init.timescale if init is not None and init.kind == "soun" else 0.0
