"""The plan: everything a title's encode will be, fixed before the first frame is decoded."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from media_workers.media.audio_plan import AudioPlan, audio_plans, usable_tracks
from media_workers.media.calibration import Calibration
from media_workers.media.chunks import Chunk, plan_chunks, preroll_seconds
from media_workers.media.colour import ColourPlan, plan_colour
from media_workers.media.estimate import Estimate, estimate_title, predicted_seconds
from media_workers.media.facts import AudioFacts, SourceFacts, VideoFacts, clock_start
from media_workers.media.gate import QualityPlan, quality_plan
from media_workers.media.groups import Group, plan_groups
from media_workers.media.hardware import on_hardware
from media_workers.media.ladder import Rendition, ladder
from media_workers.media.per_title import PerTitle, apply_per_title
from media_workers.media.profile_records import Codec
from media_workers.media.profiles import PlanError, Profile
from media_workers.media.rates import nearest_standard_rate, rate_text
from media_workers.media.stills_plan import StillsPlan, cover_plan, stills_plan
from media_workers.media.text_plan import TextPlan, text_plans
from media_workers.media.watermark import Crop, Watermark, cropped_size

__all__ = [
    "AudioPlan",
    "Calibration",
    "Chunk",
    "Estimate",
    "Group",
    "Plan",
    "Rendition",
    "StillsPlan",
    "TextPlan",
    "VideoPlan",
    "make_plan",
]

# Below this a two-second GOP would be a few frames; duplicates cost next to nothing.
FRAME_RATE_MIN = 5
# A source that ends this much before its container says may lose its last pictures to the decoder as well.
ENDS_EARLY_SECONDS = 0.25


class VideoPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is done to the picture before it is scaled; the same for every rendition.

    `offset_seconds` is where the first frame lies on FFmpeg's clock (`facts.clock_start`); it
    becomes the title's zero. `pad_frames_max` bounds the copies of the last frame that may complete
    `frames_total`. `preroll_seconds` is how much before a chunk decoding starts.
    The display size is what a viewer would see of the source; a crop counts its pixels.
    """

    stream_index: int
    offset_seconds: float
    deinterlace: bool
    alpha: bool
    colour: ColourPlan
    pad_frames_max: int
    preroll_seconds: float
    display_width: int
    display_height: int
    crop: Crop | None = None
    watermark: Watermark | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole job. Frame counts are exact: every rendition has `frames_total` frames.

    `segment_seconds` is `segment_frames` over the frame rate, rounded to microseconds. `timescale` is the
    ticks a second of every encoded picture file. `chunks` cover every frame once and `groups` every rendition
    once: each pair of both is a piece of work. `preview` names the rendition that is published first.
    `quality` says what is measured afterwards, `per_title` why the ladder is another than the profile's.
    """

    profile: str
    frame_rate: str
    frames_total: int
    duration_seconds: float
    gop_frames: int
    segment_frames: int
    segment_seconds: float
    timescale: int
    video: VideoPlan | None
    renditions: tuple[Rendition, ...]
    chunks: tuple[Chunk, ...]
    groups: tuple[Group, ...]
    preview: str | None
    audio: tuple[AudioPlan, ...]
    text: tuple[TextPlan, ...] = ()
    stills: StillsPlan | None
    quality: QualityPlan | None = None
    per_title: PerTitle | None = None
    estimate: Estimate

    @property
    def rate(self) -> Fraction:
        """The output frame rate as an exact number."""
        return Fraction(self.frame_rate)


def make_plan(
    facts: SourceFacts,
    profile: Profile,
    calibration: Calibration | None = None,
    *,
    slots: int = 1,
    protected: bool = False,
    per_title: PerTitle | None = None,
    black: Sequence[tuple[float, float]] = (),
    hardware: Mapping[Codec, str] | None = None,
) -> Plan:
    """Plan a title.

    Args:
        facts: of a source that no rule rejected, made with a packet scan.
        profile: from `profiles.resolve_profile`.
        calibration: speeds and prices for the estimate.
        slots: how many encodes run at once, for the estimate.
        protected: the title will be encrypted, so nothing of it may be shown early in the clear.
        per_title: what trial encodes have found; None takes the profile's ladder as it is.
        black: black stretches as (start, end) in seconds of the title, from the scan.
        hardware: the encoder of each codec that a graphics card takes over.

    Raises:
        PlanError: the source has nothing this profile encodes.
    """
    video, span = _span(facts, profile)
    rate, frames = span.rate, span.frames
    speeds = calibration or Calibration()
    gop = max(1, _half_up(profile.gop_seconds * rate))
    planned = _video_plan(facts, video, span, profile) if video else None
    renditions = on_hardware(_renditions(planned, rate, profile, per_title), hardware or {})
    quality = _quality(renditions, profile, frames=frames, gop=gop, rate=rate, black=black)
    chunks = plan_chunks(frames, gop, rate, chunk_seconds=_chunk_seconds(video, span, profile))
    preview = None if protected else _preview(renditions)
    usual_frames = chunks[0].frames if chunks else 0
    groups = plan_groups(renditions, predicted_seconds(speeds, renditions, usual_frames), preview=preview)
    audio = audio_plans(facts, profile, zero=span.zero_seconds, seconds=span.seconds)
    return Plan(
        profile=profile.name,
        frame_rate=rate_text(rate),
        frames_total=frames,
        duration_seconds=round(float(span.seconds), 6),
        gop_frames=gop,
        segment_frames=gop * profile.segment_gops,
        segment_seconds=round(float(gop * profile.segment_gops / rate), 6),
        timescale=_timescale(rate),
        video=planned,
        renditions=renditions,
        chunks=chunks,
        groups=groups,
        preview=preview,
        audio=audio,
        text=text_plans(facts, zero=span.zero_seconds),
        stills=_stills(facts, video, planned, span.seconds),
        quality=quality,
        per_title=per_title,
        estimate=estimate_title(
            video,
            rate=rate,
            seconds=span.seconds,
            chunks=chunks,
            groups=groups,
            renditions=renditions,
            audio_bitrates_bps=[track.bitrate_bps for track in audio],
            calibration=speeds,
            slots=slots,
            quality=quality is not None,
        ),
    )


class _Span(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the source that becomes the title: its zero on the source's clock, its exact length."""

    rate: Fraction
    frames: int
    seconds: Fraction
    zero_seconds: float


