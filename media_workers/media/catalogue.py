"""The catalogue of ingest verdicts: every code with what it is about, what follows, and its sentences.

One table, so that a code, its sentence and its remedy are looked up and never spelled twice. The rules that
find something out (`rules`, `scan_rules`, `verdicts`) name a code and fill in the numbers.

`row` numbers are those of the table of awkward inputs that the tests walk through; a code without a row was
added for something the table does not know.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Severity = Literal["info", "normalise", "warn", "reject"]
Action = Literal["accept", "normalise", "reject"]
"""What a program has to know: taken as it is, taken and made right, or not taken."""

ROWS = 48


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One finding about one file.

    Attributes:
        code: stable.
        severity: how much it should concern a person.
        action: what is done about it, for programs.
        message: one sentence for the person who uploaded.
        remedy: what that person may do; None when nothing need be done.
    """

    code: str
    severity: Severity
    message: str
    action: Action = "accept"
    remedy: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One way a code may turn out; `message` has named places for numbers, in braces."""

    severity: Severity
    action: Action
    message: str
    remedy: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One code: the rows of the table it answers, what it is about, and its outcomes, the usual one first."""

    code: str
    rows: tuple[int, ...]
    about: str
    outcomes: tuple[Outcome, ...]

    def outcome(self, severity: Severity | None) -> Outcome:
        """The outcome of a severity; the usual one for None."""
        return next(one for one in self.outcomes if severity in {None, one.severity})


def verdict(code: str, severity: Severity | None = None, /, **values: object) -> Verdict:
    """Make a verdict from its entry.

    Args:
        code: in the catalogue.
        severity: which of its outcomes; None for the usual one.
        values: what the sentence has places for.

    Raises:
        KeyError: no such code, or a place that was given no value.
    """
    outcome = CATALOGUE[code].outcome(severity)
    return Verdict(
        code=code,
        severity=outcome.severity,
        action=outcome.action,
        message=outcome.message.format_map(values),
        remedy=outcome.remedy,
    )


def catalogue_document() -> list[dict[str, object]]:
    """The whole table as JSON, in the order of its rows."""
    document: list[dict[str, object]] = msgspec.to_builtins(tuple(CATALOGUE.values()))
    return document


def codes_of_row(row: int) -> frozenset[str]:
    """The codes that answer one row of the table."""
    return frozenset(entry.code for entry in CATALOGUE.values() if row in entry.rows)


def _reject(message: str, remedy: str | None = None) -> Outcome:
    return Outcome(severity="reject", action="reject", message=message, remedy=remedy)


def _normalise(message: str) -> Outcome:
    return Outcome(severity="normalise", action="normalise", message=message)


def _fixed(message: str, remedy: str | None = None) -> Outcome:
    """Made right, and worth a warning."""
    return Outcome(severity="warn", action="normalise", message=message, remedy=remedy)


def _warn(message: str, remedy: str | None = None) -> Outcome:
    return Outcome(severity="warn", action="accept", message=message, remedy=remedy)


def _info(message: str, remedy: str | None = None) -> Outcome:
    return Outcome(severity="info", action="accept", message=message, remedy=remedy)


def _entry(code: str, rows: tuple[int, ...], about: str, *outcomes: Outcome) -> Entry:
    return Entry(code=code, rows=rows, about=about, outcomes=outcomes)


_AGAIN = "Upload the whole file again."
_SELF_CONTAINED = "Export it as H.264 in an MP4 file."

