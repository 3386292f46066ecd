"""Workflows of the media pipeline as documents of the wire, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from api.videos.progress import PHASES

PLAN: dict[str, Any] = {
    "profile": "premium",
    "frameRate": "25",
    "framesTotal": 625,
    "durationSeconds": 25.0,
    "chunks": [
        {"number": 0, "firstFrame": 0, "frames": 250},
        {"number": 1, "firstFrame": 250, "frames": 250},
        {"number": 2, "firstFrame": 500, "frames": 125},
    ],
    "groups": [
        {"name": "1080p", "renditions": ["1080p", "720p"], "predictedSeconds": 4.0},
        {"name": "1080p_av1", "renditions": ["1080p_av1"], "predictedSeconds": 40.0},
    ],
    "renditions": [
        {"name": "1080p", "codec": "h264", "width": 1920, "height": 1080, "crf": 21.0, "dynamicRange": "sdr"},
        {"name": "720p", "codec": "h264", "width": 1280, "height": 720, "crf": 21.0, "dynamicRange": "sdr"},
        {
            "name": "1080p_av1",
            "codec": "av1",
            "width": 1920,
            "height": 1080,
            "crf": 30,
            "dynamicRange": "sdr",
        },
    ],
    "audio": [{"name": "audio_0_aac", "track": 0, "language": "eng", "label": "English", "default": True}],
    "text": [{"index": 0, "language": "fra", "label": "French", "kind": "subtitles", "forced": False}],
    "stills": {"tiles": 25},
    "preview": "720p",
    "quality": {"windows": [], "targets": []},
    "estimate": {"cpuSeconds": 110.0, "wallSeconds": 55.0, "outputBytes": 1000, "cost": 0.001},
}


def task(task_type: str, status: str = "COMPLETED", *, ref: str = "", **more: Any) -> dict[str, Any]:
    """One attempt at a task."""
    return {
        "taskId": f"id-{ref or task_type}-{more.get('retryCount', 0)}",
        "taskType": task_type,
        "referenceTaskName": ref or task_type.removeprefix("media_"),
        "status": status,
        "startTime": 1000,
        "endTime": 3000 if status == "COMPLETED" else 0,
        "inputData": {},
        "outputData": {},
        **more,
    }


def workflow(*tasks: dict[str, Any], status: str = "RUNNING", **more: Any) -> dict[str, Any]:
    return {"status": status, "tasks": list(tasks), **more}


def provenance(**more: Any) -> dict[str, Any]:
    return {
        "argv": [],
        "tools": {"ffmpeg": "9.0.2"},
        "worker": "w1",
        "inputs": ["a" * 64],
        "cpuSeconds": 2.0,
        "wallSeconds": 1.5,
        **more,
    }


def file(key: str, size: int = 1000) -> dict[str, Any]:
    return {"key": f"artefacts/vid_x/{key}", "size": size, "sha256": "b" * 64}


def encoded(name: str, chunk: int, *, attempt: int = 1, crf: float = 21.0) -> dict[str, Any]:
    """One rendition of one chunk."""
    return {
        "rendition": name,
        "chunk": chunk,
        "frames": PLAN["chunks"][chunk]["frames"],
        "file": file(f"{name}-{chunk}-{attempt}/video.mp4"),
        "headerHash": "c" * 32,
        "firstKey": True,
        "crf": crf,
        "attempt": attempt,
        "provenance": provenance(),
        "reused": False,
    }


def chunked(*, done: int = 3, group: int = 0) -> list[dict[str, Any]]:
    """The encodes of a group, the first `done` of them finished."""
    chosen = PLAN["groups"][group]
    return [
        task(
            "media_encode",
            "COMPLETED" if number < done else "SCHEDULED",
            ref=f"encode_{chosen['name']}_c{number:04d}",
            inputData={
                "renditions": chosen["renditions"],
                "chunk": number,
                "planKey": "artefacts/vid_x/p/plan.json",
            },
            outputData={"chunks": [encoded(name, number) for name in chosen["renditions"]]}
            if number < done
            else {},
            workerId="w1",
        )
        for number in range(len(PLAN["chunks"]))
    ]


def measured(name: str, mean: float, *, passed: bool = True) -> dict[str, Any]:
    return {
        "rendition": name,
        "metric": "vmaf",
        "mean": mean,
        "p5": mean - 4,
        "min": mean - 9,
        "xpsnrDb": 41.2,
        "aligned": True,
        "windows": [{"start": 2.0, "mean": mean, "min": mean - 9, "bitrateBps": 10}],
        "cpuSeconds": 0.5,
        "targetMean": 93.0,
        "targetP5": 85.0,
        "passed": passed,
    }


def stitched(attempt: int = 1) -> dict[str, Any]:
    """Output of media_stitch."""
    return {
        "renditions": [
            {
                "video": {
                    "rendition": each["name"],
                    "codec": each["codec"],
                    "width": each["width"],
                    "height": each["height"],
                    "frames": 625,
                    "averageBitrate": 900_000,
                    "peakBitrate": 1_500_000,
                    "encodeSeconds": 4.5,
                    "dynamicRange": "sdr",
                    "crf": each["crf"],
                    "attempt": attempt if each["name"] == "720p" else 1,
                    "sources": f"artefacts/vid_x/{each['name']}-whole/sources.json",
                    "provenance": provenance(cpuSeconds=0.1),
                },
                "file": file(f"{each['name']}-whole-{attempt}/video.mp4", 5000),
            }
            for each in PLAN["renditions"]
        ],
        "audio": [],
        "text": [],
        "findings": [],
    }


def whole_job(*, again: bool) -> list[dict[str, Any]]:
    """Every task of a job in the order of their ends; `again`: the gate has 720p made once more."""
    facts = {"container": "mov", "durationSeconds": 25.0, "video": {"codec": "h264", "displayWidth": 1920}}
    verdict = {"code": "no_timestamps", "severity": "warn", "message": "Some frames have no time."}
    sound = {
        "track": "audio_0_aac",
        "codec": "aac",
        "channels": 2,
        "layout": "stereo",
        "provenance": provenance(),
    }
    words = {"index": 0, "language": "fra", "label": "French", "kind": "subtitles", "cues": 7, "sdh": False}
    early = {"version": "v1-preview", "playback": {"hls": "master.m3u8"}, "rendition": "720p"}
    first = [measured("1080p", 95.0), measured("720p", 80.0, passed=False), measured("1080p_av1", 96.0)]
    second = [first[0], measured("720p", 94.0), first[2]]
    job = [
        task("media_validate", outputData={"facts": facts, "verdicts": []}),
        task("media_scan", outputData={"facts": facts, "verdicts": [verdict], "scan": {"black": []}}),
        task("media_probe_encodes", outputData={"perTitle": {"probes": [1]}}),
        task("media_plan", outputData={"plan": PLAN}),
        *chunked(),
        *chunked(group=1),
        task("media_audio", ref="audio_0_aac", outputData={"audio": sound, "file": file("audio/a.mp4")}),
        task("media_text", ref="text_0", outputData={"text": words, "file": file("text/t.vtt")}),
        task(
            "media_stills",
            outputData={"stills": {"poster": "p.jpg", "provenance": provenance()}, "artefact": "s"},
        ),
        task("media_preview", outputData=early),
        task("media_stitch", ref="stitch__1", outputData=stitched()),
        *(
            task("media_measure", ref=f"measure_{each['rendition']}__1", outputData={"measured": each})
            for each in first
        ),
        task("media_gate", ref="gate__1", outputData={"again": again, "quality": first if again else second}),
    ]
    if again:
        changed = {
            "rendition": "720p",
            "first": first[1],
            "second": second[1],
            "crfBefore": 21,
            "crfAfter": 14,
        }
        job += [
            *(
                task(
                    "media_encode",
                    ref=f"redo_720p_c{number:04d}__1",
                    inputData={"renditions": ["720p"], "chunk": number, "attempt": 2},
                    outputData={"chunks": [encoded("720p", number, attempt=2, crf=14.0)]},
                )
                for number in range(3)
            ),
            task("media_stitch", ref="stitch__2", outputData=stitched(2)),
            task("media_measure", ref="measure_720p__2", outputData={"measured": second[1]}),
            task(
                "media_gate",
                ref="gate__2",
                outputData={"again": False, "quality": second, "verdicts": [changed]},
            ),
        ]
    return [*job, *_packaged()]


def _packaged() -> list[dict[str, Any]]:
    findings = [
        {"rule": "bandwidth", "severity": "warn", "subject": "720p.m3u8", "message": "Peaks are high."}
    ]
    return [
        task("media_keys", outputData={"protection": PROTECTION}),
        task(
            "media_package",
            outputData={"package": {"size": 9, "provenance": provenance()}, "artefact": "pack"},
        ),
        task("media_check", outputData={"findings": findings, "passed": True}),
        task("media_publish", outputData={"size": 9000}),
    ]


PROTECTION = {
    "scheme": "dual",
    "systems": ["widevine", "playready", "fairplay"],
    "keys": [
        {"label": "AUDIO", "scheme": "cbcs", "keyId": "A" * 32, "fairplayUri": "skd://k/a"},
        {"label": "HD", "scheme": "cbcs", "keyId": "1" * 32, "fairplayUri": "skd://k/1"},
        {"label": "HD", "scheme": "cenc", "keyId": "2" * 32, "fairplayUri": None},
    ],
}


PLAN_NAMES = ["plan", "renditions", "name", "width", "audio", "video", "file", "size", "provenance", "argv"]
NAMES = st.sampled_from(
    [*PLAN_NAMES, "facts", "progress", "fraction", "verdicts", "error", "code", "findings", "windows"]
)
TYPES = [name for _, types, _ in PHASES for name in types]
statuses = st.sampled_from(["SCHEDULED", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
wild_tasks = st.lists(
    st.fixed_dictionaries(
        {"taskType": st.sampled_from(TYPES), "referenceTaskName": st.text(max_size=3), "status": statuses},
        optional=dict.fromkeys(("outputData", "inputData", "startTime", "workerId", "taskId"), json_values),
    ),
    max_size=6,
)
"""Tasks of the pipeline with outputs of any shape."""
