"""The ingest rules that look into an opened source, one function each; `verdicts.judge` runs them."""

from collections.abc import Callable
from typing import Literal

import msgspec

from media_workers.media.colour import plan_colour
from media_workers.media.downmix import KNOWN_LAYOUTS
from media_workers.media.facts import AudioFacts, SourceFacts, VideoFacts
from media_workers.media.audio_plan import AUDIO_TRACKS_MAX
from media_workers.media.plan import FRAME_RATE_MIN
from media_workers.media.rates import parse_rate

Severity = Literal["info", "normalise", "warn", "reject"]

TRUNCATED_SHARE_MAX = 0.02
# One lost picture of a short clip is no truncation.
TRUNCATED_SECONDS_MIN = 0.25
SHIFT_SECONDS_MIN = 0.05
AV_OFFSET_SECONDS_MIN = 0.1
AV_LENGTH_SECONDS_MIN = 1.0
VERY_SHORT_SECONDS = 1.0
FRAME_RATE_USUAL_MAX = 60
USUAL_CODECS = frozenset(
    {
        "h264",
        "hevc",
        "vp8",
        "vp9",
        "av1",
        "mpeg4",
        "mpeg2video",
        "mpeg1video",
        "prores",
        "dnxhd",
        "mjpeg",
        "dvvideo",
    }
)


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One finding: a stable code, what follows from it, one sentence for the uploader, and what may help."""

    code: str
    severity: Severity
    message: str
    remedy: str | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bounds of what is accepted; an operator may raise them."""

    edge_px_max: int = 8192
    frame_px_max: int = 8192 * 4320
    edge_px_min: int = 16
    duration_seconds_max: float = 12 * 3600.0
    streams_max: int = 64
    # Twelve hours of 1080p60: a small file that decodes to more is a bomb or a mistake.
    pixels_total_max: float = 12 * 3600.0 * 60 * 1920 * 1080


def _reject(code: str, message: str, remedy: str | None = None) -> Verdict:
    return Verdict(code=code, severity="reject", message=message, remedy=remedy)


def _normalise(code: str, message: str) -> Verdict:
    return Verdict(code=code, severity="normalise", message=message)


def _warn(code: str, message: str, remedy: str | None = None) -> Verdict:
    return Verdict(code=code, severity="warn", message=message, remedy=remedy)


def _info(code: str, message: str) -> Verdict:
    return Verdict(code=code, severity="info", message=message)


# Rules of the file as a whole.


