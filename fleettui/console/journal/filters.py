r"""What of the journal is shown: patterns, include and exclude, priority, and moments as people write them. Pure.

A pattern is words, or a regular expression where the text holds signs of one. Lower case finds either case; a
capital letter makes it exact. "." and "-" alone make no expression, so that addresses and names are what they look
like. `^` and `$` mean a line's ends. Lines are hostile: see `text/expressions`. A word such as `user=42` is also
about a field of that name, in a line that is JSON or has it as it stands; `status>=500` means fields alone.

An include needs all its words, an exclude any of them. What the reader says about the stream is always shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fleettui.console.journal.messages import field_term, plain
from fleettui.console.journal.sources import Item, Remark
from fleettui.console.text.expressions import Expression, Plain, expression, pcre, read
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


Test = Callable[[str], object]


def words(text: str) -> tuple[Test, ...]:
    """A test for each word; a regular expression is one, spaces and all. UserError as `compiled`."""
    return tuple(finds(word) for word in ([text] if is_expression(text) else text.split()))


def finds(text: str) -> Test:
    """Whether a line holds this text, expression or field. UserError as `compiled`."""
    pattern = compiled(text)
    term = None if is_expression(text) else field_term(text)
    if term is None:
        return pattern.search
    search = pattern.search if term.sign == "=" else (lambda _line: None)
    return lambda line: term.holds(line.partition("\n")[0]) or search(line)


def for_journalctl(text: str) -> tuple[str, bool]:
    """An expression for `journalctl --grep` that finds all messages that `finds` finds, and whether capitals count.

    It may find more. UserError as `compiled`.
    """
    compiled(text)
    exact = any(letter.isupper() for letter in text)
    if is_expression(text):
        return "(?m)" + pcre(read(text)), exact
    term = field_term(text)
    if term and not (term.sign == "=" and term.value.isascii() and term.value.isalnum()):
        return pcre(read(re.escape(term.name.rpartition(".")[2]))), exact
    return pcre(read(re.escape(term.value if term else text))), exact and not term


def searched(entry: JournalEntry) -> str:
    """What is searched of an entry: the message, and who said it where."""
    message = entry.message
    if "\x1b" in message:
        message = plain(message)
    return f"{message}\n{entry.hostname} {entry.unit} {entry.identifier}"


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
        wanted, unwanted = words(self.include), words(self.exclude)
        most = self.priority

        def by_text(entry: JournalEntry) -> bool:
            text = searched(entry)
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


_UNITS = {
    **dict.fromkeys(("us", "usec", "µs"), 0.000001), **dict.fromkeys(("ms", "msec"), 0.001),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1), **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600), **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "week", "weeks"), 604800), **dict.fromkeys(("month", "months"), 2629800),
    **dict.fromkeys(("y", "year", "years"), 31557600),
}  # fmt: skip
_AGO = re.compile(r"-?\s*((?:\d+(?:\.\d+)?\s*[a-zµ]+\s*)+?)(?:ago)?")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)")
_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_CLOCKS = ("%H:%M:%S", "%H:%M")
REMEDY = "write -1h, 10 minutes ago, 10:30, 10:30..10:40, today, yesterday or 2026-11-23 10:00"


def parse_period(text: str, now: datetime) -> tuple[float | None, float | None]:
    """Beginning and end in seconds since the epoch, from `10:30`, `10:30..10:40`, `..10:40`; None: open.

    `now` carries the reader's zone. UserError for what is no moment, or yet to come.
    """
    begin, dots, end = text.partition("..")
    since = parse_since(begin, now) if begin.strip() or not dots else None
    if not end.strip():
        if dots and since is None:
            raise UserError(f"no moment: {text}; {REMEDY}")
        return since, None
    until = parse_since(end, now)
    if since is not None and until <= since:
        raise UserError(f"{text} ends before it begins; {REMEDY}")
    return since, until


def parse_since(text: str, now: datetime) -> float:
    """Seconds since the epoch, from the words of journalctl. UserError for no moment, or one in the future."""
    text = " ".join(re.sub(r"(\d)\s*M\b", r"\1 month", text).lower().split())
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
    if re.fullmatch(r"@\d{1,10}(\.\d{1,6})?", text):
        found = datetime.fromtimestamp(float(text[1:]), now.tzinfo)
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
        return now.astimezone(UTC) - timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
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
