"""The recorded cases of the real server: where they lie, running them, and what differs.

The kit is no part of this repository. It lies beside the clone in ../shared/conformance, or where
SHOWRUNNER_CONFORMANCE_KIT says: run.py plays the cases against a server, golden/postgres.json is what the
real one answered, compare.py tells two recordings apart.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
VARIABLE = "SHOWRUNNER_CONFORMANCE_KIT"
ACCEPTED = Path(__file__).parent / "accepted.json"
RUN_S_MAX = 240


def path() -> Path:
    """The kit's folder: beside the repository, unless the environment names another place."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else ROOT / ".." / "shared" / "conformance"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not as recorded."""

    case: str
    where: str
    golden: str
    got: str

    def __str__(self) -> str:
        return f"{self.case}: {self.where}\n    golden: {self.golden}\n    got:    {self.got}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Differences that stay, with the reason. `case` is a glob, `where` and `got` are patterns."""

    case: str
    where: str
    reason: str
    got: str = ""

    def explains(self, difference: Difference) -> bool:
        return (
            fnmatch(difference.case, self.case)
            and re.search(self.where, difference.where) is not None
            and re.search(self.got, difference.got) is not None
        )


def accepted() -> list[Accepted]:
    return [Accepted(**entry) for entry in json.loads(ACCEPTED.read_text(encoding="utf-8"))["accepted"]]


def start(url: str, recording: Path) -> subprocess.Popen[str]:
    """Begin to play all cases against a server; the recording is there when the process has ended."""
    return subprocess.Popen(
        [sys.executable, str(path() / "run.py"), "--url", url, "--out", str(recording)],
        cwd=path(),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def differences(recording: Path) -> list[Difference]:
    """All values of a recording that are not as the real server's."""
    golden = json.loads((path() / "golden" / "postgres.json").read_text(encoding="utf-8"))["cases"]
    got = json.loads(recording.read_text(encoding="utf-8"))["cases"]
    compare = _compare()
    found = [Difference(case, "not played", "", "") for case in golden if case not in got]
    for case in golden.keys() & got.keys():
        for where, wanted, answered in compare.case_diff(golden[case], got[case]):
            found.append(Difference(case, where, _shown(compare, wanted), _shown(compare, answered)))
    return sorted(found, key=lambda each: (each.case, each.where))


def _compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance_compare", path() / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _shown(compare: ModuleType, value: Any) -> str:
    return "" if value is compare.MISSING else json.dumps(value, ensure_ascii=False)
