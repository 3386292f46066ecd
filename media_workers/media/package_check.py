"""The check of a finished package: what the manifests promise, held against the files and the plan."""

import posixpath
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

import m3u8
import msgspec

from media_workers.media.dash import read_mpd
from media_workers.media.mp4 import InitFacts, SegmentFacts
from media_workers.media.plan import Plan
from media_workers.media.verify import AAC_FRAME_SAMPLES, Finding, error

MASTER = "master.m3u8"
MPD = "manifest.mpd"

EXTINF_SECONDS_OFF_MAX = 0.001
# AAC's first frames are priming, which the manifests leave out and the boxes hold.
PRIMING_SAMPLES_MAX = 3 * AAC_FRAME_SAMPLES
AUDIO_SAMPLE_RATE = 48_000


class MediaPlaylist(msgspec.Struct, frozen=True, kw_only=True):
    """What a media playlist lists, with paths relative to the package."""

    path: str
    init: str | None
    segments: tuple[str, ...]
    seconds: tuple[float, ...]
    target_seconds: float
    ended: bool


def check_package(
    plan: Plan,
    *,
    sizes: Mapping[str, int],
    texts: Mapping[str, str],
    inits: Mapping[str, InitFacts] | None = None,
    segments: Mapping[str, SegmentFacts] | None = None,
) -> tuple[Finding, ...]:
    """Check a finished package.

    Args:
        plan: what it should be.
        sizes: every file below the package's folder, POSIX path to bytes.
        texts: content of the manifests (`.m3u8`, `.mpd`) by path.
        inits: facts of each `init.mp4` by path; without them the rules about media are left out.
        segments: facts of each `.m4s` by path.

    Returns:
        nothing when every rule holds.
    """
    findings = [
        error("missing_file", path, "the manifest is missing") for path in (MASTER, MPD) if path not in texts
    ]
    if findings:
        return tuple(findings)
    master = m3u8.loads(texts[MASTER])
    videos = {_resolve(MASTER, variant.uri): variant for variant in master.playlists}
    audios = [_resolve(MASTER, media.uri) for media in master.media if media.type == "AUDIO" and media.uri]
    findings += _check_master(plan, master, audios)
    playlists: dict[str, MediaPlaylist] = {}
    for path in dict.fromkeys([*(videos if plan.renditions else ()), *audios]):
        if path not in texts:
            findings.append(error("missing_file", path, "the master lists this playlist and it is missing"))
            continue
        playlists[path] = read_playlist(path, texts[path])
        findings += _check_playlist(playlists[path], sizes)
    pictures = [playlists[path] for path in videos if path in playlists] if plan.renditions else []
    sounds = [playlists[path] for path in audios if path in playlists]
    findings += _check_durations(plan, pictures, sounds)
    findings += _check_grid(plan, pictures)
    findings += _check_mpd(plan, texts[MPD], sizes)
    for playlist in (*pictures, *sounds):
        if inits is not None and segments is not None:
            findings += _check_media(plan, playlist, inits, segments, is_picture=playlist in pictures)
    return tuple(findings)


def read_playlist(path: str, text: str) -> MediaPlaylist:
    """Read a media playlist.

    Args:
        path: where it lies in the package; its own paths are relative to it.
        text: its content.
    """
    parsed = m3u8.loads(text)
    init = parsed.segment_map[0].uri if parsed.segment_map else None
    return MediaPlaylist(
        path=path,
        init=_resolve(path, init) if init else None,
        segments=tuple(_resolve(path, segment.uri) for segment in parsed.segments),
        seconds=tuple(float(segment.duration) for segment in parsed.segments),
        target_seconds=float(parsed.target_duration or 0),
        ended=bool(parsed.is_endlist),
    )


def _resolve(manifest: str, uri: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(manifest), uri))


def _check_master(plan: Plan, master: m3u8.M3U8, audios: list[str]) -> Iterator[Finding]:
    listed = {
        tuple(variant.stream_info.resolution or ()): variant
        for variant in master.playlists
        if plan.renditions
    }
    for rendition in plan.renditions:
        variant = listed.get((rendition.width, rendition.height))
        if variant is None:
            size = f"{rendition.width}x{rendition.height}"
            yield error("master_renditions", rendition.name, f"the master lists no rendition of {size}")
            continue
        if plan.audio and not variant.stream_info.audio:
            yield error("master_audio", rendition.name, "the master gives this rendition no sound")
    if len(listed) > len(plan.renditions):
        yield error(
            "master_renditions",
            MASTER,
            f"{len(listed)} renditions listed, planned are {len(plan.renditions)}",
        )
    if plan.renditions and len(audios) != len(plan.audio):
        yield error(
            "master_audio", MASTER, f"{len(audios)} sound tracks listed, planned are {len(plan.audio)}"
        )
    defaults = [media for media in master.media if media.type == "AUDIO" and media.default == "YES"]
    if plan.audio and plan.renditions and len(defaults) != 1:
        yield error("default_audio", MASTER, f"{len(defaults)} sound tracks are the default, planned is 1")
    for frames in master.iframe_playlists:
        if not frames.iframe_stream_info.resolution:
            yield error("master_iframes", MASTER, "a keyframe playlist has no resolution")


