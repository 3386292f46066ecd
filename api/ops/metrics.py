"""The catalogue of metrics: every name this server exports, with its meaning, unit and labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from engine.services.latency import BOUNDS_MS, LatencyCounter
from engine.services.mailboxes import Mailboxes

# Where a request belongs, by the path's beginning; the first that fits. Few groups: labels must stay bounded.
GROUPS = (
    ("/api/tasks/poll/", "poll"),
    ("/api/tasks", "tasks"),
    ("/api/workflow", "workflow"),
    ("/api/metadata", "metadata"),
    ("/api/v1", "product"),
    ("/media/", "media"),
)
OTHER_GROUP = "other"

# Answers take a fraction of a millisecond to a few; the last buckets are for disks that stall.
SECONDS_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

QUEUES_SHOWN_MAX = 1000
"""Queues with a gauge of their own; beyond that the scrape itself would become the load."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def group_of(path: str) -> str:
    return next((group for prefix, group in GROUPS if path.startswith(prefix)), OTHER_GROUP)


class _Dispatch(Collector):
    """The engine's own histogram, in seconds."""

    def __init__(self, counter: LatencyCounter) -> None:
        self._counter = counter

    def collect(self) -> Iterator[HistogramMetricFamily]:
        bounds = [str(bound_ms / 1000) for bound_ms in BOUNDS_MS] + ["+Inf"]
        counts = [float(count) for count in accumulate(self._counter.counts)]
        yield HistogramMetricFamily(
            "showrunner_dispatch_seconds",
            "From when a task was due to when it was handed to a worker that polled.",
            buckets=list(zip(bounds, counts, strict=True)),
            sum_value=self._counter.sum_ms / 1000,
        )


class _Conflicts(Collector):
    """Of servers that step the same workflow at once."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "showrunner_step_conflicts",
            "Steps decided again because another server had stepped the same workflow.",
            value=self._mailboxes.conflicts,
        )
        yield GaugeMetricFamily(
            "showrunner_step_conflicts_in_a_row_max",
            "The most such conflicts that one step has met.",
            value=self._mailboxes.conflicts_in_a_row_max,
        )


class Metrics:
    """The metrics of one server, in a registry of their own so that several servers fit one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        on = self.registry
        self._requests = Counter(
            "showrunner_http_requests",
            "Requests answered, by route group and status class.",
            ("group", "status"),
            registry=on,
        )
        self._seconds = Histogram(
            "showrunner_http_request_seconds",
            "Time from request to answer, polls left out.",
            ("group",),
            registry=on,
            buckets=SECONDS_BUCKETS,
        )
        polls = Counter(
            "showrunner_polls",
            "Worker polls answered: tasks, empty, or gone when the worker hung up.",
            ("result",),
            registry=on,
        )
        self.polls_with_tasks = polls.labels("tasks")
        self.polls_empty = polls.labels("empty")
        self.polls_gone = polls.labels("gone")
        self.polls_waiting = Gauge(
            "showrunner_polls_waiting", "Polls that wait for a task right now.", registry=on
        )
        self.dispatched = Counter("showrunner_tasks_dispatched", "Tasks handed to workers.", registry=on)
        updates = Counter(
            "showrunner_task_updates",
            "Task results received: ended, or open (progress, lease).",
            ("result",),
            registry=on,
        )
        self.updates_ended = updates.labels("ended")
        self.updates_open = updates.labels("open")
        self.started = Counter(
            "showrunner_workflows_started", "Workflows started through the API.", registry=on
        )
        self._queues = Gauge(
            "showrunner_queue_tasks",
            "Tasks in each queue at the time of the scrape: waiting, or held by a worker.",
            ("queue", "state"),
            registry=on,
        )
        # labels() takes a lock and builds a tuple; the children are few, so they are kept.
        self._request_children: dict[tuple[str, int], Counter] = {}
        self._second_children: dict[str, Histogram] = {}

    def answered(self, group: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (group, status // 100)
        counter = self._request_children.get(key)
        if counter is None:
            counter = self._request_children[key] = self._requests.labels(group, f"{status // 100}xx")
        counter.inc()
        if group == "poll":
            return
        histogram = self._second_children.get(group)
        if histogram is None:
            histogram = self._second_children[group] = self._seconds.labels(group)
        histogram.observe(seconds)

    def watch_dispatch(self, counter: LatencyCounter) -> None:
        """Export how long tasks had been due when they reached a worker."""
        self.registry.register(_Dispatch(counter))

    def watch_conflicts(self, mailboxes: Mailboxes) -> None:
        """Export how often another server was quicker."""
        self.registry.register(_Conflicts(mailboxes))

    def render(self, queues: dict[str, tuple[int, int]]) -> bytes:
        """The exposition text. `queues`: queue name -> (waiting, held)."""
        self._queues.clear()
        for name, (waiting, held) in sorted(queues.items())[:QUEUES_SHOWN_MAX]:
            self._queues.labels(name, "waiting").set(waiting)
            self._queues.labels(name, "held").set(held)
        return generate_latest(self.registry)
