"""Durations and points in time as workflow authors write them in WAIT tasks."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_DURATION = re.compile(
    r"\s*(?:(\d+)\s*(?:days?|d))?"
    r"\s*(?:(\d+)\s*(?:hours?|hrs?|h))?"
    r"\s*(?:(\d+)\s*(?:minutes?|mins?|m))?"
    r"\s*(?:(\d+)\s*(?:seconds?|secs?|s))?\s*",
    re.IGNORECASE | re.ASCII,
)
_MOMENT = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?: (\d{1,2}):(\d{1,2})(?: (\S.*))?)?", re.ASCII)
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])(\d{1,2}):?(\d{2})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PART_DIGITS_MAX = 9  # longer numbers do not fit Java's int, where they are refused too

# The abbreviations clients write; every other name is looked up as a zone of the time zone database.
_ABBREVIATIONS_HOURS = {
    "UTC": 0, "GMT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6,
    "PST": -8, "PDT": -7, "CET": 1, "CEST": 2, "BST": 1, "IST": 5.5, "JST": 9,
}  # fmt: skip


def parse_duration_seconds(text: str) -> int:
    """Read `1 day 2 hours 3 minutes 4 seconds`, in this order, each part optional, short forms allowed.

    Raises:
        ValueError: `Not valid duration: <text>`, the wording clients compare.
    """
    match = _DURATION.fullmatch(text)
    if match is None or any(part is not None and len(part) > _PART_DIGITS_MAX for part in match.groups()):
        msg = f"Not valid duration: {text}"
        raise ValueError(msg)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_until_ms(text: str, *, zone: tzinfo, find_zone: Callable[[str], tzinfo | None]) -> int:
    """Read `yyyy-MM-dd`, `yyyy-MM-dd HH:mm` or `yyyy-MM-dd HH:mm <zone>` as Unix milliseconds.

    Args:
        text: what the author wrote; day 31 of a shorter month rolls over.
        zone: the server's zone, for texts that name none.
        find_zone: looks a zone name such as `Europe/Berlin` up; None when there is none.

    Raises:
        ValueError: the text has none of the forms, or its zone is unknown.
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        msg = f"Unable to parse date {text}"
        raise ValueError(msg)
    year, month, day, hour, minute = (int(part or 0) for part in match.groups()[:5])
    named = match.group(6)
    found = _zone(named.strip(), find_zone) if named else zone
    if found is None or year == 0 or not 1 <= month <= 12 or not 1 <= day <= 31 or hour > 23 or minute > 59:
        msg = f"Unable to parse date {text}"
        raise ValueError(msg)
    moment = datetime(year, month, 1, tzinfo=found) + timedelta(days=day - 1, hours=hour, minutes=minute)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _zone(name: str, find_zone: Callable[[str], tzinfo | None]) -> tzinfo | None:
    hours = _ABBREVIATIONS_HOURS.get(name.upper())
    if hours is not None:
        return timezone(timedelta(hours=hours))
    offset = _OFFSET.fullmatch(name)
    if offset is None:
        return find_zone(name)
    sign, offset_hours, minutes = offset.groups()
    span = timedelta(hours=int(offset_hours), minutes=int(minutes))
    return timezone(span if sign == "+" else -span) if span < timedelta(hours=24) else None
