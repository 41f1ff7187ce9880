r"""What of the journal is shown: patterns, include and exclude, priority, and moments as people write them. Pure.

A pattern is words, or a regular expression where the text holds signs of one. Lower case finds either case; a
capital letter makes it exact. "." and "-" alone make no expression, so that addresses and names are what they look
like. `^` and `$` mean a line's ends. Lines are hostile: see `text/expressions`.

An include needs all its words, an exclude any of them. What the reader says about the stream is always shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fleettui.console.journal.sources import Item, Remark
from fleettui.console.text.expressions import Expression, Plain, expression
from fleettui.journal_entry import JournalEntry
from registry.errors import UserError

_SIGNS = frozenset("\\*+?()[]{}|^$")
Pattern = Expression


def is_expression(text: str) -> bool:
    """Whether the text is taken as a regular expression."""
    return not _SIGNS.isdisjoint(text)


def compiled(text: str) -> Pattern:
    """The text as one pattern. UserError for what is no valid expression."""
    flags = re.MULTILINE | (0 if any(letter.isupper() for letter in text) else re.IGNORECASE)
    try:
        return expression(text, flags) if is_expression(text) else Plain(re.compile(re.escape(text), flags))
    except re.error as error:
        where = f" at {error.pos + 1}" if error.pos is not None else ""
        fault = error.msg.partition(",")[0] + where
    except (OverflowError, RecursionError):
        fault = "too large"
    raise UserError(f"not an expression: {fault}; write \\ before plain signs")


def words(text: str) -> tuple[Pattern, ...]:
    """A pattern for each word; a regular expression is one, spaces and all. UserError as `compiled`."""
    return tuple(compiled(word) for word in ([text] if is_expression(text) else text.split()))


def finds(pattern: Pattern) -> Callable[[JournalEntry], bool]:
    """Whether an entry holds the pattern: in the message, or in who said it where."""
    search = pattern.search
    return lambda entry: search(f"{entry.message}\n{entry.hostname} {entry.unit} {entry.identifier}") is not None


ALL_PRIORITIES = 7
PRIORITIES = ("emergencies", "alerts", "critical", "errors", "warnings", "notices", "info", "everything")
STEPS = (ALL_PRIORITIES, 5, 4, 3, 2)  # what the priority key goes through


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What is shown. `priority` is the least urgent that is (0 emergencies to 7 debug)."""

    include: str = ""
    exclude: str = ""
    priority: int = ALL_PRIORITIES

    def admits(self) -> Callable[[Item], bool]:
        """Return the test whether an item is shown. UserError for what is no valid expression."""
        wanted = [each.search for each in words(self.include)]
        unwanted = [each.search for each in words(self.exclude)]
        most = self.priority

        def by_text(entry: JournalEntry) -> bool:
            text = f"{entry.message}\n{entry.hostname} {entry.unit} {entry.identifier}"
            return all(search(text) for search in wanted) and not any(search(text) for search in unwanted)

        if not wanted and not unwanted:
            if most >= ALL_PRIORITIES:
                return lambda item: True  # noqa: ARG005
            return lambda item: type(item) is Remark or item.priority <= most  # type: ignore[union-attr]
        return lambda item: type(item) is Remark or (item.priority <= most and by_text(item))  # type: ignore[union-attr,arg-type]

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude or self.priority < ALL_PRIORITIES)


EVERYTHING = Narrowing()


def next_priority(current: int) -> int:
    """The next step: everything, notices, warnings, errors, critical, everything."""
    return STEPS[(STEPS.index(current) + 1) % len(STEPS)] if current in STEPS else ALL_PRIORITIES


def priority_text(priority: int) -> str:
    """ "errors and worse"."""
    return PRIORITIES[priority] + (" and worse" if 0 < priority < ALL_PRIORITIES else "")


_UNITS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60, "h": 3600,
          "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400, "w": 604800, "week": 604800,
          "weeks": 604800}  # fmt: skip
_AGO = re.compile(r"-?\s*((?:\d+\s*[a-z]+\s*)+?)(?:ago)?")
_PART = re.compile(r"(\d+)\s*([a-z]+)")
_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_CLOCKS = ("%H:%M:%S", "%H:%M")
REMEDY = "write -1h, 20min, 10:30, today, yesterday or 2026-11-23 10:00"


def parse_since(text: str, now: datetime) -> float:
    """Seconds since the epoch; `now` carries the reader's zone. UserError for no moment, or one in the future."""
    text = " ".join(text.lower().split())
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"today": midnight, "yesterday": midnight - timedelta(days=1)}
    word, _, rest = text.partition(" ")
    day = days.get(word)
    if day is not None and (time := next((time for form in _CLOCKS if (time := _read(rest, form))), None)):
        day = day.replace(hour=time.hour, minute=time.minute, second=time.second)
    elif rest:
        day = None
    dates = (date.replace(tzinfo=now.tzinfo) for form in _FORMS if (date := _read(text.upper(), form)))
    found = day or (now if text == "now" else None) or _ago(text, now) or _clock(text, now) or next(dates, None)
    if found is None:
        with suppress(ValueError):  # with a zone of its own
            read = datetime.fromisoformat(text.upper())
            found = read if read.tzinfo else None
    if found is None:
        raise UserError(f"no moment: {text}; {REMEDY}")
    if found > now:
        raise UserError(f"{text} is yet to come; {REMEDY}")
    return found.timestamp()


def _ago(text: str, now: datetime) -> datetime | None:
    match = _AGO.fullmatch(text)
    if match is None:
        return None
    parts = _PART.findall(match[1])
    if any(unit not in _UNITS for _, unit in parts):
        return None
    try:
        return now.astimezone(UTC) - timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
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


def _read(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - the caller adds the zone
    except ValueError:
        return None
