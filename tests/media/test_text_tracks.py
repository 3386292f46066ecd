"""Text tracks of real files: read, moved into the title's time, and written as WebVTT."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from media_workers.media.facts import SourceFacts, SubtitleFacts
from media_workers.media.packets import PacketScan
from media_workers.media.plan import make_plan
from media_workers.media.profiles import resolve_profile
from media_workers.media.subtitles import charset_of, clean_cues, read_webvtt, write_webvtt
from media_workers.media.text import (
    CAPTIONS_FOUND,
    INVALID_CHARSET,
    captions_args,
    text_args,
    text_bytes_args,
)
from media_workers.media.text_plan import TEXT_TRACKS_MAX, text_plans
from media_workers.media.watermark import Clip as Cut
from media_workers.procs.binaries import Binaries
from media_workers.procs.runner import ProcResult

pytestmark = pytest.mark.media

Clip = Callable[[str], Path]
Execute = Callable[..., ProcResult]
Probe = Callable[[Path], tuple[dict[str, Any], PacketScan, SourceFacts]]
Source = Callable[..., SourceFacts]
Read = Callable[..., list[tuple[float, float, str]]]

SRT = """1
00:00:00,500 --> 00:00:01,500
<b>café</b> <script>alert(1)</script> & co

2
00:00:02,000 --> 00:00:02,800
two
lines
"""
CUES = [(0.5, 1.5, "<b>café</b> alert(1) &amp; co"), (2.0, 2.8, "two\nlines")]
CODECS = {"subrip": "mkv", "ass": "mkv", "webvtt": "mkv", "mov_text": "mp4"}
NTSC = 1001 / 30000


@pytest.fixture
def read(tools: Binaries, execute: Execute, probe: Probe, tmp_path: Path) -> Read:
    """The cues of a file's text track, as they would be published."""

    def run_read(path: Path, index: int = 0, **changes: Any) -> list[tuple[float, float, str]]:
        facts = with_captions(tools, execute, path, probe(path)[2])
        plan = make_plan(facts, msgspec.structs.replace(resolve_profile("fast"), **changes))
        track = plan.text[index]
        raw = tmp_path / "raw.vtt"
        result = execute(text_args(tools.ffmpeg, track, source=str(path), target=str(raw)))
        if INVALID_CHARSET in result.stderr_tail:
            sample = tmp_path / "sample.bin"
            execute(text_bytes_args(tools.ffmpeg, track, source=str(path), target=str(sample)))
            charset = charset_of(sample.read_bytes())
            execute(text_args(tools.ffmpeg, track, source=str(path), target=str(raw), charset=charset))
        clean = clean_cues(
            read_webvtt(raw.read_text(encoding="utf-8")),
            shift_seconds=track.zero_seconds,
            duration_seconds=plan.duration_seconds,
        )
        again = list(read_webvtt(write_webvtt(clean.cues)))
        return [(cue.start, cue.end, cue.text) for cue in again]

    return run_read


def with_captions(tools: Binaries, execute: Execute, path: Path, facts: SourceFacts) -> SourceFacts:
    """The facts as a worker has them: with a look at the first frames."""
    assert facts.video is not None
    shown = execute(captions_args(tools.ffprobe, str(path), facts.video.index)).stdout.decode()
    video = msgspec.structs.replace(facts.video, closed_captions=CAPTIONS_FOUND in shown)
    return msgspec.structs.replace(facts, video=video)


def subtitled(tools: Binaries, execute: Execute, video: Path, text: Path, codec: str) -> Path:
    path = text.parent / f"{codec}.{CODECS[codec]}"
    inputs = ["-i", str(video), "-i", str(text), "-map", "0:v", "-map", "1"]
    execute([tools.ffmpeg, "-loglevel", "error", "-y", *inputs, "-c:v", "copy", "-c:s", codec, str(path)])
    return path


@pytest.mark.parametrize("codec", CODECS)
def test_formats(
    codec: str, *, clip: Clip, tools: Binaries, execute: Execute, read: Read, tmp_path: Path
) -> None:
    """Text of every format becomes the same cues, without the markup that is none of WebVTT's."""
    text = tmp_path / "text.srt"
    text.write_text(SRT, encoding="utf-8")

    cues = read(subtitled(tools, execute, clip("flash.mp4"), text, codec))

    assert [cue[:2] for cue in cues] == [cue[:2] for cue in CUES]
    plain = [re.sub(r"</?b>", "", cue[2]) for cue in cues]
    assert plain == ["café alert(1) &amp; co", "two\nlines"]


@pytest.mark.parametrize("charset", ["cp1252", "utf-16", "utf-8"])
def test_charsets(
    charset: str, *, clip: Clip, tools: Binaries, execute: Execute, read: Read, tmp_path: Path
) -> None:
    """Text that is not the UTF-8 it should be is read all the same."""
    text = tmp_path / "text.srt"
    text.write_bytes(SRT.encode(charset))
    path = tmp_path / "text.mkv"
    inputs = ["-i", str(clip("flash.mp4")), "-i", str(text), "-map", "0:v", "-map", "1"]
    execute([tools.ffmpeg, "-loglevel", "error", "-y", *inputs, "-c", "copy", str(path)])

    assert read(path) == CUES


