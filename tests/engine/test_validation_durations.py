"""Durations and dates as WAIT tasks name them."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.durations import parse_duration_seconds, parse_until_ms


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1 days 2 hours 3 minutes 4 seconds", 93_784),
        ("1d2h3m4s", 93_784),
        (" 2 HRS 5 Secs ", 7_205),
        ("90 mins", 5_400),
        ("0s", 0),
        ("", 0),
    ],
)
def test_duration(text: str, seconds: int) -> None:
    """Days to seconds, in this order, each part optional, long or short, in any case and spacing."""
    assert parse_duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5", "1s 1d", "1.5h", "-1s", "9999999999s", "\u0661 day"])
def test_bad_duration(text: str) -> None:
    """Anything else is refused in the words clients compare."""
    with pytest.raises(ValueError, match=f"^Not valid duration: {text}$"):
        parse_duration_seconds(text)


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]  # year, month, day, ...


def find_zone(name: str) -> tzinfo | None:
    return ZoneInfo("Europe/Berlin") if name == "Europe/Berlin" else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", ms(2026, 1, 30, 23)),
        ("2026-01-31 10:05", ms(2026, 1, 31, 9, 5)),
        ("2026-01-31 10:05 UTC", ms(2026, 1, 31, 10, 5)),
        ("2026-01-31 10:05 pst", ms(2026, 1, 31, 18, 5)),
        ("2026-01-31 10:05 GMT+05:30", ms(2026, 1, 31, 4, 35)),
        ("2026-01-31 10:05 -0800", ms(2026, 1, 31, 18, 5)),
        ("2026-07-31 10:05 Europe/Berlin", ms(2026, 7, 31, 8, 5)),
        ("2026-02-31", ms(2026, 3, 2, 23)),
    ],
)
def test_until(text: str, expected: int) -> None:
    """A date, with or without time and zone; without one the server's zone counts."""
    assert parse_until_ms(text, zone=timezone(timedelta(hours=1)), find_zone=find_zone) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-13-01",
        "2026-01-32",
        "2026-01-01 24:00",
        "2026-01-01 10:00 Mars/Base",
        "0000-01-01",
    ],
)
def test_bad_until(text: str) -> None:
    """Anything else is refused, unknown zones too."""
    with pytest.raises(ValueError, match="Unable to parse date"):
        parse_until_ms(text, zone=UTC, find_zone=find_zone)


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"\A\d{4}-\d\d-\d\d \d\d:\d\d GMT[+-]\d\d:\d\d\Z"))
def test_dates_fail_in_one_way(text: str) -> None:
    """Whatever is written is either a moment or a ValueError."""
    try:
        assert isinstance(parse_until_ms(text, zone=UTC, find_zone=find_zone), int)
    except ValueError as error:
        assert "Unable to parse date" in str(error)  # noqa: PT017 - both ways are right here
