"""Cron expressions against two other readings: one by brute force, one by a cron library."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.cron import MACROS, Cron, CronError, parse_cron

BERLIN = ZoneInfo("Europe/Berlin")
# Half-hour steps (Lord Howe), steps of two hours (Troll), steps at midnight (Cairo), and none.
ZONES = [BERLIN, *map(ZoneInfo, ("Australia/Lord_Howe", "Antarctica/Troll", "Africa/Cairo", "UTC"))]
STEPS = [  # days on which at least one of the zones changes its clock
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, tzinfo=UTC),
    datetime(2026, 4, 23, 22, tzinfo=UTC),
    datetime(2026, 10, 29, 21, tzinfo=UTC),
    datetime(2026, 7, 1, tzinfo=UTC),
]


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def times(text: str, start: str, count: int, zone: Any = UTC) -> list[str]:
    """The next times after a reading of the zone's clock, as readings of it."""
    cron, at_ms = parse_cron(text), ms(datetime.fromisoformat(start).replace(tzinfo=zone))
    shown = []
    for _ in range(count):
        found = cron.next_ms(at_ms, zone)
        if found is None:
            break
        at_ms = found
        shown.append(datetime.fromtimestamp(at_ms / 1000, tz=zone).strftime("%Y-%m-%d %H:%M:%S %z"))
    return shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/20 * * * * *", ["2026-01-01 00:00:20", "2026-01-01 00:00:40", "2026-01-01 00:01:00"]),
        ("0 0 9-17/4 * * MON-FRI", ["2026-01-01 09:00:00", "2026-01-01 13:00:00", "2026-01-01 17:00:00"]),
        ("5/20 0 0 * * ?", ["2026-01-01 00:00:05", "2026-01-01 00:00:25", "2026-01-01 00:00:45"]),
        ("0 0 0 L * *", ["2026-01-31 00:00:00", "2026-02-28 00:00:00", "2026-03-31 00:00:00"]),
        ("0 0 0 L-3 * *", ["2026-01-28 00:00:00", "2026-02-25 00:00:00", "2026-03-28 00:00:00"]),
        ("0 0 0 LW * *", ["2026-01-30 00:00:00", "2026-02-27 00:00:00", "2026-03-31 00:00:00"]),
        ("0 0 0 1W * *", ["2026-02-02 00:00:00", "2026-03-02 00:00:00", "2026-04-01 00:00:00"]),
        ("0 0 0 15W,31W * *", ["2026-01-15 00:00:00", "2026-01-30 00:00:00", "2026-02-16 00:00:00"]),
        ("0 0 0 ? * FRIL", ["2026-01-30 00:00:00", "2026-02-27 00:00:00", "2026-03-27 00:00:00"]),
        ("0 0 0 ? * mon#2", ["2026-01-12 00:00:00", "2026-02-09 00:00:00", "2026-03-09 00:00:00"]),
        ("0 0 0 ? * 0,7", ["2026-01-04 00:00:00", "2026-01-11 00:00:00", "2026-01-18 00:00:00"]),
        ("0 0 0 ? * 7-1", ["2026-01-04 00:00:00", "2026-01-05 00:00:00", "2026-01-11 00:00:00"]),
        ("0 0 0 13 * FRI", ["2026-02-13 00:00:00", "2026-03-13 00:00:00", "2026-11-13 00:00:00"]),
        ("0 0 0 29 FEB MON", ["2044-02-29 00:00:00"]),
        ("0 0 0 30 2 *", []),
        ("@Weekly", ["2026-01-04 00:00:00", "2026-01-11 00:00:00", "2026-01-18 00:00:00"]),
    ],
)
def test_each_form_names_its_times(text: str, expected: list[str]) -> None:
    """Steps, ranges, names, L, W, # and macros mean what upstream's documentation says they do."""
    found = times(text, "2026-01-01 00:00:00", len(expected) or 1)

    assert found == [f"{one} +0000" for one in expected]


