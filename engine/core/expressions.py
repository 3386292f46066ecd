"""`${...}` expressions in definitions: parsed once, evaluated often.

Values come out shared with the documents they were read from: treat them as read-only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from engine.core.errors import InvalidRequestError
from engine.core.jsonpath import (
    MISSING,
    PATH_CHARS_MAX,
    Filter,
    Name,
    Path,
    PathSyntaxError,
    compile_path,
    read_json_text,
)
from engine.core.values import DEPTH_MAX, to_json_text, to_text

NESTED_MAX = 20  # `${a.${b}}` is two deep
WHOLE = "*"  # in `Template.reads_workflow`: the workflow as a whole, or a part only known when evaluated

_SECRETS = "workflow.secrets."
_ENVIRONMENT = "workflow.env."
SYSTEM_PARAMETERS = frozenset({"CPEWF_TASK_ID", "NETFLIX_ENV", "NETFLIX_STACK"})  # never task references


class Scope(Protocol):
    """Where an evaluation reads from; what its methods raise reaches the caller of `evaluate` untouched."""

    def task(self, ref: str) -> Mapping[str, Any] | None:
        """Give the latest attempt of a task (`input`, `output`, `status`, ...); None if it has not run.

        Only the keys a path needs are asked for.
        """
        ...

    def workflow(self) -> Mapping[str, Any]:
        """Give the workflow: `input`, `output`, `variables`, `status`, ..."""
        ...

    def env(self, name: str) -> str | None:
        """Look up a bare name (`CPEWF_TASK_ID`, `PATH`), or `workflow.env.NAME` in the environment store.

        The second kind is asked for with its prefix, so that stored names never hide task references.
        """
        ...


Run = Callable[[Scope], Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value whose strings may hold expressions.

    Attributes:
        refs: task references that it reads.
        reads_workflow: parts of the workflow that it reads: `input`, `variables`, ..., or WHOLE.
        dynamic: it may read references that `refs` does not name.
        constant: it holds no expression that needs a scope.
    """

    refs: frozenset[str]
    reads_workflow: frozenset[str]
    dynamic: bool
    constant: bool
    _run: Run

    def evaluate(self, scope: Scope) -> Any:
        """Fill the expressions in.

        A string that is one expression becomes the value itself; embedded ones become text. What cannot be
        found is None, for indefinite paths the empty list. A map or list at the top is a new one each time.
        """
        return self._run(scope)


def compile_template(value: Any) -> Template:
    """Parse every string of a JSON value; map keys are left alone.

    Raises:
        InvalidRequestError: the value is nested deeper than DEPTH_MAX.
    """
    reads = _Reads()
    part = _compile_value(value, reads, 0)
    run = part if callable(part) else _constant(part.value)
    return Template(
        refs=frozenset(reads.refs),
        reads_workflow=frozenset(reads.workflow),
        dynamic=reads.dynamic,
        constant=not callable(part),
        _run=run,
    )


