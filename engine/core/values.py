"""JSON values in the words Conductor uses for them: text, truth and switch cases."""

import math
from typing import Any

import msgspec

DEPTH_MAX = 200  # nesting that text is made of and templates are read to; deeper would overflow the stack


def to_text(value: Any) -> str:
    """Write a JSON value the way Java's `toString` does: `null`, `true`, `1.0`, `[1, two]`, `{a=1}`.

    Containers nested deeper than `DEPTH_MAX` print as `...`.
    """
    if type(value) is str:
        return value
    return _text(value, 0)


def to_json_text(value: Any) -> str:
    """Write a JSON value as compact JSON; results of indefinite paths are embedded in this form."""
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        return to_text(value)


def is_true(value: Any) -> bool:
    """Judge a condition's result: a boolean as it is, a number if above zero, anything else is false."""
    if isinstance(value, bool):
        return value
    return isinstance(value, int | float) and value > 0


def switch_text(value: Any) -> str:
    """Name the case a SWITCH or DECISION result selects: `null`, `true`, `5`, `1.0`, or the text itself."""
    return to_text(value)


def double_text(value: float) -> str:
    """Write a double like Java: always a fraction digit, an exponent below 0.001 and from ten million on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return f"{value:.1f}" if value.is_integer() else repr(value)
    mantissa, _, exponent = _scientific(value).partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    return f"{mantissa}E{int(exponent)}"


def _text(value: Any, depth: int) -> str:
    match value:
        case None:
            return "null"
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return int.__str__(value)
        case float():
            return double_text(value)
        case dict() | list() | tuple() if depth >= DEPTH_MAX:
            return "..."
        case dict():
            return "{" + ", ".join(f"{key}={_text(item, depth + 1)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join([_text(item, depth + 1) for item in value]) + "]"
        case _:
            return str(value)


def _scientific(value: float) -> str:
    """Shortest digits that read back as `value`, in `d.ddde+xx` form."""
    digits = repr(value)
    if "e" in digits:
        return digits
    significant = len(digits.replace("-", "").replace(".", "").strip("0"))
    return f"{value:.{max(significant - 1, 0)}e}"
