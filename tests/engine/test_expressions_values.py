"""Values in Conductor's words: text, truth, secrets."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.secrets import has_secrets, substitute_secrets
from engine.core.values import DEPTH_MAX, is_true, switch_text, to_json_text, to_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (12345678901234567890, "12345678901234567890"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (0.001, "0.001"),
        (0.00012, "1.2E-4"),
        (1e-7, "1.0E-7"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (1e16, "1.0E16"),
        (1e300, "1.0E300"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ("a b", "a b"),
        ([], "[]"),
        ({}, "{}"),
        ([1, "two", None, [2.5]], "[1, two, null, [2.5]]"),
        ({"a": 1, "b": {"c": [True]}}, "{a=1, b={c=[true]}}"),
    ],
)
def test_text_is_javas(value: Any, text: str) -> None:
    """Every kind of JSON value prints as Java's toString does; a switch case is that text."""
    assert to_text(value) == text
    assert switch_text(value) == text


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_read_back(value: float) -> None:
    """No digit of a double is lost, whichever form it takes, and it always shows that it is one."""
    assert float(to_text(value)) == value
    assert "." in to_text(value)


def test_deep_values_print_shortened() -> None:
    """Nesting beyond the bound is cut off instead of overflowing the stack."""
    value: Any = "x"
    for _ in range(3_000):
        value = [value]

    assert to_text(value) == "[" * DEPTH_MAX + "..." + "]" * DEPTH_MAX
    assert to_json_text(value).startswith("[[[")


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0.5, True),
        (0, False),
        (-1, False),
        (None, False),
        ("true", False),
        ("yes", False),
        ("", False),
        ({"a": 1}, False),
        ([1], False),
        (float("nan"), False),
    ],
)
def test_condition_truth(value: Any, truth: bool) -> None:
    """Booleans count as they are, numbers above zero are true, everything else is false."""
    assert is_true(value) is truth


SECRETS = {"KEY": "k", "DB": '{"user": "u", "ports": [1, 2]}', "BAD": "{"}


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("${workflow.secrets.KEY}", "k"),
        ("<${workflow.secrets.KEY}|${workflow.secrets.KEY}>", "<k|k>"),
        ("${workflow.secrets.NONE}", None),
        ("<${workflow.secrets.NONE}>", "<>"),
        ("${workflow.secrets.DB.user}", "u"),
        ("${workflow.secrets.DB.ports}", [1, 2]),
        ("<${workflow.secrets.DB.ports[1]}>", "<2>"),
        ("${workflow.secrets.BAD.x}", None),
        ("$${x} ${workflow.input.a} ${workflow.secrets.KEY}", "$${x} ${workflow.input.a} k"),
        ({"a": ["${workflow.secrets.KEY}", 5]}, {"a": ["k", 5]}),
    ],
)
def test_secrets_are_filled_in(value: Any, filled: Any) -> None:
    """Secrets replace their references, with a path read as JSON; all other text stays as it is."""
    assert has_secrets(value)
    assert substitute_secrets(value, SECRETS.get) == filled


def test_values_without_secrets_are_recognised() -> None:
    """What refers to no secret is known beforehand, however deep it is."""
    value: Any = "${workflow.input.secrets}"
    for _ in range(3_000):
        value = {"a": value}

    assert not has_secrets(value)
