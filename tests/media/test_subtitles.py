"""Subtitles of strangers become WebVTT that every player reads and nobody has to fear."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from media_workers.media.cue_markup import CUE_CHARS_MAX, CUE_LINES_MAX, clean_markup
from media_workers.media.subtitles import (
    CUES_MAX,
    Cue,
    charset_of,
    clean_cues,
    decode_text,
    read_webvtt,
    write_webvtt,
)

TIMING = re.compile(
    r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})((?: [a-z]+:[^\s:]+)*)"
)
TOKEN = re.compile(
    r"(?P<text>[^<>&]+)|(?P<entity>&(?:amp|lt|gt|nbsp|lrm|rlm);)|(?P<end></(?P<closed>[biucv])>)"
    r"|(?P<start><(?P<opened>[biucv])(?:\.[A-Za-z0-9_-]+)*"
    r"(?P<voice> [^<>&]*(?:&(?:amp|lt|gt|nbsp|lrm|rlm);[^<>&]*)*)?>)"
)


def read_strictly(document: str) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds and payload of each cue; fails on anything outside W3C's grammar."""
    assert document.startswith("WEBVTT\n")
    assert document.endswith("\n")
    blocks = document.removeprefix("WEBVTT\n").strip("\n")
    cues = []
    for block in blocks.split("\n\n") if blocks else []:
        timing, *payload = block.split("\n")
        found = TIMING.fullmatch(timing)
        assert found is not None, timing
        assert payload
        assert all(line.strip() and "-->" not in line for line in payload)
        check_payload("\n".join(payload))
        numbers = [int(part) for part in found.groups()[:8]]
        start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (numbers[:4], numbers[4:]))
        cues.append((start, end, "\n".join(payload)))
    return cues


def check_payload(text: str) -> None:
    """Only text, entities and balanced tags; a voice names somebody."""
    opened, position = [], 0
    while position < len(text):
        token = TOKEN.match(text, position)
        assert token is not None, text[position:]
        position = token.end()
        if token["start"]:
            assert token["opened"] != "v" or token["voice"].strip()
            opened.append(token["opened"])
        elif token["end"]:
            assert opened.pop() == token["closed"]
    assert not opened


MARKUP = st.sampled_from(
    [
        *(
            "<b>",
            "</b>",
            "<i>",
            "</i>",
            "<c.red.big>",
            "</c>",
            "<v Ann>",
            "</v>",
            "<v>",
            "<u",
            "<",
            ">",
            "&",
            "-->",
        ),
        *(
            "<script>",
            "</script>",
            "<00:01.000>",
            "<!-- x -->",
            "<img src=x onerror=y>",
            "&amp;",
            "&#60;",
            "\n",
        ),
        *(
            "\n\n",
            "\r",
            "\x00",
            "\x85",
            "\u2028",
            "\u202e",
            "\ufeff",
            "{\\an8}",
            "WEBVTT",
            "NOTE",
            "<v A & <b>>",
        ),
    ]
)
TEXTS = st.lists(st.one_of(MARKUP, st.text(max_size=12)), max_size=12).map("".join)
TIMES = st.one_of(
    st.floats(min_value=-10, max_value=40), st.floats(allow_nan=True, allow_infinity=True), st.just(1e300)
)
CUES = st.builds(
    Cue,
    start=TIMES,
    end=TIMES,
    text=TEXTS,
    settings=st.sampled_from(
        ["", "align:start line:0", "position:150% x:y", "region:a size:50%", "line:--> 1"]
    ),
)


