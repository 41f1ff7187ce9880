"""What each key of the configuration may hold: a rule takes a value as TOML has it, and returns it or refuses it.

Pure: a rule raises ValueError with one line that can be shown, whatever it was given. It opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite

from registry.errors import UserError
from registry.etcd.endpoint import base_url
from registry.units.name import shown

Rule = Callable[[object], object]

MOST_TEXT = 4096  # characters, as in a path
MOST_ENTRIES = 1000  # of a list or a table
DAY_S = 86_400.0

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(ms|s|m|h)?")
_HOST = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.:%-]{0,251}[0-9A-Za-z_.])?|::[0-9A-Fa-f:.]*")
_USER = re.compile(r"[^-\s@][^\s@]{0,255}")


def parse_duration(value: object) -> float:
    """Seconds from a number or from text such as "10s", "500ms", "2m". Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError("not a duration")  # noqa: TRY004 - callers map ValueError alone
    if isinstance(value, (int, float)):
        return _finite(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError("not a duration")
    return _finite(float(match[1]) * _UNITS_S[match[2]])


def _finite(value: float) -> float:
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError("not a duration") from None
    if not isfinite(seconds):
        raise ValueError("not a duration")
    return seconds


def seconds(least_s: float, most_s: float = DAY_S) -> Rule:
    """A duration within these bounds, in seconds."""

    def rule(value: object) -> float:
        try:
            found_s = parse_duration(value)
        except ValueError:
            raise ValueError(f'expected a duration such as "10s", not {quoted(value)}') from None
        if not least_s <= found_s <= most_s:
            bound = f"at least {least_s:g}s" if found_s < least_s else f"at most {most_s:g}s"
            raise ValueError(f"must be {bound}, not {quoted(value)}")
        return found_s

    return rule


def whole(least: int, most: int) -> Rule:
    """A whole number within these bounds."""

    def rule(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"expected a whole number, not {quoted(value)}")  # noqa: TRY004
        if not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {quoted(value)}")
        return value

    return rule


def switch(value: object) -> bool:
    """True or false, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, not {quoted(value)}")  # noqa: TRY004
    return value


def text(value: object) -> str:
    """A line of text without control characters."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text, not {quoted(value)}")  # noqa: TRY004
    if len(value) > MOST_TEXT:
        raise ValueError(f"{len(value)} characters are too many, {MOST_TEXT} may be; it begins {quoted(value)}")
    if any("\ud800" <= each <= "\udfff" for each in value):
        raise ValueError(f"{quoted(value)} is not UTF-8 text")
    if any(not each.isprintable() and each != "\N{NO-BREAK SPACE}" for each in value):
        raise ValueError(f"{quoted(value)} holds a control character; take it out")
    return value


def choice(*words: str) -> Rule:
    """One of these words."""

    def rule(value: object) -> str:
        if text(value) not in words:
            raise ValueError(f"expected one of {', '.join(words)}, not {quoted(value)}")
        return text(value)

    return rule


def texts(value: object) -> tuple[str, ...]:
    """A list of texts, with at least one in it."""
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(each, str) for each in value):
        raise ValueError('expected a list of texts such as ["a", "b"]')
    if len(value) > MOST_ENTRIES:
        raise ValueError(f"{len(value)} entries are too many, {MOST_ENTRIES} may be")
    return tuple(map(text, value))


def endpoints(value: object) -> tuple[str, ...]:
    """Endpoints of etcd, each such that it can be dialled."""
    found = texts(value)
    for each in found:
        try:
            base_url(each)
        except UserError as error:
            raise ValueError(str(error)) from None
    return found


def prefix(value: object) -> str:
    """Where a fleet's keys lie: parts between slashes, at least one."""
    found = text(value)
    parts = found.strip("/").split("/")
    if not all(parts) or not {".", ".."}.isdisjoint(parts) or any(each.isspace() for each in found):
        raise ValueError(f"{quoted(value)} is no prefix of keys; write it like /fleet/")
    return found


def pairs(value: object) -> Mapping[str, str]:
    """A table of texts."""
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError('expected a table of texts such as { region = "eu" }')
    if len(value) > MOST_ENTRIES:
        raise ValueError(f"{len(value)} entries are too many, {MOST_ENTRIES} may be")
    return {text(name): text(each) for name, each in value.items()}


def metadata(value: object) -> Mapping[str, str]:
    """Metadata of a machine, such as units may ask for."""
    from registry.units.options import metadata_pair  # noqa: PLC0415 - few configurations have any

    found = pairs(value)
    for name, each in found.items():
        try:
            metadata_pair(f"{name}={each}")
        except UserError as error:
            raise ValueError(str(error)) from None
    return found


def machine_id(value: object) -> str:
    """A machine's id, as in /etc/machine-id; empty for that one."""
    found = text(value)
    if found and not re.fullmatch(r"[0-9A-Fa-f]{32}", found):
        raise ValueError(f"{quoted(value)} is not 32 hex digits; see /etc/machine-id")
    return found


def host(value: object) -> str:
    """An address or a host name; empty for none."""
    found = text(value)
    if found and not _HOST.fullmatch(found):
        raise ValueError(f"{quoted(value)} is no address and no host name")
    return found


def user(value: object) -> str:
    """A user's name that no command takes for an option; empty for none."""
    found = text(value)
    if found and not _USER.fullmatch(found):
        raise ValueError(f"{quoted(value)} is no name of a user")
    return found


def directory(value: object) -> str:
    """An absolute path; empty for none."""
    found = text(value)
    if found and not found.startswith("/"):
        raise ValueError(f"{quoted(value)} is no absolute path; begin it with /")
    return found


def text_for_people(text: str) -> str:
    """A path or a message as one line that harms no terminal."""
    return text if text.isprintable() and len(text) <= MOST_TEXT else shown(text, 300)


def quoted(value: object) -> str:
    """Any value that TOML or a variable may hold, for a message of one line."""
    if isinstance(value, str):
        return shown(value)
    try:
        line = repr(value)
    except RecursionError:
        return "a value nested too deeply"
    except ValueError:  # Python writes out no number of more than 4,300 digits
        return "a number of thousands of digits"
    return line if len(line) <= 60 else f"{line[:57]}..."
