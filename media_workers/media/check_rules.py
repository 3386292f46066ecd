"""The catalogue of the package validator: every rule with its number, severity and sentence."""

from typing import Literal

import msgspec

from media_workers.media.verify import Finding

Severity = Literal["warn", "error"]
RuleState = Literal["passed", "failed", "skipped"]


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One promise of a sound package. `number` groups rules that guard the same thing."""

    id: str
    number: int
    severity: Severity
    sentence: str


class RuleResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a package did by one rule; `reason` says why it was skipped."""

    id: str
    number: int
    severity: Severity
    state: RuleState
    reason: str | None = None


def _rule(number: int, name: str, sentence: str, severity: Severity = "error") -> Rule:
    return Rule(id=name, number=number, severity=severity, sentence=sentence)


_ALL = (
    _rule(1, "manifest_missing", "There is at least one manifest, and every listed playlist exists."),
    _rule(1, "manifest_invalid", "Manifests can be read and say what their formats demand."),
    _rule(1, "segment_missing", "Every file that a manifest lists exists."),
    _rule(1, "segment_empty", "No listed file is empty, and a listed byte range lies inside its file."),
    _rule(1, "segment_unreadable", "Every init and media segment has the boxes of one."),
    _rule(1, "content_type_wrong", "Files are served with the media type of what they are."),
    _rule(2, "extinf_mismatch", "A listed duration is within 1 ms of the segment's real one."),
    _rule(2, "duration_mismatch", "The listed durations add up to the title's."),
    _rule(3, "target_duration_exceeded", "No segment, rounded, is longer than the target duration."),
    _rule(3, "endlist_missing", "A finished playlist says that it has ended."),
    _rule(4, "segment_grid_mismatch", "Renditions are cut at the same instants, within a frame."),
    _rule(5, "segment_without_keyframe", "Every picture segment starts with a keyframe."),
    _rule(5, "timeline_gap", "Each segment starts where the one before it ended."),
    _rule(6, "bandwidth_wrong", "BANDWIDTH is within 10 % of the measured peak, and never below it."),
    _rule(6, "average_bandwidth_wrong", "AVERAGE-BANDWIDTH is within 10 % of the measured average."),
    _rule(6, "peak_too_high", "The peak is at most twice the average.", "warn"),
    _rule(7, "codecs_mismatch", "CODECS is what the sample entries say."),
    _rule(8, "resolution_mismatch", "RESOLUTION is the size of the picture."),
    _rule(8, "frame_rate_mismatch", "FRAME-RATE is the rate of the picture."),
    _rule(8, "video_range_mismatch", "VIDEO-RANGE is the transfer of the picture."),
    _rule(9, "group_missing", "Every group that a variant names exists, and every group has a rendition."),
    _rule(9, "default_wrong", "A group has one default at most, and it is chosen by itself."),
    _rule(9, "default_missing", "The sound of a title has a default.", "warn"),
    _rule(9, "language_missing", "Every sound and text rendition has a language."),
    _rule(10, "iframe_range_wrong", "Keyframe playlists point at whole keyframes."),
    _rule(10, "iframes_missing", "A package with pictures has keyframe playlists.", "warn"),
    _rule(11, "subtitles_short", "Subtitles cover the whole title."),
    _rule(11, "subtitles_invalid", "Subtitle segments are WebVTT."),
    _rule(12, "dash_timeline_mismatch", "DASH and HLS list the same segments with the same durations."),
    _rule(12, "dash_duration_mismatch", "mediaPresentationDuration is the title's length."),
    _rule(12, "dash_attributes_missing", "Adaptation sets have a content type, sound and text a language."),
    _rule(12, "dash_codecs_mismatch", "A representation's codecs and size are what its init segment says."),
    _rule(13, "encryption_missing", "What the manifests call encrypted is encrypted, and all of it."),
    _rule(13, "encryption_unsignalled", "What is encrypted is called so by every manifest that lists it."),
    _rule(13, "scheme_mismatch", "The scheme in manifests and boxes is the same."),
    _rule(13, "key_id_mismatch", "The key id in manifests and boxes is the same."),
    _rule(13, "drm_system_missing", "Every system of the plan is signalled, in manifests and boxes."),
    _rule(13, "key_uri_shared", "Every key has a FairPlay address of its own."),
    _rule(13, "key_published", "No published file contains a content key."),
    _rule(14, "decode_error", "First, middle and last segment of each rendition decode without an error."),
    _rule(15, "frame_count_mismatch", "Every rendition has exactly the planned frames."),
    _rule(15, "rendition_missing", "Everything that was planned is listed, and nothing else."),
    _rule(16, "av_length_mismatch", "Sound and picture end within a frame of each other."),
    _rule(17, "loudness_off", "Sound is within 1 LU of its target."),
    _rule(18, "quality_verdict_missing", "Every rendition to be judged has passed the quality gate."),
    _rule(19, "playback_failed", "A browser plays the package."),
    _rule(20, "file_stray", "No file lies in the package that nothing lists."),
    _rule(20, "file_changed", "Every published file is the one its publish manifest lists."),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}


def finding(rule: str, subject: str, message: str) -> Finding:
    """A broken rule; its severity is the catalogue's."""
    return Finding(rule=rule, severity=RULES[rule].severity, subject=subject, message=message)
