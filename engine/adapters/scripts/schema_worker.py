"""Checks JSON documents against JSON Schemas; as a program, a child process.

Frames are those of quickjs_worker: `[language, schema, document]` in, `[problems, error, timed out]` out,
where a problem is `[path, what]`. A pattern may backtrack for ever and a document may be large: only the
parent's limit ends a check. The module imports nothing of the engine.
"""

import functools
import itertools
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

import msgspec
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

LANGUAGE = "json-schema"
PROBLEMS_MAX = 10
WORDS_CHARS_MAX = 200
SCHEMAS_KEPT_MAX = 64
PROCESS_BYTES_MAX = 512 * 1024 * 1024
LENGTH = struct.Struct(">I")

# What these say holds nothing of the document but its keys; of a wrong value nothing may be told.
_SAID_BY_LIBRARY = frozenset({"required", "additionalProperties", "dependentRequired"})

Outcome = tuple[list[tuple[str, str]] | None, str | None, bool]


def check(schema: str, document: bytes) -> Outcome:
    """The problems of a document, at most PROBLEMS_MAX; an empty list when it fits.

    The error says what is wrong with the schema itself: it refers to another document, say.
    """
    try:
        errors = _validator(schema).iter_errors(msgspec.json.decode(document))
        return [_problem(error) for error in itertools.islice(errors, PROBLEMS_MAX)], None, False
    except Unresolvable as error:
        return None, f"the schema refers to {error.ref}, which is not part of it", False
    except SchemaError as error:
        return None, f"the schema is none: {error.message[:WORDS_CHARS_MAX]}", False
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return None, f"the schema cannot be applied: {str(error)[:WORDS_CHARS_MAX]}", False


@functools.lru_cache(maxsize=SCHEMAS_KEPT_MAX)
def _validator(text: str) -> Any:
    schema = msgspec.json.decode(text)
    kind: Any = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    return kind(schema, registry=Registry())


def _problem(error: ValidationError) -> tuple[str, str]:
    path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    if error.validator in _SAID_BY_LIBRARY:
        return path, error.message[:WORDS_CHARS_MAX]
    wanted = msgspec.json.encode(error.validator_value).decode()[:WORDS_CHARS_MAX]
    return path, f"does not fit {error.validator}: {wanted}"


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the input ends."""
    decode = msgspec.json.Decoder(tuple[str, str, msgspec.Raw]).decode
    while (head := requests.read(LENGTH.size)) and len(head) == LENGTH.size:
        outcome: Outcome
        try:
            _, schema, document = decode(requests.read(LENGTH.unpack(head)[0]))
            outcome = check(schema, bytes(document))
        except ValueError:
            outcome = (None, "the schema or the document is not valid JSON", False)
        body = msgspec.json.encode(outcome)
        answers.write(LENGTH.pack(len(body)) + body)
        answers.flush()


def main() -> None:
    # The parent ends this process by closing its input; a Ctrl-C is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _validator("{}")  # loads what is read from files, which the limits then forbid
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES_MAX, PROCESS_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
