"""Errors of running a tool.

ProcError
  MissingBinaryError
  ProcFailedError
    DiskFullError, LimitError, CancelledError
"""


class ProcError(Exception):
    """Root of what this package raises on purpose."""


class MissingBinaryError(ProcError):
    """A tool is not there or cannot be executed; the message says which and what to do."""


class ProcFailedError(ProcError):
    """A tool ended without success. `exit_code` is negative for a signal, `stderr_tail` its last words."""

    def __init__(self, message: str, *, exit_code: int, stderr_tail: str) -> None:
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail
        super().__init__(message)


class DiskFullError(ProcFailedError):
    """The tool ran out of disk space."""


class LimitError(ProcFailedError):
    """The tool was stopped because it passed one of its limits."""


class CancelledError(ProcFailedError):
    """The tool was stopped because the caller cancelled."""
