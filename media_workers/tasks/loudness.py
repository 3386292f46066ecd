"""How loud a track is, measured once for all of its codecs."""

from pathlib import Path

import msgspec

from media_workers.media.audio_plan import AudioPlan
from media_workers.media.loudness import Loudness, parse_loudness
from media_workers.media.sound import loudness_args, output_loudness_args
from media_workers.sdk import Record, TaskContext, TaskFailed
from media_workers.storage import artefact_key, facts_of
from media_workers.tasks.plan import BranchInput
from media_workers.tasks.tools import MEASURE_LIMITS, MIB, run_tool, tool_versions

LOUDNESS_NAME = "loudness.json"


class MeasuredLoudness(Record, frozen=True, kw_only=True):
    """What is kept of a measurement: None of a silent track."""

    loudness: Loudness | None


def source_loudness(ctx: TaskContext, job: BranchInput, track: AudioPlan, source: Path) -> Loudness | None:
    """The loudness of a track of the source, mixed as planned; None for a silent one.

    The measurement is kept, so that the same track in another codec finds it.

    Raises:
        TaskFailed: it could not be measured.
    """
    version = tool_versions(ctx.resources.binaries).get("ffmpeg", "")
    recipe = loudness_args("ffmpeg", track, source="SOURCE")
    key = artefact_key("loudness", job.source_sha256, recipe, version)
    found = ctx.resources.artefacts.find(job.video_id, key)
    if found is not None:
        return facts_of(found, MeasuredLoudness).loudness
    measured = _measure(
        ctx, loudness_args(ctx.resources.binaries.ffmpeg, track, source=str(source)), track.name
    )
    kept = MeasuredLoudness(loudness=measured)
    with ctx.scratch(MIB) as folder:
        (folder / LOUDNESS_NAME).write_bytes(msgspec.json.encode(kept))
        ctx.resources.artefacts.commit(job.video_id, key, folder, kind="loudness", facts=kept)
    return measured


def heard_loudness(ctx: TaskContext, track: AudioPlan, media: Path) -> Loudness | None:
    """The loudness of a finished track.

    Raises:
        TaskFailed: it could not be measured.
    """
    return _measure(ctx, output_loudness_args(ctx.resources.binaries.ffmpeg, media=str(media)), track.name)


def _measure(ctx: TaskContext, command: list[str], name: str) -> Loudness | None:
    what = f"measuring the loudness of {name}"
    result = run_tool(ctx, command, what=what, limits=MEASURE_LIMITS)
    try:
        return parse_loudness(result.stderr_tail)
    except ValueError as error:
        raise TaskFailed("tool_failed", f"the loudness of {name} could not be measured: {error}") from error
