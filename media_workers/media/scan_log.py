"""The decode scan: one pass over a source's picture and sound with every detector in it.

`scan_args` makes the argument list, and `ScanParser` takes FFmpeg's log line by line, so that the log of a
twelve-hour title never lies in memory.
"""

import math
import re

import msgspec

from media_workers.media.facts import SourceFacts
from media_workers.media.guards import GUARDS, PROGRESS, QUIET
from media_workers.media.loudness import SILENT_LUFS
from media_workers.media.scan import (
    Complexity,
    FieldCounts,
    Interval,
    ScanFacts,
    StreamScan,
    TrackLoudness,
    heard_tracks,
)

# idet needs every line, but not every column; the other detectors need neither.
DETECT_WIDTH_MAX = 640
DETECT_LINES_MAX = 270
# siti costs fifty times what the others do, for each pixel; windows of one title compare as well when small.
SITI_WIDTH_MAX = 240
SITI_LINES_MAX = 136
BLACK_SECONDS_MIN = 0.5
FROZEN_SECONDS_MIN = 2.0
INTERVALS_MAX = 1000
# Neighbouring samples (full scale is 1) of anything that can be heard differ by more.
STEP_MAX = 1e-5
# More windows than this are merged two by two, which doubles their length.
WINDOWS_MAX = 1200


def scan_args(ffmpeg_path: str, facts: SourceFacts, *, source: str) -> list[str]:
    """Decode the picture and the sound tracks once, through all detectors, into nothing.

    Progress lines on stdout; the log on stderr, whose every line `ScanParser.feed` takes.

    Args:
        ffmpeg_path: the binary.
        facts: of the source, from its packets.
        source: path of the source.

    Raises:
        ValueError: there is nothing to decode.
    """
    graphs, outputs = [], []
    if facts.video is not None:
        graphs.append(f"[0:{facts.video.index}]{_PICTURE_DETECTORS}[picture]")
        outputs.append("[picture]")
    tracks = heard_tracks(facts)
    if tracks:
        # A graph of its own: a picture that changes its size restarts its graph, and with it all sums.
        heard = [_SOUND_DETECTORS.format(index=index, track=track) for track, index in tracks]
        graphs.append(";".join(heard))
        outputs += [f"[sound{track}]" for track, _ in tracks]
    if not outputs:
        raise ValueError("source: has neither a picture nor a sound track to decode")
    guards = [word for name, value in GUARDS.items() for word in (f"-{name}", str(value))]
    return [
        *(ffmpeg_path, *QUIET, "-loglevel", "repeat+level+verbose", *PROGRESS),
        # Turning a picture upright would turn its lines into columns.
        *(*guards, "-noautorotate", "-i", source),
        *(word for graph in graphs for word in ("-filter_complex", graph)),
        *(word for output in outputs for word in ("-map", output)),
        *("-fps_mode", "passthrough", "-f", "null", "-"),
    ]


_PICTURE_DETECTORS = ",".join(
    (
        rf"scale=w=min(iw\,{DETECT_WIDTH_MAX}):h=ih:flags=fast_bilinear",
        "format=yuv420p",
        "idet@fields",
        "vfrdet@rate",
        rf"scale=w=iw:h=min(ih\,{DETECT_LINES_MAX}):flags=fast_bilinear",
        f"blackdetect@black=d={BLACK_SECONDS_MIN}",
        f"freezedetect@frozen=d={FROZEN_SECONDS_MIN}",
        "metadata=mode=delete",
        rf"scale=w=min(iw\,{SITI_WIDTH_MAX}):h=min(ih\,{SITI_LINES_MAX}):flags=fast_bilinear",
        "siti",
        "metadata@frame=mode=print",
    )
)
_SOUND_DETECTORS = (
    "[0:{index}]aformat=sample_fmts=dbl,"
    "astats@a{track}=measure_perchannel=none:measure_overall=Max_difference,"
    "ebur128@a{track}=peak=true:framelog=quiet[sound{track}]"
)
_LINE = re.compile(r"((?:\[[^\]]+ @ 0x[0-9a-f]+\] )*)\[(\w+)\] (.*)")
_SPEAKER = re.compile(r"\[([^\]]+) @ 0x")
_STREAM = re.compile(r"[va]ist#0:(\d+)/")
_COUNTS = re.compile(
    r"Input stream #0:(\d+) \((\w+)\): (\d+) packets read .*?; (\d+) frames decoded; (\d+) decode errors"
)
_RATE = re.compile(r"VFR:\S+ \((\d+)/(\d+)\)(?: min: (-?\d+) max: (-?\d+))?")
_BLACK = re.compile(r"black_start:(\S+) black_end:(\S+)")
_NUMBER = re.compile(r"(\w+):\s*(\d+)")
_MEASURE = re.compile(r"\b(I|LRA|Peak):\s+(\S+)")


