"""The report on a video: computed from its workflow, kept when the workflow is gone."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from api.videos.models import Report
from api.videos.report import chunk_documents, report
from tests.videos.tasks import encoded, provenance, whole_job, wild_tasks, workflow


def made(job: list[dict[str, Any]], documents: tuple[object, ...] = ()) -> Report:
    return Report.model_validate({"source": {}, **report(workflow(*job), documents)})


def test_every_artefact_is_listed_once() -> None:
    """Nine chunk encodes, three of them made again, three joins twice, sound, stills and the package."""
    found = made(whole_job(again=True)).artefacts

    paths = [each.path for each in found]
    assert len(paths) == len(set(paths))
    kinds = [each.kind for each in found]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "encode": 12,
        "audio": 1,
        "stills": 1,
        "stitch": 6,
        "package": 1,
    }
    redone = [each for each in found if each.kind == "encode" and each.attempt == 2]
    assert [(each.rendition, each.chunk) for each in redone] == [("720p", 0), ("720p", 1), ("720p", 2)]
    assert all(each.inputs and each.tools["ffmpeg"] for each in found)


def test_commands_of_chunks_come_from_their_document() -> None:
    """What travels between tasks has no command; the report takes it from the rendition's document."""
    job = whole_job(again=False)
    keys = chunk_documents(workflow(*job))
    whole = {**encoded("1080p", 0), "provenance": provenance(argv=["ffmpeg", "-i", "SOURCE", "TARGET"])}

    found = {each.path: each for each in made(job, ({"chunks": [whole]},)).artefacts}

    assert keys == [f"artefacts/vid_x/{name}-whole/sources.json" for name in ("1080p", "720p", "1080p_av1")]
    assert found[whole["file"]["key"]].argv == ["ffmpeg", "-i", "SOURCE", "TARGET"]


def test_quality_windows_and_the_gates_second_look() -> None:
    """Per rendition the last measurement with its windows, and what the gate changed with both figures."""
    told = made(whole_job(again=True))

    quality = {each.rendition: each for each in told.quality}
    assert (quality["720p"].mean, quality["720p"].metric, quality["720p"].passed) == (94.0, "vmaf", True)
    assert [(each.start, each.mean, each.min) for each in quality["720p"].windows] == [(2.0, 94.0, 85.0)]
    [change] = told.gate
    assert (change["first"]["mean"], change["second"]["mean"]) == (80.0, 94.0)
    assert (change["crfBefore"], change["crfAfter"]) == (21, 14)


def test_findings_have_rule_severity_and_place() -> None:
    """What the package's check found, as the page of this interface spells it."""
    [finding] = made(whole_job(again=False)).validation

    assert finding.model_dump() == {
        "rule": "bandwidth",
        "severity": "warn",
        "message": "Peaks are high.",
        "path": "720p.m3u8",
    }


def test_the_scans_marks_and_the_probes_are_kept() -> None:
    """Evidence for what was decided: the decode scan's marks and the trial encodes of the ladder."""
    told = made(whole_job(again=False))

    assert told.scan == {"black": []}
    assert told.per_title == {"probes": [1]}
    assert {"task", "type", "attempt", "status", "worker", "queuedSeconds", "runSeconds"} <= set(
        told.timings[0]
    )


@settings(deadline=None)  # a slow machine is no bug
@given(wild_tasks)
def test_whatever_workers_write_can_be_reported(tasks: list[dict[str, Any]]) -> None:
    """Outputs of any shape give a report: workers of any make write them."""
    Report.model_validate({"source": {}, **report({"status": "FAILED", "tasks": tasks})})
