"""Subtitles as WebVTT that nobody has to fear: read leniently, cleaned, written strictly.

The text is a stranger's and ends in web pages. What leaves has cues and nothing else (no style, region or
note), in order and inside the title, with markup from a short list; everything else is text and escaped.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from media_workers.media.cue_markup import CUE_CHARS_MAX, clean_markup

CUES_MAX = 50_000
FILE_BYTES_MAX = 64 << 20
# Containers without a cue's end get FFmpeg's largest number: longer than this is no length at all.
UNKNOWN_SECONDS = 24 * 3600
# How long a cue without an end stands when no other one follows.
UNKNOWN_SHOWN_SECONDS = 10.0
# Two lines of a dialogue that overlap by less were meant to follow each other.
OVERLAP_FORGIVEN_SECONDS = 0.1
CUE_MS_MIN = 1
# Any title ends long before; no number and infinity are beyond it.
TIME_SECONDS_MAX = 1e9

_CLOCK = r"(?:(\d{1,5}):)?([0-5]?\d):([0-5]?\d)[.,](\d{3})"
_TIMING = re.compile(rf"{_CLOCK}[ \t]+-->[ \t]+{_CLOCK}(?:[ \t]+(.*))?")
_SETTINGS = (
    re.compile(r"vertical:(rl|lr)"),
    re.compile(r"line:(-?\d{1,3}|\d{1,3}(\.\d{1,3})?%)(,(start|center|end))?"),
    re.compile(r"position:\d{1,3}(\.\d{1,3})?%(,(line-left|center|line-right))?"),
    re.compile(r"size:\d{1,3}(\.\d{1,3})?%"),
    re.compile(r"align:(start|center|end|left|right)"),
)
_PERCENT = re.compile(r":(\d+(?:\.\d+)?)%")


class Cue(msgspec.Struct, frozen=True, kw_only=True):
    """One cue. Times are seconds; `text` is WebVTT cue text, lines separated by newlines."""

    start: float
    end: float
    text: str
    settings: str = ""


class CleanText(msgspec.Struct, frozen=True, kw_only=True):
    """Cues fit to publish, and sentences about what was changed to make them so."""

    cues: tuple[Cue, ...]
    warnings: tuple[str, ...]


def read_webvtt(text: str) -> Iterator[Cue]:
    """The cues of a WebVTT or SubRip document, as they stand; whatever is no cue is passed over."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    position = 0
    while position < len(lines):
        found = _TIMING.fullmatch(lines[position].strip())
        position += 1
        if found is None:
            continue
        begin = position
        while position < len(lines) and lines[position].strip() and not _is_timing(lines[position]):
            position += 1
        yield Cue(
            start=_seconds(found.groups()[:4]),
            end=_seconds(found.groups()[4:8]),
            text="\n".join(lines[begin:position]),
            settings=found[9] or "",
        )


def clean_cues(cues: Iterable[Cue], *, shift_seconds: float, duration_seconds: float) -> CleanText:
    """Bring cues into the title's time and make them safe.

    Args:
        cues: as read, at most `CUES_MAX` of which are looked at.
        shift_seconds: the title's zero on the cues' clock.
        duration_seconds: the title's length; nothing is shown beyond it.

    Returns:
        cues sorted by start, each at least a millisecond long, inside the title, with clean markup.
    """
    looked_at = list(itertools.islice(cues, CUES_MAX + 1))
    too_many, looked_at = len(looked_at) > CUES_MAX, looked_at[:CUES_MAX]
    timed = sorted((cue for cue in looked_at if _is_time(cue)), key=lambda cue: (cue.start, cue.end))
    kept, cut, outside, empty = [], 0, 0, 0
    for cue in _with_ends(timed):
        start = _ms(max(0.0, cue.start - shift_seconds))
        end = _ms(min(cue.end - shift_seconds, duration_seconds))
        if end - start < CUE_MS_MIN:
            outside += 1
            continue
        markup = clean_markup(cue.text)
        if not markup.text:
            empty += 1
            continue
        cut += markup.cut
        kept.append(
            Cue(start=start / 1000, end=end / 1000, text=markup.text, settings=_settings(cue.settings))
        )
    unique = list(dict.fromkeys(_without_slips(kept)))
    notes = (
        (too_many, f"only the first {CUES_MAX} cues are kept"),
        (len(looked_at) - len(timed), f"{len(looked_at) - len(timed)} cues with impossible times left out"),
        (outside, f"{outside} cues outside the title left out"),
        (empty, f"{empty} cues without text left out"),
        (cut, f"{cut} cues cut to {CUE_CHARS_MAX} characters"),
        (len(kept) - len(unique), f"{len(kept) - len(unique)} repeated cues left out"),
    )
    return CleanText(cues=tuple(unique), warnings=tuple(note for happened, note in notes if happened))