@pytest.mark.parametrize(
    ("text", "zone", "start", "expected"),
    [
        ("0 30 2 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:30", "2026-03-30 02:30"]),
        ("0 30 2 * * *", BERLIN, "2026-10-24 12:00", ["2026-10-25 02:30", "2026-10-26 02:30"]),
        ("0 */30 * * * *", BERLIN, "2026-03-29 01:00", ["2026-03-29 01:30", "2026-03-29 03:00"]),
        (
            "0 */30 * * * *",
            BERLIN,
            "2026-10-25 01:30",
            ["2026-10-25 02:00", "2026-10-25 02:30", "2026-10-25 02:00", "2026-10-25 02:30"],
        ),
    ],
)
def test_days_on_which_the_clock_is_changed(text: str, zone: Any, start: str, expected: list[str]) -> None:
    """A fixed hour is run once on such days; an expression for every hour follows the clock's readings."""
    found = times(text, start, len(expected), zone)

    assert [one[:16] for one in found] == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("* * * * *", "5 fields"),
        ("60 * * * * *", "second '60'"),
        ("* * 24 * * *", "hour '24'"),
        ("* * * 0 * *", "day of month '0'"),
        ("* * * * 13 *", "month '13'"),
        ("* * * * * 8", "day of week '8'"),
        ("0/0 * * * * *", "a step is 1 or more"),
        ("9-5 * * * * *", "smaller to the larger"),
        ("1,,2 * * * * *", "second"),
        ("0 0 0 W * *", "day of month 'W'"),
        ("0 0 0 * * L", "day of week 'L'"),
        ("0 0 0 * * 1#6", "fifth"),
        ("0 0 ? * * *", "hour '?'"),
        ("@fortnightly", "@daily"),
        ("٣ * * * * *", "second"),
        ("", "0 fields"),
        ("* " * 400, "500 characters"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_field(text: str, named: str) -> None:
    """The sentence names the field that is wrong, or what to write instead."""
    with pytest.raises(CronError, match=named.replace("?", r"\?")):
        parse_cron(text)


# ------------------------------------------------------------------------------------ other readings
def subset(first: int, last: int) -> st.SearchStrategy[str]:
    numbers = st.integers(first, last)
    span = st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(numbers, st.integers(1, last)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    one = st.one_of(numbers.map(str), span, step)
    return st.one_of(st.just("*"), st.lists(one, min_size=1, max_size=3).map(",".join))


def values(text: str, first: int, last: int) -> set[int]:
    """A second, plainer reading of the items that `subset` makes."""
    found: set[int] = set()
    for item in text.split(","):
        if item == "*":
            found |= set(range(first, last + 1))
        elif "-" in item:
            low, high = map(int, item.split("-"))
            found |= set(range(low, high + 1))
        elif "/" in item:
            low, step = map(int, item.split("/"))
            found |= set(range(low, last + 1, step))
        else:
            found.add(int(item))
    return found


def brute_force(fields: list[str], after: datetime, zone: Any, days: int) -> list[datetime]:
    """Every reading of the clock in those days, minute by minute, and the instants that show it."""
    minutes, hours = values(fields[1], 0, 59), values(fields[2], 0, 23)
    in_month, months = values(fields[3], 1, 31), values(fields[4], 1, 12)
    in_week = values(fields[5], 1, 7)
    every_hour = len(hours) == 24
    wall = after.astimezone(zone).replace(tzinfo=None, second=0, fold=0) - timedelta(days=1)
    found = set()
    for _ in range((days + 2) * 24 * 60):
        wall += timedelta(minutes=1)
        matches = wall.minute in minutes and wall.hour in hours and wall.month in months
        if not matches or wall.day not in in_month or wall.isoweekday() not in in_week:
            continue
        for fold in (0, 1) if every_hour else (0,):
            instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            shown = instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall
            if shown or not every_hour:
                found.add(instant)
    return sorted(one for one in found if after < one <= after + timedelta(days=days))


@settings(max_examples=60, deadline=None)
@given(
    fields=st.tuples(
        st.just("0"), subset(0, 59), subset(0, 23), subset(1, 31), st.just("*"), subset(1, 7)
    ).map(list),
    zone=st.sampled_from(ZONES),
    step=st.sampled_from(STEPS),
    minutes=st.integers(-600, 600),
)
def test_against_brute_force(fields: list[str], zone: Any, step: datetime, minutes: int) -> None:
    """Around a change of the clock, the next times are those that a walk over every minute finds."""
    after = step + timedelta(minutes=minutes)
    expected = brute_force(fields, after, zone, days=1)[:8]
    cron: Cron = parse_cron(" ".join(fields))

    found, at_ms = [], ms(after)
    for _ in expected:
        at_ms = cron.next_ms(at_ms, zone) or 0
        found.append(datetime.fromtimestamp(at_ms / 1000, tz=UTC))

    assert found == expected, (fields, zone, after)


@settings(max_examples=100, deadline=None)
@given(
    fields=st.tuples(subset(0, 59), subset(0, 59), subset(0, 23), subset(1, 28), subset(1, 12)),
    start_s=st.integers(1_577_836_800, 1_893_456_000),
)
def test_against_a_cron_library(fields: tuple[str, ...], start_s: int) -> None:
    """In UTC, and without days of the week, both read an expression alike."""
    text = " ".join((*fields, "*"))
    theirs, ours = CronSim(text, datetime.fromtimestamp(start_s, tz=UTC)), parse_cron(text)

    at_ms = start_s * 1000
    for _ in range(5):
        at_ms = ours.next_ms(at_ms, UTC) or 0
        assert datetime.fromtimestamp(at_ms / 1000, tz=UTC) == next(theirs)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever somebody sends as a cron expression, the answer is a reading or a sentence."""
    with contextlib.suppress(CronError):
        parse_cron(text).next_ms(0, UTC)


@pytest.mark.parametrize("text", ["* * * * * *", "* * 0-22 * * *"])
@pytest.mark.parametrize("after_ms", [-1, 2**40, 253_000_000_000_001, 2**62])
def test_instants_of_any_size(text: str, after_ms: int) -> None:
    """Beyond the calendar there is no next time, and no failure."""
    found = parse_cron(text).next_ms(after_ms, BERLIN)

    assert (found is not None) == (after_ms == 2**40)


@pytest.mark.parametrize("macro", MACROS)
def test_macros_are_expressions(macro: str) -> None:
    """Every macro names a time."""
    assert parse_cron(macro).next_ms(0, UTC)
