"""One awkward upload as data: how the file is made, and what has to come out of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.media.awkward_files import Bench

Build = Callable[[Bench, Path], None]
Found = tuple[str, str]
BESIDE_THE_TABLE = 0
"""The row of codes that the table does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file of one row.

    Attributes:
        build: puts it at the given path.
        expected: codes and severities that must come out; others may.
        absent: codes that must not.
        scan: whether it is scanned after validation.
        frames: how many frames the scan must decode.
        security: whether the operator is told.
        accepted_as_is: the row says "accept", so no code of its own is expected.
        beside: what else lies beside the upload, made by `build`.
        seconds_min: the operator's least length.
    """

    row: int
    name: str
    build: Build
    expected: frozenset[Found]
    absent: frozenset[str] = frozenset()
    profile: str | None = None
    scan: bool = False
    frames: int | None = None
    security: bool = False
    accepted_as_is: bool = False
    beside: frozenset[str] = frozenset()
    seconds_min: float = 0.0

    @property
    def refused(self) -> bool:
        return any(severity == "reject" for _, severity in self.expected)


def made(arguments: str, name: str = "a.mp4") -> Build:
    """A file that FFmpeg makes."""
    return lambda bench, target: moved(bench.make(name, arguments), target)


def given(content: bytes) -> Build:
    def build(bench: Bench, target: Path) -> None:
        target.write_bytes(content)

    return build


def changed(arguments: str, change: Callable[[Path], bytes], name: str = "a.mp4") -> Build:
    """A file that FFmpeg makes, changed by hand."""

    def build(bench: Bench, target: Path) -> None:
        target.write_bytes(change(bench.make(name, arguments)))

    return build


def moved(made: Path, target: Path) -> None:
    made.rename(target)


def case(row: int, name: str, build: Build, *expected: str, **more: object) -> Case:
    """A case; what is expected is written as "code severity"."""
    found = frozenset((code, severity) for code, severity in (one.split() for one in expected))
    return Case(row=row, name=name, build=build, expected=found, **more)  # type: ignore[arg-type] # by name
