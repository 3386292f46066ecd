"""The validator: every defect is found by its own rule and no other, and sound packages pass."""

import http.server
import json
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from typer.testing import CliRunner

from media_workers.main import app
from media_workers.media.check_expected import Evidence, Expectation, Loudness
from media_workers.media.check_rules import RULES
from media_workers.media.key_search import spellings
from media_workers.media.package_check import Report, check_package
from media_workers.media.plan import Plan
from media_workers.media.protection import ProtectionPlan
from media_workers.procs.binaries import Binaries
from media_workers.sdk import TaskFailed
from media_workers.tasks.check_command import examine
from media_workers.tasks.package_reader import read_package
from media_workers.tasks.package_sites import LocalFolder, SiteError, open_site
from tests.media.package_defects import CLEAR, MPD, PROTECTED, TEXT, VIDEO, Plant, media_noise
from tests.media.packages import Studio, Title

pytestmark = pytest.mark.media


class Sound(NamedTuple):
    """A sound package and what it should be."""

    folder: Path
    plan: Plan
    protection: ProtectionPlan | None
    keys: tuple[bytes, ...]

    def report(self, folder: Path | None = None) -> Report:
        evidence = read_package(LocalFolder(folder or self.folder), keys=self.keys)
        return check_package(evidence, self.expectation)

    @property
    def evidence(self) -> Evidence:
        return read_package(LocalFolder(self.folder), keys=self.keys)

    @property
    def expectation(self) -> Expectation:
        return Expectation(plan=self.plan, protection=self.protection, texts=2)


@pytest.fixture(scope="session")
def studio(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(tmp_path_factory.mktemp("checked"), tools)
    yield made
    made.close()


@pytest.fixture(scope="session")
def title(studio: Studio) -> Title:
    return studio.title(overrides={"renditions": ["180p", "144p"]})


@pytest.fixture(scope="session")
def clear(title: Title) -> Sound:
    return Sound(title.publish(title.package(), "clear"), title.plan, None, ())


@pytest.fixture(scope="session")
def protected(title: Title) -> Sound:
    plan = title.protect({"scheme": "cbcs"})
    folder = title.publish(title.package(plan), "cbcs")
    return Sound(folder, title.plan, plan, tuple(title.key_values(plan).values()))


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Sound], Path]:
    """A copy to plant a defect in; without the publish manifest, which would tell of every change."""

    def make(sound: Sound) -> Path:
        folder = tmp_path / "package"
        shutil.copytree(sound.folder, folder)
        (folder / "manifest.json").unlink()
        return folder

    return make


def broken(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings}


def test_ours_pass(clear: Sound, protected: Sound) -> None:
    """What the workers publish keeps every rule; the rules that could not be looked at say why."""
    for sound in (clear, protected):
        report = sound.report()

        assert report.findings == ()
        assert report.passed
        assert all(rule.reason for rule in report.rules if rule.state == "skipped")
        assert {rule.id for rule in report.rules} == set(RULES)


@pytest.mark.parametrize(("rule", "plant"), CLEAR, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(CLEAR)])
def test_defects(rule: str, plant: Plant, clear: Sound, copy: Callable[[Sound], Path]) -> None:
    """A planted defect is found by its own rule, and by that alone."""
    folder = copy(clear)
    plant(folder)

    report = clear.report(folder)

    assert broken(report) == {rule}
    assert report.passed == (RULES[rule].severity == "warn")


@pytest.mark.parametrize(
    ("rule", "plant"), PROTECTED, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(PROTECTED)]
)
def test_defects_of_protection(
    rule: str, plant: Plant, protected: Sound, copy: Callable[[Sound], Path]
) -> None:
    """So is everything that can be wrong with encryption."""
    folder = copy(protected)
    plant(folder)

    assert broken(protected.report(folder)) == {rule}


def test_a_clear_package_is_not_what_was_planned(clear: Sound, protected: Sound) -> None:
    """A package in the clear does not pass where protection was planned."""
    report = check_package(clear.evidence, protected.expectation)

    assert broken(report) == {"encryption_missing"}


def test_a_peak_is_told(clear: Sound, copy: Callable[[Sound], Path]) -> None:
    """A segment far heavier than the average is a warning, beside the bandwidth that does not say so."""
    folder = copy(clear)
    target = folder / VIDEO / "00001.m4s"
    ballast = 40 * target.stat().st_size
    target.write_bytes(target.read_bytes() + struct.pack(">I4s", ballast + 8, b"free") + bytes(ballast))

    found = {(finding.rule, finding.severity) for finding in clear.report(folder).findings}

    assert ("peak_too_high", "warn") in found
    assert ("bandwidth_wrong", "error") in found


def test_published_keys_are_found(protected: Sound, copy: Callable[[Sound], Path]) -> None:
    """A content key in any published file is found in every spelling."""
    folder = copy(protected)
    target = folder / TEXT / "00001.vtt"
    content = target.read_bytes()
    for spelling in spellings(protected.keys[0]):
        target.write_bytes(content + spelling)

        assert broken(protected.report(folder)) == {"key_published"}


def test_a_changed_file_is_found(clear: Sound, tmp_path: Path) -> None:
    """A published file that is not as its manifest lists it, by one byte, is found."""
    folder = tmp_path / "package"
    shutil.copytree(clear.folder, folder)
    target = folder / VIDEO / "00001.m4s"
    content = bytearray(target.read_bytes())
    content[-1] ^= 1
    target.write_bytes(content)

    assert broken(clear.report(folder)) == {"file_changed"}


