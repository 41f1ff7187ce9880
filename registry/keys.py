"""Where each record lies in etcd. Owns the key layout; nothing else builds or takes apart a key.

    <prefix>/cluster                        the sentinel
    <prefix>/files/<sha256>                 unit files, content-addressed
    <prefix>/units/<unit>
    <prefix>/schedule/<machine>/<unit>
    <prefix>/pending/<unit>
    <prefix>/machines/<machine>             leased
    <prefix>/overrides/<machine>
    <prefix>/states/<machine>/<unit>        leased
    <prefix>/duplicates/<machine>/<boot id> leased
    <prefix>/leader                         leased
    <prefix>/events/<writer>/<time-ordered id>
    <prefix>/usage/<machine>                leased
    <prefix>/crashes/<machine>/<time and unit>
    <prefix>/rollouts/<name>
    <prefix>/placements/<unit>
    <prefix>/config/<name>
    <prefix>/secrets/<name>
    <prefix>/contents/<sha256>              what their versions hold, content-addressed

    <prefix>-joins/<kind>/<token>/<request>  hosts that ask to join: no record of the fleet, and nobody follows it

Unit names hold no slash, so a key splits without ambiguity. A key whose parts are not what the layout says there (a
unit that is no unit name, a hash that is none) is no key of the layout, whatever it holds: `stray` tells such keys
from those that are not ours. In the address of an event the id comes first, so that they sort by time. Tables that
are not known here are those of another version.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from sys import intern
from typing import NamedTuple

from registry.frozen import dataclass
from registry.grammar import crash_id, sha256_hex, token, unit_name, writer

DEFAULT_PREFIX = "/fleet/"


class Table(StrEnum):
    """The kinds of record, as the first part of a key below the prefix."""

    CLUSTER = "cluster"
    FILES = "files"
    UNITS = "units"
    SCHEDULE = "schedule"
    PENDING = "pending"
    MACHINES = "machines"
    OVERRIDES = "overrides"
    STATES = "states"
    DUPLICATES = "duplicates"
    LEADER = "leader"
    EVENTS = "events"
    USAGE = "usage"
    CRASHES = "crashes"
    ROLLOUTS = "rollouts"
    PLACEMENTS = "placements"
    CONFIG = "config"
    SECRETS = "secrets"
    CONTENTS = "contents"


PARTS = {  # how many parts follow the table's name
    Table.CLUSTER: 0,
    Table.LEADER: 0,
    Table.SCHEDULE: 2,
    Table.STATES: 2,
    Table.DUPLICATES: 2,
    Table.EVENTS: 2,
    Table.CRASHES: 2,
}


class Part:
    """What one part of a key may be. `known` holds parts that were read, kept once: many records repeat them."""

    MAX_KNOWN = 1 << 18

    def __init__(self, rule: Callable[[str], str]) -> None:
        self.known: dict[str, str] = {}
        self._rule = rule

    def read(self, text: str) -> str:
        """The part, or "" when it is not what stands there."""
        try:
            self._rule(text)
        except ValueError:
            return ""
        if len(self.known) >= self.MAX_KNOWN:
            self.known.clear()
        return self.known.setdefault(text, intern(text))


_UNIT, _ID, _HASH = Part(unit_name), Part(token), Part(sha256_hex)
_WRITER, _CRASH = Part(writer), Part(crash_id)
_SINGLES = {table.value: table for table in Table if PARTS.get(table) == 0}
_SIMPLE = {
    Table.FILES.value: (Table.FILES, _HASH),
    Table.UNITS.value: (Table.UNITS, _UNIT),
    Table.PENDING.value: (Table.PENDING, _UNIT),
    Table.MACHINES.value: (Table.MACHINES, _ID),
    Table.OVERRIDES.value: (Table.OVERRIDES, _ID),
    Table.USAGE.value: (Table.USAGE, _ID),
    Table.ROLLOUTS.value: (Table.ROLLOUTS, _ID),
    Table.PLACEMENTS.value: (Table.PLACEMENTS, _UNIT),
    Table.CONFIG.value: (Table.CONFIG, _ID),
    Table.SECRETS.value: (Table.SECRETS, _ID),
    Table.CONTENTS.value: (Table.CONTENTS, _HASH),
}
_DOUBLE = {
    Table.SCHEDULE.value: (Table.SCHEDULE, _ID, _UNIT),
    Table.STATES.value: (Table.STATES, _ID, _UNIT),
    Table.DUPLICATES.value: (Table.DUPLICATES, _ID, _ID),
    Table.EVENTS.value: (Table.EVENTS, _WRITER, _ID),
    Table.CRASHES.value: (Table.CRASHES, _ID, _CRASH),
}


class Address(NamedTuple):  # a tuple, because every record read makes one
    """A key taken apart: its table and the parts after it ("" where a table has fewer)."""

    table: Table
    first: str = ""
    second: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds and parses keys below one prefix (always ending in "/")."""

    prefix: str = DEFAULT_PREFIX

    @classmethod
    def under(cls, prefix: str) -> Keys:
        """Keys below `prefix`, with or without slashes around it."""
        stripped = prefix.strip("/")
        return cls(f"/{stripped}/" if stripped else "/")

    def table(self, table: Table) -> str:
        """The prefix of all keys of `table`."""
        return f"{self.prefix}{table}/"

    @property
    def cluster(self) -> str:
        """The sentinel's key."""
        return f"{self.prefix}{Table.CLUSTER}"

    @property
    def leader(self) -> str:
        """The election's key."""
        return f"{self.prefix}{Table.LEADER}"

    def file(self, sha256: str) -> str:
        """A unit file's text."""
        return f"{self.prefix}{Table.FILES}/{sha256}"

    def unit(self, name: str) -> str:
        """An operator's wish for one unit."""
        return f"{self.prefix}{Table.UNITS}/{name}"

    def schedule(self, machine: str, unit: str = "") -> str:
        """One line of a machine's schedule, or the prefix of all its lines."""
        return f"{self.prefix}{Table.SCHEDULE}/{machine}/{unit}"

    def pending(self, unit: str) -> str:
        """Why a unit waits."""
        return f"{self.prefix}{Table.PENDING}/{unit}"

    def machine(self, machine: str) -> str:
        """A live machine."""
        return f"{self.prefix}{Table.MACHINES}/{machine}"

    def override(self, machine: str) -> str:
        """What an operator set on a machine."""
        return f"{self.prefix}{Table.OVERRIDES}/{machine}"

    def state(self, machine: str, unit: str = "") -> str:
        """One unit's state on one machine, or the prefix of all states of that machine."""
        return f"{self.prefix}{Table.STATES}/{machine}/{unit}"

    def duplicate(self, machine: str, boot_id: str) -> str:
        """A second machine with the same id."""
        return f"{self.prefix}{Table.DUPLICATES}/{machine}/{boot_id}"

    def usage(self, machine: str) -> str:
        """What a machine and its units use."""
        return f"{self.prefix}{Table.USAGE}/{machine}"

    def crash(self, machine: str, crash_id: str = "") -> str:
        """The last lines of a unit that failed on a machine, or the prefix of all that the machine has kept."""
        return f"{self.prefix}{Table.CRASHES}/{machine}/{crash_id}"

    def extent(self, table: Table, first: str = "") -> tuple[str, bool]:
        """Where a table's records lie, or those of `first` in it: a key, or (True) what their keys begin with."""
        parts = PARTS.get(table, 1)
        if parts == 0:
            return f"{self.prefix}{table}", False
        if not first:
            return self.table(table), True
        return (f"{self.prefix}{table}/{first}", False) if parts == 1 else (f"{self.prefix}{table}/{first}/", True)

    def events_of(self, writer: str) -> str:
        """The prefix of all events by one writer."""
        return f"{self.prefix}{Table.EVENTS}/{writer}/"

    def placement(self, unit: str) -> str:
        """What is remembered of where a unit was."""
        return f"{self.prefix}{Table.PLACEMENTS}/{unit}"

    def rollout(self, name: str) -> str:
        """A rollout."""
        return f"{self.prefix}{Table.ROLLOUTS}/{name}"

    def content(self, sha256: str) -> str:
        """What a version of a config or a secret holds."""
        return f"{self.prefix}{Table.CONTENTS}/{sha256}"

    def join(self, kind: str, token: str = "", *parts: str) -> str:
        """What a token lets a host ask and read, or the prefix of all of a kind: beside the fleet's own keys."""
        return "/".join([f"{self.prefix.rstrip('/')}-joins", kind, token, *parts])

    def event(self, writer: str, event_id: str) -> str:
        """One line of the audit trail."""
        return f"{self.prefix}{Table.EVENTS}/{writer}/{event_id}"

    def at(self, address: Address) -> str:
        """The key of an address: what `parse` takes apart."""
        table, first, second = address
        parts = (table, second, first) if table is Table.EVENTS else address
        return self.prefix + "/".join(part for part in parts if part)

    def parse(self, key: str) -> Address | None:
        """Take a key apart; None for a key that is not of this layout."""
        if not key.startswith(self.prefix):
            return None
        parts = key[len(self.prefix) :].split("/")
        if len(parts) == 3 and (double := _DOUBLE.get(parts[0])):
            table, one, two = double
            first = one.known.get(parts[1]) or one.read(parts[1])
            second = two.known.get(parts[2]) or two.read(parts[2])
            if not first or not second:
                return None
            return Address(table, second, first) if table is Table.EVENTS else Address(table, first, second)
        if len(parts) == 2 and (simple := _SIMPLE.get(parts[0])):
            table, one = simple
            first = one.known.get(parts[1]) or one.read(parts[1])
            return Address(table, first) if first else None
        return Address(_SINGLES[parts[0]]) if len(parts) == 1 and parts[0] in _SINGLES else None

    def stray(self, key: str) -> Table | None:
        """The table that a key lies in though no record of it can be called so; None for all other keys.

        An event whose key does not say who wrote it is an older version's.
        """
        if not key.startswith(self.prefix):
            return None
        name, slash, rest = key[len(self.prefix) :].partition("/")
        if not slash or (name not in _SIMPLE and name not in _DOUBLE):
            return None
        if (name == Table.EVENTS and "/" not in rest) or self.parse(key) is not None:
            return None
        return Table(name)


DEFAULT_KEYS = Keys()
