"""Between servers on one store: tells what this one's steps mean to others, and acts on what they tell."""

from __future__ import annotations

import asyncio

from engine.core.facts import View
from engine.core.records import Delta, QueueEntry
from engine.ports.notifier import News, Notifier
from engine.ports.system import Clock
from engine.services.feed import Change, Feed
from engine.services.mailboxes import Mailboxes
from engine.services.queues import Queues
from engine.services.timers import LOOK_EVERY_MS, Timers

ELSEWHERE = "elsewhere"
"""Kind of a change that another server made: the workflow moved, look at it."""


class Correspondent:
    """Tells the other servers and hears them.

    Args:
        notifier: how.
        queues, timers, feed, mailboxes: who may wait for what others do, or get in their way.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        queues: Queues,
        timers: Timers,
        feed: Feed,
        mailboxes: Mailboxes,
        clock: Clock,
    ) -> None:
        self._notifier = notifier
        self._queues = queues
        self._timers = timers
        self._feed = feed
        self._mailboxes = mailboxes
        self._clock = clock

    def committed(self, _: View, delta: Delta) -> None:
        """After every step of this server."""
        if not self._notifier.others():
            return
        queues: dict[str, int] = {}
        near_ms = self._clock.now_ms() + LOOK_EVERY_MS
        due_ms = min((timer.due_ms for timer in delta.timers_set), default=0)
        for entry in delta.queue_put:
            if entry.lease is None or not entry.lease.held:
                queues[entry.queue] = queues.get(entry.queue, 0) + 1
            at_ms = entry.deadline_ms()
            due_ms = min(due_ms or at_ms, at_ms or due_ms)
        due_ms = due_ms if due_ms <= near_ms else 0  # later ones are found by looking
        freed = list(self._queues.freed_by(delta))
        self._notifier.tell(News(queues=queues, due_ms=due_ms, freed=freed, moved=[delta.workflow_id]))

    def returned(self, entry: QueueEntry) -> None:
        """A poll of this server gave a task back."""
        self._notifier.tell(News(queues={entry.queue: 1}, freed=[entry.def_name]))

    def outrun(self, workflow_id: str, turn_ms: int) -> None:
        """This server's steps of a workflow come too late again and again."""
        self._notifier.tell(News(turns={workflow_id: turn_ms}))

    def heard(self, news: News) -> None:
        """Another server said something."""
        for queue, count in news.queues.items():
            for _ in range(count):
                if not self._queues.wake(queue):
                    break
        for def_name in news.freed:
            self._queues.freed(def_name)
        for workflow_id, turn_ms in news.turns.items():
            self._mailboxes.leave_alone(workflow_id, turn_ms)
        if news.due_ms:
            self._timers.note(news.due_ms)
        if self._feed.watched:
            for workflow_id in news.moved:
                self._feed.publish(Change(workflow_id=workflow_id, kind=ELSEWHERE))
        if news.missed:
            self._look_around()
            self._timers.note(self._clock.now_ms())

    async def look(self) -> None:
        """Let polls look by themselves now and then, so that a lost notice costs little; until cancelled."""
        while self._notifier.shared:
            await asyncio.sleep(LOOK_EVERY_MS / 1000)
            self._look_around()

    def _look_around(self) -> None:
        for queue in self._queues.waited_for():
            self._queues.wake(queue)
