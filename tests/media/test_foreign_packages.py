"""The validator on packages that others have made."""

import subprocess
import sys
from pathlib import Path

import pytest

from media_workers.procs.binaries import Binaries
from media_workers.tasks.check_command import examine

pytestmark = pytest.mark.media

STREAMER = Path(sys.executable).with_name("shaka-streamer")
STREAMER_SECONDS_MAX = 100
INPUTS = """
inputs:
  - {name: source.mp4, media_type: video}
  - {name: source.mp4, media_type: audio, language: en}
"""
PIPELINE = """
streaming_mode: vod
resolutions: [240p, 144p]
audio_codecs: [aac]
video_codecs: [h264]
manifest_format: [dash, hls]
segment_size: 2
generate_iframe_playlist: true
segment_per_file: """


@pytest.fixture(scope="module")
def source(tools: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "source.mp4"
    argv = ["-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=s=426x240:r=25:d=5", "-f", "lavfi"]
    argv += ["-i", "sine=d=5:r=48000", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(path)]
    subprocess.run([tools.ffmpeg, *argv], check=True, timeout=STREAMER_SECONDS_MAX)
    return path


@pytest.mark.parametrize("per_file", ["true", "false"])
def test_shaka_streamer_passes(per_file: str, source: Path) -> None:
    """What Shaka Streamer makes of a clip is sound: with a file a segment, and with byte ranges.

    It names no default sound, which is a warning.
    """
    folder = source.parent / per_file
    folder.mkdir()
    (folder / "source.mp4").symlink_to(source)
    (folder / "inputs.yaml").write_text(INPUTS)
    (folder / "pipeline.yaml").write_text(PIPELINE + per_file + "\n")
    argv = [sys.executable, str(STREAMER), "-i", "inputs.yaml", "-p", "pipeline.yaml", "-o", "out"]
    done = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, timeout=STREAMER_SECONDS_MAX, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    report = examine(str(folder / "out"))

    assert report.passed
    assert {finding.rule for finding in report.findings} == {"default_missing"}
    assert report.streams == 6
    skipped = {rule.id for rule in report.rules if rule.state == "skipped"}
    assert not {"extinf_mismatch", "iframe_range_wrong", "dash_timeline_mismatch"} & skipped


def test_ffmpeg_hls_is_read(tools: Binaries, source: Path) -> None:
    """A transport stream package of FFmpeg's is checked as far as it can be: its files, not its boxes."""
    folder = source.parent / "ts"
    folder.mkdir()
    argv = [
        "-loglevel",
        "error",
        "-i",
        str(source),
        "-c",
        "copy",
        "-hls_time",
        "2",
        "-hls_playlist_type",
        "vod",
    ]
    subprocess.run([tools.ffmpeg, *argv, str(folder / "film.m3u8")], check=True, timeout=STREAMER_SECONDS_MAX)

    report = examine(str(folder))
    assert report.findings == ()
    next(folder.glob("*.ts")).unlink()

    assert {finding.rule for finding in examine(str(folder)).findings} == {"segment_missing"}
