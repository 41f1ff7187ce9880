"""The registry as one value, kept current by folding changes into it.

`Snapshot` is what everybody reads: frozen, all tables at one revision. `Mirror` is what one follower feeds: it
folds raw changes in, tells which records changed, and hands out snapshots that share every table which did not
change. Pure: no clock, no client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from registry.errors import CorruptRecord
from registry.keys import Address, Keys, Table
from registry.model import (
    Assignment,
    Cluster,
    Corrupt,
    Duplicate,
    Event,
    Leader,
    Machine,
    Override,
    Pending,
    Unit,
    UnitState,
    UnitText,
    Usage,
)
from registry.records import decode

Pair = tuple[str, str]  # (machine, unit)


def _empty() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Stamp:
    """What etcd knows of a key, for guards: revisions and lease."""

    create_revision: int
    mod_revision: int
    lease: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All records at one revision. Tables are read-only mappings.

    `corrupt` is by full key. A corrupt schedule line or state is in no other table, yet it is not absent: who
    would act on its absence (start elsewhere, stop here) must look for its key in `corrupt` first.
    """

    revision: int = 0
    cluster: Cluster | None = None
    leader: Leader | None = None
    files: Mapping[str, UnitText] = field(default_factory=_empty)
    units: Mapping[str, Unit] = field(default_factory=_empty)
    schedule: Mapping[Pair, Assignment] = field(default_factory=_empty)
    pending: Mapping[str, Pending] = field(default_factory=_empty)
    machines: Mapping[str, Machine] = field(default_factory=_empty)
    overrides: Mapping[str, Override] = field(default_factory=_empty)
    states: Mapping[Pair, UnitState] = field(default_factory=_empty)
    duplicates: Mapping[Pair, Duplicate] = field(default_factory=_empty)
    events: Mapping[str, Event] = field(default_factory=_empty)
    usage: Mapping[str, Usage] = field(default_factory=_empty)
    corrupt: Mapping[str, Corrupt] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class RawChange:
    """One key's new value (None: deleted) with what etcd knows of it."""

    key: str
    value: bytes | None
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0


class Mirror:
    """Folds changes into tables. `tables` says which to keep; the others are skipped unread."""

    def __init__(self, keys: Keys, tables: Iterable[Table] = Table) -> None:
        self._keys = keys
        self._tables = frozenset(tables)
        self._rows: dict[str, dict[Any, Any]] = {}
        self._stamps: dict[str, Stamp] = {}
        self._revision = 0
        self._stale: set[str] = set()
        self._snapshot = Snapshot()
        self.reset(())

    def reset(self, changes: Iterable[RawChange], revision: int = 0) -> None:
        """Start over from a full listing."""
        self._stamps = {}
        self._rows = {name: {} for name in (*TABLES, "corrupt")}
        self._stale = set(self._rows)
        self.apply(changes, revision)

    def apply(self, changes: Iterable[RawChange], revision: int = 0) -> list[Address]:
        """Fold changes in, in order; returns the addresses of the records that changed."""
        changed: list[Address] = []
        for change in changes:
            address = self._keys.parse(change.key)
            if address is not None and address.table in self._tables:
                self._fold(address, change)
                changed.append(address)
        self._revision = revision
        return changed

    def snapshot(self) -> Snapshot:
        """The present value; cheap when little changed, shares unchanged tables with the one before."""
        old = self._snapshot
        tables: dict[str, Any] = {
            name: MappingProxyType(dict(rows)) if name in self._stale else getattr(old, name)
            for name, rows in self._rows.items()
            if name not in SINGLES
        }
        singles: dict[str, Any] = {name: self._rows[name].get("") for name in SINGLES}
        self._stale.clear()
        self._snapshot = Snapshot(revision=self._revision, **singles, **tables)
        return self._snapshot

    def row(self, table: Table, address: Address) -> Any:  # noqa: ANN401 - any record
        """The record at `address` now, or None."""
        return self._rows[table].get(_row_key(address))

    def stamp(self, key: str) -> Stamp | None:
        """What etcd knows of `key`, for guards; None when it does not exist."""
        return self._stamps.get(key)

    def _fold(self, address: Address, change: RawChange) -> None:
        rows, row_key = self._rows[address.table], _row_key(address)
        self._stale.add(address.table)
        if self._rows["corrupt"].pop(change.key, None):
            self._stale.add("corrupt")
        if change.value is None:
            rows.pop(row_key, None)
            self._stamps.pop(change.key, None)
            return
        self._stamps[change.key] = Stamp(change.create_revision, change.mod_revision, change.lease)
        try:
            rows[row_key] = decode(address, change.value, change.key)
        except CorruptRecord as error:
            rows.pop(row_key, None)
            self._rows["corrupt"][change.key] = Corrupt(change.key, error.reason)
            self._stale.add("corrupt")


SINGLES = (Table.CLUSTER.value, Table.LEADER.value)
TABLES = tuple(table.value for table in Table)


def _row_key(address: Address) -> str | Pair:
    return (address.first, address.second) if address.second else address.first