def merge_input_template(parameters: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """Add a task definition's input template to input parameters that lack its keys, before compiling."""
    return {**parameters, **{key: value for key, value in template.items() if key not in parameters}}


def apply_input_template(evaluated: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """Replace nulls of an evaluated input, explicit ones too, by the template's raw values."""
    return {key: template.get(key) if value is None else value for key, value in evaluated.items()}


@dataclass(frozen=True, slots=True)
class _Hole:
    inside: str


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Any


@dataclass(slots=True)
class _Reads:
    refs: set[str] = field(default_factory=set)
    workflow: set[str] = field(default_factory=set)
    dynamic: bool = False

    def add(self, other: "_Reads") -> None:
        self.refs |= other.refs
        self.workflow |= other.workflow
        self.dynamic = self.dynamic or other.dynamic


@dataclass(frozen=True, slots=True)
class _Reference:
    """One parsed expression: how to get its value, and its text when it stands inside a longer string."""

    value: Run
    text: Callable[[Scope], str]
    reads: _Reads
    constant: bool = False


def _constant(value: Any) -> Run:
    if isinstance(value, dict):
        return lambda _scope: dict(value)
    if isinstance(value, list):
        return lambda _scope: list(value)
    return lambda _scope: value


def _compile_value(value: Any, reads: _Reads, depth: int) -> Run | _Literal:
    if isinstance(value, str):
        return _compile_text(value, reads, 0)
    if not isinstance(value, dict | list):
        return _Literal(value)
    if depth >= DEPTH_MAX:
        msg = f"parameters may be nested {DEPTH_MAX} levels deep; flatten them"
        raise InvalidRequestError(msg)
    keyed = list(value.items() if isinstance(value, dict) else enumerate(value))
    parts = [(key, _compile_value(item, reads, depth + 1)) for key, item in keyed]
    # Expressions are filled into a copy of the skeleton, so that keys keep their order.
    skeleton = {key: part.value if isinstance(part, _Literal) else None for key, part in parts}
    holes = [(key, part) for key, part in parts if not isinstance(part, _Literal)]
    if isinstance(value, dict):
        return _fill_map(skeleton, holes) if holes else _Literal(skeleton)
    return _fill_list(list(skeleton.values()), holes) if holes else _Literal(list(skeleton.values()))


def _fill_map(skeleton: dict[Any, Any], holes: list[tuple[Any, Run]]) -> Run:
    def run(scope: Scope) -> dict[Any, Any]:
        out = skeleton.copy()
        for key, hole in holes:
            out[key] = hole(scope)
        return out

    return run


def _fill_list(skeleton: list[Any], holes: list[tuple[Any, Run]]) -> Run:
    def run(scope: Scope) -> list[Any]:
        out = skeleton.copy()
        for at, hole in holes:
            out[at] = hole(scope)
        return out

    return run


def _compile_text(text: str, reads: _Reads, depth: int) -> Run | _Literal:
    if "${" not in text:
        return _Literal(text)
    pieces = _split(text)
    if depth == 0 and len(pieces) == 1 and isinstance(pieces[0], _Hole):
        reference = _compile_hole(pieces[0], reads, depth)
        return _Literal(reference.value(_NOTHING)) if reference.constant else reference.value
    texts: list[Callable[[Scope], str]] = []
    constant = True
    for piece in pieces:
        if isinstance(piece, _Hole):
            reference = _compile_hole(piece, reads, depth)
            constant = constant and reference.constant
            texts.append(reference.text)
        else:
            texts.append(_constant(piece))
    if constant:
        return _Literal("".join([part(_NOTHING) for part in texts]))
    return lambda scope: "".join([part(scope) for part in texts])


def _split(text: str) -> list[str | _Hole]:
    """Cut a text at its outermost expressions; the literal pieces come unescaped, `$${` to `${`."""
    closing = _closing_braces(text)
    pieces: list[str | _Hole] = []
    done = at = 0
    while (at := text.find("${", at)) >= 0:
        end = closing.get(at + 1)
        if end is None or (at > 0 and text[at - 1] == "$"):
            at += 2
            continue
        if at > done:
            pieces.append(text[done:at].replace("$${", "${"))
        pieces.append(_Hole(text[at + 2 : end]))
        done = at = end + 1
    if done < len(text):
        pieces.append(text[done:].replace("$${", "${"))
    return pieces


def _closing_braces(text: str) -> dict[int, int]:
    opened: list[int] = []
    closing: dict[int, int] = {}
    for at, char in enumerate(text):
        if char == "{":
            opened.append(at)
        elif char == "}" and opened:
            closing[opened.pop()] = at
    return closing


def _compile_hole(hole: _Hole, reads: _Reads, depth: int) -> _Reference:
    if depth >= NESTED_MAX or len(hole.inside) > PATH_CHARS_MAX:
        return _NULL
    inner_reads = _Reads()
    path = _compile_text(hole.inside, inner_reads, depth + 1)
    if isinstance(path, _Literal):
        reference = _reference(path.value)
        reads.add(reference.reads)
        return reference
    _guess_reads(hole.inside, inner_reads)
    reads.add(inner_reads)

    def resolved(scope: Scope) -> _Reference:
        text = path(scope)
        return _reference(text) if len(text) <= PATH_CHARS_MAX else _NULL

    return _Reference(
        value=lambda scope: resolved(scope).value(scope),
        text=lambda scope: resolved(scope).text(scope),
        reads=inner_reads,
    )


def _guess_reads(inside: str, reads: _Reads) -> None:
    """Note what a nested expression surely reads: the parts of its path that stand before the inner one."""
    head, *rest = inside[: inside.index("${")].split(".")
    if not rest or not head.strip() or any(char in head for char in "[($"):
        reads.dynamic = True
        reads.workflow.add(WHOLE)
    elif head.strip() == "workflow":
        known = len(rest) > 1 and rest[0] and "[" not in rest[0]
        reads.workflow.add(rest[0] if known else WHOLE)
    else:
        reads.refs.add(head.strip())


@lru_cache(maxsize=4096)
def _reference(path_text: str) -> _Reference:
    """Parse one expression without inner ones; what is no path answers None, as upstream does."""
    name = path_text.strip()
    if not name:
        return _literal_reference("")
    if name.startswith(_SECRETS):
        return _literal_reference("${" + path_text + "}")
    if name.startswith(_ENVIRONMENT):
        return _environment_reference(name)
    try:
        path = compile_path(name)
    except PathSyntaxError:
        return _NULL
    reads = _Reads()
    lookup = _read_path(path, reads)
    if path.plain is not None and len(path.plain) == 1 and "$" not in name and "[" not in name:
        if name in SYSTEM_PARAMETERS:
            reads.refs.discard(name)
        return _valued(_environment_first(name, lookup), reads)
    if path.indefinite:
        return _Reference(value=lookup, text=lambda scope: _found_text(lookup(scope)), reads=reads)
    return _valued(lookup, reads)


def _literal_reference(value: Any) -> _Reference:
    text = to_text(value)
    return _Reference(value=lambda _scope: value, text=lambda _scope: text, reads=_Reads(), constant=True)


def _valued(value: Run, reads: _Reads) -> _Reference:
    return _Reference(value=value, text=lambda scope: to_text(value(scope)), reads=reads)


def _found_text(value: Any) -> str:
    return to_text(value) if value is None else to_json_text(value)


def _environment_first(name: str, lookup: Run) -> Run:
    def run(scope: Scope) -> Any:
        value = scope.env(name)
        return lookup(scope) if value is None else value

    return run


def _environment_reference(name: str) -> _Reference:
    variable, _, path_text = name.removeprefix(_ENVIRONMENT).partition(".")
    key = _ENVIRONMENT + variable
    if not path_text:
        return _valued(lambda scope: scope.env(key), _Reads())
    return _valued(lambda scope: read_json_text(scope.env(key), path_text), _Reads())


def _read_path(path: Path, reads: _Reads) -> Run:
    first = path.steps[0] if path.steps else None
    if not (isinstance(first, Name) and len(first.keys) == 1):
        # A path over the document as a whole; it cannot name what it reads, so it sees the workflow only.
        reads.dynamic = True
        reads.workflow.add(WHOLE)
        return lambda scope: _walk(path, scope, {"workflow": scope.workflow()}, 0)
    ref = first.keys[0]
    if ref == "workflow":
        second = path.steps[1] if len(path.steps) > 1 else None
        known = isinstance(second, Name) and len(second.keys) == 1
        reads.workflow.add(second.keys[0] if known and isinstance(second, Name) else WHOLE)
    else:
        reads.refs.add(ref)
    if any(isinstance(step, Filter) and step.reads_root for step in path.steps):
        reads.dynamic = True
        reads.workflow.add(WHOLE)
    if path.plain is None:
        return lambda scope: _walk(path, scope, _root_value(scope, ref), 1)
    return _workflow_path(path.plain[1:]) if ref == "workflow" else _task_path(ref, path.plain[1:])


def _workflow_path(keys: tuple[str | int, ...]) -> Run:
    if len(keys) == 2 and isinstance(keys[0], str) and isinstance(keys[1], str):
        part, name = keys[0], keys[1]

        def run_short(scope: Scope) -> Any:
            value = scope.workflow().get(part)
            return value.get(name) if type(value) is dict else _descend(value, keys[1:])

        return run_short
    return lambda scope: _descend(scope.workflow(), keys) if keys else dict(scope.workflow())


def _task_path(ref: str, keys: tuple[str | int, ...]) -> Run:
    if keys:
        return lambda scope: _descend(scope.task(ref), keys)

    def run_whole(scope: Scope) -> Any:
        task = scope.task(ref)
        return None if task is None else dict(task)

    return run_whole


def _descend(value: Any, keys: tuple[str | int, ...]) -> Any:
    for key in keys:
        if type(value) is dict:
            value = value.get(key)
        elif value is None:
            return None
        elif type(value) is list:
            if type(key) is not int or not -len(value) <= key < len(value):
                return None
            value = value[key]
        elif isinstance(value, Mapping):
            value = value.get(key)
        else:
            return None
    return value


def _root_value(scope: Scope, ref: str) -> Any:
    return scope.workflow() if ref == "workflow" else scope.task(ref)


def _walk(path: Path, scope: Scope, value: Any, skip: int) -> Any:
    document = _Document(scope)
    found = path.find(document, value, skip) if value is not None else ([] if path.indefinite else None)
    if document.error is not None:
        raise document.error
    return None if found is MISSING else found


class _Document(Mapping[str, Any]):
    """What `$` is inside a filter. It keeps the scope's error, which the filter's library would swallow."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.error: Exception | None = None

    def __getitem__(self, key: str) -> Any:
        try:
            value = _root_value(self._scope, key)
        except Exception as error:
            self.error = error
            raise
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(("workflow",))

    def __len__(self) -> int:
        return 1


class _Nothing:
    """The scope of constants."""

    def task(self, ref: str) -> Mapping[str, Any] | None:
        del ref
        return None

    def workflow(self) -> Mapping[str, Any]:
        return {}

    def env(self, name: str) -> str | None:
        del name
        return None


_NOTHING = _Nothing()
_NULL = _literal_reference(None)
