"""Evaluates JavaScript with QuickJS and jq programs with jq; as a program, a child process.

It answers on its standard streams. A frame is four bytes of length and a JSON document:
`[language, source, bindings]` in, `[value, error, timed out]` out. The module imports nothing of the engine,
so that the child starts fast.
"""

import functools
import math
import re
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import jq  # type: ignore[import-not-found]  # a C extension without stubs
import msgspec
import quickjs

TIME_LIMIT_MS = 4_000
MEMORY_LIMIT_BYTES = 64 * 1024 * 1024
STACK_LIMIT_BYTES = 512 * 1024  # well inside the 8 MB a thread has
EARLY_FACTOR = 64  # more threads than processors of a large machine
JAVASCRIPT = frozenset({"javascript", "graaljs"})
LANGUAGES = JAVASCRIPT | {"jq"}
PROCESS_BYTES_MAX = 512 * 1024 * 1024  # jq has no limit of its own; a program that needs more dies with it
JQ_PROGRAMS_KEPT_MAX = 64
LENGTH = struct.Struct(">I")

Outcome = tuple[Any, str | None, bool]

_PLACE = re.compile(r"<input>:(\d+)")
_JQ_COUNT = re.compile(r"jq: \d+ compile errors?")
_OUT_OF_MEMORY = "null"  # QuickJS has no memory left to make an error object with
_EXACT_INT_MAX = 2**53


class Interpreter:
    """A JavaScript interpreter in its initial state, with the limits set; for one script."""

    def __init__(self, time_limit_ms: int = TIME_LIMIT_MS) -> None:
        self.time_limit_ms = time_limit_ms
        self.context = quickjs.Context()
        self.context.set_memory_limit(MEMORY_LIMIT_BYTES)
        self.context.set_max_stack_size(STACK_LIMIT_BYTES)
        self.context.set_time_limit(time_limit_ms / 1000)
        # Taken before a script can replace it. The binding's own `Object.json` knows no time limit, and a
        # script's toJSON may loop.
        self.stringify = self.context.eval("JSON.stringify")


def evaluate(
    source: str, bindings: str, interpreter: Interpreter, *, clock: Callable[[], float] = time.monotonic
) -> Outcome:
    """Evaluate a script.

    Args:
        source: JavaScript; the value of its last expression is the result.
        bindings: a JSON object, seen as `$`.
        interpreter: a fresh one; it is used up.
        clock: seconds, to tell a real timeout from a script that imitates its error.

    Returns:
        the JSON value, the error or None, and whether the error is a timeout.
    """
    started = clock()
    try:
        interpreter.context.set("$", interpreter.context.parse_json(bindings))
        return _converted(interpreter.context.eval(source), interpreter), None, False
    except (quickjs.JSException, quickjs.StackOverflow) as error:
        text = str(error)
        # The limit is one of processor time, of all threads together: it may come early, never at once.
        soonest_ms = interpreter.time_limit_ms / EARLY_FACTOR
        if text.startswith("InternalError: interrupted") and (clock() - started) * 1000 >= soonest_ms:
            return None, timeout_text(interpreter.time_limit_ms), True
        return None, _worded(text), False
    except (TypeError, ValueError, RecursionError, MemoryError):
        # A bigint or a text with half a character: values that JSON does not have.
        return None, _worded("TypeError: the result cannot be written as JSON"), False


def evaluate_jq(source: str, bindings: str) -> Outcome:
    """Run a jq program over a JSON document; the value is the list of its results.

    Nothing here ends a program that runs for ever, or keeps it from what the process may read: only for
    processes without an environment, whose parent ends them.
    """
    try:
        answer: str = _jq_program(source).input_text(bindings).text()
        return msgspec.json.decode("[" + answer.replace("\n", ",") + "]"), None, False
    except (ValueError, StopIteration) as error:
        return None, _jq_worded(str(error)), False
    except MemoryError:
        return None, _jq_worded(f"the program needs more than {PROCESS_BYTES_MAX // 2**20} MB"), False


@functools.lru_cache(maxsize=JQ_PROGRAMS_KEPT_MAX)
def _jq_program(source: str) -> Any:
    return jq.compile(source)


def _jq_worded(text: str) -> str:
    """One sentence out of jq's lines, which point at places with carets."""
    said = [line.strip() for line in text.splitlines()]
    said = [line for line in said if line and line.strip("^") and not _JQ_COUNT.fullmatch(line)]
    return f"Error evaluating the jq program `{'; '.join(said)}`"


def timeout_text(time_limit_ms: int) -> str:
    """Word a timeout as clients know it."""
    return f"Script not evaluated within {time_limit_ms / 1000:g} seconds, interrupted."


def syntax_problem(source: str) -> str | None:
    """Say why a text is no JavaScript, without running it; None when it is."""
    try:
        # All of the text is read before the first statement, which ends the run, is executed.
        Interpreter().context.eval("throw 0;" + source)
    except (quickjs.JSException, quickjs.StackOverflow) as error:
        text = str(error)
        return _worded(text) if text.startswith(("SyntaxError", "RangeError")) else None
    except (TypeError, ValueError):
        return "the text cannot be read as JavaScript"
    return None


def serve(requests: BinaryIO, answers: BinaryIO, time_limit_ms: int) -> None:
    """Answer requests until the input ends; the next interpreter is made while nobody waits."""
    decode = msgspec.json.Decoder(tuple[str, str, msgspec.Raw]).decode
    interpreter = Interpreter(time_limit_ms)
    while (head := requests.read(LENGTH.size)) and len(head) == LENGTH.size:
        body = requests.read(LENGTH.unpack(head)[0])
        try:
            language, source, bindings = decode(body)
            if language == "jq":
                outcome = evaluate_jq(source, bytes(bindings).decode())
            else:
                outcome = evaluate(source, bytes(bindings).decode(), interpreter)
        except ValueError:
            outcome = (None, _worded("SyntaxError: the script or its input is not valid JSON"), False)
        answers.write(frame(outcome))
        answers.flush()
        interpreter = Interpreter(time_limit_ms)


def frame(document: Any) -> bytes:
    """Write a document with its length in front."""
    body = msgspec.json.encode(document)
    return LENGTH.pack(len(body)) + body


def _converted(value: Any, interpreter: Interpreter) -> Any:
    if isinstance(value, quickjs.Object):
        text = interpreter.stringify(value)
        return None if text is None else msgspec.json.decode(text)
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        # JavaScript has one kind of number; whole ones are integers on the wire. Negative zero is not one.
        if value.is_integer() and 0 < abs(value) <= _EXACT_INT_MAX:
            return int(value)
    return value


def _worded(text: str) -> str:
    """Turn QuickJS's error, a message over stack lines, into the sentence clients know."""
    message, _, stack = text.partition("\n    at ")
    message = message.removesuffix("\nundefined").strip()
    if message == _OUT_OF_MEMORY and not stack:
        message = f"RangeError: the script needs more than {MEMORY_LIMIT_BYTES // 2**20} MB"
    message = re.sub(r"^TypeError: cannot ", "TypeError: Cannot ", message)
    place = _PLACE.search(stack)
    at_line = f" at line {place.group(1)}" if place else ""
    return f"Error evaluating the script `{message}`{at_line}"


def confine() -> None:
    """Let the process open nothing any more, leave no core file, and take no more memory than it may."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES_MAX, PROCESS_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def main() -> None:
    # The parent ends this process by closing its input; a Ctrl-C is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    confine()
    serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]))


if __name__ == "__main__":
    main()
