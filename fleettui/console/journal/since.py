"""Moments as people write them: "-1h", "10:30", "today", "2026-11-23 10:00". Pure: the time is an argument."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from registry.errors import UserError

_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400,
          "days": 86400, "w": 604800, "week": 604800, "weeks": 604800}  # fmt: skip
_AGO = re.compile(r"-?\s*((?:\d+\s*[a-z]+\s*)+?)(?:ago)?")
_PART = re.compile(r"(\d+)\s*([a-z]+)")
_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_CLOCKS = ("%H:%M:%S", "%H:%M")
REMEDY = "write -1h, 20min, 10:30, today, yesterday or 2026-11-23 10:00"


def parse_since(text: str, now: datetime) -> float:
    """Seconds since the epoch. `now` carries the reader's zone. UserError for what is no moment, or is to come."""
    text = " ".join(text.lower().split())
    found = _word(text, now) or _ago(text, now) or _clock(text, now) or _date(text, now)
    if found is None:
        raise UserError(f"no moment: {text}; {REMEDY}")
    if found > now:
        raise UserError(f"{text} is yet to come; {REMEDY}")
    return found.timestamp()


def _word(text: str, now: datetime) -> datetime | None:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return {"today": midnight, "yesterday": midnight - timedelta(days=1)}.get(text)


def _ago(text: str, now: datetime) -> datetime | None:
    match = _AGO.fullmatch(text)
    if match is None:
        return None
    parts = _PART.findall(match[1])
    if any(unit not in _UNITS for _, unit in parts):
        return None
    try:
        return now - timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
    except (OverflowError, ValueError):  # more digits than Python reads
        return None


def _clock(text: str, now: datetime) -> datetime | None:
    """The last time that clocks showed this: yesterday's, where today's is yet to come."""
    for form in _CLOCKS:
        time = _read(text, form)
        if time:
            found = now.replace(hour=time.hour, minute=time.minute, second=time.second, microsecond=0)
            return found if found <= now else found - timedelta(days=1)
    return None


def _date(text: str, now: datetime) -> datetime | None:
    for form in _FORMS:
        found = _read(text.upper(), form)
        if found:
            return found.replace(tzinfo=now.tzinfo)
    return None


def _read(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - the caller adds the zone
    except ValueError:
        return None
