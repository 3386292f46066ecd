"""JSON paths as Conductor's authors write them: the Jayway dialect, with missing values answered, not raised.

The text is split into steps here; only filter expressions, `[?(...)]`, are left to a library.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec
from jsonpath import JSONPathEnvironment
from jsonpath.exceptions import JSONPathError
from jsonpath.selectors import FilterContext

PATH_CHARS_MAX = 10_000
FOUND_MAX = 100_000  # values one step may find; repeated `..` and `*` multiply


class PathSyntaxError(ValueError):
    """The text is not a path; the message says where it goes wrong."""


class _Missing(Enum):
    MISSING = 0


MISSING = _Missing.MISSING


@dataclass(frozen=True, slots=True)
class Name:
    """`.key` or `['key']`; several keys give a map of those present."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """`[0]`, `[-1]`, `[0,2]`."""

    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """`[start:end]`, negative from the end."""

    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`.*` or `[*]`."""


@dataclass(frozen=True, slots=True)
class Filter:
    """`[?(...)]`: the elements of a list, or the map itself, for which `holds(value, root)`."""

    holds: Callable[[Any, Any], bool]
    reads_root: bool


@dataclass(frozen=True, slots=True)
class Descend:
    """`..`: the value itself and everything below it, before the next step."""


@dataclass(frozen=True, slots=True)
class Function:
    """`.length()` and its like, at the end of a path; `argument` is the number `index(...)` takes."""

    apply: Callable[[Any, int | None], Any]
    argument: int | None


