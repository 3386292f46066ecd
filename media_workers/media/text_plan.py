"""Which text tracks a title gets: every subtitle that is text, and the captions inside the picture."""

from typing import Literal

import msgspec

from media_workers.media.facts import SourceFacts, SubtitleFacts
from media_workers.media.languages import distinct, language_name, language_tag

TEXT_TRACKS_MAX = 32

TEXT_CODECS = frozenset(
    {
        *("subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", "microdvd", "mpl2", "pjs", "realtext"),
        *("sami", "stl", "subviewer", "subviewer1", "vplayer", "jacosub", "dvb_teletext", "eia_608"),
    }
)
"""What FFmpeg decodes to text."""

IMAGE_CODECS = frozenset({"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub"})
"""Pictures of text: they cannot become text without reading them by machine."""

Kind = Literal["subtitles", "captions"]


class TextPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One text track.

    Attributes:
        name: `text_{index}`, safe as a path part; `index` counts the tracks of the plan.
        stream_index: the source's stream; None for captions that lie inside the picture.
        kind: captions also say what is heard.
        forced: shown even to who wants no subtitles: it translates what the film's language is not.
        zero_seconds: the title's zero on the source's own clock.
    """

    name: str
    index: int
    stream_index: int | None
    codec: str
    kind: Kind
    language: str
    label: str
    default: bool
    forced: bool
    sdh: bool
    zero_seconds: float


def text_plans(facts: SourceFacts, *, zero: float) -> tuple[TextPlan, ...]:
    """Plan the text of a title.

    Args:
        facts: of the source.
        zero: the title's zero on the source's own clock.

    Returns:
        at most `TEXT_TRACKS_MAX` tracks, numbered from 0; at most one is the default.
    """
    tracks: list[SubtitleFacts | None] = [
        track for track in facts.subtitles if track.codec in TEXT_CODECS and track.codec != "eia_608"
    ]
    if facts.video is not None and facts.video.closed_captions:
        tracks.append(None)
    chosen = tracks[:TEXT_TRACKS_MAX]
    labels = distinct([_label(track) for track in chosen])
    default = next((track for track in chosen if track is not None and track.default), None)
    return tuple(
        TextPlan(
            name=f"text_{index}",
            index=index,
            stream_index=track.index if track is not None else None,
            codec=track.codec if track is not None else "eia_608",
            kind="captions" if track is None or track.hearing_impaired else "subtitles",
            language=language_tag(track.language if track is not None else None),
            label=label,
            default=track is not None and track is default,
            forced=track is not None and track.forced,
            sdh=track is None or track.hearing_impaired,
            zero_seconds=round(zero, 6),
        )
        for index, (track, label) in enumerate(zip(chosen, labels, strict=True))
    )


def _label(track: SubtitleFacts | None) -> str:
    """A name a viewer can choose by; never a stranger's text."""
    if track is None:
        return "Captions"
    name = language_name(language_tag(track.language), "Subtitles")
    if track.forced:
        return f"{name} - forced"
    return f"{name} - SDH" if track.hearing_impaired else name