def write_webvtt(cues: Sequence[Cue]) -> str:
    """The document: a header and the cues, nothing else."""
    blocks = ["WEBVTT"]
    for cue in cues:
        settings = f" {cue.settings}" if cue.settings else ""
        blocks.append(f"{_clock(cue.start)} --> {_clock(cue.end)}{settings}\n{cue.text}")
    return "\n\n".join(blocks) + "\n"


def charset_of(data: bytes) -> str:
    """The encoding of subtitle text: by its mark, else UTF-16 or UTF-8 where they fit, else cp1252.

    Windows' Western encoding is what is left: every byte string is some text in it, so it comes last.
    """
    for mark, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16le"), (b"\xfe\xff", "utf-16be")):
        if data.startswith(mark):
            return name
    # Western text in UTF-16 has a zero in every second byte; no other encoding of text has zeros at all.
    zeros = [data[side::2].count(0) for side in (0, 1)]
    if max(zeros) * 4 > len(data):
        return "utf-16be" if zeros[0] > zeros[1] else "utf-16le"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def decode_text(data: bytes) -> str:
    """Read subtitle text of unknown encoding; what cannot be read becomes U+FFFD."""
    return data.decode(charset_of(data), errors="replace").lstrip("\ufeff")


def _is_timing(line: str) -> bool:
    return _TIMING.fullmatch(line.strip()) is not None


def _with_ends(cues: Sequence[Cue]) -> Iterator[Cue]:
    """Give an end to cues that have none: the next one's start."""
    for position, cue in enumerate(cues):
        if cue.end - cue.start < UNKNOWN_SECONDS:
            yield cue
            continue
        later = (other.start for other in cues[position + 1 :] if other.start > cue.start)
        end = min(next(later, math.inf), cue.start + UNKNOWN_SHOWN_SECONDS)
        yield msgspec.structs.replace(cue, end=end)


def _without_slips(cues: Sequence[Cue]) -> Iterator[Cue]:
    """End a cue where the next begins when they overlap by a slip; longer overlaps are meant."""
    for cue, after in itertools.zip_longest(cues, cues[1:]):
        slip = cue.end - after.start if after is not None else 0.0
        if after is not None and 0 < slip < OVERLAP_FORGIVEN_SECONDS and after.start > cue.start:
            yield msgspec.structs.replace(cue, end=after.start)
        else:
            yield cue


def _settings(text: str) -> str:
    """The settings WebVTT knows, each once and in range; a region would need a block that is left out."""
    kept: dict[str, str] = {}
    for word in text.split():
        percent = _PERCENT.search(word)
        fits = percent is None or float(percent[1]) <= 100
        if fits and any(pattern.fullmatch(word) for pattern in _SETTINGS):
            kept.setdefault(word.partition(":")[0], word)
    return " ".join(kept.values())


def _is_time(cue: Cue) -> bool:
    return abs(cue.start) < TIME_SECONDS_MAX and abs(cue.end) < TIME_SECONDS_MAX and cue.end > cue.start


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, ms = (int(part or 0) for part in parts)
    return hours * 3600 + minutes * 60 + seconds + ms / 1000


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _clock(seconds: float) -> str:
    minutes, ms = divmod(_ms(seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{ms // 1000:02}.{ms % 1000:03}"