def too_many_streams(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if facts.streams <= limits.streams_max:
        return None
    return _reject(
        "too_many_streams",
        f"The file has {facts.streams} streams; at most {limits.streams_max} are accepted.",
        "Export it with its picture and sound tracks only.",
    )


def encrypted_source(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not facts.encrypted:
        return None
    return _reject("encrypted_source", "The file is encrypted.", "Upload a copy without copy protection.")


def external_reference(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not facts.external_reference:
        return None
    return _reject(
        "external_reference",
        "The file refers to media that is stored in other files.",
        "Export it as a self-contained file.",
    )


def over_limit(facts: SourceFacts, limits: Limits) -> Verdict | None:
    seconds = max(facts.duration_seconds or 0.0, facts.video.duration_seconds if facts.video else 0.0)
    if seconds <= limits.duration_seconds_max:
        return None
    hours = limits.duration_seconds_max / 3600
    return _reject(
        "over_limit",
        f"The video is {seconds / 3600:.1f} hours long; at most {hours:g} hours are accepted.",
        "Cut it into shorter parts.",
    )


def truncated(facts: SourceFacts, limits: Limits) -> Verdict | None:
    video = facts.video
    # A fragmented file claims what its fragments add up to: only its last packet tells that there were more.
    if video and video.ends_corrupt and video.claimed_frames is None and "mp4" in facts.container:
        return _reject(
            "truncated",
            f"The file breaks off after {video.duration_seconds:.1f} seconds.",
            "Upload the whole file again.",
        )
    claim, found = _claim_and_found(facts)
    missing = claim - found
    if not facts.scanned or missing <= TRUNCATED_SECONDS_MIN:
        return None
    if missing > claim * TRUNCATED_SHARE_MAX:
        return _reject(
            "truncated",
            f"The file ends after {found:.1f} of {claim:.1f} seconds; it looks cut off.",
            "Upload the whole file again.",
        )
    return _warn("truncated", f"The last {missing:.1f} seconds of the file are missing.")


def _claim_and_found(facts: SourceFacts) -> tuple[float, float]:
    """What a stream (or a container of nothing but picture and sound) claims to last, and what is there."""
    video = facts.video
    if video is not None and video.claimed_seconds is not None:
        return video.claimed_seconds, video.duration_seconds
    ends = [track.start_seconds + (track.duration_seconds or 0.0) for track in facts.audio]
    if video is not None:
        ends.append(video.end_seconds)
    if facts.duration_seconds is None or not ends or facts.subtitles or facts.other or facts.extra_video:
        return 0.0, 0.0
    return facts.duration_seconds, max(ends) - facts.start_seconds


def duration_unknown(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if facts.duration_seconds is not None:
        return None
    return _info("duration_unknown", "The file does not say how long it is, so its pictures were counted.")


def no_video(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if facts.video is not None or facts.audio:
        return None
    return _reject("no_video", "The file has neither a picture nor a sound track.")


def no_audio(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if facts.audio or facts.video is None:
        return None
    return _warn("no_audio", "The video has no sound.")


def cover_art_only(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if facts.video is not None or facts.cover_index is None:
        return None
    return _info("cover_art_only", "The only picture in the file is its cover art.")


def extra_video_streams(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not facts.extra_video:
        return None
    return _warn("extra_video_streams", "The file has several pictures; the main one is used.")


def extra_streams_ignored(facts: SourceFacts, limits: Limits) -> Verdict | None:
    ignored = len(facts.other) + max(0, len(facts.audio) - AUDIO_TRACKS_MAX)
    if not ignored:
        return None
    return _info("extra_streams_ignored", "Data streams and surplus tracks in the file are left out.")


def metadata_sanitised(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not facts.metadata_sanitised:
        return None
    return _info("metadata_sanitised", "Unprintable or very long tags were removed.")


# Rules of the picture.


def unsupported_codec(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.codec != "unknown" and video.coded_width > 0 and video.coded_height > 0:
        return None
    return _reject(
        "unsupported_codec",
        "The picture is stored in a way that cannot be decoded.",
        "Export it as H.264 in an MP4 file.",
    )


def too_large_frame(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    width, height = video.coded_width, video.coded_height
    if max(width, height) <= limits.edge_px_max and width * height <= limits.frame_px_max:
        return None
    return _reject(
        "too_large_frame",
        f"The picture is {width}x{height}; at most {limits.edge_px_max} pixels a side are accepted.",
        "Export it smaller.",
    )


def too_small_frame(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    shortest = min(video.display_width, video.display_height)
    if shortest >= limits.edge_px_min or video.coded_width == 0:
        return None
    return _reject(
        "too_small_frame",
        f"The picture is {video.display_width}x{video.display_height}; "
        f"each side needs at least {limits.edge_px_min} pixels.",
    )


def over_budget(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    rate = min(float(parse_rate(video.frame_rate) or 25), FRAME_RATE_USUAL_MAX)
    pixels = video.coded_width * video.coded_height * rate * video.duration_seconds
    if pixels <= limits.pixels_total_max:
        return None
    return _reject(
        "over_budget", "The video is too long for its picture size.", "Cut it or export it smaller."
    )


def no_frames(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not facts.scanned or video.frames > 0:
        return None
    return _reject(
        "truncated", "The file has no pictures in it; it looks cut off.", "Upload the whole file again."
    )


def no_timestamps(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not video.timestamps_missing:
        return None
    if video.timestamps_missing >= video.frames:
        return _reject(
            "no_timestamps", "The file does not say when its pictures are shown.", "Export it as MP4."
        )
    return _warn("timestamps_regenerated", "Some pictures had no time of their own and were fitted in.")


def dolby_vision_unsupported(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.hdr != "dolby_vision":
        return None
    return _reject(
        "dolby_vision_unsupported",
        "The video is Dolby Vision profile 5, which has no picture for other screens.",
        "Export it as HDR10, HLG or SDR.",
    )


def high_dynamic_range(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.hdr not in {"hdr10", "hlg"}:
        return None
    return _normalise(video.hdr, f"The {video.hdr.upper()} picture is converted for standard screens.")


def rotated(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not video.rotation:
        return None
    return _normalise("rotated", f"The picture is turned upright ({video.rotation} degrees).")


def mirrored(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return (
        _normalise("mirrored", "The picture is stored mirrored and shown right.") if video.mirrored else None
    )


def frame_rate(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    rate = parse_rate(video.frame_rate)
    if video.variable_frame_rate:
        return _normalise("variable_frame_rate", "The frame rate varies and is made constant.")
    # 60000/1001 rounds up to 60: the room is for that.
    if rate is not None and FRAME_RATE_MIN <= rate <= FRAME_RATE_USUAL_MAX * 1.001:
        return None
    return _normalise("unusual_frame_rate", f"The frame rate ({video.frame_rate}) is brought to a usual one.")


def high_bit_depth(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.bit_depth <= 8:
        return None
    return _normalise("high_bit_depth", f"The {video.bit_depth}-bit picture is delivered with 8 bits.")


def chroma(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.chroma == "rgb":
        return _normalise("rgb_converted", "The RGB picture is converted to the video colour model.")
    if video.chroma in {"422", "444", "411"}:
        return _normalise("chroma_converted", f"The {':'.join(video.chroma)} colour is delivered as 4:2:0.")
    return None


def colour_assumed(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    colour = plan_colour(video)
    if not colour.assumed:
        return None
    return _info("colour_assumed", f"The file does not name its colours; {colour.source.matrix} is assumed.")


def interlaced(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return _normalise("interlaced", "The interlaced picture is deinterlaced.") if video.interlaced else None


def non_square_pixels(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.sar == "1:1":
        return None
    shape = f"{video.display_width}x{video.display_height}"
    return _normalise("non_square_pixels", f"The pixels are not square; the picture is shown as {shape}.")


def odd_dimensions(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.display_width % 2 == 0 and video.display_height % 2 == 0:
        return None
    shape = f"{video.display_width}x{video.display_height}"
    return _normalise("odd_dimensions", f"The size {shape} is rounded down to even numbers.")


def alpha_flattened(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return _warn("alpha_flattened", "Transparent parts are shown on black.") if video.alpha else None


def start_time_shifted(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if abs(video.start_seconds) <= SHIFT_SECONDS_MIN:
        return None
    return _normalise(
        "start_time_shifted", f"The clock starts at {video.start_seconds:.2f} s and is set to zero."
    )


def timestamp_discontinuity(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not video.timestamp_jumps:
        return None
    return _warn(
        "timestamp_discontinuity", f"The clock jumps {video.timestamp_jumps} times; the parts are joined."
    )


def very_short(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not 0 < video.duration_seconds < VERY_SHORT_SECONDS:
        return None
    return _info("very_short", "The video is shorter than a second.")


def unusual_codec(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.codec in USUAL_CODECS:
        return None
    return _info("unusual_codec", f"The picture is stored as {video.codec}, which few tools know.")


# Rules of the sound.


def audio_remapped(track: AudioFacts, facts: SourceFacts) -> Verdict | None:
    if track.channels <= 2:
        return None
    if track.layout not in KNOWN_LAYOUTS:
        return _warn(
            "unknown_layout",
            f"Sound track {track.track + 1} does not name its {track.channels} channels; two are used.",
        )
    return _normalise("audio_remapped", f"Sound track {track.track + 1} ({track.layout}) is mixed to stereo.")


def av_offset(track: AudioFacts, facts: SourceFacts) -> Verdict | None:
    if facts.video is None:
        return None
    offset = track.start_seconds - facts.video.start_seconds
    if abs(offset) <= AV_OFFSET_SECONDS_MIN:
        return None
    return _warn(
        "av_offset", f"Sound track {track.track + 1} starts {offset:+.2f} s from the picture; it is fitted."
    )


def av_length_mismatch(track: AudioFacts, facts: SourceFacts) -> Verdict | None:
    if facts.video is None or track.duration_seconds is None:
        return None
    difference = track.start_seconds + track.duration_seconds - facts.video.end_seconds
    if abs(difference) <= AV_LENGTH_SECONDS_MIN:
        return None
    return _warn(
        "av_length_mismatch",
        f"Sound track {track.track + 1} ends {difference:+.1f} s from the picture; it is padded or trimmed.",
    )


FILE_RULES: tuple[Callable[[SourceFacts, Limits], Verdict | None], ...] = (
    too_many_streams,
    encrypted_source,
    external_reference,
    no_video,
    over_limit,
    truncated,
    duration_unknown,
    no_audio,
    cover_art_only,
    extra_video_streams,
    extra_streams_ignored,
    metadata_sanitised,
)
VIDEO_RULES: tuple[Callable[[VideoFacts, SourceFacts, Limits], Verdict | None], ...] = (
    too_large_frame,
    unsupported_codec,
    too_small_frame,
    no_frames,
    no_timestamps,
    over_budget,
    dolby_vision_unsupported,
    high_dynamic_range,
    rotated,
    mirrored,
    frame_rate,
    high_bit_depth,
    chroma,
    colour_assumed,
    interlaced,
    non_square_pixels,
    odd_dimensions,
    alpha_flattened,
    start_time_shifted,
    timestamp_discontinuity,
    very_short,
    unusual_codec,
)
AUDIO_RULES: tuple[Callable[[AudioFacts, SourceFacts], Verdict | None], ...] = (
    audio_remapped,
    av_offset,
    av_length_mismatch,
)
