"""Rules 14, 15 and 17 to 19: what only the plan, a decoder or a player can tell."""

from collections.abc import Iterator

from media_workers.media.check_expected import Evidence, Expectation
from media_workers.media.check_rules import finding
from media_workers.media.hls import Master
from media_workers.media.package import kept_out_of_hls
from media_workers.media.plan import Plan
from media_workers.media.presentation import Stream
from media_workers.media.verify import Finding

LOUDNESS_LU_OFF_MAX = 1.0
WHOLE_SECONDS_OFF_MAX = 0.2


def check_against_plan(evidence: Evidence, expected: Expectation) -> Iterator[Finding]:
    """Everything planned is there, frame for frame."""
    if expected.plan is not None:
        yield from _check_listing(evidence, expected.plan, texts=expected.texts)
        for stream in evidence.streams:
            facts = evidence.facts_of(stream)
            if evidence.kind_of(stream) != "video" or not facts:
                continue
            frames = sum(fact.samples for _, fact in facts)
            # A segment too few is said by the rule of durations.
            off = abs(sum(evidence.seconds_of(stream)) - expected.plan.duration_seconds)
            if frames != expected.plan.frames_total and off < WHOLE_SECONDS_OFF_MAX:
                yield finding(
                    "frame_count_mismatch",
                    stream.subject,
                    f"{frames} frames, planned are {expected.plan.frames_total}",
                )


def check_measured(expected: Expectation) -> Iterator[Finding]:
    """What decoding, measuring and playing have shown."""
    for subject, complaint in (expected.decoded or {}).items():
        if complaint:
            yield finding("decode_error", subject, complaint)
    for track, loudness in (expected.loudness or {}).items():
        if abs(loudness.measured - loudness.target) > LOUDNESS_LU_OFF_MAX:
            yield finding(
                "loudness_off", track, f"{loudness.measured:.1f} LUFS, the target is {loudness.target:.1f}"
            )
    for rendition, passed in (expected.quality or {}).items():
        if passed is not True:
            what = "it has no verdict" if passed is None else "it did not pass"
            yield finding("quality_verdict_missing", rendition, what)
    if expected.playback:
        yield finding("playback_failed", "browser", expected.playback)


def _check_listing(evidence: Evidence, plan: Plan, *, texts: int | None) -> Iterator[Finding]:
    for master in evidence.masters:
        listed = {folder_of(path) for path in _paths(master)}
        wanted = {item.name for item in plan.renditions if not kept_out_of_hls(plan, item)}
        yield from _compare(master.path, listed, wanted | {track.name for track in plan.audio}, texts)
    for manifest in evidence.manifests:
        listed = {name_of(stream) for stream in manifest.streams}
        wanted = {item.name for item in plan.renditions}
        yield from _compare(manifest.path, listed, wanted | {track.name for track in plan.audio}, texts)


def _paths(master: Master) -> list[str]:
    variants = [variant.path for variant in master.variants]
    return [*variants, *(line.path for line in master.renditions if line.path)]


def _compare(manifest: str, listed: set[str], wanted: set[str], texts: int | None) -> Iterator[Finding]:
    captions = {name for name in listed if name.startswith("text_")}
    for name in sorted(wanted - listed):
        yield finding("rendition_missing", name, f"it is planned, and {manifest} does not list it")
    for name in sorted(listed - wanted - captions):
        yield finding("rendition_missing", name, f"{manifest} lists it, and it is not planned")
    if texts is not None and len(captions) != texts:
        yield finding("rendition_missing", manifest, f"{len(captions)} text tracks listed, there are {texts}")


def name_of(stream: Stream) -> str:
    """The folder of a stream's segments, which is the name of its rendition or track."""
    return folder_of(stream.segments[0].ref.path if stream.segments else stream.subject)


def folder_of(path: str) -> str:
    """Name of the folder that a file of our packages lies in."""
    return path.rpartition("/")[0].rpartition("/")[2]
