"""Rules for the values of the configuration.

Pure: a rule raises ValueError with one line that can be shown, whatever it was given. It opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite

from registry.errors import UserError
from registry.etcd.endpoint import base_url
from registry.frozen import dataclass
from registry.patterns import pattern
from registry.units.name import shown

MOST_TEXT = 4096  # characters, as in a path
MOST_ENTRIES = 1000  # of a list or a table
DAY_S = 86_400.0

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_DURATION = pattern(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(ms|s|m|h)?")
_HOST = r"[0-9A-Za-z_](?:[0-9A-Za-z_.:%-]{0,251}[0-9A-Za-z_.])?|::[0-9A-Fa-f:.]*"
_USER = r"[^-\s@][^\s@]{0,255}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a key may hold.

    `expects` names it in a few words. `check` takes a value as TOML has it and returns the one to use; it raises
    ValueError. `from_text` makes of a variable's or a flag's text what TOML would hold.
    """

    expects: str
    check: Callable[[object], object]
    from_text: Callable[[str], object] = str


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

    def check(value: object) -> float:
        try:
            found_s = parse_duration(value)
        except ValueError:
            raise ValueError(f'expected a duration such as "10s", not {quoted(value)}') from None
        if not least_s <= found_s <= most_s:
            bound = f"at least {least_s:g}s" if found_s < least_s else f"at most {most_s:g}s"
            raise ValueError(f"must be {bound}, not {quoted(value)}")
        return found_s

    return Rule(f"duration, {least_s:g}s to {most_s / 3600:g}h", check)


def whole(least: int, most: int) -> Rule:
    """A whole number within these bounds."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"expected a whole number, not {quoted(value)}")  # noqa: TRY004
        if not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {quoted(value)}")
        return value

    def from_text(text: str) -> object:
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text

    return Rule(f"whole number, {least} to {most}", check, from_text)


def choice(*words: str) -> Rule:
    """One of these words."""

    def check(value: object) -> str:
        found = _line(value)
        if found not in words:
            raise ValueError(f"expected one of {', '.join(words)}, not {quoted(value)}")
        return found

    return Rule(" or ".join(f'"{word}"' for word in words), check)


def _switch(value: object) -> bool:
    """True or false, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, not {quoted(value)}")  # noqa: TRY004
    return value


def _switch_of(text: str) -> object:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)


def _line(value: object) -> str:
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


def _lines(value: object) -> tuple[str, ...]:
    """A list of texts, with at least one in it."""
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(each, str) for each in value):
        raise ValueError('expected a list of texts such as ["a", "b"]')
    if len(value) > MOST_ENTRIES:
        raise ValueError(f"{len(value)} entries are too many, {MOST_ENTRIES} may be")
    return tuple(map(_line, value))


def _lines_of(text: str) -> object:
    return [each.strip() for each in text.split(",") if each.strip()]


def _endpoints(value: object) -> tuple[str, ...]:
    """Endpoints of etcd, each such that it can be dialled."""
    found = _lines(value)
    for each in found:
        try:
            base_url(each)
        except UserError as error:
            raise ValueError(str(error)) from None
    return found


def _prefix(value: object) -> str:
    """Where a fleet's keys lie: parts between slashes, at least one."""
    found = _line(value)
    parts = found.strip("/").split("/")
    if not all(parts) or not {".", ".."}.isdisjoint(parts) or any(each.isspace() for each in found):
        raise ValueError(f"{quoted(value)} is no prefix of keys; write it like /fleet/")
    return found


def _pairs(value: object) -> Mapping[str, str]:
    """A table of texts."""
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError('expected a table of texts such as { region = "eu" }')
    if len(value) > MOST_ENTRIES:
        raise ValueError(f"{len(value)} entries are too many, {MOST_ENTRIES} may be")
    return {_line(name): _line(each) for name, each in value.items()}


COMMAND_NAME = pattern(r"[a-z][a-z0-9-]{0,31}")
OF_COMMAND: dict[str, type] = {"run": str, "key": str, "confirm": bool, "on": str}


