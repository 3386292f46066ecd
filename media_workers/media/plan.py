"""The plan: everything a title's encode will be, fixed before the first frame is decoded."""

from fractions import Fraction

import msgspec

from media_workers.media.facts import Colour, SourceFacts
from media_workers.media.profiles import Profile


class Rendition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One encoded size. `crf` with a cap: `maxrate_bps` and `bufsize_bits` bound the peaks."""

    name: str
    codec: str
    width: int
    height: int
    crf: float
    maxrate_bps: int
    bufsize_bits: int
    preset: str
    h264_profile: str
    level: str
    threads: int


class VideoPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is done to the picture before it is scaled; the same for every rendition.

    `tone_map` names the source's transfer when it must become SDR. `colour_in` is what the source is taken
    to be (with `colour_assumed` when it said nothing), `colour_out` what every output is tagged with.
    `pad_frames_max` bounds the clones of the last frame that may complete `frames_total`.
    """

    stream_index: int
    deinterlace: bool
    tone_map: str | None
    colour_in: Colour
    colour_out: Colour
    colour_assumed: bool
    alpha: bool
    convert_colour: bool
    pad_frames_max: int


class AudioPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One sound track. `samples_total` is the exact length it is padded or trimmed to."""

    name: str
    track: int
    stream_index: int
    language: str
    label: str
    default: bool
    codec: str
    bitrate_bps: int
    sample_rate: int
    channels: int
    source_channels: int
    source_layout: str | None
    loudness_lufs: float | None
    samples_total: int


class StillsPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Poster candidates and the storyboard: `tiles` pictures, one each `interval_seconds`, on sheets."""

    poster_width: int
    poster_height: int
    poster_seconds: tuple[float, ...]
    interval_seconds: float
    tiles: int
    tile_width: int
    tile_height: int
    columns: int
    rows: int
    keyframes_only: bool

    @property
    def sheets(self) -> int:
        """How many sprite pictures there are."""
        return -(-self.tiles // (self.columns * self.rows))


class Estimate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Predicted before the job runs. `cost` in the currency of the operator's core-hour price."""

    cpu_seconds: float
    wall_seconds: float
    output_bytes: int
    cost: float


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole job. Frame counts are exact: every rendition has `frames_total` frames.

    `segment_seconds` is `segment_frames` over the frame rate, rounded to microseconds.
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
    audio: tuple[AudioPlan, ...]
    stills: StillsPlan | None
    estimate: Estimate

    @property
    def rate(self) -> Fraction:
        """The output frame rate as an exact number."""
        return Fraction(self.frame_rate)


class Calibration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Measured speeds behind the estimate: frames a second of 1280x720 for each x264 preset on `cores` cores."""

    preset_fps: dict[str, float] = msgspec.field(
        default_factory=lambda: {"veryfast": 151.0, "fast": 80.0, "medium": 53.0, "slow": 37.0}
    )
    cores: int = 2
    core_hour_price: float = 0.04


def make_plan(facts: SourceFacts, profile: Profile, calibration: Calibration | None = None) -> Plan:
    """Plan a title.

    Args:
        facts: of a source that no rule rejected, made with a packet scan.
        profile: from `profiles.resolve_profile`.
        calibration: speeds and prices for the estimate.

    Raises:
        PlanError: the source has nothing this profile encodes.
    """
    raise NotImplementedError
