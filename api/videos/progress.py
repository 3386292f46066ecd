"""How far a title is, as one number: work weighed by the time it was predicted to take. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from api.videos.wire import TASK_STATUS, Json, base_ref, obj, objs, output, real, whole

FRACTION_MAX_OPEN = 0.99
"""One percent is kept for the end: only a finished workflow is all of it."""
PACE_MEMORY_S = 30.0
"""The speed is an average over about so long; what is older fades."""
PACE_AFTER_S = 2.0
ETA_AFTER_FRACTION = 0.05
"""Before these an estimate is noise."""
ETA_S_MAX = 30 * 24 * 3600.0
AUDIO_SPEED = 30.0
"""Media seconds a second that one sound track takes, where the plan does not say."""
LIGHT_SECONDS = 1.0
"""Subtitles, stills, a preview's package, and what no plan names: predicted like this."""

PHASES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("validate", ("media_validate", "media_scan"), "looking into the file"),
    ("plan", ("media_probe_encodes", "media_plan"), "planning the renditions"),
    ("encode", ("media_encode", "media_audio", "media_text", "media_stills", "media_preview"), "encoding"),
    ("measure", ("media_stitch", "media_verify", "media_measure", "media_gate"), "measuring the quality"),
    ("package", ("media_keys", "media_package", "media_check"), "packaging HLS and DASH"),
    ("publish", ("media_publish",), "publishing"),
)
"""Phase, its task types, and what to tell people."""

SHARES: dict[str, float] = {
    "media_validate": 0.01,
    "media_scan": 0.04,
    "media_probe_encodes": 0.10,
    "media_plan": 0.01,
    "encode": 0.75,
    "media_stitch": 0.02,
    "media_measure": 0.10,
    "media_package": 0.04,
    "media_check": 0.02,
    "media_publish": 0.01,
}
"""What each kind of work is of a whole job, about; kinds that a job does not have are left out of its sum."""

OPTIONAL = ("media_scan", "media_probe_encodes", "media_check")
SAME_AS = {"media_stitch": ("media_verify",), "media_measure": ("media_gate",)}
"""Other task types that show that a kind of work has begun."""

FIRST_ROUND, REDO = 0.6, 0.3
"""Of the measuring: what the first look is when renditions are made again, and what making them again is."""

_CHUNK_REF = re.compile(r"(?:encode|redo)_(?P<name>.+)_c(?P<chunk>\d+)")


class Item(Struct, kw_only=True, frozen=True):
    """A piece of work: how long it was predicted to take, and how much of it is done (0 to 1)."""

    seconds: float
    done: float


class Pace(Struct, kw_only=True, frozen=True, rename="camel"):
    """How fast the fraction has grown lately: both sums fade with `PACE_MEMORY_S`.

    Attributes:
        at_ms: when the fraction was last looked at, in Unix milliseconds.
    """

    at_ms: int
    fraction: float
    grown: float = 0.0
    seconds: float = 0.0

    def eta_seconds(self) -> float | None:
        """What is left at this speed; None while that is a guess."""
        if self.fraction < ETA_AFTER_FRACTION or self.seconds < PACE_AFTER_S or self.grown <= 0:
            return None
        left = (1.0 - self.fraction) * self.seconds / self.grown
        return round(left, 1) if left <= ETA_S_MAX else None


def paced(before: Pace | None, fraction: float, now_ms: int) -> Pace:
    """The pace after another look; a clock that goes back or stands still teaches nothing."""
    if before is None:
        return Pace(at_ms=now_ms, fraction=fraction)
    passed = (now_ms - before.at_ms) / 1000
    if passed <= 0:
        return Pace(
            at_ms=max(now_ms, before.at_ms),
            fraction=max(fraction, before.fraction),
            grown=before.grown + max(0.0, fraction - before.fraction),
            seconds=before.seconds,
        )
    kept = math.exp(-passed / PACE_MEMORY_S)
    return Pace(
        at_ms=now_ms,
        fraction=max(fraction, before.fraction),
        grown=before.grown * kept + max(0.0, fraction - before.fraction),
        seconds=before.seconds * kept + passed,
    )


def share_done(items: Sequence[Item]) -> float:
    """The done part of some work, weighed by predicted seconds; 0 of nothing."""
    total = sum(item.seconds for item in items)
    if total <= 0:
        return 0.0
    return min(1.0, sum(item.seconds * min(max(item.done, 0.0), 1.0) for item in items) / total)


def overall(parts: Mapping[str, float], shares: Mapping[str, float] = SHARES) -> float:
    """The whole job's fraction, 0 to 1.

    Args:
        parts: how much of each kind of work is done, 0 to 1; a kind that is missing is no part of the job.
        shares: weight of each kind.
    """
    total = sum(shares[name] for name in parts)
    return min(1.0, sum(shares[name] * done for name, done in parts.items()) / total) if total else 0.0


