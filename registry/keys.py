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
    <prefix>/events/<time-ordered id>
    <prefix>/usage/<machine>                leased

Unit names hold no slash, so a key splits without ambiguity.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from sys import intern
from typing import NamedTuple

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


PARTS = {  # how many parts follow the table's name
    Table.CLUSTER: 0,
    Table.LEADER: 0,
    Table.SCHEDULE: 2,
    Table.STATES: 2,
    Table.DUPLICATES: 2,
}


TABLE_OF = {table.value: table for table in Table}


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

    def event(self, event_id: str) -> str:
        """One line of the audit trail."""
        return f"{self.prefix}{Table.EVENTS}/{event_id}"

    def parse(self, key: str) -> Address | None:
        """Take a key apart; None for a key that is not of this layout."""
        if not key.startswith(self.prefix):
            return None
        name, *parts = key[len(self.prefix) :].split("/")
        table = TABLE_OF.get(name)
        if table is None or len(parts) != PARTS.get(table, 1) or not all(parts):
            return None
        return Address(table, *map(intern, parts))  # names that many records repeat: kept once
