"""What ends a command: one sentence for the person at the terminal, and an exit code."""

from __future__ import annotations

from typing import ClassVar

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """The text is one sentence that names the file, setting or server and says what to do."""

    exit_code: ClassVar[int] = EXIT_FAILURE


class UsageError(CommandError):
    """The command was called wrongly."""

    exit_code = EXIT_USAGE