def _span(facts: SourceFacts, profile: Profile) -> tuple[VideoFacts | None, _Span]:
    video = facts.video if profile.video else None
    if video is None and not profile.audio_only_allowed:
        raise PlanError("profile", f"{profile.name} needs a picture and the source has none", ("audio",))
    sound = usable_tracks(facts)
    if video is None and not sound:
        raise PlanError("source", "has nothing that could be encoded")
    length = video.duration_seconds if video else _sound_seconds(facts, sound)
    start, end = 0.0, length
    if profile.clip is not None:
        start, end = profile.clip.start, min(length, profile.clip.end or length)
        if start >= end:
            raise PlanError("overrides.clip.start", f"lies behind the source's end at {length:.3f} seconds")
    zero = (video.start_seconds if video else min(track.start_seconds for track in sound)) + start
    rate = output_rate(video, profile) if video else Fraction(25)
    wanted = Fraction(end) - Fraction(start)
    frames = max(1, _half_up(wanted * rate)) if video else 0
    return video, _Span(
        rate=rate, frames=frames, seconds=frames / rate if video else wanted, zero_seconds=zero
    )


def _preview(renditions: tuple[Rendition, ...]) -> str | None:
    """The smallest H.264 rendition, which every player shows; none when there is nothing else to wait for."""
    playable = [item for item in renditions if item.codec == "h264" and item.dynamic_range == "sdr"]
    if len(renditions) < 2 or not playable:
        return None
    return min(playable, key=lambda item: item.width * item.height).name


