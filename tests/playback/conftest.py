"""One title in three codecs, packaged in every way, and a browser to play it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from media_workers.media.protection import ProtectionPlan
from media_workers.procs.binaries import find_binaries
from tests.media.packages import Studio, Title
from tests.playback.browser import WAIT_SECONDS, Browser, NoBrowserError, player_script, served

OVERRIDES = {"renditions": ["180p", "144p"], "codecs": ["h264", "vp9", "av1"]}
SCHEMES = ("clear", "cbcs", "cenc", "dual")


class Protected(NamedTuple):
    """A published package with the keys that open it, hex by hex key id."""

    folder: Path
    protection: ProtectionPlan | None
    keys: dict[str, str]


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(tmp_path_factory.mktemp("playback"), find_binaries())
    yield made
    made.close()


@pytest.fixture(scope="session")
def title(studio: Studio) -> Title:
    return studio.title(overrides=OVERRIDES)


@pytest.fixture(scope="session")
def published(title: Title) -> Callable[[str], Protected]:
    """A published package by its scheme, made when a test first asks for it."""
    made: dict[str, Protected] = {}

    def make(scheme: str) -> Protected:
        if scheme not in made:
            protection = None if scheme == "clear" else title.protect({"scheme": scheme})
            values = title.key_values(protection) if protection else {}
            folder = title.publish(title.package(protection), scheme)
            made[scheme] = Protected(folder, protection, {kid: key.hex() for kid, key in values.items()})
        return made[scheme]

    return make


@pytest.fixture(scope="session")
def site(studio: Studio, _script: Path) -> Iterator[str]:
    """Address of the media folder, with the player's page in it."""
    with served(studio.desk.media, _script) as address:
        yield address


@pytest.fixture(scope="session")
def _script() -> Path:
    try:
        return player_script()
    except NoBrowserError as error:
        _missing(error)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    try:
        started = Browser()
    except NoBrowserError as error:
        _missing(error)
    yield started
    started.close()


def _missing(error: NoBrowserError) -> NoReturn:
    """A laptop may do without a browser, CI may not."""
    assert os.environ.get("CI") != "true", str(error)
    # The rest of the suite needs no browser; in CI the line above failed.
    pytest.skip(str(error))


@pytest.fixture
def play(browser: Browser, site: str, studio: Studio) -> Callable[..., dict[str, Any]]:
    """Play a manifest for a while and say what was seen."""

    def played(
        manifest: Path,
        keys: dict[str, str] | None = None,
        *,
        codec: str | None = None,
        seconds: float = 0.6,
        switch: bool = False,
    ) -> dict[str, Any]:
        path = manifest.relative_to(studio.desk.media).as_posix()
        given = {
            "url": f"{site}/{path}",
            "keys": keys or {},
            "codec": codec,
            "seconds": seconds,
            "waitSeconds": WAIT_SECONDS,
        }

        def steps(page: Any) -> dict[str, Any]:
            seen: dict[str, Any] = page.evaluate("given => playFrom(given)", given)
            return page.evaluate("given => switchAway(given)", given) if switch else seen

        return browser.visit(f"{site}/player.html", steps)

    return played
