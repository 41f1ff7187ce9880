r"""What programs write into a line: JSON objects, and colours. Pure; the text is anybody's.

A message that is one JSON object is shown as its level, its message and its other fields. A colour sequence
(ESC [ … m) becomes a tone; nothing else that a terminal would obey is obeyed, here or anywhere.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from fleettui.console.text.cells import Tone, tone_of_codes
from fleettui.escape import escape
from fleettui.journal_entry import DEFAULT_PRIORITY, JournalEntry

MAX_JSON = 32_000  # characters of an object that is taken apart
MAX_DEPTH = 8
MAX_FIELDS = 500
SGR = re.compile(r"\x1b\[([0-9;:]{0,64})m")
_MESSAGES = ("msg", "message", "MESSAGE", "event", "text")
_LEVELS = ("level", "lvl", "severity", "levelname", "log.level", "priority", "PRIORITY")
_TIMES = ("time", "ts", "timestamp", "@timestamp", "asctime", "date")  # the journal's own stands before the line
_WORDS = {
    "emerg": 0, "emergency": 0, "panic": 0, "alert": 1, "fatal": 2, "critical": 2, "crit": 2, "dpanic": 2,
    "error": 3, "err": 3, "warning": 4, "warn": 4, "notice": 5, "info": 6, "information": 6, "debug": 7, "trace": 7,
    "verbose": 7, "e": 3, "w": 4, "i": 6, "d": 7, "f": 2,
}  # fmt: skip
_BUNYAN = {60: 2, 50: 3, 40: 4, 30: 6, 20: 7, 10: 7}


@dataclass(frozen=True, slots=True)
class Structured:
    """A message that was one JSON object: `fields` are all others, by dotted name, as text."""

    message: str
    priority: int | None
    fields: Mapping[str, str]
    everything: Mapping[str, str]


@lru_cache(1024)
def structured(message: str) -> Structured | None:
    """The message taken apart; None for one that is no JSON object."""
    if not message.startswith("{") or not message.rstrip().endswith("}") or len(message) > MAX_JSON:
        return None
    try:
        data = json.loads(message)
        everything = _bounded(leaves(data, "", 0)) if isinstance(data, dict) else {}
    except (ValueError, RecursionError):
        return None
    if not everything:
        return None
    said = next((name for name in _MESSAGES if name in everything), "")
    level = next((name for name in _LEVELS if priority_of(everything.get(name, "")) is not None), "")
    hidden = {said, level, *_TIMES}
    return Structured(
        everything.get(said, ""), priority_of(everything.get(level, "")),
        {name: value for name, value in everything.items() if name not in hidden}, everything,
    )  # fmt: skip


def _bounded(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first of them, as many as are kept: their dotted names repeat those around them, and may be long."""
    everything: dict[str, str] = {}
    size = 0
    for name, value in found:
        size += len(name) + len(value)
        if len(everything) >= MAX_FIELDS or size > 2 * MAX_JSON:
            break
        everything[name] = value
    return everything


def leaves(value: object, name: str, depth: int) -> Iterator[tuple[str, str]]:
    """What an object holds, by dotted names; what is nested too deeply, as JSON."""
    if isinstance(value, dict) and value and depth < MAX_DEPTH:
        for key, each in value.items():
            yield from leaves(each, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, str):
        yield name, value
    else:
        yield name, json.dumps(value, ensure_ascii=False)


def priority_of(text: str) -> int | None:
    """The journal's number for a level as programs write it: words, or the numbers of syslog, bunyan and pino."""
    if text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
        return number if number <= 7 else _BUNYAN.get(number)  # 0 to 7 are syslog's
    return _WORDS.get(text.lower())


def levelled(entry: JournalEntry) -> JournalEntry:
    """The entry as urgent as its JSON says, where journald does not know better."""
    if entry.message[:1] == "{" and entry.priority == DEFAULT_PRIORITY:
        found = structured(entry.message)
        if found and found.priority is not None and found.priority != entry.priority:
            return replace(entry, priority=found.priority)
    return entry


# Colours


def plain(message: str) -> str:
    """The message without its colours, to search in, copy and save."""
    return SGR.sub("", message) if "\x1b" in message else message


Spans = list[tuple[int, Tone | None]]  # where a tone ends, and the tone; None: the line's own


def coloured(message: str) -> tuple[str, Spans]:
    """The message, escaped, with its colours as tones."""
    if "\x1b" not in message:
        return escape(message, lines=True), []
    parts, spans, tone, length = [], Spans(), None, 0
    for index, part in enumerate(SGR.split(message)):
        if index % 2:
            found = tone_of_codes(part)
            tone = None if found is Tone.PLAIN else found
        elif part:
            parts.append(escape(part, lines=True))
            length += len(parts[-1])
            spans.append((length, tone))
    return "".join(parts), spans


# Fields in filters

_FIELD = re.compile(r"([A-Za-z_@][\w.@-]*)(>=|<=|!=|=|>|<)(\S+)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """A word such as `user=42`, `status>=500`, `path!=/healthz`: of a field of a JSON line, or of `name=value`."""

    name: str
    sign: str
    value: str

    def holds(self, message: str) -> bool:
        """Whether the line has such a field. Of a line that has none of that name nothing holds."""
        found = structured(message)
        if found:
            values = [value for name, value in found.everything.items() if self._means(name)]
        else:
            pattern = rf"(?<![\w.-]){re.escape(self.name)}=(?:\"([^\"]*)\"|(\S*))"
            values = [quoted or bare for quoted, bare in re.findall(pattern, message)]
        return any(map(self._fits, values))

    def _means(self, name: str) -> bool:
        return name == self.name or name.endswith(f".{self.name}")

    def _fits(self, value: str) -> bool:
        if self.sign in ("=", "!="):
            return (value.lower() == self.value.lower()) is (self.sign == "=")
        if not (_NUMBER.fullmatch(value) and _NUMBER.fullmatch(self.value)):
            return False
        return _COMPARE[self.sign](float(value[:32]), float(self.value[:32]))


def field_term(word: str) -> FieldTerm | None:
    """The word as a field's; None for any other word."""
    found = _FIELD.fullmatch(word)
    return FieldTerm(*found.groups()) if found else None
