"""Encoding profiles: typed, named, and narrowed by a request's overrides."""

from collections.abc import Mapping
from typing import Any

import msgspec


class PlanError(ValueError):
    """A request that cannot be planned. `path` names the field, `accepted` what it may hold."""

    def __init__(self, path: str, message: str, accepted: tuple[str, ...] = ()) -> None:
        self.path = path
        self.message = message
        self.accepted = accepted
        super().__init__(f"{path}: {message}" + (f" (accepted: {', '.join(accepted)})" if accepted else ""))


class RungWish(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One wanted rendition: `height` is the short side in lines; None takes the ladder's own value."""

    height: int
    codec: str = "h264"
    crf: float | None = None
    max_bitrate_bps: int | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a title is encoded. `rungs` are wishes: what exceeds the source is dropped, never upscaled."""

    name: str
    codecs: tuple[str, ...] = ("h264",)
    rungs: tuple[RungWish, ...] = ()
    preset: str = "medium"
    h264_profile: str = "high"
    frame_rate_max: int = 60
    renditions_min: int = 3
    keep_source_size: bool = True
    threads: int = 4
    gop_seconds: float = 2.0
    segment_gops: int = 3
    hdr: str = "auto"
    audio_codecs: tuple[str, ...] = ("aac",)
    audio_bitrate_bps: int = 128_000
    loudness_lufs: float | None = -16.0
    video: bool = True
    audio_only_allowed: bool = False


def profile_names() -> tuple[str, ...]:
    """Names of the built-in profiles, `default` first."""
    raise NotImplementedError


def resolve_profile(name: str | None, overrides: Mapping[str, Any] | None = None) -> Profile:
    """The named profile with a request's overrides applied.

    Raises:
        PlanError: an unknown profile, field or value; names the field's path and the accepted values.
    """
    raise NotImplementedError
