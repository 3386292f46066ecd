"""Proof that an encoded sound track is what was planned, to the sample."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from media_workers.media.audio_plan import AudioPlan
from media_workers.media.loudness import TOLERANCE_LU
from media_workers.media.packets import PacketScan
from media_workers.media.rates import parse_rate
from media_workers.media.verify import Finding, error, only_stream

FRAME_SAMPLES = {"aac": 1024, "opus": 960, "ac3": 1536, "eac3": 1536}
"""Samples of a codec's frame at 48 kHz (Opus: of the 20 ms frames that are asked for)."""

# An encoder fills its first frame and its last: two frames more than asked are no error.
FRAMES_MORE_MAX = 2


def check_audio(track: AudioPlan, probe: Mapping[str, Any], packets: PacketScan) -> tuple[Finding, ...]:
    """Check an encoded track: codec, channels, sample rate, no gap, length to the sample by the edit list.

    Args:
        track: from the plan.
        probe: what `probe_args` printed for the file.
        packets: scan of what `packets_args` printed for it.
    """
    stream = only_stream(probe, "audio")
    if stream is None:
        return (error("streams", track.name, "expected one audio stream and nothing else"),)
    wanted = {
        "codec_name": track.codec,
        "channels": track.channels,
        "channel_layout": track.layout,
        "sample_rate": str(track.sample_rate),
    }
    findings = [
        error("format", track.name, f"{field} is {stream.get(field)}, planned is {value}")
        for field, value in wanted.items()
        if stream.get(field) != value
    ]
    return (*findings, *_track_length(track, stream, packets))


def check_loudness(track: AudioPlan, wanted_lufs: float, heard_lufs: float) -> tuple[Finding, ...]:
    """Warn of a finished track that is not as loud as was reachable."""
    if abs(heard_lufs - wanted_lufs) <= TOLERANCE_LU:
        return ()
    message = f"the loudness is {heard_lufs:.1f} LUFS, wanted is {wanted_lufs:.1f}"
    return (Finding(rule="loudness", severity="warn", subject=track.name, message=message),)


def _track_length(track: AudioPlan, stream: Mapping[str, Any], packets: PacketScan) -> Iterator[Finding]:
    """Samples, and the time they take: an encoder told to wait leaves gaps that no count of samples shows."""
    if not track.samples_total:
        return
    name, index, frame = track.name, stream["index"], FRAME_SAMPLES[track.codec]
    samples = packets.count(index) * frame
    if not 0 <= samples - track.samples_total <= (FRAMES_MORE_MAX + 1) * frame:
        yield error("duration", name, f"{samples} samples, planned are {track.samples_total}")
        return
    timing = packets.timing(index, parse_rate(stream.get("time_base")) or Fraction(1))
    if timing is None:
        return
    # What the edit list cuts away, the priming above all, is counted by neither; it knows the exact end.
    seconds, planned = timing.end_seconds - timing.start_seconds, track.samples_total / track.sample_rate
    heard = float(stream.get("duration", seconds))
    if abs(seconds - planned) > frame / track.sample_rate or abs(heard - planned) > 1.5 / track.sample_rate:
        yield error("duration", name, f"{heard:.6f} seconds, planned are {planned:.6f}")
    if timing.frame_seconds_max > 1.5 * frame / track.sample_rate:
        yield error(
            "gap", name, f"there is a gap of {timing.frame_seconds_max:.6f} seconds between two frames"
        )
