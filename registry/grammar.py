"""What the registry's values may say: the grammar of every name, number and text in a record or a key.

Owns the rules and the types that `model` annotates its fields with; `records` and `keys` apply them to all that is
read and written. Who may write to the registry may write anything, so a value is either one that every program can
show, compare and calculate with, or it is refused with a reason. Text in which something is said (a reason, an
error) is mended instead: what no terminal or encoder could carry is replaced, and its length is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, NamedTuple

from registry.patterns import pattern
from registry.units.name import refusal, shown

MAX_COUNT = 2**63 - 1
"""The largest whole number: what etcd, systemd and JSON readers of other languages hold."""

MAX_TIME = 253_370_764_800.0
"""Seconds since the epoch up to the year 9999, which every clock and calendar here can show in any time zone."""

MAX_TEXT = 64 * 1024
"""Characters of a text that says something; what is longer is cut."""

MAX_LINE = 256
"""Characters of a short text: who did something, a version, a word of systemd's."""

MAX_NESTING = 16
"""How deep a field that we do not know may be nested."""

MAX_ENTRIES = 100_000
"""Entries of a list whose field names no bound."""

UNPRINTABLE = pattern("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, line separators, marks that reorder what stands beside them, and halves of characters."""

_LONE = pattern("[\ud800-\udfff]")
_TOKEN = pattern(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_LETTERS = "letters, digits and . _ -"  # what the names below are made of, in the words of messages
_HASH = pattern(r"[0-9a-f]{64}")
_CRASH = pattern(r"([0-9]{13})-(.+)", re.DOTALL)
_HOST = pattern(r"[0-9A-Za-z_](?:[0-9A-Za-z_.-]{0,251}[0-9A-Za-z_.])?")
_WRITER = pattern(r"[0-9A-Za-z_][0-9A-Za-z._@-]{0,127}")
_ZONE = pattern(r"[0-9A-Za-z_.-]{1,32}")
_HOST_KEY = pattern(r"[a-z0-9][a-z0-9@.-]{0,63} [0-9A-Za-z+/]{16,16384}={0,2}")


class Words(NamedTuple):
    """The rule of a text. `read` returns it, mended if that is allowed, or raises ValueError.

    `shared`: many records say the same, so it is read once and kept once.
    """

    read: Callable[[str], str]
    shared: bool = True


class Range(NamedTuple):
    """The rule of a number: its least and its largest value."""

    low: float
    high: float


class AtMost(NamedTuple):
    """The rule of a list: how many entries it may have."""

    entries: int


def unit_name(text: str) -> str:
    """A complete unit name, as systemd allows it."""
    if found := refusal(text):
        raise ValueError(found[0])
    return text


def token(text: str) -> str:
    """An id: letters, digits and . _ - after a letter or a digit."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{shown(text)} is no id; use {_LETTERS} after a letter or a digit, at most 128 in all")
    return text


def writer(text: str) -> str:
    """Who writes: a user of the registry, or user@host."""
    if not _WRITER.fullmatch(text):
        raise ValueError(f"{shown(text)} is no user and no user@host; use {_LETTERS} and @, none of . @ - in front")
    return text


def writer_of(user: str, otherwise: str) -> str:
    """As whom a program writes: its user in the registry, or where there are no users what it calls itself."""
    return re.sub(r"[^0-9A-Za-z._@-]+", "-", (user or otherwise)[:128]).lstrip("-.@") or "nobody"


def sha256_hex(text: str) -> str:
    """A SHA-256 as 64 hex digits."""
    if not _HASH.fullmatch(text):
        raise ValueError(f"{shown(text)} is no SHA-256 of 64 hex digits")
    return text


def crash_id(text: str) -> str:
    """When a unit failed, in milliseconds since 1970 as 13 digits, and its name: "1790000000000-web@1.service"."""
    found = _CRASH.fullmatch(text)
    if found is None:
        raise ValueError(f"{shown(text)} is no time with a unit")
    unit_name(found[2])
    return text


def host(text: str) -> str:
    """A host name or an address; never something that a command could take for an option."""
    if _HOST.fullmatch(text) or _is_ipv6(text):
        return text
    raise ValueError(f"{shown(text)} is no host name and no address; names have {_LETTERS}")


def _is_ipv6(text: str) -> bool:
    address, percent, zone = text.partition("%")
    if len(address) > 45 or (percent and not _ZONE.fullmatch(zone)):
        return False
    from ipaddress import IPv6Address  # noqa: PLC0415 - seldom needed

    try:
        IPv6Address(address)
    except ValueError:
        return False
    return True


def host_of(name: str) -> str:
    """This host's name, as `host` allows it: what a kernel takes for one is no more than a text."""
    return re.sub(r"[^0-9A-Za-z_.-]+", "-", name[:253]).strip("-.") or "localhost"


def host_key(text: str) -> str:
    """A host's public key on one line: its type and its base64, as OpenSSH writes them."""
    if not _HOST_KEY.fullmatch(text):
        raise ValueError(f"{shown(text)} is no public key of OpenSSH's")
    return text


def label(text: str) -> str:
    """A name or a value that people choose: any printable text of one line."""
    if len(text) > MAX_LINE:
        raise ValueError(f"{shown(text)} has {len(text)} characters, more than {MAX_LINE}")
    if not text.isprintable() and (found := UNPRINTABLE.search(text)):
        raise ValueError(f"{shown(text)} contains {found[0]!r}")
    return text


def line(text: str) -> str:
    """A short text of one line; what cannot be shown in one is replaced, and it is cut at MAX_LINE."""
    cut = text[:MAX_LINE]
    return cut if cut.isprintable() else UNPRINTABLE.sub("\ufffd", cut)


def prose(text: str) -> str:
    """A text that says something; halves of characters are replaced, and it is cut at MAX_TEXT."""
    cut = text[:MAX_TEXT]
    return cut if cut.isascii() else _LONE.sub("\ufffd", cut)


def json_value(value: object, depth: int = 0) -> None:
    """Raise ValueError unless this value, of a field that we do not know, is one that can be kept and written."""
    if depth > MAX_NESTING:
        raise ValueError(f"it is nested deeper than {MAX_NESTING}")
    if isinstance(value, str):
        if found := _LONE.search(value):
            raise ValueError(f"it contains {found[0]!r}")
    elif isinstance(value, float):
        if not abs(value) < float("inf"):
            raise ValueError("it contains a number that is not finite")
    elif isinstance(value, dict):
        for name, item in value.items():
            json_value(name, depth)
            json_value(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            json_value(item, depth + 1)


UnitName = Annotated[str, Words(unit_name)]
Id = Annotated[str, Words(token)]
Writer = Annotated[str, Words(writer)]
Sha256 = Annotated[str, Words(sha256_hex)]
CrashId = Annotated[str, Words(crash_id, shared=False)]
Host = Annotated[str, Words(host)]
HostKey = Annotated[str, Words(host_key)]
Label = Annotated[str, Words(label, shared=False)]
Line = Annotated[str, Words(line)]
Prose = Annotated[str, Words(prose, shared=False)]
Count = Annotated[int, Range(0, MAX_COUNT)]
Code = Annotated[int, Range(-MAX_COUNT - 1, MAX_COUNT)]
Port = Annotated[int, Range(1, 65535)]
Time = Annotated[float, Range(0.0, MAX_TIME)]
Amount = Annotated[float, Range(0.0, 1e15)]

PLAIN = {str: Words(prose, shared=False), int: Range(0, MAX_COUNT), float: Range(0.0, 1e15)}
"""The rules of fields that name none."""
