"""Encoding profiles: typed, versioned, named, and narrowed by a request's overrides."""

from collections.abc import Mapping
from typing import Any

import msgspec

from media_workers.media.profile_fields import OVERRIDES, read_profile, require_possible
from media_workers.media.profile_records import CODECS, RUNG_HEIGHTS, Profile, RungWish
from media_workers.media.values import PlanError, bounded, shown

__all__ = [
    "PlanError",
    "Profile",
    "RungWish",
    "parse_profile",
    "profile_names",
    "profiles_document",
    "resolve_profile",
]


def _rungs(*heights: int) -> tuple[RungWish, ...]:
    return tuple(RungWish(height=height) for height in heights)


_PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="default",
            description="H.264 up to 1080p: plays everywhere, ready soonest.",
            rungs=_rungs(1080, 720, 480, 360, 240),
        ),
        Profile(
            name="fast",
            description="H.264 with a quick preset and no quality gate: previews and drafts.",
            rungs=_rungs(1080, 720, 480, 240),
            speed="veryfast",
            quality_gate=False,
        ),
        Profile(
            name="premium",
            description="H.264, HEVC and AV1 up to 2160p on a ladder made for the title; keeps HDR.",
            codecs=("h264", "hevc", "av1"),
            rungs=_rungs(*RUNG_HEIGHTS),
            speed="slow",
            crf_shift=-1.0,
            per_title=True,
            audio_bitrate_bps=192_000,
        ),
        Profile(
            name="apple",
            description="H.264 up to 1080p and HEVC up to 2160p, with surround sound for Apple's devices.",
            codecs=("h264", "hevc"),
            rungs=_rungs(*RUNG_HEIGHTS),
            audio_codecs=("aac", "eac3"),
            audio_bitrate_bps=160_000,
        ),
        Profile(
            name="archive",
            description="H.264 and HEVC near the source's quality; the loudness is left alone.",
            codecs=("h264", "hevc"),
            rungs=_rungs(*RUNG_HEIGHTS),
            speed="slow",
            crf_shift=-4.0,
            audio_bitrate_bps=256_000,
            loudness_lufs=None,
        ),
        Profile(
            name="mobile",
            description="H.264 and AV1 up to 480p30 for narrow lines.",
            codecs=("h264", "av1"),
            rungs=_rungs(480, 360, 240),
            frame_rate_max=30,
            audio_bitrate_bps=96_000,
            quality_gate=False,
        ),
        Profile(
            name="audio",
            description="Sound alone.",
            video=False,
            audio_only_allowed=True,
            quality_gate=False,
        ),
        Profile(
            name="netflix",
            description="2160p, 1080p, 720p and 480p, each in H.264, HEVC, VP9 and AV1.",
            codecs=CODECS,
            rungs=_rungs(2160, 1080, 720, 480),
            h264_lines_max=2160,
            audio_codecs=("aac", "opus"),
        ),
    )
}


def profile_names() -> tuple[str, ...]:
    """Names of the built-in profiles, `default` first."""
    return tuple(_PROFILES)


def profiles_document() -> list[dict[str, Any]]:
    """Every built-in profile as `parse_profile` reads it."""
    return [msgspec.to_builtins(profile) for profile in _PROFILES.values()]


def parse_profile(document: object) -> Profile:
    """Read an operator's own profile; what it leaves out is as in `default`, but for the renditions' sizes.

    Args:
        document: an object with `name` and any fields of `Profile`, in the spelling of `profiles_document`.

    Raises:
        PlanError: an unknown field, or a value that no encode could be made with; names its path.
    """
    return read_profile("profile", document)


def resolve_profile(
    name: str | Mapping[str, Any] | None, overrides: Mapping[str, Any] | None = None
) -> Profile:
    """The profile of a request, with its overrides applied.

    Args:
        name: a built-in profile's name, None or "" for `default`, or an operator's own as a document.
        overrides: the request's `overrides` object, by the fields of `OVERRIDES`.

    Raises:
        PlanError: an unknown profile, field or value; names the field's path and the accepted values.
    """
    if isinstance(name, Mapping):
        profile = parse_profile(name)
    else:
        known = _PROFILES.get(name or "default")
        if known is None:
            raise PlanError("profile", f"there is no profile {shown(name)}", profile_names())
        profile = known
    if overrides is not None and not isinstance(overrides, Mapping):
        raise PlanError("overrides", "must be an object")
    for field, value in (overrides or {}).items():
        reader = OVERRIDES.get(field)
        if reader is None:
            raise PlanError(f"overrides.{bounded(field)}", "is no override", tuple(OVERRIDES))
        profile = msgspec.structs.replace(profile, **reader(f"overrides.{field}", value))
    require_possible("overrides", profile)
    return profile