def job_parts(plan: Json, tasks: Sequence[Json]) -> dict[str, float]:
    """How much of each kind of work in `SHARES` is done.

    Args:
        plan: what media_plan answered, empty before.
        tasks: the last attempt of each task.
    """
    of_type: dict[str, list[Json]] = {}
    for task in tasks:
        of_type.setdefault(str(task.get("taskType")), []).append(task)
    parts = {kind: _one(of_type.get(kind)) for kind in ("media_validate", "media_plan")}
    parts |= {kind: _one(of_type[kind]) for kind in OPTIONAL if kind in of_type}
    parts["encode"] = share_done(encode_items(plan, tasks))
    parts["media_stitch"] = _one(of_type.get("media_stitch") or of_type.get("media_verify"))
    if plan.get("quality") or "media_measure" in of_type:
        parts["media_measure"] = _measured(tasks)
    parts["media_package"] = _one(of_type.get("media_package"))
    parts["media_publish"] = _one(of_type.get("media_publish"))
    begun = False
    for kind in reversed(SHARES):
        # What something else follows is over, whatever of it was skipped.
        if begun and kind in parts:
            parts[kind] = 1.0
        begun = begun or (kind != "encode" and bool(of_type.keys() & {kind, *SAME_AS.get(kind, ())}))
    return parts


def phase_now(parts: Mapping[str, float]) -> str:
    """The first phase that is not over."""
    for phase, types, _ in PHASES:
        kinds = ("encode",) if phase == "encode" else types
        if any(parts.get(kind, 1.0) < 1.0 for kind in kinds):
            return phase
    return "publish"


def encode_items(plan: Json, tasks: Iterable[Json]) -> list[Item]:
    """All that happens between the plan and the stitching; work without a task yet is none of it done."""
    expected = _expected(plan)
    found: dict[str, float] = {}
    types = next(types for phase, types, _ in PHASES if phase == "encode")
    for task in tasks:
        ref = base_ref(task)
        if task.get("taskType") in types and not ref.startswith("redo_"):
            found[ref] = task_done(task)
            expected.setdefault(ref, LIGHT_SECONDS)
    return [Item(seconds=seconds, done=found.get(ref, 0.0)) for ref, seconds in expected.items()]


def chunk_of(task: Json) -> tuple[str, int] | None:
    """The group (or rendition) and the chunk that an encode's reference names."""
    matched = _CHUNK_REF.fullmatch(base_ref(task))
    return (matched["name"], int(matched["chunk"])) if matched else None


def task_done(task: Json) -> float:
    """How much of a task is done, 0 to 1."""
    match TASK_STATUS.get(str(task.get("status"))):
        case "ready":
            return 1.0
        case "running" | "waiting":
            # A task that went back to its queue starts over, but what it did once it will do faster again.
            told = real(obj(output(task).get("progress")).get("fraction")) or 0.0
            return min(max(told, 0.0), 1.0)
        case _:
            return 0.0


def _one(tasks: Sequence[Json] | None) -> float:
    return task_done(tasks[-1]) if tasks else 0.0


def _expected(plan: Json) -> dict[str, float]:
    """Predicted seconds by reference of everything the plan's fork will hold."""
    chunks = {whole(chunk.get("number")) or 0: _frames(chunk) for chunk in objs(plan.get("chunks"))}
    usual = max(chunks.values(), default=1.0)
    expected = {
        f"encode_{group.get('name')}_c{number:04d}": max(real(group.get("predictedSeconds")) or 0.0, 0.01)
        * (frames / usual)
        for group in objs(plan.get("groups"))
        for number, frames in chunks.items()
    }
    seconds = max(real(plan.get("durationSeconds")) or 0.0, 1.0)
    for track in objs(plan.get("audio")):
        expected[str(track.get("name"))] = seconds / AUDIO_SPEED
    if plan.get("stills"):
        expected["stills"] = LIGHT_SECONDS
    return expected


def _frames(chunk: Json) -> float:
    return max(real(chunk.get("frames")) or 1.0, 1.0)


def _measured(tasks: Iterable[Json]) -> float:
    """The measuring with its second round: renditions made again count into it, so that nothing falls."""
    rounds: dict[int, list[float]] = {}
    redone: list[float] = []
    again = judged = False
    for task in tasks:
        ref = base_ref(task)
        if task.get("taskType") == "media_measure":
            rounds.setdefault(_iteration(task), []).append(task_done(task))
        elif task.get("taskType") == "media_gate" and task_done(task) == 1.0:
            judged, again = True, output(task).get("again") is True
        elif ref.startswith("redo_"):
            redone.append(task_done(task))
    if judged and not again:
        return 1.0
    means = [sum(done) / len(done) for _, done in sorted(rounds.items())]
    done = FIRST_ROUND * means[0] if means else 0.0
    if redone:
        done += REDO * sum(redone) / len(redone)
    if len(means) > 1:
        done += (1 - FIRST_ROUND - REDO) * means[-1]
    return min(done, 1.0)


def _iteration(task: Json) -> int:
    _, separator, number = str(task.get("referenceTaskName")).rpartition("__")
    return int(number) if separator and number.isdigit() else 0