@given(
    cues=st.lists(CUES, max_size=12),
    shift=st.floats(min_value=-5, max_value=20),
    duration=st.floats(min_value=0, max_value=30),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_comes_in(cues: list[Cue], shift: float, duration: float) -> None:
    """Of any cues a valid document is made: in order, inside the title, with nothing but allowed markup."""
    clean = clean_cues(cues, shift_seconds=shift, duration_seconds=duration)

    read = read_strictly(write_webvtt(clean.cues))

    assert len(read) == len(clean.cues)
    assert read == sorted(read, key=lambda cue: cue[0])
    assert all(0 <= start < end <= round(duration * 1000) for start, end, _ in read)


@given(st.one_of(TEXTS, st.text()).map(lambda text: f"WEBVTT\n\n00:00.000 --> 00:01.000\n{text}"))
@settings(max_examples=200, deadline=None)
def test_whatever_is_read(document: str) -> None:
    """Reading never fails, and what was cleaned once stays as it is."""
    clean = clean_cues(read_webvtt(document), shift_seconds=0.0, duration_seconds=10.0)

    again = clean_cues(read_webvtt(write_webvtt(clean.cues)), shift_seconds=0.0, duration_seconds=10.0)

    assert again.cues == clean.cues


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_some_text(data: bytes) -> None:
    """No bytes stop the reading of text."""
    assert isinstance(decode_text(data), str)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<script>alert(1)</script>hi", "alert(1)hi"),
        ("<img src=x onerror=alert(1)>hi", "hi"),
        ('<b onclick="x">hi</b>', "<b>hi</b>"),
        ("<i><b>hi</i></b>", "<i><b>hi</b></i>"),
        ("<u>open", "<u>open</u>"),
        ("<v Ann Lee>hi", "<v Ann Lee>hi</v>"),
        ("<c.yellow.bg_blue>hi</c>", "<c.yellow.bg_blue>hi</c>"),
        ("1 < 2 & 3 --> 4", "1 &lt; 2 &amp; 3 --&gt; 4"),
        ("&lt;b&gt; &copy;", "&lt;b&gt; &amp;copy;"),
        ("{\\an8}up\n\n\nthere", "up\nthere"),
        ("a\x00\u202eb", "ab"),
        ("<b> </b>", ""),
    ],
)
def test_markup(text: str, clean: str) -> None:
    """Bold, italic, underline, classes and voices stay; other tags go, and the rest is text."""
    assert clean_markup(text).text == clean


def test_size_of_a_cue_is_bounded() -> None:
    """A cue of a million characters is cut, and one of a thousand lines has a few."""
    long = clean_markup("x" * 1_000_000)
    high = clean_markup("\n".join("ab" for _ in range(300)))

    assert (len(long.text), long.cut) == (CUE_CHARS_MAX, True)
    assert high.text.count("\n") == CUE_LINES_MAX - 1


def test_number_of_cues_is_bounded() -> None:
    """Of an endless track the first cues are kept, and that is said."""
    cues = (Cue(start=i / 1000, end=i / 1000 + 0.5, text=str(i)) for i in range(10**9))

    clean = clean_cues(cues, shift_seconds=0.0, duration_seconds=10.0)

    assert f"only the first {CUES_MAX} cues are kept" in clean.warnings


def test_times() -> None:
    """Cues follow the clip, end with the title, and those outside of it are counted."""
    cues = [
        Cue(start=9.0, end=12.0, text="last"),
        Cue(start=1.0, end=1.5, text="before"),
        Cue(start=1.5, end=3.0, text="first"),
        Cue(start=5.0, end=4.0, text="backwards"),
    ]

    clean = clean_cues(cues, shift_seconds=2.0, duration_seconds=8.0)

    assert [(cue.start, cue.end, cue.text) for cue in clean.cues] == [(0.0, 1.0, "first"), (7.0, 8.0, "last")]
    assert clean.warnings == (
        "1 cues with impossible times left out",
        "1 cues outside the title left out",
    )


def test_overlaps() -> None:
    """A slip of some milliseconds is mended; two voices at once are meant; a repeated cue is one."""
    cues = [
        Cue(start=0.0, end=1.05, text="a"),
        Cue(start=1.0, end=3.0, text="b"),
        Cue(start=2.0, end=4.0, text="c"),
        Cue(start=2.0, end=4.0, text="c"),
    ]

    clean = clean_cues(cues, shift_seconds=0.0, duration_seconds=9.0)

    assert [(cue.start, cue.end, cue.text) for cue in clean.cues] == [
        (0.0, 1.0, "a"),
        (1.0, 3.0, "b"),
        (2.0, 4.0, "c"),
    ]
    assert clean.warnings == ("1 repeated cues left out",)


def test_cue_without_an_end() -> None:
    """A cue that does not say when it goes stands until the next, or for some seconds."""
    cues = [Cue(start=1.0, end=4_294_967.0, text="a"), Cue(start=3.0, end=4_294_967.0, text="b")]

    clean = clean_cues(cues, shift_seconds=0.0, duration_seconds=60.0)

    assert [(cue.start, cue.end) for cue in clean.cues] == [(1.0, 3.0), (3.0, 13.0)]


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_charset(charset: str) -> None:
    """Text is read in the encodings that subtitles come in."""
    text = "1\n00:00:01,000 --> 00:00:02,000\nnaïve café “quoted”\n"

    assert decode_text(text.encode(charset)) == text


def test_charset_of_nothing() -> None:
    """An empty track is UTF-8."""
    assert charset_of(b"") == "utf-8"