def test_clip(clip: Clip, tools: Binaries, execute: Execute, read: Read, tmp_path: Path) -> None:
    """Cues move with the clip and end with it."""
    text = tmp_path / "text.srt"
    text.write_text(SRT, encoding="utf-8")
    path = subtitled(tools, execute, clip("flash.mp4"), text, "subrip")

    cues = read(path, clip=Cut(start=1.0, end=2.4))

    assert cues == [(0.0, 0.5, CUES[0][2]), (1.0, 1.4, CUES[1][2])]


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_captions_inside_the_picture(
    container: str, *, tools: Binaries, execute: Execute, read: Read, tmp_path: Path
) -> None:
    """CEA-608 captions are found, and stand from the frame that shows them to the frame that clears them."""
    path = captioned(tools, execute, tmp_path, container)

    ((start, end, text),) = read(path)

    assert text == "Hello caption"
    assert start == pytest.approx(30 * NTSC, abs=NTSC)
    assert end == pytest.approx(75 * NTSC, abs=NTSC)


def test_pictures_without_captions(clip: Clip, tools: Binaries, execute: Execute, probe: Probe) -> None:
    """Where there are none, there is no track."""
    path = clip("plain.mp4")

    facts = with_captions(tools, execute, path, probe(path)[2])

    assert make_plan(facts, resolve_profile("fast")).text == ()


def test_tracks(source: Source) -> None:
    """Languages, forced and hearing-impaired tracks and one default are carried; pictures are left out."""
    tracks = (
        SubtitleFacts(index=2, codec="subrip", language="ger", default=True),
        SubtitleFacts(index=3, codec="ass", language="ger", forced=True, default=True),
        SubtitleFacts(index=4, codec="mov_text", language="eng", hearing_impaired=True),
        SubtitleFacts(index=5, codec="hdmv_pgs_subtitle", language="eng"),
        SubtitleFacts(index=6, codec="ttml", language="eng"),
        SubtitleFacts(index=7, codec="subrip", title="<script>"),
    )
    facts = msgspec.structs.replace(source(closed_captions=True), subtitles=tracks)

    plans = text_plans(facts, zero=0.0)

    assert [(one.name, one.language, one.label, one.kind) for one in plans] == [
        ("text_0", "de", "German", "subtitles"),
        ("text_1", "de", "German - forced", "subtitles"),
        ("text_2", "en", "English - SDH", "captions"),
        ("text_3", "mis", "Subtitles", "subtitles"),
        ("text_4", "mis", "Captions", "captions"),
    ]
    assert [one.default for one in plans] == [True, False, False, False, False]
    assert [one.forced for one in plans] == [False, True, False, False, False]
    assert [one.sdh for one in plans] == [False, False, True, False, True]


def test_many_tracks_are_bounded(source: Source) -> None:
    """A file with a hundred subtitles gives a bounded number, with labels of their own."""
    tracks = tuple(SubtitleFacts(index=number, codec="subrip") for number in range(100))

    plans = text_plans(msgspec.structs.replace(source(), subtitles=tracks), zero=0.0)

    assert len({one.label for one in plans}) == len(plans) == TEXT_TRACKS_MAX


def captioned(tools: Binaries, execute: Execute, folder: Path, container: str) -> Path:
    """Four seconds of H.264 whose SEI messages hold a pop-on caption, from frame 30 to frame 75."""
    plain, marked, path = folder / "plain.h264", folder / "marked.h264", folder / f"captioned.{container}"
    x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-bf", "0"]
    video = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=30000/1001:d=4", *x264, "-f", "h264"]
    execute([tools.ffmpeg, "-loglevel", "error", "-y", *video, str(plain)])
    data, parts, position, frame = plain.read_bytes(), [], 0, 0
    codes = caption_codes("Hello caption", load=5, show=30, clear=75)
    for start in re.finditer(rb"\x00?\x00\x00\x01(?=[\x41\x65\x61\x45\x01\x05\x21\x25])", data):
        parts += [data[position : start.start()], caption_sei(*codes.get(frame, (0, 0)))]
        position, frame = start.start(), frame + 1
    marked.write_bytes(b"".join([*parts, data[position:]]))
    assert frame == 120
    inputs = ["-r", "30000/1001", "-i", str(marked)]
    execute([tools.ffmpeg, "-loglevel", "error", "-y", *inputs, "-c", "copy", str(path)])
    return path


def caption_codes(text: str, *, load: int, show: int, clear: int) -> dict[int, tuple[int, int]]:
    """CEA-608 byte pairs by frame: load a pop-on caption into row 15, show it, clear it."""
    resume, row, end, erase = (0x14, 0x20), (0x14, 0x70), (0x14, 0x2F), (0x14, 0x2C)
    letters = text.encode("ascii") + b"\x00" * (len(text) % 2)
    loading = [resume, resume, row, row, *zip(letters[::2], letters[1::2], strict=True)]
    codes = {load + number: pair for number, pair in enumerate(loading)}
    return codes | {show: end, show + 1: end, clear: erase, clear + 1: erase}


def caption_sei(first: int, second: int) -> bytes:
    """An H.264 SEI message with one pair of CEA-608 (ATSC A/53 part 4)."""
    pair = bytes(byte | (0x80 if byte.bit_count() % 2 == 0 else 0) for byte in (first, second))
    data = b"\xb5\x00\x31GA94\x03\x41\xff\xfc" + pair + b"\xff"
    message = bytes([4, len(data)]) + data + b"\x80"
    return b"\x00\x00\x00\x01\x06" + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", message)
