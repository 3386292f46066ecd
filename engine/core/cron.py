"""Cron expressions in the dialect that upstream's schedules are written in, and the instants they name.

Six fields: second, minute, hour, day of month, month, day of week (0 and 7 are Sunday); day of month and day
of week must both hold. Beside numbers, names, lists, ranges and steps: `?` for any day, `L` (last day),
`L-3`, `15W` (the weekday nearest to the 15th), `LW`, `5L` or `FRIL` (last Friday), `MON#2` (second Monday),
and the macros `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`.

Source: the dialect is Spring's CronExpression. Where clocks change ours differs: an expression with fixed
hours names each of its times once, also when the clock shows it twice or steps over it (then it is as much
later as the clock steps); one for every hour names whatever the clock shows.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

MACROS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
YEARS_MAX = 40
"""How far a search looks: a 29 February on one weekday comes every 28 years, over 2100 after 40."""
YEAR_MAX = 9990
"""Python's calendar ends soon after."""
SHIFT = timedelta(hours=3)
"""No clock is put forward or back by more."""
CHANGES_MAX = 1_000
"""Changes of a clock that one search passes; there are two a year."""
LAST_MS = 253_000_000_000_000
"""In the year 9987."""
EXPRESSION_CHARS_MAX = 500


class CronError(ValueError):
    """The text is no cron expression; the message says which field and why."""


class _Field(NamedTuple):
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 1, 7, _DAYS),
)
_SECOND, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY = _FIELDS
_SUNDAY = 7


