"""A line for every use of a key: who, when, which, what for. Never a value."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from media_workers.drm.files import append_private


def _clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - an audit line says when; tests give their own clock


class Audit:
    """A file that only grows.

    Args:
        path: the file, made on the first line.
        clock: aware time.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = _clock) -> None:
        self.path = path
        self._clock = clock

    def now(self) -> str:
        """The time as it is written: RFC 3339, UTC."""
        return self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def note(
        self,
        action: str,
        video_id: str | None,
        version: int | None,
        key_ids: Iterable[str],
        *,
        reader: str | None = None,
        purpose: str | None = None,
    ) -> None:
        """Add a line; it is on the disk before this returns.

        Args:
            action: read, create, reserve, rekey, rotate-master or delete.
            video_id: whose keys; None for the master.
            version: of the keys, or of the master.
            key_ids: the keys concerned.
            reader: who asked.
            purpose: what for.

        Raises:
            KeyStoreError: it cannot be written; then nothing may be read.
        """
        line = {
            "at": self.now(),
            "action": action,
            "videoId": video_id,
            "version": version,
            "keyIds": list(key_ids),
            "by": reader,
            "purpose": purpose,
        }
        said = {name: value for name, value in line.items() if value not in (None, [])}
        append_private(self.path, msgspec.json.encode(said))
