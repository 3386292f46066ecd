"""What else a title has: source, verdicts, sound, subtitles, keys, cost, read from its workflow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from api.videos.wire import (
    TASK_STATUS,
    Json,
    first,
    last,
    made,
    obj,
    objs,
    output,
    real,
    text,
    texts,
    things,
    whole,
)

SEVERITIES = ("info", "normalise", "warn", "reject")
AUDIO_SHOWN = (
    "codec",
    "language",
    "channels",
    "layout",
    "role",
    "group",
    "durationSeconds",
    "averageBitrate",
    "loudnessLufs",
)
TEXT_SHOWN = ("index", "language", "label", "kind", "default", "forced", "sdh", "cues", "warnings")
KEY_LABELS = ("audio", "sd", "hd", "uhd")


def facts(tasks: Sequence[Json]) -> dict[str, Any]:
    """The source's facts as the scan knows them, or before it the validation."""
    return obj(output(last(tasks, "media_scan")).get("facts")) or obj(
        output(first(tasks, "media_validate")).get("facts")
    )


def source(found: Json) -> dict[str, Any]:
    """Facts as a client sees them."""
    video = obj(found.get("video"))
    shown: dict[str, Any] = {
        "container": found.get("container"),
        "durationSeconds": found.get("durationSeconds") or video.get("durationSeconds"),
        "width": video.get("codedWidth"),
        "height": video.get("codedHeight"),
        "hdr": video.get("hdr"),
        "video": dict(video) or None,
        "audio": objs(found.get("audio")),
        "subtitles": objs(found.get("subtitles")),
    }
    for key in ("displayWidth", "displayHeight", "frameRate", "rotation", "interlaced"):
        shown[key] = video.get(key)
    return {key: value for key, value in shown.items() if value is not None} if found else {}


def verdicts(tasks: Iterable[Json]) -> list[dict[str, Any]]:
    """What was found in the source, each code once: what a later look says of it counts."""
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        if task.get("taskType") in {"media_validate", "media_scan", "media_plan"}:
            for each in objs(output(task).get("verdicts")):
                shown = each.get("severity") in SEVERITIES and text(each.get("code"))
                if shown and text(each.get("message")):
                    found[str(each["code"])] = texts(each)
    return list(found.values())


def audio(plan: Json, tasks: Iterable[Json]) -> list[dict[str, Any]]:
    """The planned sound tracks, each with what became of it."""
    by_name = {
        str(thing.get("track") or task.get("referenceTaskName")): (task, thing)
        for task in tasks
        if task.get("taskType") == "media_audio"
        for thing in [made(task)]
    }
    tracks: list[dict[str, Any]] = []
    for planned in objs(plan.get("audio")):
        name = str(planned.get("name"))
        task, thing = by_name.get(name) or ({}, {})
        known = {**planned, **thing}
        tracks.append(
            {
                "name": name,
                "label": planned.get("label"),
                "default": planned.get("default"),
                "status": TASK_STATUS.get(str(task.get("status")), "waiting"),
                **{key: known[key] for key in AUDIO_SHOWN if known.get(key) is not None},
            }
        )
    return tracks


def subtitles(plan: Json, tasks: Iterable[Json]) -> list[dict[str, Any]]:
    """The planned subtitles and captions, each with what became of it."""
    by_index: dict[Any, tuple[Json, dict[str, Any]]] = {}
    for task in tasks:
        if task.get("taskType") == "media_text":
            thing = obj(output(task).get("text")) or output(task)
            index = thing.get("index", obj(task.get("inputData")).get("index"))
            by_index[index if isinstance(index, int | str) else str(task.get("referenceTaskName"))] = (
                task,
                thing,
            )
    shown: list[dict[str, Any]] = []
    for planned in objs(plan.get("text")):
        index = planned.get("index")
        task, thing = by_index.get(index if isinstance(index, int | str) else None) or ({}, {})
        known = {**planned, **thing}
        shown.append(
            {
                **{key: known[key] for key in TEXT_SHOWN if known.get(key) is not None},
                "status": TASK_STATUS.get(str(task.get("status")), "waiting"),
            }
        )
    return shown


def protection(tasks: Sequence[Json]) -> dict[str, Any]:
    """{scheme, systems, keyIds} of an encrypted title, empty of a clear one. Never a key."""
    found = obj(output(last(tasks, "media_keys")).get("protection"))
    scheme = text(found.get("scheme"))
    if not scheme:
        return {}
    by_copy: dict[str, dict[str, str]] = {}
    for key in objs(found.get("keys")):
        if text(key.get("keyId")) and str(key.get("label")).lower() in KEY_LABELS:
            copy = by_copy.setdefault(text(key.get("scheme")) or scheme, {})
            copy[str(key["label"]).lower()] = str(key["keyId"]).lower()
    main = "cenc" if scheme == "cenc" else "cbcs"
    systems = found.get("systems")
    shown: dict[str, Any] = {
        "scheme": scheme,
        "systems": [each for each in systems if isinstance(each, str)] if isinstance(systems, list) else [],
        "keyIds": by_copy.get(main) or by_copy.get(scheme) or {},
    }
    # The second copy of `dual` has keys of its own.
    return {**shown, "cencKeyIds": by_copy["cenc"]} if scheme == "dual" and "cenc" in by_copy else shown


def preview(tasks: Sequence[Json]) -> dict[str, Any]:
    """{version, playback, rendition?} of what can be played before the title is ready; empty before."""
    task = last(tasks, "media_preview")
    if task is None or TASK_STATUS.get(str(task.get("status"))) != "ready":
        return {}
    said = obj(output(task).get("preview")) or output(task)
    version, playback = text(said.get("version")), texts(said.get("playback"))
    if not version or not playback:
        return {}
    named = text(said.get("rendition"))
    return {"version": version, "playback": playback, **({"rendition": named} if named else {})}


def cost(tasks: Iterable[Json]) -> dict[str, Any]:
    """{cpuSeconds, storedBytes} of what was made, each artefact once."""
    seconds, stored = 0.0, 0
    seen: set[object] = set()
    for task in tasks:
        said = output(task)
        if task.get("taskType") == "media_publish":
            stored += whole(said.get("size")) or 0
        for thing in things(said):
            key = text(thing.file.get("key")) or text(said.get("artefact")) or text(task.get("taskId"))
            if key not in seen:
                seen.add(key)
                seconds += real(obj(thing.record.get("provenance")).get("cpuSeconds")) or 0.0
                stored += whole(thing.file.get("size")) or 0
        seconds += real(obj(said.get("measured")).get("cpuSeconds")) or 0.0
    return {"cpuSeconds": round(seconds, 2), "storedBytes": stored} if seconds or stored else {}
