"""What servers on one store tell each other, and which of them are there.

Nothing rests on a notice arriving: whoever waits for one also looks by itself now and then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct


class News(Struct, kw_only=True, omit_defaults=True):
    """What a server did that others may wait for.

    Attributes:
        queues: queue -> how many tasks it gained that were not handed to anybody.
        due_ms: the earliest instant among what was written; 0 = none that is near.
        freed: limited task definitions of which fewer tasks are held now.
        moved: workflows that took a step.
        turns: workflow -> milliseconds for which others should begin no step of it, because this server's
            own came too late again and again.
        missed: notices may have been lost; look at everything.
    """

    queues: dict[str, int] = {}
    due_ms: int = 0
    freed: list[str] = []
    moved: list[str] = []
    turns: dict[str, int] = {}
    missed: bool = False


class Notifier(Protocol):
    """The other servers on the same store, as far as one server can tell."""

    shared: bool
    """Whether there can be others at all."""

    async def join(self, first: Callable[[], Awaitable[None]], heard: Callable[[News], None]) -> None:
        """Take a place among the servers.

        Args:
            first: awaited when no other server is there, before another one can join.
            heard: called with what others tell from now on; it must not block.

        Raises:
            StoreError: the store cannot be reached.
        """
        ...

    def others(self) -> int:
        """How many other servers are there."""
        ...

    def is_mine(self, key: str) -> bool:
        """Whether work of this name falls to this server first; all servers that see each other agree."""
        ...

    def tell(self, news: News) -> None:
        """Tell the others, soon; never blocks and never fails."""
        ...

    async def close(self) -> None:
        """Leave. Closing twice is no error."""
        ...


class Alone:
    """Notifier of a store that one server has to itself: there is nobody to tell."""

    shared = False

    async def join(self, first: Callable[[], Awaitable[None]], heard: Callable[[News], None]) -> None:
        del heard
        await first()

    def others(self) -> int:
        return 0

    def is_mine(self, key: str) -> bool:
        del key
        return True

    def tell(self, news: News) -> None:
        del news

    async def close(self) -> None:
        pass
