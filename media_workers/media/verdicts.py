"""Ingest verdicts: each has a stable code, a severity and one sentence for the person who uploaded."""

import re
from collections.abc import Iterable

from media_workers.media.catalogue import Severity, Verdict, verdict
from media_workers.media.facts import SourceFacts
from media_workers.media.rules import AUDIO_RULES, FILE_RULES, VIDEO_RULES, Limits
from media_workers.media.scan import ScanFacts
from media_workers.media.scan_rules import judge_scan

__all__ = ["Limits", "Severity", "Verdict", "judge", "judge_head", "judge_unopened", "rejection"]

HEAD_BYTES = 4096
"""How much of a file's beginning `judge_head` and `judge_unopened` want."""

_WORST_FIRST: dict[Severity, int] = {"reject": 0, "warn": 1, "normalise": 2, "info": 3}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Text that makes a player open other files or addresses.
_REFERENCING = re.compile(
    rb"#EXTM3U|ffconcat version|<\?xml[^>]*>\s*<(?:MPD|smil)|<MPD\b|<smil\b|v=0\r?\no=|\[playlist\]",
    re.IGNORECASE,
)
_REFERENCING_DEMUXERS = frozenset(
    {"hls", "concat", "dash", "sdp", "rtsp", "rtp", "imf", "webm_dash_manifest", "hls,applehttp", "lavfi"}
)
_NOT_MEDIA = {
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF-": "a PDF document",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\x1f\x8b": "a compressed archive",
    b"Rar!": "an archive",
    b"7z\xbc\xaf": "an archive",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
}


def judge_head(size_bytes: int, head: bytes) -> Verdict | None:
    """Judge a file by its size and first bytes, before any tool opens it; None when nothing is against it.

    Args:
        size_bytes: the file's size.
        head: its first `HEAD_BYTES` bytes.
    """
    if size_bytes == 0:
        return verdict("empty_file")
    text = head[:HEAD_BYTES].removeprefix(_BYTE_ORDER_MARK).lstrip()
    if _REFERENCING.match(text):
        return verdict("forbidden_container")
    kind = next((kind for magic, kind in _NOT_MEDIA.items() if head.startswith(magic)), None)
    return verdict("not_media", reason=f"it is {kind}") if kind else None


def judge_unopened(size_bytes: int, head: bytes, stderr: str) -> Verdict:
    """Say why ffprobe could not open a file; always a reject.

    Args:
        size_bytes: the file's size.
        head: its first `HEAD_BYTES` bytes.
        stderr: what ffprobe said.
    """
    judged = judge_head(size_bytes, head)
    if judged is not None:
        return judged
    refused = re.search(r"\[([\w,]+) @ [^\]]*\] Format not on whitelist", stderr)
    if refused and refused.group(1) in _REFERENCING_DEMUXERS:
        return verdict("forbidden_container")
    if "Not detecting m3u8/hls" in stderr:
        return verdict("forbidden_container")
    if "moov atom not found" in stderr:
        return verdict("truncated_no_index")
    return verdict("not_media", reason="no video container was recognised in it")


def judge(
    facts: SourceFacts,
    limits: Limits | None = None,
    *,
    audio_only_allowed: bool = False,
    scan: ScanFacts | None = None,
) -> tuple[Verdict, ...]:
    """Apply every rule, worst first; a rejected source keeps its other findings.

    Args:
        facts: of the source; without a packet scan the rules about timing stay silent.
        limits: what is accepted; None for the defaults.
        audio_only_allowed: the profile's word on sources without a picture.
        scan: what the decode scan saw; without it the rules about content stay silent.
    """
    limits = limits or Limits()
    found = [rule(facts, limits) for rule in FILE_RULES]
    if facts.video is not None:
        found += [rule(facts.video, facts, limits) for rule in VIDEO_RULES]
    elif facts.audio:
        found.append(_sound_alone(allowed=audio_only_allowed))
    found += [rule(track, facts) for track in facts.audio for rule in AUDIO_RULES]
    if scan is not None:
        found += judge_scan(facts, scan)
    return tuple(sorted((one for one in found if one), key=lambda one: _WORST_FIRST[one.severity]))


def rejection(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first reject, which is the reason a video fails with; None when the source is accepted."""
    return next((one for one in verdicts if one.severity == "reject"), None)


def _sound_alone(*, allowed: bool) -> Verdict:
    return verdict("audio_only") if allowed else verdict("no_video", what="sound and no picture")
