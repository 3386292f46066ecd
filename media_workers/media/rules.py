"""The ingest rules that look into an opened source, one function each; `verdicts.judge` runs them.

Each says what it found by a code of the catalogue, where the sentences are.
"""

from collections.abc import Callable

import msgspec

from media_workers.media.audio_plan import AUDIO_TRACKS_MAX
from media_workers.media.catalogue import Verdict, verdict
from media_workers.media.colour import plan_colour
from media_workers.media.downmix import KNOWN_LAYOUTS
from media_workers.media.facts import AudioFacts, SourceFacts, VideoFacts
from media_workers.media.plan import FRAME_RATE_MIN
from media_workers.media.rates import parse_rate
from media_workers.media.text_plan import IMAGE_CODECS, TEXT_CODECS

TRUNCATED_SHARE_MAX = 0.02
# One lost picture of a short clip is no truncation.
TRUNCATED_SECONDS_MIN = 0.25
SHIFT_SECONDS_MIN = 0.05
AV_OFFSET_SECONDS_MIN = 0.1
AV_LENGTH_SECONDS_MIN = 1.0
VERY_SHORT_SECONDS = 1.0
FRAME_RATE_USUAL_MAX = 60
USUAL_CODECS = frozenset(
    (
        *("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video"),
        *("prores", "dnxhd", "mjpeg", "dvvideo"),
    )
)
DENIED_CODECS = frozenset(
    (
        *("ansi", "bintext", "idf", "tmv", "xbin", "cdgraphics", "svg", "lottie"),
        *(
            "anm",
            "bethsoftvid",
            "bfi",
            "bink",
            "c93",
            "cmv",
            "cyuv",
            "dfa",
            "dsicinvideo",
            "dxa",
            "hnm4video",
        ),
        *("idcin", "interplayvideo", "jv", "kmvc", "mad", "mdec", "mmvideo", "motionpixels", "mvc1", "mvc2"),
        *("paf_video", "roq", "smackvideo", "tgq", "tgv", "thp", "tiertexseqvideo", "tqi", "truemotion1"),
        *("truemotion2", "truemotion2rt", "ulti", "vb", "vcr1", "vmdvideo", "vmnc", "vqavideo", "xan_wc3"),
        *("xan_wc4", "yop"),
    )
)
"""Codecs of games, text art and drawings, which no camera or editor writes: their decoders, seldom used and
seldom looked at, are for a stranger's crafted file alone."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bounds of what is accepted; an operator may raise them."""

    edge_px_max: int = 8192
    frame_px_max: int = 8192 * 4320
    edge_px_min: int = 16
    duration_seconds_min: float = 0.0
    duration_seconds_max: float = 12 * 3600.0
    streams_max: int = 64
    # Twelve hours of 1080p60: a small file that decodes to more is a bomb or a mistake.
    pixels_total_max: float = 12 * 3600.0 * 60 * 1920 * 1080


# Rules of the file as a whole.


