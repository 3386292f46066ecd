"""What a source is: a value made from ffprobe's JSON and packet timestamps, handed between tasks as JSON."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import msgspec

from media_workers.media.hdr import Mastering
from media_workers.media.languages import language_tag
from media_workers.media.packets import PacketScan, Timing
from media_workers.media.pixels import describe_pixels, orientation
from media_workers.media.rates import parse_rate, rate_text

Hdr = Literal["hdr10", "hlg", "dolby_vision"]
Role = Literal["main", "commentary", "description", "dub"]


class Colour(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Colour tags in FFmpeg's words; "unknown" where the source carries none."""

    primaries: str = "unknown"
    transfer: str = "unknown"
    matrix: str = "unknown"
    range: str = "unknown"


class VideoFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The one picture stream that is encoded.

    `display_width` x `display_height` is what a viewer sees, after pixel aspect ratio and rotation (clockwise
    degrees), not yet even. `frame_rate` is the steady rate: that of the median frame, tidied. `frames` counts
    packets. `start_seconds` and `end_seconds` are on the source's own clock; `last_frame_seconds` is how long
    the last frame stands, `duration_seconds` from the first frame's start to the last one's end.
    """

    index: int
    codec: str
    profile: str | None = None
    coded_width: int
    coded_height: int
    display_width: int
    display_height: int
    sar: str = "1:1"
    rotation: int = 0
    mirrored: bool = False
    frame_rate: str
    avg_frame_rate: str
    variable_frame_rate: bool = False
    frame_seconds_median: float = 0.0
    frame_seconds_min: float = 0.0
    frame_seconds_max: float = 0.0
    interlaced: bool = False
    telecine: bool = False
    field_order: str = "progressive"
    pix_fmt: str = "unknown"
    bit_depth: int = 8
    chroma: str = "420"
    alpha: bool = False
    colour: Colour = Colour()
    hdr: Hdr | None = None
    dolby_vision_profile: int | None = None
    mastering: Mastering | None = None
    frames: int = 0
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    duration_seconds: float = 0.0
    last_frame_seconds: float = 0.0
    claimed_seconds: float | None = None
    claimed_frames: int | None = None
    ends_corrupt: bool = False
    keyframe_gap_seconds_max: float = 0.0
    timestamps_missing: int = 0
    timestamp_jumps: int = 0
    closed_captions: bool = False


class AudioFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One sound track; `track` numbers the tracks from 0, `index` is the stream's number in the file.

    `role` is DASH's word for what the track is for.
    """

    track: int
    index: int
    codec: str
    channels: int
    layout: str | None = None
    sample_rate: int
    language: str = "mis"
    title: str | None = None
    default: bool = False
    role: Role = "main"
    start_seconds: float = 0.0
    duration_seconds: float | None = None


class SubtitleFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    index: int
    codec: str
    language: str = "mis"
    title: str | None = None
    forced: bool = False
    default: bool = False
    hearing_impaired: bool = False