def test_pictures_that_do_not_decode(studio: Studio, clear: Sound, copy: Callable[[Sound], Path]) -> None:
    """A segment with sound boxes and broken pictures is found by decoding it."""
    folder = copy(clear)
    assert examine(str(folder), studio.context).findings == ()
    media_noise(f"{VIDEO}/00002.m4s")(folder)

    assert broken(examine(str(folder), studio.context)) == {"decode_error"}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"loudness": {"audio_0": Loudness(measured=-19.0, target=-16.0)}}, "loudness_off"),
        ({"quality": {"180p": None}}, "quality_verdict_missing"),
        ({"quality": {"180p": False}}, "quality_verdict_missing"),
        ({"playback": "no picture was decoded"}, "playback_failed"),
        ({"texts": 3}, "rendition_missing"),
    ],
)
def test_what_was_measured_counts(changes: dict[str, Any], rule: str, clear: Sound) -> None:
    """Loudness, the quality gate's verdicts, playback and the number of texts are held against the plan."""
    expected = msgspec.structs.replace(clear.expectation, **changes)

    assert broken(check_package(clear.evidence, expected)) == {rule}


def test_renditions_cut_apart(studio: Studio, clear: Sound) -> None:
    """Renditions that are not cut at the same instants are refused: nobody could change between them."""

    def other_grid(plan: Plan) -> Plan:
        return msgspec.structs.replace(plan, gop_frames=30)

    other = studio.title(overrides={"renditions": ["144p"]}, change=other_grid, texts=())
    title = studio.title(overrides={"renditions": ["180p", "144p"]}, texts=())
    videos = (title.videos[0], other.videos[0])

    with pytest.raises(TaskFailed) as caught:
        title.package(renditions=videos)

    findings: Any = caught.value.output["findings"]
    assert {finding.rule for finding in findings} == {"segment_grid_mismatch"}


def test_another_plan_does_not_pass(clear: Sound) -> None:
    """A package with a frame or a rendition that was not planned is not this title's."""
    one_more = msgspec.structs.replace(clear.plan, frames_total=clear.plan.frames_total + 1)
    one_less = msgspec.structs.replace(clear.plan, renditions=clear.plan.renditions[:1])

    for plan, rule in ((one_more, "frame_count_mismatch"), (one_less, "rendition_missing")):
        expected = msgspec.structs.replace(clear.expectation, plan=plan)
        assert broken(check_package(clear.evidence, expected)) == {rule}


@contextmanager
def web(folder: Path, types: dict[str, str] | None = None) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = {
            ".m3u8": "application/vnd.apple.mpegurl",
            ".mpd": "application/dash+xml",
            ".m4s": "video/iso.segment",
            ".mp4": "video/mp4",
            ".vtt": "text/vtt",
            ".jpg": "image/jpeg",
            **(types or {}),
        }

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_web_address_is_checked(clear: Sound) -> None:
    """A package behind a web address is checked like a folder, and its media types as well."""
    with web(clear.folder) as address:
        for place in (f"{address}/", f"{address}/master.m3u8", f"{address}/{MPD}"):
            report = examine(place)
            assert report.findings == ()
            assert report.segments > 0
    with web(clear.folder, {".m4s": "text/html"}) as address:
        assert broken(examine(f"{address}/{MPD}")) == {"content_type_wrong"}


def test_the_command_line(clear: Sound, copy: Callable[[Sound], Path]) -> None:
    """`check` exits 0 for a sound package and 1 for another, with the rule's name; JSON for machines."""
    runner = CliRunner()
    folder = copy(clear)

    assert runner.invoke(app, ["check", str(folder)]).exit_code == 0
    (folder / VIDEO / "00002.m4s").unlink()
    shown = runner.invoke(app, ["check", str(folder)])
    document = runner.invoke(app, ["check", str(folder), "--json"])

    assert shown.exit_code == document.exit_code == 1
    assert "segment_missing" in shown.stdout
    findings = json.loads(document.stdout)["findings"]
    assert [item["rule"] for item in findings] == ["segment_missing"]


def test_no_place_is_a_sentence(tmp_path: Path) -> None:
    """A place with nothing in it, or none at all, is told in a sentence."""
    with pytest.raises(SiteError, match="name a folder"):
        open_site(str(tmp_path / "nowhere"))
    (tmp_path / "film.mp4").write_bytes(b"x")
    with pytest.raises(SiteError, match="no manifest"):
        open_site(str(tmp_path / "film.mp4"))

    assert broken(examine(str(tmp_path))) == {"manifest_missing"}


def test_a_playlist_cannot_leave_its_folder(
    clear: Sound, copy: Callable[[Sound], Path], tmp_path: Path
) -> None:
    """What a playlist lists outside of the package is not read."""
    folder = copy(clear)
    (tmp_path / "outside.m4s").write_bytes((folder / VIDEO / "00001.m4s").read_bytes())
    target = folder / VIDEO / "playlist.m3u8"
    target.write_text(target.read_text().replace("00001.m4s", "../../../outside.m4s"))

    assert broken(clear.report(folder)) == {"segment_missing"}