class ScanParser:
    """Folds the log of a scan: feed each line of stderr, then ask for the facts.

    A graph that is set up twice prints its summaries twice, the first time empty (zeros, or nan for vfrdet);
    one that is restarted on the way prints one for each part. Sums are right for both.
    """

    def __init__(self) -> None:
        self._streams: dict[int, StreamScan] = {}
        self._damaged: dict[int, int] = {}
        self._fields = [0] * 6
        self._steps = [0, 0]
        self._step_bounds: tuple[int, int] | None = None
        self._black: list[Interval] = []
        self._frozen: list[Interval] = []
        self._frozen_from: float | None = None
        self._loudness: dict[int, dict[str, float]] = {}
        self._track: int | None = None
        self._windows = _Windows()
        self._now: float | None = None
        self._first: float | None = None
        self._frames = 0
        self._spatial = 0.0
        self._changes = 0
        self._error_lines = 0

    def feed(self, line: str) -> None:
        """Take one line of the log; lines that say nothing of interest are ignored."""
        found = _LINE.match(line)
        if found is None:
            self._measure(line)
            return
        speakers, level, text = found.groups()
        names = _SPEAKER.findall(speakers)
        name = names[0] if names else ""
        detector, _, instance = name.partition("@")
        match detector:
            case "metadata":
                self._frame(text)
            case "idet":
                self._field_counts(text)
            case "vfrdet":
                self._rate(text)
            case "blackdetect":
                self._black_interval(text)
            case "freezedetect":
                self._frozen_edge(text)
            case "ebur128" if text.startswith("Summary"):
                self._track = int(instance.removeprefix("a"))
            case "astats" if text.startswith("Max difference"):
                self._said(int(instance.removeprefix("a")), "step", text.rpartition(":")[2])
            case _:
                self._other(name, level, text)

    def facts(self, *, complete: bool = True) -> ScanFacts:
        """What was seen; `complete` when FFmpeg ended by itself and without an error of its own."""
        end = self._seconds(self._now)
        if self._frozen_from is not None:
            self._keep(self._frozen, self._frozen_from, end)
            self._frozen_from = None
        tff, bff, progressive, undetermined, repeated, not_repeated = self._fields
        variable, steady = self._steps
        bounds = self._step_bounds
        # A graph that is restarted on the way swallows a picture, which the decoder has counted.
        decoded = (one.frames for one in self._streams.values() if one.kind == "video")
        return ScanFacts(
            frames=max(self._frames, *decoded, 0),
            duration_seconds=round(end, 6),
            streams=tuple(
                msgspec.structs.replace(one, damaged=self._damaged.get(index, 0))
                for index, one in sorted(self._streams.items())
            ),
            fields=FieldCounts(
                top_first=tff,
                bottom_first=bff,
                progressive=progressive,
                undetermined=undetermined,
                repeated=repeated,
                not_repeated=not_repeated,
            ),
            variable_share=round(variable / (variable + steady), 6) if variable + steady else None,
            # One tick either way is the clock's rounding.
            variable_ratio=round(max(bounds[1] - 1, 1) / (max(bounds[0], 0) + 1), 3) if bounds else None,
            black=tuple(self._black),
            frozen=tuple(self._frozen),
            loudness=tuple(_loudness(track, said) for track, said in sorted(self._loudness.items())),
            complexity=self._windows.complexity(),
            parameter_changes=self._changes,
            error_lines=self._error_lines,
            complete=complete,
        )

    def _frame(self, text: str) -> None:
        key, _, value = text.partition("=")
        if key == "lavfi.siti.si":
            self._spatial = _finite(value) or 0.0
        elif key == "lavfi.siti.ti" and self._now is not None:
            self._windows.add(self._seconds(self._now), self._spatial, _finite(value) or 0.0)
        elif text.startswith("frame:"):
            self._frames += 1
            self._now = _finite(text.rpartition("pts_time:")[2]) or 0.0
            if self._first is None:
                self._first = self._now

    def _field_counts(self, text: str) -> None:
        numbers = {name: int(number) for name, number in _NUMBER.findall(text)}
        if text.startswith("Multi frame detection"):
            for place, name in enumerate(("TFF", "BFF", "Progressive", "Undetermined")):
                self._fields[place] += numbers.get(name, 0)
        elif text.startswith("Repeated Fields"):
            self._fields[4] += numbers.get("Top", 0) + numbers.get("Bottom", 0)
            self._fields[5] += numbers.get("Neither", 0)

    def _rate(self, text: str) -> None:
        found = _RATE.search(text)
        if found is None:
            return
        variable, steady, shortest, longest = found.groups()
        self._steps[0] += int(variable)
        self._steps[1] += int(steady)
        if shortest is not None and int(variable):
            known = self._step_bounds or (int(shortest), int(longest))
            self._step_bounds = (min(known[0], int(shortest)), max(known[1], int(longest)))

    def _black_interval(self, text: str) -> None:
        found = _BLACK.search(text)
        start, end = (_finite(word) for word in found.groups()) if found else (None, None)
        if start is not None and end is not None:
            self._keep(self._black, self._seconds(start), self._seconds(end))

    def _frozen_edge(self, text: str) -> None:
        name, _, value = text.rpartition(":")
        seconds = _finite(value)
        if seconds is None:
            return
        if name.endswith("freeze_start"):
            self._frozen_from = self._seconds(seconds)
        elif name.endswith("freeze_end") and self._frozen_from is not None:
            self._keep(self._frozen, self._frozen_from, self._seconds(seconds))
            self._frozen_from = None

    def _measure(self, line: str) -> None:
        if self._track is None:
            return
        for name, value in _MEASURE.findall(line):
            self._said(self._track, name, value)

    def _said(self, track: int, name: str, value: str) -> None:
        number = _finite(value)
        if number is not None:
            said = self._loudness.setdefault(track, {})
            # A track that changed on the way was measured in parts: the loudest is what a listener notices.
            said[name] = max(number, said.get(name, -math.inf))

    def _other(self, name: str, level: str, text: str) -> None:
        stream = _STREAM.match(name)
        if stream is not None and text.startswith("corrupt decoded frame"):
            index = int(stream.group(1))
            self._damaged[index] = self._damaged.get(index, 0) + 1
        elif level in {"error", "fatal", "panic"}:
            # What the scan's own output complains about is not the source's fault.
            self._error_lines += name != "null"
        elif text.startswith("Reconfiguring filter graph because video"):
            self._changes += 1
        elif counts := _COUNTS.search(text):
            number, kind, packets, frames, errors = counts.groups()
            self._streams[int(number)] = StreamScan(
                index=int(number), kind=kind, packets=int(packets), frames=int(frames), errors=int(errors)
            )

    def _keep(self, intervals: list[Interval], start: float, end: float) -> None:
        if len(intervals) < INTERVALS_MAX and end > start:
            intervals.append(Interval(start_seconds=round(start, 6), end_seconds=round(end, 6)))

    def _seconds(self, at: float | None) -> float:
        """Seconds since the first picture."""
        return (at or 0.0) - (self._first or 0.0)