_FILES = (
    _entry(
        "empty_file",
        (1,),
        "no bytes",
        _reject("The file is empty.", "Choose the file again and upload it."),
    ),
    _entry(
        "truncated_no_index",
        (2,),
        "an MP4 without the index that stood at its end",
        _reject("The file is cut off: the index at its end is missing.", _AGAIN),
    ),
    _entry(
        "truncated",
        (3, 4),
        "a file that ends before it says it does",
        _reject("The file breaks off after {found:.1f} seconds{claim}; it looks cut off.", _AGAIN),
        _warn("The last {missing:.1f} seconds of the file are missing.", _AGAIN),
    ),
    _entry(
        "not_media",
        (5, 48),
        "text, noise, archives, documents, programs, pictures",
        _reject(
            "The file is not a video: {reason}.",
            "Upload a video file such as MP4, MOV, MKV, WebM, MPEG or AVI.",
        ),
    ),
    _entry("audio_only", (6,), "sound alone", _info("The file has sound and no picture.")),
    _entry(
        "no_video",
        (6,),
        "sound alone, where the profile wants a picture; or neither",
        _reject("The file has {what}.", 'Use the profile "audio" for sound alone.'),
    ),
    _entry("no_audio", (7,), "a picture without sound", _warn("The video has no sound.")),
    _entry(
        "cover_art_only",
        (8,),
        "sound with cover art",
        _info("The only picture in the file is its cover art."),
    ),
    _entry(
        "extra_video_streams",
        (9,),
        "several pictures",
        _warn("The file has {count} pictures; the main one is used."),
    ),
    _entry(
        "extra_streams_ignored",
        (10,),
        "data, timecode, attachments, too many sound tracks",
        _info("Data streams and surplus tracks in the file are left out."),
    ),
    _entry(
        "image_subtitles_skipped",
        (10,),
        "subtitles that are pictures",
        _warn("The subtitles of stream {streams} are pictures and are left out.", "Add them as text."),
    ),
    _entry(
        "text_subtitles_skipped",
        (10,),
        "subtitles that nobody here can read",
        _warn(
            "The subtitles of stream {streams} are in a format that cannot be read and are left out.",
            "Add them as SRT or WebVTT.",
        ),
    ),
    _entry(
        "too_large_frame",
        (11, 12),
        "an enormous picture",
        _reject(
            "The picture is {width}x{height}; at most {limit} pixels a side are accepted.",
            "Export it smaller.",
        ),
    ),
    _entry(
        "over_budget",
        (12,),
        "a small file that decodes to more than anybody would watch",
        _reject("The video is too long for its picture size.", "Cut it or export it smaller."),
    ),
    _entry(
        "forbidden_container",
        (13, 14),
        "playlists, manifests and lists that point at other files or addresses",
        _reject(
            "The file is a playlist that points at other media and holds none itself.",
            "Upload the video file that it points at.",
        ),
    ),
    _entry(
        "not_regular_file",
        (15,),
        "a link, a device or a pipe in place of a file",
        _reject("The source is not a plain file of its own.", "Upload the file itself."),
    ),
    _entry(
        "external_reference",
        (16,),
        "a movie whose tracks lie in other files",
        _reject(
            "The file refers to media that is stored in other files.", "Export it as a self-contained file."
        ),
    ),
)

_PICTURES = (
    _entry(
        "rotated",
        (17,),
        "a display matrix that turns the picture",
        _normalise("The picture is turned upright ({degrees} degrees)."),
    ),
    _entry(
        "mirrored",
        (18,),
        "a display matrix that flips the picture",
        _normalise("The picture is stored mirrored and shown right."),
    ),
    _entry(
        "variable_frame_rate",
        (19,),
        "frames that stand for different times",
        _normalise("The frame rate varies and is made constant."),
    ),
    _entry(
        "unusual_frame_rate",
        (20,),
        "more than 60 frames a second, hardly any, or none named",
        _normalise("The frame rate ({rate}) is brought to a usual one."),
    ),
    _entry(
        "no_timestamps",
        (20, 29),
        "not one picture says when it is shown",
        _reject("The file does not say when its pictures are shown.", "Export it as MP4."),
    ),
    _entry(
        "high_bit_depth",
        (21,),
        "more than 8 bits",
        _normalise("The {bits}-bit picture is brought to the depth that players take."),
    ),
    _entry(
        "chroma_converted",
        (21,),
        "4:2:2, 4:4:4, 4:1:1",
        _normalise("The {chroma} colour is delivered as 4:2:0."),
    ),
    _entry(
        "rgb_converted", (21,), "RGB", _normalise("The RGB picture is converted to the video colour model.")
    ),
    _entry("hdr10", (22,), "PQ", _normalise("The HDR10 picture is converted for standard screens.")),
    _entry("hlg", (22,), "HLG", _normalise("The HLG picture is converted for standard screens.")),
    _entry(
        "dolby_vision_unsupported",
        (22,),
        "Dolby Vision without a base layer",
        _reject(
            "The video is Dolby Vision profile 5, which has no picture for other screens.",
            "Export it as HDR10, HLG or SDR.",
        ),
    ),
    _entry(
        "colour_assumed",
        (23,),
        "no colour tags",
        _info("The file does not name its colours; {matrix} is assumed."),
    ),
    _entry("interlaced", (24,), "fields", _normalise("The interlaced picture is deinterlaced.")),
    _entry(
        "telecine",
        (25,),
        "film spread over fields (3:2)",
        _normalise("The video is film that was spread over fields; it is deinterlaced and keeps its rate."),
    ),
    _entry(
        "non_square_pixels",
        (26,),
        "a pixel aspect ratio other than 1",
        _normalise("The pixels are not square; the picture is shown as {shape}."),
    ),
    _entry(
        "odd_dimensions",
        (27,),
        "an odd width or height",
        _normalise("The size {shape} is rounded down to even numbers."),
    ),
    _entry(
        "corrupt_frames",
        (28,),
        "some frames that cannot be decoded, or only in part",
        _warn("{bad} of {total} frames of the {what} are damaged."),
        _normalise(
            "{bad} of {total} frames of the {what} are damaged; they are patched from their neighbours."
        ),
    ),
    _entry(
        "corrupt",
        (28,),
        "so many damaged frames that nobody would want the result",
        _reject("{bad} of {total} frames of the {what} are damaged.", "Export or upload the file again."),
    ),
    _entry(
        "timestamps_regenerated",
        (29,),
        "some frames without a time",
        _fixed("Some pictures had no time of their own and were fitted in."),
    ),
    _entry(
        "start_time_shifted",
        (30,),
        "a clock that does not start at zero",
        _normalise("The clock starts at {seconds:.2f} s and is set to zero."),
    ),
    _entry(
        "timestamp_discontinuity",
        (32,),
        "a clock that jumps or wraps",
        _fixed("The clock jumps {jumps} times; the parts are joined."),
    ),
    _entry("very_short", (33,), "less than a second", _info("The video is shorter than a second.")),
    _entry(
        "too_short",
        (33,),
        "less than the operator asks for",
        _reject("The video is {seconds:.1f} seconds long; at least {limit:g} are asked for."),
    ),
    _entry(
        "over_limit",
        (34,),
        "longer than the operator allows",
        _reject(
            "The video is {hours:.1f} hours long; at most {limit:g} hours are accepted.",
            "Cut it into shorter parts.",
        ),
    ),
    _entry(
        "duration_unknown",
        (35,),
        "a container that does not say how long it is",
        _info("The file does not say how long it is, so its pictures were counted."),
    ),
    _entry(
        "encrypted_source",
        (36,),
        "copy protection",
        _reject("The file is encrypted.", "Upload a copy without copy protection."),
    ),
    _entry(
        "alpha_flattened",
        (37,),
        "transparency",
        _fixed("Transparent parts are shown on black."),
    ),
    _entry(
        "unusual_codec",
        (38,),
        "a codec that few tools know",
        _info("The picture is stored as {codec}, which few tools know."),
    ),
    _entry(
        "unsupported_codec",
        (38, 39),
        "a codec without a decoder here, or one whose decoder is kept away from strangers' files",
        _reject("The {what} is stored in a way that is not accepted{codec}.", _SELF_CONTAINED),
    ),
    _entry(
        "parameters_changed",
        (40,),
        "a picture that changes its size or format on the way",
        _fixed("The picture changes its size or format {times} times; it is brought to one."),
    ),
    _entry(
        "black_video",
        (43,),
        "black from the beginning to the end",
        _warn("The picture is black nearly all the time.", "Check that this is the right file."),
    ),
    _entry(
        "frozen_video",
        (43,),
        "a picture that stands still",
        _warn("The picture stands still nearly all the time.", "Check that this is the right file."),
    ),
    _entry(
        "too_small_frame",
        (),
        "a picture of a few pixels",
        _reject("The picture is {shape}; each side needs at least {limit} pixels."),
    ),
)

