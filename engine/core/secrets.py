"""`${workflow.secrets.NAME}`: left literal in evaluated inputs, filled in when a task is handed over."""

import re
from collections.abc import Callable
from typing import Any

from engine.core.jsonpath import read_json_text
from engine.core.values import DEPTH_MAX, to_text

_SECRET = re.compile(r"\$\{workflow\.secrets\.([^}]+)\}")


def has_secrets(value: Any) -> bool:
    """Tell whether a task input refers to secrets."""
    return bool(secret_names(value))


def secret_names(value: Any) -> set[str]:
    """Names of the secrets that a task input refers to."""
    found: set[str] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, str):
            found |= {reference.partition(".")[0] for reference in _SECRET.findall(current)}
        elif isinstance(current, dict):
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)
    return found


def substitute_secrets(value: Any, lookup: Callable[[str], str | None]) -> Any:
    """Replace references to secrets in a copy of an evaluated task input.

    Args:
        value: not changed; what is nested deeper than DEPTH_MAX stays as it is.
        lookup: gives a secret's text by name; `NAME.path` reads that text as JSON.

    Returns:
        the copy; an unknown secret is None as a whole string and empty text inside a longer one.
    """
    return _substitute(value, lookup, 0)


def _substitute(value: Any, lookup: Callable[[str], str | None], depth: int) -> Any:
    match value:
        case str() if "${workflow.secrets." in value:
            whole = _SECRET.fullmatch(value)
            if whole is not None:
                return _secret(whole.group(1), lookup)
            return _SECRET.sub(lambda found: _embedded(_secret(found.group(1), lookup)), value)
        case dict() if depth < DEPTH_MAX:
            return {key: _substitute(item, lookup, depth + 1) for key, item in value.items()}
        case list() if depth < DEPTH_MAX:
            return [_substitute(item, lookup, depth + 1) for item in value]
        case _:
            return value


def _embedded(secret: Any) -> str:
    return "" if secret is None else to_text(secret)


def _secret(reference: str, lookup: Callable[[str], str | None]) -> Any:
    name, _, path = reference.partition(".")
    return read_json_text(lookup(name), path) if path else lookup(name)