def too_many_streams(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if facts.streams <= limits.streams_max:
        return None
    return verdict("too_many_streams", count=facts.streams, limit=limits.streams_max)


def encrypted_source(facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("encrypted_source") if facts.encrypted else None


def external_reference(facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("external_reference") if facts.external_reference else None


def over_limit(facts: SourceFacts, limits: Limits) -> Verdict | None:
    seconds = max(facts.duration_seconds or 0.0, facts.video.duration_seconds if facts.video else 0.0)
    if seconds <= limits.duration_seconds_max:
        return None
    return verdict("over_limit", hours=seconds / 3600, limit=limits.duration_seconds_max / 3600)


def truncated(facts: SourceFacts, limits: Limits) -> Verdict | None:
    video = facts.video
    # A fragmented file claims what its fragments add up to: only its last packet tells that there were more.
    if video and video.ends_corrupt and video.claimed_frames is None and "mp4" in facts.container:
        return verdict("truncated", found=video.duration_seconds, claim="")
    claim, found = _claim_and_found(facts)
    missing = claim - found
    if not facts.scanned or missing <= TRUNCATED_SECONDS_MIN:
        return None
    if missing > claim * TRUNCATED_SHARE_MAX:
        return verdict("truncated", found=found, claim=f" of {claim:.1f}")
    return verdict("truncated", "warn", missing=missing)


def _claim_and_found(facts: SourceFacts) -> tuple[float, float]:
    """What a stream (or a container of nothing but picture and sound) claims to last, and what is there."""
    video = facts.video
    if video is not None and video.timestamp_jumps:
        # A claim that was made across a jump of the clock is none.
        return 0.0, 0.0
    if video is not None and video.claimed_seconds is not None:
        return video.claimed_seconds, video.duration_seconds
    ends = [track.start_seconds + (track.duration_seconds or 0.0) for track in facts.audio]
    if video is not None:
        ends.append(video.end_seconds)
    if facts.duration_seconds is None or not ends or facts.subtitles or facts.other or facts.extra_video:
        return 0.0, 0.0
    return facts.duration_seconds, max(ends) - facts.start_seconds


def duration_unknown(facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("duration_unknown") if facts.duration_seconds is None else None


def no_video(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if facts.video is not None or facts.audio:
        return None
    return verdict("no_video", what="neither a picture nor a sound track")


def no_audio(facts: SourceFacts, limits: Limits) -> Verdict | None:
    return None if facts.audio or facts.video is None else verdict("no_audio")


def cover_art_only(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if facts.video is not None or facts.cover_index is None:
        return None
    return verdict("cover_art_only")


def extra_video_streams(facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not facts.extra_video:
        return None
    return verdict("extra_video_streams", count=len(facts.extra_video) + 1)


def extra_streams_ignored(facts: SourceFacts, limits: Limits) -> Verdict | None:
    ignored = len(facts.other) + max(0, len(facts.audio) - AUDIO_TRACKS_MAX)
    return verdict("extra_streams_ignored") if ignored else None


def image_subtitles_skipped(facts: SourceFacts, limits: Limits) -> Verdict | None:
    left_out = [str(track.index) for track in facts.subtitles if track.codec in IMAGE_CODECS]
    return verdict("image_subtitles_skipped", streams=", ".join(left_out)) if left_out else None


def text_subtitles_skipped(facts: SourceFacts, limits: Limits) -> Verdict | None:
    known = TEXT_CODECS | IMAGE_CODECS
    left_out = [str(track.index) for track in facts.subtitles if track.codec not in known]
    return verdict("text_subtitles_skipped", streams=", ".join(left_out)) if left_out else None


def metadata_sanitised(facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("metadata_sanitised") if facts.metadata_sanitised else None


# Rules of the picture.


def unsupported_codec(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.codec in DENIED_CODECS:
        return verdict("unsupported_codec", what="picture", codec=f" ({video.codec})")
    if video.codec != "unknown" and video.coded_width > 0 and video.coded_height > 0:
        return None
    return verdict("unsupported_codec", what="picture", codec="")


def too_large_frame(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    width, height = video.coded_width, video.coded_height
    if max(width, height) <= limits.edge_px_max and width * height <= limits.frame_px_max:
        return None
    return verdict("too_large_frame", width=width, height=height, limit=limits.edge_px_max)


def too_small_frame(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    shortest = min(video.display_width, video.display_height)
    if shortest >= limits.edge_px_min or video.coded_width == 0:
        return None
    return verdict("too_small_frame", shape=_shape(video), limit=limits.edge_px_min)


def over_budget(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    rate = min(float(parse_rate(video.frame_rate) or 25), FRAME_RATE_USUAL_MAX)
    pixels = video.coded_width * video.coded_height * rate * video.duration_seconds
    return verdict("over_budget") if pixels > limits.pixels_total_max else None


def no_frames(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not facts.scanned or video.frames > 0:
        return None
    return verdict("truncated", found=0.0, claim="")


def no_timestamps(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not video.timestamps_missing:
        return None
    return verdict("no_timestamps" if video.timestamps_missing >= video.frames else "timestamps_regenerated")


def dolby_vision_unsupported(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("dolby_vision_unsupported") if video.hdr == "dolby_vision" else None


def high_dynamic_range(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict(video.hdr) if video.hdr in {"hdr10", "hlg"} else None


def rotated(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("rotated", degrees=video.rotation) if video.rotation else None


def mirrored(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("mirrored") if video.mirrored else None


def frame_rate(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    rate = parse_rate(video.frame_rate)
    if video.variable_frame_rate:
        return verdict("variable_frame_rate")
    # 60000/1001 rounds up to 60: the room is for that.
    if rate is not None and FRAME_RATE_MIN <= rate <= FRAME_RATE_USUAL_MAX * 1.001:
        return None
    return verdict("unusual_frame_rate", rate=video.frame_rate)


def high_bit_depth(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("high_bit_depth", bits=video.bit_depth) if video.bit_depth > 8 else None


def chroma(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.chroma == "rgb":
        return verdict("rgb_converted")
    if video.chroma in {"422", "444", "411"}:
        return verdict("chroma_converted", chroma=":".join(video.chroma))
    return None


def colour_assumed(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    colour = plan_colour(video)
    return verdict("colour_assumed", matrix=colour.source.matrix) if colour.assumed else None


def interlaced(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.telecine:
        return verdict("telecine")
    return verdict("interlaced") if video.interlaced else None


def non_square_pixels(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("non_square_pixels", shape=_shape(video)) if video.sar != "1:1" else None


def odd_dimensions(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if video.display_width % 2 == 0 and video.display_height % 2 == 0:
        return None
    return verdict("odd_dimensions", shape=_shape(video))


def alpha_flattened(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("alpha_flattened") if video.alpha else None


def start_time_shifted(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if abs(video.start_seconds) <= SHIFT_SECONDS_MIN:
        return None
    return verdict("start_time_shifted", seconds=video.start_seconds)


def timestamp_discontinuity(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    if not video.timestamp_jumps:
        return None
    return verdict("timestamp_discontinuity", jumps=video.timestamp_jumps)


def very_short(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    seconds = video.duration_seconds
    if facts.scanned and seconds < limits.duration_seconds_min:
        return verdict("too_short", seconds=seconds, limit=limits.duration_seconds_min)
    return verdict("very_short") if 0 < seconds < VERY_SHORT_SECONDS else None


def unusual_codec(video: VideoFacts, facts: SourceFacts, limits: Limits) -> Verdict | None:
    return verdict("unusual_codec", codec=video.codec) if video.codec not in USUAL_CODECS else None


def _shape(video: VideoFacts) -> str:
    return f"{video.display_width}x{video.display_height}"


# Rules of the sound.


def audio_remapped(track: AudioFacts, facts: SourceFacts) -> Verdict | None:
    if track.channels <= 2:
        return None
    if track.layout not in KNOWN_LAYOUTS:
        return verdict("unknown_layout", track=track.track + 1, channels=track.channels)
    return verdict("audio_remapped", track=track.track + 1, layout=track.layout)


def av_offset(track: AudioFacts, facts: SourceFacts) -> Verdict | None:
    if facts.video is None:
        return None
    offset = track.start_seconds - facts.video.start_seconds
    if abs(offset) <= AV_OFFSET_SECONDS_MIN:
        return None
    return verdict("av_offset", track=track.track + 1, seconds=offset)


def av_length_mismatch(track: AudioFacts, facts: SourceFacts) -> Verdict | None:
    if facts.video is None or track.duration_seconds is None:
        return None
    difference = track.start_seconds + track.duration_seconds - facts.video.end_seconds
    if abs(difference) <= AV_LENGTH_SECONDS_MIN:
        return None
    return verdict("av_length_mismatch", track=track.track + 1, seconds=difference)


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
    image_subtitles_skipped,
    text_subtitles_skipped,
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
