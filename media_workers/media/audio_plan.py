"""Which sound tracks a title gets: every track of the source, in every codec that was asked for."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import msgspec

from media_workers.media.downmix import CHANNELS, Mapping, has_surround, mapping_of
from media_workers.media.facts import AudioFacts, SourceFacts, clock_start
from media_workers.media.languages import distinct, language_name, language_tag
from media_workers.media.profiles import Profile

AUDIO_SAMPLE_RATE = 48_000
AUDIO_TRACKS_MAX = 8
FALLBACK_CODEC = "aac"
# What every player decodes is stereo; AAC 5.1 is silent on iOS, so surround is Dolby's.
SURROUND_CODECS = ("ac3", "eac3")
SURROUND_LAYOUT = "5.1(side)"
SURROUND_BITRATE_BPS = 384_000
# Opus is as good as AAC at three quarters of its bitrate.
OPUS_SHARE = Fraction(3, 4)
# The second choice of a title that is sound alone, for slow connections.
LOW_BITRATE_BPS = 64_000
LOW_GROUP = "aac_low"

_ROLE_WORDS = {"commentary": "commentary", "description": "described"}


class AudioPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One track of the source in one codec. `samples_total` is the exact length it is padded or trimmed to.

    Attributes:
        name: `audio_{track}_{group}`, safe as a path part.
        group: tracks that a player chooses between; each has one codec, one layout and one default.
        role: DASH's word: `main`, `commentary`, `description`, `dub`.
        offset_seconds: where the title's zero lies on FFmpeg's clock (`facts.clock_start`).
        layout: of the encoded track, in FFmpeg's words.
        mapping: what happens to the channels; `first_pair` when nobody knows which channel is which.
        loudness_lufs: the target, None to leave the loudness alone.
    """

    name: str
    track: int
    stream_index: int
    offset_seconds: float
    language: str
    label: str
    default: bool
    codec: str
    group: str
    role: str
    bitrate_bps: int
    sample_rate: int
    channels: int
    layout: Literal["stereo", "5.1(side)"]
    mapping: Mapping
    source_channels: int
    source_layout: str | None
    loudness_lufs: float | None
    samples_total: int


def usable_tracks(facts: SourceFacts) -> tuple[AudioFacts, ...]:
    """The tracks that can be decoded, at most `AUDIO_TRACKS_MAX`; the default one is always among them."""
    tracks = [track for track in facts.audio if track.channels > 0 and track.sample_rate > 0]
    chosen = tracks[:AUDIO_TRACKS_MAX]
    default = next((track for track in tracks if track.default), None)
    if default is not None and default not in chosen:
        chosen[-1] = default
    return tuple(chosen)


def audio_plans(
    facts: SourceFacts, profile: Profile, *, zero: float, seconds: Fraction
) -> tuple[AudioPlan, ...]:
    """Plan the sound of a title.

    Args:
        facts: of the source.
        profile: its `audio_codecs` may name several. AAC stereo is there whatever they are; AC-3 and E-AC-3
            are made of tracks with more than two known channels and of no others.
        zero: the title's zero on the source's own clock.
        seconds: the title's exact length.

    Returns:
        tracks in the source's order, and of each its codecs; without sound, nothing.
    """
    tracks = usable_tracks(facts)
    default = next((track.track for track in tracks if track.default), tracks[0].track if tracks else 0)
    # A group that lacks the default track still needs one to start with.
    surround = [track for track in tracks if has_surround(track.channels, track.layout)]
    surround_default = default if any(t.track == default for t in surround) else _first(surround)
    plans = []
    for track, label in zip(tracks, _labels(tracks), strict=True):
        for codec, group, bitrate in _forms(track, profile):
            wide = codec in SURROUND_CODECS
            layout: Literal["stereo", "5.1(side)"] = "5.1(side)" if wide else "stereo"
            plans.append(
                AudioPlan(
                    name=f"audio_{track.track}_{group}",
                    track=track.track,
                    stream_index=track.index,
                    offset_seconds=round(zero - clock_start(facts, track.start_seconds), 6),
                    language=language_tag(track.language),
                    label=label,
                    default=track.track == (surround_default if wide else default),
                    codec=codec,
                    group=group,
                    role=track.role,
                    bitrate_bps=bitrate,
                    sample_rate=AUDIO_SAMPLE_RATE,
                    channels=CHANNELS[layout],
                    layout=layout,
                    mapping=mapping_of(track.channels, track.layout, layout),
                    source_channels=track.channels,
                    source_layout=track.layout,
                    loudness_lufs=profile.loudness_lufs,
                    samples_total=math.floor(seconds * AUDIO_SAMPLE_RATE + Fraction(1, 2)),
                )
            )
    return tuple(plans)


def _forms(track: AudioFacts, profile: Profile) -> list[tuple[str, str, int]]:
    """Codec, group and bitrate of each form of a track; the one that plays everywhere comes first."""
    stereo = profile.audio_bitrate_bps
    forms = [(FALLBACK_CODEC, FALLBACK_CODEC, stereo)]
    if not profile.video and stereo > LOW_BITRATE_BPS:
        forms.append((FALLBACK_CODEC, LOW_GROUP, LOW_BITRATE_BPS))
    wanted = [codec for codec in profile.audio_codecs if codec != FALLBACK_CODEC]
    for codec in dict.fromkeys(wanted):
        if codec not in SURROUND_CODECS:
            forms.append((codec, codec, math.floor(stereo * OPUS_SHARE)))
        elif has_surround(track.channels, track.layout):
            forms.append((codec, codec, SURROUND_BITRATE_BPS))
    return forms


def _labels(tracks: Sequence[AudioFacts]) -> list[str]:
    """A name a listener can tell each track by; never two alike, never a stranger's text."""
    names = []
    for track in tracks:
        name = language_name(language_tag(track.language), "Audio")
        word = _ROLE_WORDS.get(track.role)
        names.append(f"{name} - {word}" if word else name)
    return distinct(names)


def _first(tracks: Sequence[AudioFacts]) -> int:
    return tracks[0].track if tracks else 0