def _commands(value: object) -> Mapping[str, Mapping[str, object]]:
    """Commands of the operator's own, a table each."""
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise ValueError('expected a table for each command: [console.commands.NAME], run = "uptime"')
    if len(value) > MOST_ENTRIES:
        raise ValueError(f"{len(value)} commands are too many, {MOST_ENTRIES} may be")
    for name, entry in value.items():
        if not COMMAND_NAME.fullmatch(name):
            raise ValueError(f"{shown(name, 40)}: a name is up to 32 lower-case letters, digits and hyphens")
        if fault := fault_of_command(entry):
            raise ValueError(f"{name}: {fault}")
    return value


def fault_of_command(entry: Mapping[str, object]) -> str:
    """What is wrong with a command of the operator's own; "" when nothing is."""
    for key, value in entry.items():
        if key not in OF_COMMAND:
            return f"unknown {shown(key, 40)}; it takes {', '.join(OF_COMMAND)}"
        if not isinstance(value, OF_COMMAND[key]):
            return f"{key} is a {'text' if OF_COMMAND[key] is str else 'true or false'}"
        if isinstance(value, str) and not value.isprintable():
            return f"{key} is no printable line"
    try:
        import shlex  # noqa: PLC0415 - only where the operator has commands of his own

        words = shlex.split(str(entry.get("run", "")))
    except ValueError:
        return "a quote of run is not closed"
    if not words:
        return 'run is missing, such as run = "systemctl status $UNIT"'
    return "" if entry.get("on", "machine") in ("machine", "here") else 'on is "machine" (by SSH) or "here"'


def _pairs_of(text: str) -> object:
    pairs = (each.partition("=") for each in text.split(",") if each.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _metadata(value: object) -> Mapping[str, str]:
    """Metadata of a machine, such as units may ask for."""
    from registry.units.options import metadata_pair  # noqa: PLC0415 - few configurations have any

    found = _pairs(value)
    for name, each in found.items():
        try:
            metadata_pair(f"{name}={each}")
        except UserError as error:
            raise ValueError(str(error)) from None
    return found


def _matching(pattern: str, complaint: str) -> Callable[[object], str]:
    """A line that this pattern matches, or an empty one."""

    def check(value: object) -> str:
        found = _line(value)
        if found and not re.fullmatch(pattern, found):
            raise ValueError(f"{quoted(value)} {complaint}")
        return found

    return check


def listen_address(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT, [IPv6]:PORT or :PORT (every address). ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("write an IPv6 address in brackets: [::1]:9465")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or (host and not re.fullmatch(_HOST, host)):
        raise ValueError("expected HOST:PORT such as 127.0.0.1:9465")
    if not 1 <= int(port) <= 65534:  # the scheduler takes the next one
        raise ValueError("the port must be from 1 to 65534")
    return host, int(port)


def _listen(value: object) -> str:
    found = _line(value)
    if found:
        try:
            listen_address(found)
        except ValueError as error:
            raise ValueError(f"{error}, not {quoted(value)}") from None
    return found


text = Rule("text", _line)
listen = Rule("HOST:PORT", _listen)
file = Rule("path of a file", _line)
switch = Rule("true or false", _switch, _switch_of)
texts = Rule("list of texts", _lines, _lines_of)
files = Rule("list of paths", _lines, _lines_of)
pairs = Rule("table of texts", _pairs, _pairs_of)
commands = Rule("table of tables", _commands)
endpoints = Rule("list of URLs or HOST[:PORT]", _endpoints, _lines_of)
prefix = Rule("path of keys", _prefix)
metadata = Rule("table of texts", _metadata, _pairs_of)
machine_id = Rule("32 hex digits", _matching("[0-9A-Fa-f]{32}", "is not 32 hex digits; see /etc/machine-id"))
host = Rule(
    "address or host name", _matching(_HOST, "is no address and no host name; names have letters, digits and . _ -")
)
user = Rule("name of a user", _matching(_USER, "is no name of a user; leave out blanks, @ and a - in front"))
directory = Rule("absolute path", _matching("/.*", "is no absolute path; begin it with /"))


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
