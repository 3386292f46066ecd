"""Values of a request, read one by one: what is wrong is named by its path, with what it may hold."""

import math
import re
from collections.abc import Mapping
from typing import Any

TEXT_SHOWN_CHARS_MAX = 80


class PlanError(ValueError):
    """A request that cannot be planned. `path` names the field, `accepted` what it may hold."""

    def __init__(self, path: str, message: str, accepted: tuple[str, ...] = ()) -> None:
        self.path = path
        self.message = message
        self.accepted = accepted
        super().__init__(f"{path}: {message}" + (f" (accepted: {', '.join(accepted)})" if accepted else ""))


def whole(path: str, value: object, lowest: int, highest: int) -> int:
    """A whole number within bounds, both included. Raises PlanError."""
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise PlanError(path, f"must be a whole number from {lowest} to {highest}")
    return value


def number(path: str, value: object, lowest: float, highest: float) -> float:
    """A number within bounds, both included. Raises PlanError."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or not lowest <= float(value) <= highest:  # type: ignore[arg-type] # `usable` proves it a number
        raise PlanError(path, f"must be a number from {lowest:g} to {highest:g}")
    return float(value)  # type: ignore[arg-type] # proved a number above


def flag(path: str, value: object) -> bool:
    """True or false. Raises PlanError."""
    if not isinstance(value, bool):
        raise PlanError(path, f"{shown(value)} is neither", ("true", "false"))
    return value


def name_of(path: str, value: object, accepted: tuple[str, ...]) -> str:
    """One of a few names. Raises PlanError."""
    if not isinstance(value, str) or value not in accepted:
        raise PlanError(path, f"{shown(value)} is not available", accepted)
    return value


def names_of(path: str, value: object, accepted: tuple[str, ...]) -> tuple[str, ...]:
    """A list of a few names, each once. Raises PlanError."""
    found = (
        name_of(f"{path}[{position}]", name, accepted)
        for position, name in enumerate(items(path, value, len(accepted)))
    )
    return tuple(dict.fromkeys(found))


def items(path: str, value: object, most: int) -> list[object]:
    """A list that is neither empty nor longer than `most`. Raises PlanError."""
    if not isinstance(value, list | tuple) or not value:
        raise PlanError(path, "must be a list with at least one item")
    if len(value) > most:
        raise PlanError(path, f"has {len(value)} items; at most {most} are accepted")
    return list(value)


def fields(path: str, value: object, accepted: tuple[str, ...]) -> Mapping[str, Any]:
    """An object with none but these fields. Raises PlanError."""
    if not isinstance(value, Mapping):
        raise PlanError(path, f"must be an object with {', '.join(accepted)}")
    unknown = next((field for field in value if field not in accepted), None)
    if unknown is not None:
        raise PlanError(f"{path}.{bounded(unknown)}", "is no field here", accepted)
    return value


def text(path: str, value: object, *, chars_max: int, pattern: str | None = None, meaning: str = "") -> str:
    """A string that is not empty, of bounded length and, where asked, of one shape. Raises PlanError."""
    if not isinstance(value, str) or not 0 < len(value) <= chars_max:
        raise PlanError(path, f"must be text of 1 to {chars_max} characters")
    if pattern is not None and not re.fullmatch(pattern, value):
        raise PlanError(path, f"must be {meaning}")
    return value


def shown(value: object) -> str:
    """A value as a message may show it."""
    return bounded(repr(value))


def bounded(value: object) -> str:
    """Text of a stranger, cut to what a message can hold."""
    return str(value)[:TEXT_SHOWN_CHARS_MAX]
