"""The ingest rules that need a full decode: damage, and content that nobody can have meant."""

from collections.abc import Iterable, Iterator

from media_workers.media.catalogue import Severity, Verdict, verdict
from media_workers.media.facts import SourceFacts
from media_workers.media.rates import parse_rate
from media_workers.media.scan import Interval, ScanFacts, StreamScan, heard_tracks

DAMAGED_SHARE_WARN_MAX = 0.001
DAMAGED_SHARE_MAX = 0.02
# A cut recording starts with pictures whose references are gone: that much is never a reason to refuse.
DAMAGED_SECONDS_FEW = 0.25
AUDIO_FRAMES_FEW = 12
# A picture that is black or still for more of the title than this is so all the time.
ALL_THE_TIME_SHARE = 0.95
# Of one picture, or hardly any, nothing can be said.
STILL_SECONDS_MIN = 2.0


def judge_scan(facts: SourceFacts, scan: ScanFacts) -> list[Verdict]:
    """Apply the rules that look at what the decode scan saw.

    Args:
        facts: of the source, merged with the scan's.
        scan: of the same source.
    """
    return [*_damage(facts, scan), *_picture(facts, scan), *_silence(scan)]


def _damage(facts: SourceFacts, scan: ScanFacts) -> Iterator[Verdict]:
    if facts.video is not None:
        rate = float(parse_rate(facts.video.frame_rate) or 25)
        few = max(1, round(rate * DAMAGED_SECONDS_FEW))
        found = _stream_damage(scan.stream(facts.video.index), "picture", few)
        if found is not None:
            yield found
    for track, index in heard_tracks(facts):
        found = _stream_damage(scan.stream(index), f"sound track {track + 1}", AUDIO_FRAMES_FEW)
        if found is not None:
            yield found


def _stream_damage(stream: StreamScan | None, what: str, few: int) -> Verdict | None:
    if stream is None or stream.frames == 0:
        return verdict("corrupt", bad="all", total="the", what=what)
    bad, total = stream.errors + stream.damaged, stream.errors + stream.frames
    if bad == 0:
        return None
    if stream.bad_share >= DAMAGED_SHARE_MAX and bad > few:
        return verdict("corrupt", bad=bad, total=total, what=what)
    severity: Severity = "warn" if stream.bad_share < DAMAGED_SHARE_WARN_MAX else "normalise"
    return verdict("corrupt_frames", severity, bad=bad, total=total, what=what)


def _picture(facts: SourceFacts, scan: ScanFacts) -> Iterator[Verdict]:
    if facts.video is None or not scan.frames:
        return
    if scan.parameter_changes:
        yield verdict("parameters_changed", times=scan.parameter_changes)
    seconds = scan.duration_seconds
    if seconds < STILL_SECONDS_MIN:
        return
    if _covered(scan.black) >= ALL_THE_TIME_SHARE * seconds:
        yield verdict("black_video")
    elif _covered(scan.frozen) >= ALL_THE_TIME_SHARE * seconds:
        yield verdict("frozen_video")


def _silence(scan: ScanFacts) -> Iterator[Verdict]:
    for track in scan.loudness:
        if track.silent:
            yield verdict("silent_audio", track=track.track + 1)


def _covered(intervals: Iterable[Interval]) -> float:
    return sum(one.end_seconds - one.start_seconds for one in intervals)
