"""The repository speaks of itself alone: nothing in it belongs to one machine or one network."""

import re
import tomllib

from tests.tidy.tree import ROOT, shown, text_files

# Written in parts, so that this file does not contain what it looks for.
FORBIDDEN = {
    "a path of one machine": re.compile("(?<![\\w.])/(?:" + "work|root|home" + ")/[A-Za-z0-9_.]"),
    "a number of an issue": re.compile("\\bissues? " + "#?\\d", re.IGNORECASE),
    "a package index": re.compile("(?:extra-)?" + "index-" + "url"),
}
RESERVED_HOST = re.compile(
    r"127\.0\.0\.1|localhost|[\w{}-]*|(?:[\w-]+\.)*example(?:\.com|\.org|\.net)?|(?:[\w-]+\.)*(?:test|invalid)"
)
# Names that look like addresses and are only names: XML namespaces and the like.
NAMES = {"www.w3.org", "dashif.org", "json-schema.org", "schemas.microsoft.com"}
HASH = re.compile(r"    --hash=sha256:\w{64}( \\)?")
PINNED = re.compile(r"[a-z0-9][a-z0-9._-]*(?:\[[a-z0-9,._-]+\])?==\S+(?: ; .+)? \\")


def _is_nobodys(host: str) -> bool:
    return host in NAMES or RESERVED_HOST.fullmatch(host) is not None


def _texts() -> dict[str, str]:
    return {shown(path): path.read_text(encoding="utf-8") for path in text_files()}


def test_no_word_of_one_machine() -> None:
    """No path of a machine, no issue number, no package index in any file."""
    found = [
        f"{name}: {what}: {match.group()}"
        for name, text in _texts().items()
        for what, pattern in FORBIDDEN.items()
        for match in pattern.finditer(text)
    ]

    assert found == []


def test_no_host_of_a_network() -> None:
    """Addresses are loopback, single-label names, those reserved for examples and tests, or mere names."""
    hosts = {
        (name, host)
        for name, text in _texts().items()
        for host in re.findall(r"https?://(?:[^\s/@\"']*@)?([A-Za-z0-9.{}_-]+)", text)
    }

    strange = [
        each for each in sorted(hosts) if not RESERVED_HOST.fullmatch(each[1]) and each[1] not in NAMES
    ]

    assert strange == []


def test_locked_requirements_are_pinned_by_hash() -> None:
    """Every line of a lock is one version with hashes; the tools' lock contains the product's."""
    pins: dict[str, set[str]] = {}
    for name in ("requirements.lock", "requirements-dev.lock"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        odd = [
            x
            for x in lines
            if not PINNED.fullmatch(x) and not re.fullmatch(r"    --hash=sha256:\w{64}( \\)?", x)
        ]
        assert odd == [], name
        pins[name] = {line.split(" ")[0] for line in lines if not line.startswith(" ")}

    assert pins["requirements.lock"] <= pins["requirements-dev.lock"]


def test_everything_shipped_is_packaged() -> None:
    """The wheel has the four packages, and the source archive the documents as well."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = project["tool"]["hatch"]["build"]["targets"]

    assert set(targets["wheel"]["packages"]) == {"engine", "media_workers", "api", "workflows"}
    assert {"README.md", "ARCHITECTURE.md"} <= set(targets["sdist"]["include"])