class _DayRule(NamedTuple):
    """A day that depends on its month.

    `last` (n days before its end), `last_weekday`, `nearest` (weekday to day n), `last_of` or `nth` (of a day
    of the week).
    """

    kind: str
    day: int = 0
    nth: int = 0


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression: the values of each field that match, in order."""

    text: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    day_rules: tuple[_DayRule, ...]
    months: frozenset[int]
    weekdays: frozenset[int]
    weekday_rules: tuple[_DayRule, ...]

    @property
    def every_hour(self) -> bool:
        return len(self.hours) == 24

    def next_ms(self, after_ms: int, zone: tzinfo) -> int | None:
        """The first instant after `after_ms`, both Unix milliseconds; None when there is none in sight."""
        if not 0 <= after_ms <= LAST_MS:
            return None
        after = datetime.fromtimestamp(after_ms // 1000, tz=UTC)
        found = self._next_shown(after, zone) if self.every_hour else self._next_fixed(after, zone)
        return None if found is None else round(found.timestamp() * 1000)

    def _next_shown(self, after: datetime, zone: tzinfo) -> datetime | None:
        """The next instant at which the clock shows a matching reading."""
        start = after  # from here on the offset is the one that is known
        for _ in range(CHANGES_MAX):
            offset = _offset(start, zone)
            wall = next(self._walls((after + offset).replace(tzinfo=None)), None)
            if wall is None:
                return None
            instant = wall.replace(tzinfo=UTC) - offset
            change = _change(start, min(instant, start + SHIFT), zone) or _change(start, instant, zone)
            if change is None:
                return instant
            after, start = change - timedelta(seconds=1), change
        return None

    def _next_fixed(self, after: datetime, zone: tzinfo) -> datetime | None:
        """The next instant that a reading means, each of them once."""
        first = next(self._walls(_wall(after, zone)), None)
        if first is None:
            return None
        instant = _meant(first, zone)
        shift = max(_shift(after, zone), _shift(instant, zone))
        if not shift:
            return instant
        # Near a change of the clock, readings do not come in the order of their instants.
        best: datetime | None = None
        until: datetime | None = None
        for wall in self._walls(_wall(after, zone) - shift):
            if until is not None and wall > until:
                break
            instant = _meant(wall, zone)
            if instant > after and (best is None or instant < best):
                best, until = instant, until or wall + shift
            if best is not None and best - after <= timedelta(seconds=1):
                break
        return best

    def _walls(self, after: datetime) -> Iterator[datetime]:
        """The matching readings of a clock after another one, in order, none with a zone."""
        start = after + timedelta(seconds=1)
        year, month = start.year, start.month
        for _ in range(12 * YEARS_MAX):
            if year > YEAR_MAX:
                return
            for day in self.month_days(year, month) if month in self.months else ():
                midnight = datetime(year, month, day)  # noqa: DTZ001 - a clock's reading, of no zone yet
                if midnight.date() < start.date():
                    continue
                same = midnight.date() == start.date()
                for hour, minute, second in self._times(
                    (start.hour, start.minute, start.second) if same else (0, 0, 0)
                ):
                    yield midnight.replace(hour=hour, minute=minute, second=second)
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def _times(self, floor: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
        """The matching times of a day from `floor` on, in order."""
        for hour in self.hours[bisect_left(self.hours, floor[0]) :]:
            first = bisect_left(self.minutes, floor[1]) if hour == floor[0] else 0
            for minute in self.minutes[first:]:
                in_floor = (hour, minute) == floor[:2]
                for second in self.seconds[bisect_left(self.seconds, floor[2]) if in_floor else 0 :]:
                    yield hour, minute, second

    def month_days(self, year: int, month: int) -> list[int]:
        """The days of a month that match, in order."""
        first, count = calendar.monthrange(year, month)

        def weekday(day: int) -> int:
            return (first + day - 1) % 7 + 1

        def holds(day: int) -> bool:
            in_month = day in self.days or any(_is_day(rule, day, count, weekday) for rule in self.day_rules)
            return in_month and (
                weekday(day) in self.weekdays
                or any(_is_day(rule, day, count, weekday) for rule in self.weekday_rules)
            )

        return [day for day in range(1, count + 1) if holds(day)]


def parse_cron(text: str) -> Cron:
    """Parse an expression or a macro.

    Raises:
        CronError: with one sentence for its author.
    """
    if len(text) > EXPRESSION_CHARS_MAX:
        raise CronError(f"a cron expression has at most {EXPRESSION_CHARS_MAX} characters")
    stripped = text.strip()
    if stripped.startswith("@") and stripped.lower() not in MACROS:
        raise CronError(f"'{text}' is no macro; use one of {', '.join(MACROS)}")
    fields = MACROS.get(stripped.lower(), stripped).split()
    if len(fields) != len(_FIELDS):
        raise CronError(
            f"'{text}' has {len(fields)} fields; write six: second minute hour day-of-month month day-of-week"
        )
    second, minute, hour, day, month, weekday = fields
    days, day_rules = _parse_days(day, _DAY, _month_rule)
    weekdays, weekday_rules = _parse_days(weekday, _WEEKDAY, _week_rule)
    return Cron(
        text=text,
        seconds=tuple(sorted(_parse(second, _SECOND))),
        minutes=tuple(sorted(_parse(minute, _MINUTE))),
        hours=tuple(sorted(_parse(hour, _HOUR))),
        days=days,
        day_rules=day_rules,
        months=_parse(month, _MONTH),
        weekdays=weekdays,
        weekday_rules=weekday_rules,
    )


def _parse(text: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for item in text.split(","):
        span, slash, step_text = item.partition("/")
        values = _span(span, field, open_end=bool(slash))
        step = _number(step_text, field, text) if slash else 1
        if step < 1:
            raise CronError(f"{field.name} '{text}': a step is 1 or more")
        found.update(values[::step])
    if field is _WEEKDAY and 0 in found:
        found = (found - {0}) | {_SUNDAY}
    return frozenset(found)


def _span(text: str, field: _Field, *, open_end: bool) -> range:
    if text == "*":
        return range(field.first, field.last + 1)
    low_text, dash, high_text = text.partition("-")
    low = _value(low_text, field, text)
    if not dash:
        return range(low, (field.last if open_end else low) + 1)
    high = _value(high_text, field, text)
    if field is _WEEKDAY and low == _SUNDAY:
        low = 0
    if low > high:
        raise CronError(f"{field.name} '{text}': a range runs from the smaller to the larger value")
    return range(low, high + 1)


def _value(text: str, field: _Field, whole: str) -> int:
    if text.upper() in field.names:
        return field.names.index(text.upper()) + 1
    value = _number(text, field, whole)
    first = 0 if field is _WEEKDAY else field.first
    if not first <= value <= field.last:
        raise CronError(f"{field.name} '{whole}': {value} is not between {first} and {field.last}")
    return value


def _number(text: str, field: _Field, whole: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 4:
        raise CronError(f"{field.name} '{whole}': '{text}' is no number this field takes")
    return int(text)


def _parse_days(
    text: str, field: _Field, read: Callable[[str], _DayRule | None]
) -> tuple[frozenset[int], tuple[_DayRule, ...]]:
    if text == "?":
        text = "*"
    plain: set[int] = set()
    rules: list[_DayRule] = []
    for item in text.split(","):
        rule = read(item.upper())
        if rule is None:
            plain |= _parse(item, field)
        else:
            rules.append(rule)
    return frozenset(plain), tuple(rules)


def _month_rule(item: str) -> _DayRule | None:
    if item == "LW":
        return _DayRule("last_weekday")
    if last := re.fullmatch(r"L(?:-([0-9]{1,2}))?", item):
        return _DayRule("last", int(last[1] or 0))
    if item.endswith("W"):
        return _DayRule("nearest", _value(item[:-1], _DAY, item))
    return None


def _week_rule(item: str) -> _DayRule | None:
    if item.endswith("L"):
        return _DayRule("last_of", _value(item[:-1], _WEEKDAY, item) or _SUNDAY)
    day, sharp, nth_text = item.partition("#")
    if not sharp:
        return None
    nth = _number(nth_text, _WEEKDAY, item)
    if not 1 <= nth <= 5:
        raise CronError(f"{_WEEKDAY.name} '{item}': a month has a first to a fifth such day")
    return _DayRule("nth", _value(day, _WEEKDAY, item) or _SUNDAY, nth)


def _is_day(rule: _DayRule, day: int, count: int, weekday: Callable[[int], int]) -> bool:
    """Whether a rule means `day` of a month with `count` days."""
    match rule.kind:
        case "last":
            return day == count - rule.day
        case "last_weekday":
            return day == _nearest_weekday(count, count, weekday)
        case "nearest":
            return rule.day <= count and day == _nearest_weekday(rule.day, count, weekday)
        case "last_of":
            return weekday(day) == rule.day and day + 7 > count
        case _:
            return weekday(day) == rule.day and (day - 1) // 7 + 1 == rule.nth


def _nearest_weekday(day: int, count: int, weekday: Callable[[int], int]) -> int:
    """The Monday to Friday nearest to a day, within its month."""
    if weekday(day) == 6:
        return day - 1 if day > 1 else day + 2
    if weekday(day) == _SUNDAY:
        return day + 1 if day < count else day - 2
    return day


def _wall(instant: datetime, zone: tzinfo) -> datetime:
    """What a clock in the zone shows."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _meant(wall: datetime, zone: tzinfo) -> datetime:
    """The instant a reading means: the first of two; past a gap, as much later as the clock is put on."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _shift(instant: datetime, zone: tzinfo) -> timedelta:
    """By how much a clock is changed around an instant."""
    return abs(_offset(instant + SHIFT, zone) - _offset(instant - SHIFT, zone))


def _change(start: datetime, end: datetime, zone: tzinfo) -> datetime | None:
    """The first instant of the offset at `end`, when it is another one than that at `start`."""
    before, after = _offset(start, zone), _offset(end, zone)
    if before == after:
        return None
    low, high = int(start.timestamp()), int(end.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(datetime.fromtimestamp(middle, tz=UTC), zone) == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, tz=UTC)