def _check_playlist(playlist: MediaPlaylist, sizes: Mapping[str, int]) -> Iterator[Finding]:
    if not playlist.segments:
        yield error("segments", playlist.path, "the playlist lists no segments")
    for path in (playlist.init, *playlist.segments):
        if path is None:
            yield error("init_segment", playlist.path, "the playlist names no init segment")
        elif not sizes.get(path):
            yield error("missing_file", path, f"listed in {playlist.path}, and missing or empty")
    if not playlist.ended:
        yield error("endlist", playlist.path, "the playlist has no end mark")
    longest = max(playlist.seconds, default=0.0)
    if round(longest) > playlist.target_seconds:
        yield error(
            "target_duration",
            playlist.path,
            f"a segment of {longest:.3f} s, the target is {playlist.target_seconds:g} s",
        )


def _check_durations(
    plan: Plan, pictures: list[MediaPlaylist], sounds: list[MediaPlaylist]
) -> Iterator[Finding]:
    """Sums of the listed durations: exact for pictures, within one picture and one audio frame for sound."""
    sound_room = AAC_FRAME_SAMPLES / AUDIO_SAMPLE_RATE + float(1 / plan.rate)
    for playlists, room in ((pictures, 0.0), (sounds, sound_room)):
        for playlist in playlists:
            total = sum(playlist.seconds)
            off = abs(total - plan.duration_seconds)
            if off > room + EXTINF_SECONDS_OFF_MAX * max(1, len(playlist.seconds)):
                yield error(
                    "duration",
                    playlist.path,
                    f"{total:.3f} s listed, planned are {plan.duration_seconds:.3f} s",
                )


def _check_grid(plan: Plan, pictures: list[MediaPlaylist]) -> Iterator[Finding]:
    """Every rendition is cut at the planned frames, so that a player may change between them."""
    frames = range(0, plan.frames_total, plan.segment_frames)
    planned = [float(min(plan.segment_frames, plan.frames_total - first) / plan.rate) for first in frames]
    for playlist in pictures:
        if len(playlist.seconds) != len(planned):
            yield error(
                "segment_grid", playlist.path, f"{len(playlist.seconds)} segments, planned are {len(planned)}"
            )
            continue
        pairs = zip(playlist.seconds, planned, strict=True)
        wrong = next(
            (
                (number, pair)
                for number, pair in enumerate(pairs)
                if abs(pair[0] - pair[1]) > EXTINF_SECONDS_OFF_MAX
            ),
            None,
        )
        if wrong is not None:
            number, (listed, wanted) = wrong
            yield error(
                "segment_grid",
                playlist.path,
                f"segment {number + 1} lasts {listed:.3f} s, planned are {wanted:.3f} s",
            )


def _check_mpd(plan: Plan, text: str, sizes: Mapping[str, int]) -> Iterator[Finding]:
    try:
        manifest = read_mpd(text)
    except ValueError as problem:
        yield error("mpd", MPD, str(problem))
        return
    wanted = len(plan.renditions) + len(plan.audio)
    if len(manifest.representations) != wanted:
        yield error("mpd", MPD, f"{len(manifest.representations)} representations, planned are {wanted}")
    if not manifest.static:
        yield error("mpd", MPD, "the manifest is not static")
    for representation in manifest.representations:
        for path in (representation.init, *representation.segments):
            if not sizes.get(path):
                yield error("missing_file", path, f"listed in {MPD}, and missing or empty")
        off = abs(float(representation.seconds) - plan.duration_seconds)
        if off > AAC_FRAME_SAMPLES * 2 / AUDIO_SAMPLE_RATE + float(1 / plan.rate):
            yield error(
                "mpd",
                representation.init,
                f"{float(representation.seconds):.3f} s listed, planned are {plan.duration_seconds:.3f} s",
            )


def _check_media(
    plan: Plan,
    playlist: MediaPlaylist,
    inits: Mapping[str, InitFacts],
    segments: Mapping[str, SegmentFacts],
    *,
    is_picture: bool,
) -> Iterator[Finding]:
    init = inits.get(playlist.init or "")
    facts = [segments[path] for path in playlist.segments if path in segments]
    if init is None or len(facts) != len(playlist.segments):
        yield error("media", playlist.path, "a segment could not be read")
        return
    for earlier, later in pairwise(facts):
        if earlier.decode_ticks + earlier.duration_ticks != later.decode_ticks:
            yield error("continuity", playlist.path, "a segment does not start where the one before it ends")
            break
    for number, (fact, listed) in enumerate(zip(facts, playlist.seconds, strict=True)):
        real = Fraction(fact.duration_ticks, init.timescale)
        room = EXTINF_SECONDS_OFF_MAX
        if number == 0 and not is_picture:
            room += PRIMING_SAMPLES_MAX / AUDIO_SAMPLE_RATE
        if abs(float(real) - listed) > room:
            yield error(
                "segment_duration",
                playlist.segments[number],
                f"lasts {float(real):.3f} s, listed are {listed:.3f} s",
            )
        if is_picture and fact.first_is_key is False:
            yield error("segment_keyframe", playlist.segments[number], "does not start with a keyframe")
    frames = sum(fact.samples for fact in facts)
    if is_picture and frames != plan.frames_total:
        yield error("frames", playlist.path, f"{frames} frames, planned are {plan.frames_total}")
