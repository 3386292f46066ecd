"""Knows whether the server answers, and says so once per change instead of once per request."""

import threading

import structlog

_log = structlog.get_logger(__name__)

RETRY_MS_FIRST = 250
RETRY_MS_MAX = 2_000
DOUBLINGS_MAX = 10


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row (from 1): doubling, bounded."""
    return min(RETRY_MS_FIRST << min(failures - 1, DOUBLINGS_MAX), RETRY_MS_MAX) / 1000


class Outage:
    """Shared by all threads that talk to one server."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._guard = threading.Lock()
        self._down: str | None = None

    def failed(self, reason: str) -> None:
        """A request got no answer, or a refusal that concerns this worker as a whole."""
        with self._guard:
            first = self._down is None
            self._down = reason
        if first:
            _log.warning("server_unavailable", server=self._server_url, reason=reason, action="retrying")

    def answered(self) -> None:
        """A request was answered."""
        if self._down is None:
            return
        with self._guard:
            was_down, self._down = self._down is not None, None
        if was_down:
            _log.info("server_available", server=self._server_url)
