"""A peer to talk to, and hosts that run against it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from media_workers.procs.binaries import Binaries
from media_workers.sdk import AnyWorker, ConductorClient, HostTimings, PoolSpec, Resources, WorkerHost
from media_workers.storage import LocalStorage, Scratch
from tests.sdk.peer import Peer

QUICK = HostTimings(long_poll_ms=150, progress_period_s=0.05, report_seconds_min=20)

StartHost = Callable[..., WorkerHost]


@pytest.fixture
def peer() -> Iterator[Peer]:
    server = Peer()
    yield server
    server.close()


@pytest.fixture
def resources(tmp_path: Path) -> Iterator[Resources]:
    storage = LocalStorage(tmp_path / "media", writer="w1")
    scratch = Scratch(tmp_path / "scratch", "w1")
    yield Resources(
        storage=storage, scratch=scratch, binaries=Binaries(ffmpeg="none", ffprobe="none", packager="none")
    )
    scratch.close()
    storage.close()


@pytest.fixture
def start_host(resources: Resources) -> Iterator[StartHost]:
    started: list[tuple[WorkerHost, threading.Thread, ConductorClient]] = []

    def start(url: str, *workers: AnyWorker, slots: int = 2) -> WorkerHost:
        client = ConductorClient(url)
        host = WorkerHost(
            client=client,
            workers={item.task_type: item for item in workers},
            pools=[PoolSpec("all", slots, tuple(item.task_type for item in workers))],
            resources=resources,
            worker_id="w1",
            timings=QUICK,
        )
        thread = threading.Thread(target=host.run, daemon=True)
        thread.start()
        started.append((host, thread, client))
        return host

    yield start
    for host, thread, client in started:
        host.stop()
        thread.join(10)
        client.close()
        assert not thread.is_alive(), "the host did not end"
