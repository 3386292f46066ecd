"""The servers that bench/run.py measures: ours on each store, and upstream Conductor on PostgreSQL.

Each has a folder and ports of its own on loopback and can be held still (SIGSTOP) while another one is
measured: an idle upstream asks its database for work a hundred times a second, at the cost of the others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from engine.testing.postgres_server import USER, postgres_running

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM_VERSION = "3.32.3"
UPSTREAM_JAR = (
    Path.home()
    / ".m2/repository/org/conductoross/conductor-server"
    / UPSTREAM_VERSION
    / f"conductor-server-{UPSTREAM_VERSION}-boot.jar"
)
JAVA_MAJOR_MIN = 21
START_S_MAX = 180.0
SETTLE_S = 2.0
UPSTREAM_PROPERTIES = """\
conductor.db.type=postgres
conductor.queue.type=postgres
conductor.external-payload-storage.type=postgres
conductor.indexing.enabled=true
conductor.indexing.type=postgres
conductor.elasticsearch.version=0
conductor.app.ownerEmailMandatory=false
conductor.grpc-server.enabled=false
spring.datasource.url=jdbc:postgresql://127.0.0.1:{store_port}/conductor
spring.datasource.username={user}
spring.datasource.password=none
server.address=127.0.0.1
server.port={port}
loadSample=false
"""


class Server:
    """One server under measurement, with the database it has to itself.

    Attributes:
        url: where it listens.
        server_pids, store_pids: whose CPU and memory count as whose.
    """

    def __init__(self, kind: str, *, processes: int = 1) -> None:
        self.kind = kind
        self.url = ""
        self._processes = processes
        self._folder = Path(tempfile.mkdtemp(prefix=f"showrunner-bench-{kind}-"))
        self._started: list[subprocess.Popen[bytes]] = []
        self._store = contextlib.ExitStack()
        self.server_pids: list[int] = []
        self.store_pids: list[int] = []

    def start(self) -> None:
        {"sqlite": self._ours, "postgres": self._ours, "upstream": self._upstream}[self.kind]()

    def hold(self) -> None:
        """Stop every process of it where it stands."""
        for pid in self._tree():
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again, and give it time to do what it missed."""
        for pid in self._tree():
            os.kill(pid, signal.SIGCONT)
        time.sleep(SETTLE_S)

    def stop(self) -> None:
        for pid in self._tree():
            os.kill(pid, signal.SIGCONT)
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._started = []
        self._store.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tree(self) -> list[int]:
        found = [process.pid for process in self._started if process.poll() is None] + self.store_pids
        for pid in found:
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except OSError:
                continue
            found += [int(child) for child in children.split()]
        return found

    def _ours(self) -> None:
        port = free_port()
        command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", str(port)]
        command += ["--data", str(self._folder)]
        if self.kind == "postgres":
            command += ["--database", self._postgres("showrunner")]
        if self._processes > 1:
            command += ["--processes", str(self._processes)]
        self._run(command, cwd=ROOT)
        self.url = f"http://127.0.0.1:{port}"
        self._wait(lambda: httpx.get(f"{self.url}/healthz", timeout=1).status_code == 200)

    def _upstream(self) -> None:
        if not UPSTREAM_JAR.is_file():
            raise SystemExit(f"{UPSTREAM_JAR} is not there: make bench-upstream fetches it (needs Maven)")
        port = free_port()
        url = self._postgres("conductor")
        properties = self._folder / "conductor.properties"
        properties.write_text(
            UPSTREAM_PROPERTIES.format(port=port, store_port=url.rsplit(":", 1)[1].split("/")[0], user=USER)
        )
        command = [java(), "-Xms1g", "-Xmx4g", "-jar", str(UPSTREAM_JAR)]
        self._run([*command, f"--spring.config.additional-location=file:{properties}"], cwd=self._folder)
        self.url = f"http://127.0.0.1:{port}"
        self._wait(lambda: httpx.get(f"{self.url}/health", timeout=1).status_code == 200)

    def _postgres(self, database: str) -> str:
        """A PostgreSQL that waits for the disk, as it does unless told otherwise; the new database's URL."""
        store = self._store.enter_context(postgres_running(durable=True))
        self.store_pids.append(store.pid)
        return store.create(database)

    def _run(self, command: list[str], *, cwd: Path) -> None:
        log = (self._folder / "server.log").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=cwd)
        self._started.append(process)
        self.server_pids.append(process.pid)

    def _wait(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + START_S_MAX
        while time.monotonic() < end and all(process.poll() is None for process in self._started):
            try:
                if ready():
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        tail = (self._folder / "server.log").read_bytes()[-1500:]
        raise SystemExit(
            f"{self.kind} did not start within {START_S_MAX:g} s:\n{tail.decode(errors='replace')}"
        )


def java() -> str:
    """A Java new enough for upstream: JAVA of the environment, or the newest one installed."""
    if os.environ.get("JAVA"):
        return os.environ["JAVA"]
    for candidate in (*sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True), Path("java")):
        try:
            said = subprocess.run([candidate, "-version"], capture_output=True, text=True, check=False).stderr
        except OSError:
            continue
        major = said.split('"')[1].split(".")[0] if '"' in said else ""
        if major.isdigit() and int(major) >= JAVA_MAJOR_MIN:
            return str(candidate)
    raise SystemExit(f"upstream needs Java {JAVA_MAJOR_MIN} or newer: name one with JAVA=...")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