def output_rate(video: VideoFacts, profile: Profile) -> Fraction:
    """The constant rate a title is encoded at.

    A steady source keeps its rate, a variable one gets the standard rate nearest to its median frame. What is
    above the profile's maximum is divided by a whole number, what is below a usable minimum multiplied.
    """
    rate = Fraction(video.frame_rate)
    if video.variable_frame_rate:
        rate = nearest_standard_rate(rate)
    # 60000/1001 and 60 are the same kind of rate: compare with a little room.
    divisor = math.ceil(rate / (profile.frame_rate_max * Fraction(1001, 1000)))
    rate /= max(1, divisor)
    return rate * max(1, math.ceil(FRAME_RATE_MIN / rate))


def _video_plan(facts: SourceFacts, video: VideoFacts, span: _Span, profile: Profile) -> VideoPlan:
    claim = video.claimed_seconds or 0.0
    early = video.ends_corrupt or claim - video.duration_seconds > ENDS_EARLY_SECONDS
    slack_seconds = video.last_frame_seconds + (1.0 if early or video.timestamp_jumps else 0.0)
    return VideoPlan(
        stream_index=video.index,
        offset_seconds=round(span.zero_seconds - clock_start(facts, video.start_seconds), 6),
        deinterlace=video.interlaced,
        alpha=video.alpha,
        colour=plan_colour(video),
        # Two frames: one for rounding, one that some decoders keep for themselves at the end.
        pad_frames_max=2 + math.ceil(slack_seconds * span.rate),
        preroll_seconds=_preroll(video),
        display_width=video.display_width,
        display_height=video.display_height,
        crop=profile.crop,
        watermark=profile.watermark,
    )


def _chunk_seconds(video: VideoFacts | None, span: _Span, profile: Profile) -> float | None:
    """FFmpeg mends a clock that jumps only where it reads from the source's start: that is one chunk."""
    jumps = video is not None and video.timestamp_jumps > 0
    return 2 * float(span.seconds) if jumps else profile.chunk_seconds


def _preroll(video: VideoFacts) -> float:
    """A source whose clock jumps is always read from its start."""
    if video.timestamp_jumps:
        return math.ceil(video.start_seconds + video.end_seconds + 1)
    return round(preroll_seconds(video.keyframe_gap_seconds_max), 3)


def _quality(
    renditions: tuple[Rendition, ...],
    profile: Profile,
    *,
    frames: int,
    gop: int,
    rate: Fraction,
    black: Sequence[tuple[float, float]],
) -> QualityPlan | None:
    if not profile.quality_gate:
        return None
    return quality_plan(
        renditions, profile.quality, frames_total=frames, gop_frames=gop, rate=rate, black=black
    )


def _renditions(
    video: VideoPlan | None, rate: Fraction, profile: Profile, per_title: PerTitle | None
) -> tuple[Rendition, ...]:
    if video is None:
        return ()
    usual = ladder(*_size(video), rate, profile, source_range=video.colour.dynamic_range)
    return usual if per_title is None else apply_per_title(usual, per_title)


def _size(video: VideoPlan) -> tuple[int, int]:
    """What a viewer sees of the source: all of it, or the crop."""
    size = video.display_width, video.display_height
    return cropped_size("overrides.crop", video.crop, *size) if video.crop is not None else size


def _stills(
    facts: SourceFacts, video: VideoFacts | None, planned: VideoPlan | None, seconds: Fraction
) -> StillsPlan | None:
    if video is not None and planned is not None:
        return stills_plan(video, seconds, size=_size(planned))
    return cover_plan(facts.cover_index) if facts.cover_index is not None else None


def _sound_seconds(facts: SourceFacts, tracks: Sequence[AudioFacts]) -> float:
    known = [track.duration_seconds for track in tracks if track.duration_seconds]
    return max(known, default=facts.duration_seconds or 0.0)


def _timescale(rate: Fraction) -> int:
    """Ticks a second that hold the rate exactly and are fine enough for players: 12800 for 25 fps."""
    doublings = max(0, math.ceil(math.log2(10_000 / rate.numerator)))
    return rate.numerator << doublings


def _half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
