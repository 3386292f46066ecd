"""The renditions of a title as people see them, gathered from its chunks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from api.videos.progress import chunk_of, task_done
from api.videos.wire import (
    TASK_STATUS,
    ItemStatus,
    Json,
    base_ref,
    last,
    made,
    obj,
    objs,
    output,
    real,
    text,
    whole,
)


class Rendition(Struct, kw_only=True, frozen=True, rename="camel"):
    """As models.RenditionView; None where nothing is known yet."""

    name: str
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: str | None = None
    dynamic_range: str | None = None
    average_bitrate: int | None = None
    peak_bitrate: int | None = None
    size: int | None = None
    frames: int | None = None
    crf: float | None = None
    attempt: int | None = None
    quality: dict[str, Any] | None = None
    status: ItemStatus = "waiting"
    progress: float = 0.0
    fps: float | None = None
    speed: float | None = None
    eta_seconds: float | None = None
    encode_seconds: float | None = None
    reused: bool | None = None
    worker: str | None = None


class _Part(Struct, kw_only=True, frozen=True):
    """One chunk of one rendition: the task that makes it, and what it said of this rendition."""

    task: Json
    frames: float
    said: Json


def renditions(plan: Json, tasks: Sequence[Json], now_ms: int) -> list[Rendition]:
    """Every planned rendition, and those that only tasks name.

    Args:
        plan: what media_plan answered, empty before.
        tasks: the last attempt of each task, in the order in which they were scheduled.
        now_ms: Unix milliseconds.
    """
    planned = {str(each.get("name")): each for each in objs(plan.get("renditions"))}
    parts = _parts(plan, tasks)
    done = _finished(tasks)
    measured = quality_by_rendition(tasks)
    return [
        _rendition(
            name,
            planned.get(name, {}),
            parts.get(name, {}),
            finished=done.get(name, {}),
            measured=measured.get(name),
            plan=plan,
            now_ms=now_ms,
        )
        for name in dict.fromkeys([*planned, *parts])
    ]


def measurements(tasks: Iterable[Json]) -> list[dict[str, Any]]:
    """The last measurement of each rendition, in the order in which they were first measured."""
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        said = output(task)
        each = obj(said.get("measured")) or (said if task.get("taskType") == "media_measure" else {})
        if text(each.get("rendition")):
            found[str(each["rendition"])] = each
        if task.get("taskType") == "media_gate":
            found |= {str(one.get("rendition")): one for one in objs(said.get("quality"))}
    return list(found.values())


def quality_by_rendition(tasks: Iterable[Json]) -> dict[str, dict[str, Any]]:
    """{metric: {mean, p5}} of each measured rendition."""
    return {
        str(each.get("rendition")): {
            str(each.get("metric") or "vmaf"): {
                name: value for name in ("mean", "p5") if (value := real(each.get(name))) is not None
            }
        }
        for each in measurements(tasks)
    }


def named_renditions(task: Json, plan: Json) -> list[str]:
    """The renditions that an encode task makes."""
    given = obj(task.get("inputData"))
    listed = given.get("renditions")
    if isinstance(listed, list) and listed and all(isinstance(each, str) for each in listed):
        return list(listed)
    one = text(given.get("rendition"))
    if one:
        return [one]
    found = chunk_of(task)
    name = found[0] if found else base_ref(task).removeprefix("encode_")
    group = next((each for each in objs(plan.get("groups")) if each.get("name") == name), {})
    members = [str(each) for each in group.get("renditions") or [] if isinstance(each, str)]
    return members if members and not base_ref(task).startswith("redo_") else [name]


def _parts(plan: Json, tasks: Iterable[Json]) -> dict[str, dict[int, _Part]]:
    """By rendition and chunk, the newest task that makes it: a later encode replaces an earlier one."""
    frames = {whole(each.get("number")): real(each.get("frames")) or 1.0 for each in objs(plan.get("chunks"))}
    found: dict[str, dict[int, _Part]] = {}
    for group in objs(plan.get("groups")):
        for name in group.get("renditions") or []:
            found[str(name)] = {
                number: _Part(task={}, frames=length, said={})
                for number, length in frames.items()
                if number is not None
            }
    for task in tasks:
        if task.get("taskType") != "media_encode":
            continue
        named = chunk_of(task)
        number = named[1] if named else 0
        for name in named_renditions(task, plan):
            said = _said(task, name)
            found.setdefault(name, {})[number] = _Part(task=task, frames=frames.get(number, 1.0), said=said)
    return found


def _said(task: Json, name: str) -> Json:
    for chunk in objs(output(task).get("chunks")):
        if chunk.get("rendition") == name:
            return chunk
    return output(task)


def _finished(tasks: Sequence[Json]) -> dict[str, dict[str, Any]]:
    """What the stitched (or once verified) renditions are, with their files."""
    said = output(last(tasks, "media_stitch") or last(tasks, "media_verify"))
    found: dict[str, dict[str, Any]] = {}
    for each in objs(said.get("renditions")):
        thing = obj(each.get("video")) or each
        found[str(thing.get("rendition"))] = {**thing, "file": obj(each.get("file"))}
    return found


def _rendition(
    name: str,
    planned: Json,
    parts: Mapping[int, _Part],
    *,
    finished: Json,
    measured: dict[str, Any] | None,
    plan: Json,
    now_ms: int,
) -> Rendition:
    only = [part for part in parts.values() if part.task]
    thing = finished or (made(only[0].task) if len(only) == 1 and len(parts) == 1 else {})
    file = obj(thing.get("file")) or (
        obj(output(only[0].task).get("file")) if len(parts) == 1 and only else {}
    )
    state = _status(list(parts.values()))
    running = [part for part in only if TASK_STATUS.get(str(part.task.get("status"))) == "running"]
    told = [obj(output(part.task).get("progress")) for part in running]
    known = {**planned, **{key: value for key, value in thing.items() if value is not None}}
    frames = sum(part.frames for part in parts.values()) or 1.0
    reused = [part.said.get("reused") is True for part in only if "reused" in part.said]
    return Rendition(
        name=name,
        codec=text(known.get("codec")),
        width=whole(known.get("width")),
        height=whole(known.get("height")),
        frame_rate=text(known.get("frameRate")) or text(plan.get("frameRate")),
        dynamic_range=text(known.get("dynamicRange")),
        average_bitrate=whole(thing.get("averageBitrate")),
        peak_bitrate=whole(thing.get("peakBitrate")),
        size=whole(file.get("size")),
        frames=whole(thing.get("frames")),
        crf=real(known.get("crf")),
        attempt=whole(thing.get("attempt")),
        quality=measured,
        status=state,
        progress=round(sum(part.frames * task_done(part.task) for part in parts.values()) / frames, 4),
        fps=_sum(real(each.get("fps")) for each in told),
        speed=_sum(real(each.get("speed")) for each in told),
        eta_seconds=max(
            (eta for each in told if (eta := real(each.get("etaSeconds"))) is not None), default=None
        ),
        encode_seconds=_encode_seconds(thing, only, now_ms),
        reused=all(reused) if reused else None,
        worker=next((text(part.task.get("workerId")) for part in [*running, *only[::-1]]), None),
    )


def _status(parts: Sequence[_Part]) -> ItemStatus:
    states = {TASK_STATUS.get(str(part.task.get("status")), "waiting") for part in parts}
    for state in ("failed", "cancelled", "running"):
        if state in states:
            return state
    if states == {"ready"}:
        return "ready"
    # Between two chunks nothing of it runs, but it is under way.
    return "running" if "ready" in states else "waiting"


def _encode_seconds(thing: Json, parts: Iterable[_Part], now_ms: int) -> float | None:
    """What the encoder said it took; else how long its tasks have run."""
    said = real(thing.get("encodeSeconds"))
    if said is not None:
        return said
    total, found = 0.0, False
    for part in parts:
        started, ended = (whole(part.task.get(key)) or 0 for key in ("startTime", "endTime"))
        if started and TASK_STATUS.get(str(part.task.get("status"))) in {"running", "ready"}:
            found = True
            total += ((ended or now_ms) - started) / 1000
    return round(total, 1) if found else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 2) if known else None
