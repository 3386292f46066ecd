"""Puts an engine together from settings: the only place that knows which adapter serves which port."""

from __future__ import annotations

from engine.services.executions import Executions
from engine.services.feed import Feed
from engine.services.metadata import Metadata
from engine.services.queues import Queues


class Engine:
    """A running engine: `async with await open_engine(settings) as engine: ...`."""

    executions: Executions
    queues: Queues
    metadata: Metadata
    feed: Feed

    async def close(self) -> None:
        """Stop accepting, finish what is being committed, close the store."""
