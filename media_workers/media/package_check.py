"""The check of a finished package: what the manifests promise, held against the files and the plan.

It works on anybody's HLS or DASH package; what only our own plan can say is skipped without one.
"""

from collections.abc import Iterator

import msgspec

from media_workers.media.check_dash import check_dash
from media_workers.media.check_encryption import check_encryption
from media_workers.media.check_expected import Evidence, Expectation
from media_workers.media.check_files import check_content_types, check_listed, check_published, check_strays
from media_workers.media.check_master import check_bandwidth, check_groups, check_iframes, check_media
from media_workers.media.check_plan import check_against_plan, check_measured
from media_workers.media.check_rules import RULES, RuleResult, finding
from media_workers.media.check_timing import (
    check_durations,
    check_grid,
    check_segments,
    check_subtitles,
    check_targets,
    check_totals,
)
from media_workers.media.verify import Finding


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the validator found.

    Attributes:
        place: what was checked.
        passed: no rule of severity "error" is broken.
        findings: every broken rule, errors first.
        rules: every rule of the catalogue and how the package did by it.
        streams: how many were looked at.
        segments: likewise.
    """

    place: str
    passed: bool
    findings: tuple[Finding, ...]
    rules: tuple[RuleResult, ...]
    streams: int
    segments: int


def check_package(evidence: Evidence, expected: Expectation | None = None) -> Report:
    """Check a package.

    Args:
        evidence: the package as it was read.
        expected: what it should be, as far as that is known.
    """
    expected = expected or Expectation()
    found = dict.fromkeys(_all_findings(evidence, expected))
    findings = tuple(sorted(found, key=lambda item: (item.severity != "error", RULES[item.rule].number)))
    skipped = dict(_skipped(evidence, expected))
    broken = {item.rule for item in findings}
    rules = tuple(
        RuleResult(
            id=rule.id,
            number=rule.number,
            severity=rule.severity,
            state="failed" if rule.id in broken else "skipped" if rule.id in skipped else "passed",
            reason=None if rule.id in broken else skipped.get(rule.id),
        )
        for rule in RULES.values()
    )
    return Report(
        place=evidence.place,
        passed=all(item.severity != "error" for item in findings),
        findings=findings,
        rules=rules,
        streams=len(evidence.streams),
        segments=sum(len(stream.segments) for stream in evidence.streams),
    )


def _all_findings(evidence: Evidence, expected: Expectation) -> Iterator[Finding]:
    yield from evidence.broken
    if not evidence.masters and not evidence.playlists and not evidence.manifests:
        if not evidence.broken:
            yield finding("manifest_missing", evidence.place, "there is no manifest: no .m3u8 and no .mpd")
        return
    yield from check_listed(evidence)
    yield from check_content_types(evidence)
    yield from check_durations(evidence)
    yield from check_totals(evidence, expected)
    yield from check_targets(evidence)
    yield from check_grid(evidence, expected)
    yield from check_segments(evidence)
    yield from check_bandwidth(evidence)
    yield from check_media(evidence)
    yield from check_groups(evidence)
    yield from check_iframes(evidence)
    yield from check_subtitles(evidence)
    yield from check_dash(evidence)
    yield from check_encryption(evidence, expected)
    yield from check_against_plan(evidence, expected)
    yield from check_measured(expected)
    yield from check_strays(evidence)
    yield from check_published(evidence)


def _skipped(evidence: Evidence, expected: Expectation) -> Iterator[tuple[str, str]]:
    """Rules that could not be looked at, with the reason."""
    without = {
        "needs the plan of the title": (expected.plan, ("frame_count_mismatch", "rendition_missing")),
        "needs the plan of its protection": (expected.protection, ("drm_system_missing",)),
        "needs the keys": (evidence.leaks, ("key_published",)),
        "nothing was decoded": (expected.decoded, ("decode_error",)),
        "nothing was measured": (expected.loudness, ("loudness_off",)),
        "needs the verdicts of the quality gate": (expected.quality, ("quality_verdict_missing",)),
        "no browser was asked": (expected.playback, ("playback_failed",)),
        "this place cannot be listed": (evidence.files, ("file_stray",)),
        "there is no publish manifest": (evidence.published, ("file_changed",)),
        "files are read from a folder": (evidence.content_types or None, ("content_type_wrong",)),
        "there is no HLS master": (evidence.masters or None, _MASTER_RULES),
        "there is no HLS playlist": (evidence.playlists or None, _PLAYLIST_RULES),
        "there is no DASH manifest": (evidence.manifests or None, _DASH_RULES),
        "no segment has boxes that could be read": (evidence.segments or None, _BOX_RULES),
    }
    for reason, (given, rules) in without.items():
        if given is None:
            yield from ((rule, reason) for rule in rules)


_MASTER_RULES = (
    "codecs_mismatch",
    "resolution_mismatch",
    "frame_rate_mismatch",
    "video_range_mismatch",
    "group_missing",
    "default_wrong",
    "default_missing",
    "language_missing",
    "iframes_missing",
    "average_bandwidth_wrong",
)
_PLAYLIST_RULES = (
    "extinf_mismatch",
    "target_duration_exceeded",
    "endlist_missing",
    "iframe_range_wrong",
    "key_uri_shared",
)
_DASH_RULES = (
    "dash_timeline_mismatch",
    "dash_duration_mismatch",
    "dash_attributes_missing",
    "dash_codecs_mismatch",
)
_BOX_RULES = (
    "extinf_mismatch",
    "timeline_gap",
    "segment_without_keyframe",
    "encryption_missing",
    "scheme_mismatch",
)
