"""Packaging with Shaka Packager: one set of segments, HLS and DASH over it, and the check of the result."""

from collections.abc import Mapping

from media_workers.media.mp4 import InitFacts, SegmentFacts
from media_workers.media.plan import Plan
from media_workers.media.verify import Finding

MASTER = "master.m3u8"
MPD = "manifest.mpd"


def packager_args(
    packager: str, plan: Plan, *, videos: Mapping[str, str], audios: Mapping[str, str]
) -> list[str]:
    """Package into the current directory: run it with the output folder as `cwd`.

    Args:
        packager: the binary.
        plan: the title's plan.
        videos: absolute path of each encoded rendition by its name ("720p").
        audios: absolute path of each encoded track by its name ("audio_0").

    Returns:
        the list; it makes `master.m3u8`, `manifest.mpd`, and per stream `video/720p/` and `audio/audio_0/`
        with `init.mp4`, `00001.m4s`, ... and the media playlists beside them.
    """
    raise NotImplementedError


def check_package(
    plan: Plan,
    *,
    sizes: Mapping[str, int],
    texts: Mapping[str, str],
    inits: Mapping[str, InitFacts] | None = None,
    segments: Mapping[str, SegmentFacts] | None = None,
) -> tuple[Finding, ...]:
    """Check a finished package.

    Args:
        plan: what it should be.
        sizes: every file below the package's folder, POSIX path to bytes.
        texts: content of the manifests (`.m3u8`, `.mpd`) by path.
        inits: facts of each `init.mp4` by path; without them the media rules are left out.
        segments: facts of each `.m4s` by path.

    Returns:
        nothing when every rule holds.
    """
    raise NotImplementedError


def content_type(path: str) -> str:
    """The media type a published file is served with."""
    raise NotImplementedError


def publish_order(paths: list[str]) -> list[str]:
    """Segments and pictures first, media playlists next, `manifest.mpd` and `master.m3u8` last."""
    raise NotImplementedError
