"""What goes wrong between a worker and the server, and what a worker function may raise.

SdkError
├── ServerUnavailableError   no answer, or an answer that says "not now"
├── ServerRefusedError       the server answered and said no
├── TaskRejected             the input can never work: no retry
├── TaskFailed               this attempt did not work: the engine decides on another
└── TaskCancelled            the server or the operator ended this run: nothing is reported
"""

from collections.abc import Mapping
from typing import ClassVar


class SdkError(Exception):
    """Root of what the sdk raises on purpose."""


class ServerUnavailableError(SdkError):
    """The server gave no usable answer; the request may or may not have arrived."""


class ServerRefusedError(SdkError):
    """The server understood and refused.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later (a fault or a limit of the server)."""
        return self.status >= 500 or self.status == 429


class TaskError(SdkError):
    """Root of the two ways a worker function says that it did not succeed.

    Args:
        code: stable, lower_snake_case; part of the product's catalogue.
        message: one sentence for the person who started the work.
        output: more output data to keep beside the error.
    """

    retryable: ClassVar[bool]

    def __init__(self, code: str, message: str, output: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.output: Mapping[str, object] = output or {}


class TaskRejected(TaskError):  # noqa: N818 - a verdict on the input, not a fault of the program
    """The input can never work: FAILED_WITH_TERMINAL_ERROR, no retry."""

    retryable = False


class TaskFailed(TaskError):  # noqa: N818 - the wire's own word for this outcome
    """This attempt did not work: FAILED, and the engine decides whether there is another."""

    retryable = True


class TaskCancelled(SdkError):  # noqa: N818 - not a fault: somebody asked for it
    """The run was ended from outside; whoever catches it cleans up and lets it pass."""