Step = Name | Index | Slice | Wildcard | Filter | Descend | Function


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path.

    Attributes:
        steps: what to do, left to right; the first one picks from the document.
        plain: the keys and positions if that is all there is, else None.
        indefinite: the answer is a list of everything found.
    """

    steps: tuple[Step, ...]
    plain: tuple[str | int, ...] | None
    indefinite: bool

    def find(self, root: Any, value: Any, skip: int = 0) -> Any:
        """Evaluate the steps after the first `skip` on `value`.

        Args:
            root: the document that `$` means inside filters.
            value: where the remaining steps start.
            skip: how many leading steps the caller has taken already.

        Returns:
            the value found, or MISSING (also when a step finds more than FOUND_MAX values); for an
            indefinite path otherwise always a list.
        """
        found: list[Any] = [value]
        many = False
        for step in self.steps[skip:]:
            if isinstance(step, Function):
                argument = found if many else next(iter(found), MISSING)
                return MISSING if argument is MISSING else step.apply(argument, step.argument)
            found = list(islice((item for each in found for item in _take(step, each, root)), FOUND_MAX + 1))
            if len(found) > FOUND_MAX:
                return MISSING
            many = many or _branches(step)
        if self.indefinite:
            return found
        return found[0] if found else MISSING


def compile_path(text: str) -> Path:
    """Parse a path; a leading `$.` is optional, blanks around it are ignored.

    Raises:
        PathSyntaxError: the text is not a path.
    """
    if len(text) > PATH_CHARS_MAX:
        msg = f"the path is longer than {PATH_CHARS_MAX} characters"
        raise PathSyntaxError(msg)
    return _compile(text)


def read_json_text(text: str | None, path: str) -> Any:
    """Read a path in a text that is JSON; None when it is not, or holds no such thing."""
    if text is None:
        return None
    try:
        document = msgspec.json.decode(text)
        value = compile_path(path).find(document, document)
    except (ValueError, RecursionError):
        return None
    return None if value is MISSING else value


@lru_cache(maxsize=4096)
def _compile(text: str) -> Path:
    steps = tuple(_Parser(text.strip()).steps())
    names: list[str | int] = []
    for step in steps:
        if isinstance(step, Name) and len(step.keys) == 1:
            names.append(step.keys[0])
        elif isinstance(step, Index) and len(step.positions) == 1:
            names.append(step.positions[0])
    tail_is_function = bool(steps) and isinstance(steps[-1], Function)
    indefinite = any(_branches(step) for step in steps) or any(
        isinstance(step, Name) and len(step.keys) > 1 for step in steps[:-1]
    )
    return Path(
        steps=steps,
        plain=tuple(names) if len(names) == len(steps) else None,
        indefinite=indefinite and not tail_is_function,
    )


def _branches(step: Step) -> bool:
    match step:
        case Slice() | Wildcard() | Filter() | Descend():
            return True
        case Index(positions):
            return len(positions) > 1
        case _:
            return False


def _take(step: Step, value: Any, root: Any) -> Iterator[Any]:
    match step:
        case Name(keys):
            if isinstance(value, Mapping):
                if len(keys) == 1:
                    if keys[0] in value:
                        yield value[keys[0]]
                else:
                    yield {key: value[key] for key in keys if key in value}
        case Index(positions):
            if isinstance(value, list):
                yield from (value[at] for at in positions if -len(value) <= at < len(value))
        case Slice(start, end):
            if isinstance(value, list):
                yield from value[start:end]
        case Wildcard():
            if isinstance(value, Mapping):
                yield from value.values()
            elif isinstance(value, list):
                yield from value
        case Filter(holds, _):
            candidates = value if isinstance(value, list) else [value] if isinstance(value, Mapping) else []
            yield from (item for item in candidates if holds(item, root))
        case Descend():
            yield from _below(value)
        case Function():
            pass


def _below(value: Any) -> Iterator[Any]:
    """Walk a value and every container under it, parents first, in document order."""
    pending = [value]
    while pending:
        current = pending.pop()
        yield current
        inner: list[Any] = []
        if isinstance(current, Mapping):
            inner = list(current.values())
        elif isinstance(current, list):
            inner = current
        pending.extend(item for item in reversed(inner) if isinstance(item, Mapping | list))


_FILTERS = JSONPathEnvironment()


def _compile_filter(text: str) -> Filter:
    try:
        path = _FILTERS.compile(f"$[?{text}]")
        expression = path.segments[0].selectors[0].expression  # type: ignore[union-attr]  # a union path has no segments
    except (JSONPathError, AttributeError, ValueError, RecursionError) as error:
        msg = f"the filter [?{text}] cannot be read"
        raise PathSyntaxError(msg) from error

    def holds(value: Any, root: Any) -> bool:
        context = FilterContext(env=_FILTERS, current=value, root=root)
        try:
            return bool(_FILTERS.is_truthy(expression.evaluate(context)))
        except (JSONPathError, ValueError, TypeError, ArithmeticError, RecursionError):
            return False

    return Filter(holds=holds, reads_root="$" in text)


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, list):
        return []
    return [float(item) for item in value if isinstance(item, int | float) and not isinstance(item, bool)]


def _statistic(compute: Callable[[list[float]], float]) -> Callable[[Any, int | None], Any]:
    def apply(value: Any, _argument: int | None) -> Any:
        try:
            numbers = _numbers(value)
            return compute(numbers) if numbers else MISSING
        except OverflowError:
            return MISSING

    return apply


def _deviation(numbers: list[float]) -> float:
    mean = math.fsum(numbers) / len(numbers)
    return math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))


def _length(value: Any, _argument: int | None) -> Any:
    return len(value) if isinstance(value, list | Mapping) else MISSING


def _keys(value: Any, _argument: int | None) -> Any:
    return list(value) if isinstance(value, Mapping) else MISSING


def _element(position: int | None) -> Callable[[Any, int | None], Any]:
    def apply(value: Any, argument: int | None) -> Any:
        at = position if position is not None else argument
        if at is None or not isinstance(value, list) or not -len(value) <= at < len(value):
            return MISSING
        return value[at]

    return apply


def _concat(value: Any, _argument: int | None) -> Any:
    return "".join(item for item in value if isinstance(item, str)) if isinstance(value, list) else MISSING


_FUNCTIONS: dict[str, Callable[[Any, int | None], Any]] = {
    "length": _length,
    "size": _length,
    "keys": _keys,
    "min": _statistic(min),
    "max": _statistic(max),
    "sum": _statistic(math.fsum),
    "avg": _statistic(lambda numbers: math.fsum(numbers) / len(numbers)),
    "stddev": _statistic(_deviation),
    "first": _element(0),
    "last": _element(-1),
    "index": _element(None),
    "concat": _concat,
}

_NAME = re.compile(r"[^.\[(\s]+")
_QUOTED = re.compile(r"\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\s*", re.DOTALL)
_SLICE = re.compile(r"(-?\d{1,9})?\s*:\s*(-?\d{1,9})?", re.ASCII)
_POSITIONS = re.compile(r"-?\d{1,9}(?:\s*,\s*-?\d{1,9})*", re.ASCII)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def steps(self) -> Iterator[Step]:
        if not self.text.startswith("$") or (len(self.text) > 1 and self.text[1] not in ".["):
            yield self._key_or_wildcard()
        else:
            self.at = 1
        while self.at < len(self.text):
            yield from self._next()

    def _next(self) -> Iterator[Step]:
        if self.text[self.at] == "[":
            yield self._bracket()
            return
        if self.text[self.at] != ".":
            raise self._error()
        self.at += 1
        if self.text.startswith(".", self.at):
            self.at += 1
            yield Descend()
            if self.text.startswith("[", self.at):
                yield self._bracket()
                return
        yield self._key_or_wildcard()

    def _key_or_wildcard(self) -> Step:
        if self.text.startswith("[", self.at) and self.at == 0:
            return self._bracket()
        match = _NAME.match(self.text, self.at)
        if match is None:
            raise self._error()
        self.at = match.end()
        name = match.group()
        if self.text.startswith("(", self.at):
            return self._function(name)
        return Wildcard() if name == "*" else Name((name,))

    def _function(self, name: str) -> Function:
        inside = self.text[self.at + 1 : -1].strip()
        apply = _FUNCTIONS.get(name)
        if not self.text.endswith(")") or apply is None or not (not inside or _POSITIONS.fullmatch(inside)):
            raise self._error()
        self.at = len(self.text)
        return Function(apply=apply, argument=int(inside) if inside.lstrip("-").isdecimal() else None)

    def _bracket(self) -> Step:
        start = self.at + 1
        end = self._closing(start)
        inside = self.text[start:end].strip()
        self.at = end + 1
        if inside == "*":
            return Wildcard()
        if inside.startswith("?"):
            return _compile_filter(inside[1:].strip())
        if inside[:1] in {"'", '"'}:
            return Name(self._quoted(inside))
        if _POSITIONS.fullmatch(inside):
            return Index(tuple(int(part) for part in inside.split(",")))
        match = _SLICE.fullmatch(inside)
        if match is None:
            raise self._error()
        first, last = match.groups()
        return Slice(int(first) if first else None, int(last) if last else None)

    def _closing(self, start: int) -> int:
        """Find the bracket that closes the one before `start`, past quotes and inner brackets."""
        depth, quote, at = 1, "", start
        while at < len(self.text):
            char = self.text[at]
            if quote:
                if char == "\\":
                    at += 1
                elif char == quote:
                    quote = ""
            elif char in "'\"":
                quote = char
            elif char == "[":
                depth += 1
            elif char == "]":
                depth -= 1
                if depth == 0:
                    return at
            at += 1
        raise self._error()

    def _quoted(self, inside: str) -> tuple[str, ...]:
        keys: list[str] = []
        at = 0
        while True:
            match = _QUOTED.match(inside, at)
            if match is None:
                raise self._error()
            raw = match.group(1) if match.group(1) is not None else match.group(2)
            keys.append(re.sub(r"\\(.)", r"\1", raw, flags=re.DOTALL))
            at = match.end()
            if at == len(inside):
                return tuple(keys)
            if inside[at] != ",":
                raise self._error()
            at += 1

    def _error(self) -> PathSyntaxError:
        return PathSyntaxError(f"the path {self.text!r} cannot be read at character {self.at + 1}")
