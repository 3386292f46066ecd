"""A ladder for one title: fewer and cheaper rungs where the title needs no more, found by trial encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from media_workers.media.hull import Probe
from media_workers.media.windows import Window

if TYPE_CHECKING:
    from media_workers.media.ladder import Rendition


class PerTitleRung(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One chosen H.264 rung, with what the probes promise of it."""

    width: int
    height: int
    crf: float
    maxrate_bps: int
    bitrate_bps: int
    vmaf: float


class PerTitle(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The chosen rungs, largest first, and the evidence for them."""

    rungs: tuple[PerTitleRung, ...]
    probes: tuple[Probe, ...]
    hull: tuple[Probe, ...]
    windows: tuple[Window, ...]
    preset: str
    cpu_seconds: float


def probe_sizes(renditions: Sequence[Rendition]) -> tuple[tuple[int, int], ...]:
    """The sizes worth trying: those of the ladder's SDR rungs, largest first, at most `SIZES_MAX`."""
    raise NotImplementedError


def choose_rungs(
    probes: Sequence[Probe], renditions: Sequence[Rendition], *, renditions_min: int
) -> tuple[PerTitleRung, ...]:
    """Choose a title's rungs from its probes, within the static ladder."""
    raise NotImplementedError


def apply_per_title(renditions: Sequence[Rendition], per_title: PerTitle | None) -> tuple[Rendition, ...]:
    """The static ladder narrowed to a title: rungs dropped, CRF and caps moved, no cap ever raised."""
    raise NotImplementedError