_SOUND_AND_REST = (
    _entry(
        "av_offset",
        (31,),
        "sound that starts before or after the picture",
        _fixed("Sound track {track} starts {seconds:+.2f} s from the picture; it is fitted."),
    ),
    _entry(
        "av_length_mismatch",
        (31,),
        "sound that ends before or after the picture",
        _fixed("Sound track {track} ends {seconds:+.1f} s from the picture; it is padded or trimmed."),
    ),
    _entry(
        "audio_remapped",
        (41,),
        "more channels than two",
        _normalise("Sound track {track} ({layout}) is mixed to stereo for players without surround sound."),
    ),
    _entry(
        "unknown_layout",
        (41,),
        "nameless channels",
        _fixed("Sound track {track} does not name its {channels} channels; two are used."),
    ),
    _entry(
        "silent_audio",
        (42,),
        "digital silence, or a constant",
        _warn("Sound track {track} is silent.", "Check that this is the right file."),
    ),
    _entry(
        "metadata_sanitised",
        (44,),
        "unprintable, enormous or dangerous tags",
        _info("Unprintable or very long tags were removed."),
    ),
    _entry(
        "too_many_streams",
        (45,),
        "dozens of streams",
        _reject(
            "The file has {count} streams; at most {limit} are accepted.",
            "Export it with its picture and sound tracks only.",
        ),
    ),
    _entry(
        "duplicate_source",
        (46,),
        "the same bytes as an earlier upload; found where uploads are received",
        _info("The same file was uploaded before, as {video}.", "Remove one of the two if you need it once."),
    ),
    _entry(
        "checksum_mismatch",
        (47,),
        "not the bytes that were announced; found where uploads are received",
        _reject("The file is not the one that was announced.", "Upload it again."),
    ),
)

CATALOGUE: Mapping[str, Entry] = {entry.code: entry for entry in (*_FILES, *_PICTURES, *_SOUND_AND_REST)}
"""Every code that a verdict may carry."""