class OtherStream(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A stream that is not used: data, timecode, attachment, cover art, a second picture."""

    index: int
    kind: str
    codec: str


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole source. `duration_seconds` is the container's claim, None when it makes none.

    `start_seconds` is the container's start time, which FFmpeg takes as zero. `scanned` says whether the
    timing facts come from the packets or are the container's claims.
    """

    container: str
    size_bytes: int
    duration_seconds: float | None = None
    start_seconds: float = 0.0
    streams: int = 0
    video: VideoFacts | None = None
    audio: tuple[AudioFacts, ...] = ()
    subtitles: tuple[SubtitleFacts, ...] = ()
    cover_index: int | None = None
    extra_video: tuple[OtherStream, ...] = ()
    other: tuple[OtherStream, ...] = ()
    encrypted: bool = False
    external_reference: bool = False
    title: str | None = None
    metadata_sanitised: bool = False
    scanned: bool = False


# Containers that may be spliced: FFmpeg closes the jumps of their clocks.
SPLICED_CONTAINERS = frozenset({"mpegts", "mpeg"})
# FFmpeg's clock of these starts with the earliest stream that a command reads (AVFMT_TS_DISCONT): read alone,
# late sound would come early.
_STREAM_CLOCKS = SPLICED_CONTAINERS | {"ogg"}
INTERLACED_ORDERS = frozenset({"tt", "bb", "tb", "bt"})
# Encoders' and cameras' corrupt aspect ratios lie far outside of what any format defines.
SAR_MAX = 8
TITLE_CHARS_MAX = 200
Stream = Mapping[str, Any]


def facts_from_probe(
    probe: Mapping[str, Any], *, size_bytes: int, packets: PacketScan | None = None, stderr: str = ""
) -> SourceFacts:
    """Build the facts from ffprobe's answer.

    Args:
        probe: the JSON document that `commands.probe_args` prints (streams and format).
        size_bytes: the file's size, from the file system.
        packets: the scan of what `commands.packets_args` prints; without it the timing facts are the
            container's claims, good enough for the quick rejects and nothing else.
        stderr: what ffprobe said while probing.

    Raises:
        ValueError: the document has no `streams` list.
    """
    streams = probe.get("streams")
    if not isinstance(streams, list):
        # What is wrong is the document, not a type in our code.
        raise ValueError(  # noqa: TRY004
            "streams: ffprobe's document has no list of streams; print it with -show_streams"
        )
    container: Mapping[str, Any] = probe.get("format", {})
    name = str(container.get("format_name", "unknown"))
    spliced = name in SPLICED_CONTAINERS
    pictures = [stream for stream in streams if stream.get("codec_type") == "video"]
    covers = [stream for stream in pictures if _flag(stream, "attached_pic")]
    main = _main_picture([stream for stream in pictures if stream not in covers])
    timings = {stream["index"]: _timing(stream, packets, spliced=spliced) for stream in streams}
    sound = [stream for stream in streams if stream.get("codec_type") == "audio"]
    text = [stream for stream in streams if stream.get("codec_type") == "subtitle"]
    titles = [clean_text(_tag(holder, "title")) for holder in (container, *streams)]
    return SourceFacts(
        container=name,
        size_bytes=size_bytes,
        duration_seconds=_seconds(container.get("duration")),
        start_seconds=_seconds(container.get("start_time")) or 0.0,
        streams=len(streams),
        video=_video(main, timings[main["index"]], packets) if main else None,
        audio=tuple(_audio(track, stream, timings[stream["index"]]) for track, stream in enumerate(sound)),
        subtitles=tuple(_subtitle(stream) for stream in text),
        cover_index=covers[0]["index"] if covers else None,
        extra_video=tuple(
            _other(stream) for stream in pictures if stream is not main and stream not in covers
        ),
        other=tuple(
            _other(stream)
            for stream in streams
            if stream.get("codec_type") not in {"video", "audio", "subtitle"}
        ),
        encrypted=any(_is_encrypted(stream, timings[stream["index"]]) for stream in streams),
        external_reference="Skipped opening external track" in stderr,
        title=titles[0][0],
        metadata_sanitised=any(changed for _, changed in titles),
        scanned=packets is not None,
    )


def clock_start(facts: SourceFacts, stream_start_seconds: float) -> float:
    """What FFmpeg takes as time zero, on the source's own clock, in a command that reads one stream alone.

    Args:
        facts: of the source.
        stream_start_seconds: where that stream starts.
    """
    return stream_start_seconds if facts.container in _STREAM_CLOCKS else facts.start_seconds


def clean_text(text: str | None) -> tuple[str | None, bool]:
    """Bound a tag and drop its control characters; also says whether anything was dropped."""
    if text is None:
        return None, False
    clean = "".join(char for char in text if char.isprintable()).strip()[:TITLE_CHARS_MAX]
    return clean or None, clean != text


def _main_picture(pictures: Sequence[Stream]) -> Stream | None:
    if not pictures:
        return None
    # Every picture of a Matroska file may be "default": then the size decides.
    return max(pictures, key=lambda one: (_flag(one, "default"), one.get("width", 0) * one.get("height", 0)))


def _video(stream: Stream, timing: Timing | None, packets: PacketScan | None) -> VideoFacts:
    width, height = int(stream.get("width", 0)), int(stream.get("height", 0))
    sar = parse_rate(stream.get("sample_aspect_ratio")) or Fraction(1)
    if not Fraction(1, SAR_MAX) <= sar <= SAR_MAX:
        sar = Fraction(1)
    shown = (round(width * sar), height)
    rotation, mirrored = orientation(_side_data(stream, "Display Matrix").get("displaymatrix"))
    pixels = describe_pixels(str(stream.get("pix_fmt", "unknown")))
    profile = _side_data(stream, "DOVI configuration record").get("dv_profile")
    average = (
        parse_rate(stream.get("avg_frame_rate")) or parse_rate(stream.get("r_frame_rate")) or Fraction(25)
    )
    order = str(stream.get("field_order", "progressive"))
    facts = VideoFacts(
        index=stream["index"],
        codec=str(stream.get("codec_name", "unknown")),
        profile=stream.get("profile"),
        coded_width=width,
        coded_height=height,
        display_width=shown[1] if rotation in {90, 270} else shown[0],
        display_height=shown[0] if rotation in {90, 270} else shown[1],
        sar=f"{sar.numerator}:{sar.denominator}",
        rotation=rotation,
        mirrored=mirrored,
        frame_rate=(timing and timing.rate) or rate_text(average),
        avg_frame_rate=rate_text(average),
        interlaced=order in INTERLACED_ORDERS,
        field_order=order,
        pix_fmt=str(stream.get("pix_fmt", "unknown")),
        bit_depth=pixels.bit_depth,
        chroma=pixels.chroma,
        alpha=pixels.alpha,
        colour=_colour(stream),
        hdr=_hdr(stream, profile),
        dolby_vision_profile=profile,
        claimed_seconds=_claimed_seconds(stream),
        claimed_frames=int(stream["nb_frames"]) if "nb_frames" in stream else None,
        closed_captions=bool(stream.get("closed_captions")),
    )
    if timing is None and packets is not None:
        # Pictures there may be, but not one says when it is shown.
        count = packets.count(stream["index"])
        return msgspec.structs.replace(facts, frames=count, timestamps_missing=count)
    return _with_timing(facts, stream, timing)


def _with_timing(facts: VideoFacts, stream: Stream, timing: Timing | None) -> VideoFacts:
    if timing is None:
        start = _seconds(stream.get("start_time")) or 0.0
        return msgspec.structs.replace(
            facts,
            frames=facts.claimed_frames or 0,
            start_seconds=start,
            end_seconds=start + (facts.claimed_seconds or 0.0),
            duration_seconds=facts.claimed_seconds or 0.0,
        )
    # A lone frame says nothing about its length where the container does not.
    last = timing.last_frame_seconds or float(1 / Fraction(facts.frame_rate))
    end = timing.end_seconds + last - timing.last_frame_seconds
    return msgspec.structs.replace(
        facts,
        frames=timing.count,
        start_seconds=timing.start_seconds,
        end_seconds=end,
        duration_seconds=end - timing.start_seconds,
        last_frame_seconds=last,
        variable_frame_rate=timing.variable,
        frame_seconds_median=timing.frame_seconds_median,
        frame_seconds_min=timing.frame_seconds_min,
        frame_seconds_max=timing.frame_seconds_max,
        keyframe_gap_seconds_max=timing.keyframe_gap_seconds_max,
        timestamps_missing=timing.missing,
        timestamp_jumps=timing.jumps,
        ends_corrupt=timing.ends_corrupt,
    )


def _audio(track: int, stream: Stream, timing: Timing | None) -> AudioFacts:
    start = _seconds(stream.get("start_time")) or 0.0
    duration = _claimed_seconds(stream)
    if timing is not None:
        start, duration = timing.start_seconds, timing.end_seconds - timing.start_seconds
    return AudioFacts(
        track=track,
        index=stream["index"],
        codec=str(stream.get("codec_name", "unknown")),
        channels=int(stream.get("channels", 0)),
        layout=stream.get("channel_layout"),
        sample_rate=int(stream.get("sample_rate", 0)),
        language=language(_tag(stream, "language")),
        title=clean_text(_tag(stream, "title"))[0],
        default=_flag(stream, "default"),
        role=_role(stream),
        start_seconds=start,
        duration_seconds=duration,
    )


def _role(stream: Stream) -> Role:
    if _flag(stream, "comment"):
        return "commentary"
    if _flag(stream, "visual_impaired") or _flag(stream, "descriptions"):
        return "description"
    return "dub" if _flag(stream, "dub") else "main"


def _subtitle(stream: Stream) -> SubtitleFacts:
    return SubtitleFacts(
        index=stream["index"],
        codec=str(stream.get("codec_name", "unknown")),
        language=language(_tag(stream, "language")),
        title=clean_text(_tag(stream, "title"))[0],
        forced=_flag(stream, "forced"),
        default=_flag(stream, "default"),
        hearing_impaired=_flag(stream, "hearing_impaired"),
    )


def _other(stream: Stream) -> OtherStream:
    return OtherStream(
        index=stream["index"],
        kind=str(stream.get("codec_type", "unknown")),
        codec=str(stream.get("codec_name", "unknown")),
    )


def language(tag: str | None) -> str:
    """The language code for the package: the source's own when well formed, else "mis" (uncoded).

    Packagers refuse "und", and a manifest has no place for anything a stranger typed.
    """
    code = (tag or "").strip().lower()
    plain = code.isascii() and code.isalpha() and len(code) in {2, 3}
    return code if plain and code != "und" else language_tag(tag)


def _colour(stream: Stream) -> Colour:
    def tag(key: str) -> str:
        value = str(stream.get(key, "unknown"))
        return "unknown" if value in {"unspecified", "reserved"} else value

    return Colour(
        primaries=tag("color_primaries"),
        transfer=tag("color_transfer"),
        matrix=tag("color_space"),
        range=tag("color_range"),
    )


def _hdr(stream: Stream, dolby_vision_profile: int | None) -> Hdr | None:
    # Profile 5 alone has a base layer that is no picture by itself.
    if dolby_vision_profile == 5:
        return "dolby_vision"
    transfer = stream.get("color_transfer")
    return "hdr10" if transfer == "smpte2084" else "hlg" if transfer == "arib-std-b67" else None


def _timing(stream: Stream, packets: PacketScan | None, *, spliced: bool) -> Timing | None:
    time_base = parse_rate(stream.get("time_base"))
    if packets is None or time_base is None:
        return None
    held_back = int(stream.get("has_b_frames", 0))
    return packets.timing(stream["index"], time_base, spliced=spliced, reorder_frames=held_back)


def _is_encrypted(stream: Stream, timing: Timing | None) -> bool:
    if timing is not None and timing.encrypted:
        return True
    return bool(_side_data(stream, "Encryption initialization data")) or stream.get("codec_tag_string") in {
        "encv",
        "enca",
        "drmi",
        "drms",
    }


def _side_data(stream: Stream, kind: str) -> Mapping[str, Any]:
    found = (data for data in stream.get("side_data_list", ()) if data.get("side_data_type") == kind)
    return next(found, {})


def _claimed_seconds(stream: Stream) -> float | None:
    return _seconds(stream.get("duration")) or _clock_seconds(_tag(stream, "duration"))


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _clock_seconds(text: str | None) -> float | None:
    """Read Matroska's "00:01:02.345000000"."""
    try:
        hours, minutes, seconds = (float(part) for part in (text or "").split(":"))
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _tag(holder: Mapping[str, Any], key: str) -> str | None:
    """A tag whatever its case: containers disagree."""
    return next((str(value) for name, value in holder.get("tags", {}).items() if name.lower() == key), None)


def _flag(stream: Stream, name: str) -> bool:
    return bool(stream.get("disposition", {}).get(name))
