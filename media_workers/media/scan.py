"""What the decode scan of a source found, and the facts with what was seen in place of what was claimed.

`scan_log` runs the detectors and reads them; `scan_rules` judges.
"""

import math

import msgspec

from media_workers.media.audio_plan import AUDIO_TRACKS_MAX
from media_workers.media.facts import SourceFacts, VideoFacts
from media_workers.media.rates import parse_rate

# Below this many pictures with a clear answer, the container's word on interlacing stands.
IDET_FRAMES_MIN = 10
IDET_SHARE_MIN = 0.1
PROGRESSIVE_SHARE_MIN = 0.8
# Fine lines that move look like fields: what says that it is progressive needs much proof, and the format of
# a television line, where fields are hidden at times.
INTERLACED_SHARE_MIN = 0.9
TELEVISION_LINES = frozenset({480, 486, 512, 576, 608, 1080, 1088})
TELEVISION_RATE_MAX = 30
# Fields have one order: synthetic patterns that look interlaced to the detector have both.
ONE_PARITY_SHARE_MIN = 0.9
# Film on NTSC repeats a field in two of five pictures.
TELECINE_SHARE_MIN = 0.25
VARIABLE_SHARE_MIN = 0.02
VARIABLE_RATIO = 1.5


class Interval(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A stretch of the title, in seconds from its first picture."""

    start_seconds: float
    end_seconds: float


class Complexity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Spatial and temporal information (ITU-T P.910, means of each window), and pictures in each window.

    Window n covers `window_seconds` from n * `window_seconds` after the first picture. The figures come from
    a small copy of the picture: they compare parts of one title, not titles.
    """

    window_seconds: int = 1
    frames: tuple[int, ...] = ()
    spatial: tuple[float, ...] = ()
    temporal: tuple[float, ...] = ()

    def per_second(self) -> tuple[float, ...]:
        """One figure for each second of the title, higher is harder to encode.

        Detail costs bits once a picture group, movement in every picture: their product follows the size of
        an encode well enough to order windows.
        """
        figures = (
            math.log1p(spatial) * (1.0 + temporal)
            for spatial, temporal in zip(self.spatial, self.temporal, strict=True)
        )
        return tuple(round(figure, 3) for figure in figures for _ in range(self.window_seconds))


class StreamScan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What decoding one stream gave. `errors` counts packets that gave no frame, `damaged` damaged frames."""

    index: int
    kind: str
    packets: int
    frames: int
    errors: int = 0
    damaged: int = 0

    @property
    def bad_share(self) -> float:
        """Share of what should have been frames that is lost or damaged, 0 to 1."""
        total = self.frames + self.errors
        return min(1.0, (self.errors + self.damaged) / total) if total else 1.0


class TrackLoudness(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Loudness of one sound track (EBU R 128): LUFS, LU, dBTP; None for silence, or a constant."""

    track: int
    integrated_lufs: float | None = None
    range_lu: float | None = None
    true_peak_dbtp: float | None = None

    @property
    def silent(self) -> bool:
        return self.integrated_lufs is None


class FieldCounts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Pictures by what idet took them for (several looked at together), and those with a repeated field."""

    top_first: int = 0
    bottom_first: int = 0
    progressive: int = 0
    undetermined: int = 0
    repeated: int = 0
    not_repeated: int = 0


class ScanFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything the decode scan saw. Times are seconds from the first picture.

    Attributes:
        frames: pictures that were really decoded.
        duration_seconds: from the first picture to the start of the last.
        streams: the picture and the sound tracks that were decoded.
        variable_share: share of picture durations that differ from the one before; None with no picture.
        variable_ratio: longest over shortest duration, None when all are equal.
        parameter_changes: how often the picture's size or format changed on the way.
        error_lines: what decoders and demuxers complained about, in lines.
        complete: whether FFmpeg came to the end of the file.
    """

    frames: int = 0
    duration_seconds: float = 0.0
    streams: tuple[StreamScan, ...] = ()
    fields: FieldCounts = FieldCounts()
    variable_share: float | None = None
    variable_ratio: float | None = None
    black: tuple[Interval, ...] = ()
    frozen: tuple[Interval, ...] = ()
    loudness: tuple[TrackLoudness, ...] = ()
    complexity: Complexity = Complexity()
    parameter_changes: int = 0
    error_lines: int = 0
    complete: bool = True

    def stream(self, index: int) -> StreamScan | None:
        """What decoding the stream with this number gave."""
        return next((one for one in self.streams if one.index == index), None)

    def black_ranges(self) -> tuple[tuple[float, float], ...]:
        """The black stretches as (start, end)."""
        return tuple((one.start_seconds, one.end_seconds) for one in self.black)


def heard_tracks(facts: SourceFacts) -> tuple[tuple[int, int], ...]:
    """Number and stream index of every sound track that the scan decodes."""
    tracks = (track for track in facts.audio if track.channels > 0 and track.sample_rate > 0)
    return tuple((track.track, track.index) for track in tracks)[:AUDIO_TRACKS_MAX]


def merged_facts(facts: SourceFacts, scan: ScanFacts) -> SourceFacts:
    """The facts with what the scan saw in place of what was claimed: fields, rate, number of pictures."""
    video = facts.video
    if video is None:
        return facts
    telecine = is_telecine(scan.fields)
    merged = msgspec.structs.replace(
        video,
        interlaced=telecine or _is_interlaced(video, scan.fields),
        telecine=telecine,
        variable_frame_rate=video.variable_frame_rate or _is_variable(scan),
        frames=scan.frames or video.frames,
    )
    return msgspec.structs.replace(facts, video=merged)


def is_telecine(fields: FieldCounts) -> bool:
    """Whether film was spread over fields: two pictures of five repeat one."""
    total = fields.repeated + fields.not_repeated
    combed = fields.top_first + fields.bottom_first
    return total >= IDET_FRAMES_MIN and min(fields.repeated, combed) >= TELECINE_SHARE_MIN * total


def _is_interlaced(video: VideoFacts, fields: FieldCounts) -> bool:
    combed = fields.top_first + fields.bottom_first
    clear = combed + fields.progressive
    if clear < max(IDET_FRAMES_MIN, IDET_SHARE_MIN * (clear + fields.undetermined)):
        return video.interlaced
    if fields.progressive >= PROGRESSIVE_SHARE_MIN * clear:
        return False
    if (
        video.coded_height not in TELEVISION_LINES
        or (parse_rate(video.frame_rate) or 0) > TELEVISION_RATE_MAX
    ):
        return video.interlaced
    ordered = max(fields.top_first, fields.bottom_first)
    if combed >= INTERLACED_SHARE_MIN * clear and ordered >= ONE_PARITY_SHARE_MIN * combed:
        return True
    return video.interlaced


def _is_variable(scan: ScanFacts) -> bool:
    return (scan.variable_share or 0.0) > VARIABLE_SHARE_MIN and (scan.variable_ratio or 1.0) > VARIABLE_RATIO
