"""Which renditions of a chunk share one process: the picture is decoded once, and nothing waits for long."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from media_workers.media.ladder import Rendition

ResourceClass = Literal["cpu-small", "cpu-large", "gpu"]

# Renditions go together while their time stays under this many times the longest one's.
TIME_FACTOR_MAX = 1.3
# Everything slower than this is work for a large machine.
SMALL_SECONDS_MAX = 10.0
_GPU_SUFFIXES = ("_nvenc", "_qsv", "_vaapi", "_amf", "_videotoolbox")


class Group(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Renditions that one process encodes, largest first; `predicted_seconds` of CPU for a usual chunk.

    The name is the largest rendition's, so it is unique and a safe path part.
    """

    name: str
    renditions: tuple[str, ...]
    predicted_seconds: float
    resource_class: ResourceClass


def plan_groups(
    renditions: Sequence[Rendition], predicted_seconds: Mapping[str, float], *, preview: str | None
) -> tuple[Group, ...]:
    """Put renditions together by predicted time.

    Args:
        renditions: of the plan, largest first within a codec.
        predicted_seconds: CPU seconds for one chunk, by rendition name.
        preview: the rendition that is published first; it is a group of its own.

    Returns:
        every rendition in exactly one group, in the order of their first renditions; the preview first.
        VP9 takes two passes and so a process each; of HEVC and AV1 the largest rendition stays alone.
    """
    longest = max(predicted_seconds.values(), default=0.0)
    groups: list[list[Rendition]] = []
    seen: set[tuple[str, str]] = set()
    for rendition in renditions:
        kind = (rendition.codec, rendition.dynamic_range)
        first_of_kind = kind not in seen
        seen.add(kind)
        alone = (
            rendition.name == preview
            or rendition.codec == "vp9"
            or (rendition.codec in ("hevc", "av1") and first_of_kind)
        )
        room = None if alone else _with_room(groups, rendition, predicted_seconds, longest, preview)
        if room is None:
            groups.append([rendition])
        else:
            room.append(rendition)
    groups.sort(key=lambda group: group[0].name != preview)
    return tuple(_group(group, predicted_seconds) for group in groups)


def _with_room(
    groups: list[list[Rendition]],
    rendition: Rendition,
    predicted: Mapping[str, float],
    longest: float,
    preview: str | None,
) -> list[Rendition] | None:
    for group in groups:
        first = group[0]
        if first.name == preview or _kind(first) != _kind(rendition):
            continue
        if rendition.codec in ("hevc", "av1") and _is_top(first, groups):
            continue
        if sum(predicted[item.name] for item in (*group, rendition)) < TIME_FACTOR_MAX * longest:
            return group
    return None


def _is_top(first: Rendition, groups: list[list[Rendition]]) -> bool:
    return next(group[0] for group in groups if _kind(group[0]) == _kind(first)) is first


def _kind(rendition: Rendition) -> tuple[str, str, str]:
    return rendition.codec, rendition.preset, rendition.dynamic_range


def _group(members: Sequence[Rendition], predicted: Mapping[str, float]) -> Group:
    seconds = sum(predicted[item.name] for item in members)
    small: ResourceClass = "cpu-small" if seconds <= SMALL_SECONDS_MAX else "cpu-large"
    return Group(
        name=members[0].name,
        renditions=tuple(item.name for item in members),
        predicted_seconds=round(seconds, 3),
        resource_class="gpu" if members[0].encoder.endswith(_GPU_SUFFIXES) else small,
    )
