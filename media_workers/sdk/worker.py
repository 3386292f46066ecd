"""A worker: a typed function registered under a task type."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from media_workers.sdk.context import TaskContext
from media_workers.sdk.errors import TaskRejected

_I = TypeVar("_I", bound=msgspec.Struct)
_O = TypeVar("_O", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Worker(Generic[_I, _O]):
    """What serves one task type. Calling it calls the function.

    Attributes:
        task_type: the queue it polls.
        input_type: decodes the task's input; an unknown field is ignored, a wrong one is refused by name.
        function: the work; safe to repeat, because a task may be delivered more than once.
    """

    task_type: str
    input_type: type[_I]
    function: Callable[[_I, TaskContext], _O]

    def __call__(self, job: _I, ctx: TaskContext) -> _O:
        return self.function(job, ctx)

    def run(self, raw_input: bytes | msgspec.Raw, ctx: TaskContext) -> _O:
        """Decode the input and do the work.

        Raises:
            TaskRejected: `invalid_input`, naming the field.
        """
        return self.function(decode_input(self.task_type, raw_input, self.input_type), ctx)


AnyWorker = Worker[Any, Any]  # a host serves many types at once and only passes their inputs through


def worker(task_type: str) -> Callable[[Callable[[_I, TaskContext], _O]], Worker[_I, _O]]:
    """Make a function `(job, ctx) -> output` serve a task type; both ends are msgspec Structs."""

    def register(function: Callable[[_I, TaskContext], _O]) -> Worker[_I, _O]:
        hints = get_type_hints(function)
        hints.pop("return", None)
        return Worker(task_type=task_type, input_type=next(iter(hints.values())), function=function)

    return register


def decode_input(what: str, raw: bytes | msgspec.Raw, kind: type[_I]) -> _I:
    """Decode a JSON document.

    Args:
        what: names the document in the error's sentence.
        raw: the document.
        kind: what it should be.

    Raises:
        TaskRejected: `invalid_input`, naming the field and what is wrong with it.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise TaskRejected("invalid_input", f"{what}: {_plain(str(error))}") from error


def _plain(message: str) -> str:
    """`Expected int, got str - at $.a.b` reads better with the field in front."""
    sentence, _, place = message.replace("`", "").partition(" - at ")
    if not place:
        return sentence
    return f"input field {place.removeprefix('$').lstrip('.')}: {sentence[0].lower()}{sentence[1:]}"