class _Windows:
    """Sums of equal windows; their number is bounded by merging neighbours."""

    def __init__(self) -> None:
        self._length = 1
        self._sums: list[tuple[int, float, float]] = []

    def add(self, seconds: float, spatial: float, temporal: float) -> None:
        place = max(0, int(seconds // self._length))
        while place >= WINDOWS_MAX:
            pairs = zip(self._sums[::2], [*self._sums[1::2], (0, 0.0, 0.0)], strict=False)
            self._sums = [(a + d, b + e, c + f) for (a, b, c), (d, e, f) in pairs]
            self._length *= 2
            place = int(seconds // self._length)
        while len(self._sums) <= place:
            self._sums.append((0, 0.0, 0.0))
        frames, spatials, temporals = self._sums[place]
        self._sums[place] = (frames + 1, spatials + spatial, temporals + temporal)

    def complexity(self) -> Complexity:
        return Complexity(
            window_seconds=self._length,
            frames=tuple(frames for frames, _, _ in self._sums),
            spatial=tuple(round(spatial / max(frames, 1), 2) for frames, spatial, _ in self._sums),
            temporal=tuple(round(temporal / max(frames, 1), 2) for frames, _, temporal in self._sums),
        )


def _loudness(track: int, said: dict[str, float]) -> TrackLoudness:
    integrated = said.get("I")
    # Of a constant the beginning alone is loud, to a meter: it is a step.
    constant = said.get("step", math.inf) <= STEP_MAX
    if integrated is None or integrated <= SILENT_LUFS or constant:
        return TrackLoudness(track=track, true_peak_dbtp=said.get("Peak"))
    return TrackLoudness(
        track=track,
        integrated_lufs=integrated,
        range_lu=said.get("LRA"),
        true_peak_dbtp=said.get("Peak"),
    )


def _finite(text: str) -> float | None:
    """A number; None for "nan", "-inf" and what is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
