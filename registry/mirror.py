"""The registry as one value, kept current by folding changes into it.

`Snapshot` is what everybody reads: frozen, all tables at one revision. `Mirror` is what one follower feeds: it
folds raw changes in, tells which records changed, and hands out snapshots that share every table which did not
change. A full listing is gathered piece by piece beside what the mirror shows and adopted whole, so that nobody
ever sees half of it. Pure: no clock, no client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from registry.errors import CorruptRecord
from registry.frozen import dataclass, field
from registry.keys import Address, Keys, Table
from registry.model import (
    Assignment,
    Config,
    Content,
    Corrupt,
    Crash,
    Duplicate,
    Event,
    Leader,
    Machine,
    Override,
    PastPlacement,
    Pending,
    Rollout,
    Secret,
    Sentinel,
    Unit,
    UnitState,
    UnitText,
    Usage,
)
from registry.records import decode

Pair = tuple[str, str]  # (machine, unit)
Read = Callable[[Address, bytes, str], Any]  # what a table holds of a value: by its address, the value, its key


def _empty() -> Mapping[Any, Any]:
    return MappingProxyType({})


class Stamp(NamedTuple):  # a tuple, like the next one: there is one for every key
    """What etcd knows of a key, for guards: revisions and lease."""

    create_revision: int
    mod_revision: int
    lease: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All records at one revision. Tables are read-only mappings.

    `corrupt` is by full key, keys that are no record's (`Keys.stray`) included. A corrupt schedule line or state is
    in no other table, yet it is not absent: who would act on its absence (start elsewhere, stop here) must look for
    its key in `corrupt` first. `absent` is no table: the last known records of machines that are gone, by id, as
    far as the reader has seen them.
    """

    revision: int = 0
    cluster: Sentinel | None = None
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
    crashes: Mapping[Pair, Crash] = field(default_factory=_empty)
    rollouts: Mapping[str, Rollout] = field(default_factory=_empty)
    placements: Mapping[str, PastPlacement] = field(default_factory=_empty)
    config: Mapping[str, Config] = field(default_factory=_empty)
    secrets: Mapping[str, Secret] = field(default_factory=_empty)
    contents: Mapping[str, Content] = field(default_factory=_empty)
    corrupt: Mapping[str, Corrupt] = field(default_factory=_empty)
    absent: Mapping[str, Machine] = field(default_factory=_empty)


def unreadable(snapshot: Snapshot, keys: Keys, table: Table) -> set[Any]:
    """The records of a table that do not parse, as the snapshot's tables name theirs."""
    found = [address for key in snapshot.corrupt if (address := keys.parse(key)) and address.table is table]
    return {address[1:] if address.second else address.first for address in found}


class RawChange(NamedTuple):
    """One key's new value (None: deleted) with what etcd knows of it."""

    key: str
    value: bytes | None
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0


class RecordListing:
    """Every record of some tables, gathered in pieces. `tables` says which to keep; others are skipped unread.

    `read` makes of a value what is kept. CorruptRecord for one of which nothing can be made.
    """

    def __init__(self, keys: Keys, tables: Iterable[Table] = Table, read: Read = decode) -> None:
        self.rows: dict[str, dict[Any, Any]] = {name: {} for name in TABLES}
        self.corrupt: dict[str, Corrupt] = {}
        self.corrupt_changes = 0  # how often `corrupt` has changed
        self._keys = keys
        self._tables, self._read = frozenset(tables), read
        self._stamps: dict[str, dict[Any, Stamp]] = {name: {} for name in TABLES}

    def add(self, changes: Iterable[RawChange]) -> list[Address]:
        """Take changes in, in order; return the addresses of the records that changed."""
        changed: list[Address] = []
        for change in changes:
            address = self._keys.parse(change.key)
            if address is not None:
                if address.table in self._tables:
                    self._fold(address, change)
                    changed.append(address)
            elif (table := self._keys.stray(change.key)) in self._tables:
                if change.value is None:
                    self._heal(change.key)
                else:
                    self._blame(change.key, f"no record of {table} can be called so; delete it")
        return changed

    def _heal(self, key: str) -> None:
        if key in self.corrupt:
            del self.corrupt[key]
            self.corrupt_changes += 1

    def _blame(self, key: str, reason: str) -> None:
        self.corrupt[key] = Corrupt(key, reason)
        self.corrupt_changes += 1

    def stamp(self, key: str) -> Stamp | None:
        """What etcd knows of `key`; None when it does not exist."""
        address = self._keys.parse(key)
        return self._stamps[address.table].get(row_key(address)) if address else None

    def newer_than(self, other: RecordListing) -> str:
        """A key that is in both, and was written later here; "" if there is none."""
        for table, stamps in self._stamps.items():
            others = other._stamps[table]
            for key, stamp in stamps.items():
                if (found := others.get(key)) is not None and found.mod_revision < stamp.mod_revision:
                    return "/".join((table, *(key if isinstance(key, tuple) else (key,))))
        return ""

    def newest(self) -> tuple[str, int]:
        """The key that was written last, and its revision; ("", 0) when there is none."""
        latest = {
            table: max(stamps.items(), key=lambda item: item[1].mod_revision)
            for table, stamps in self._stamps.items()
            if stamps
        }
        if not latest:
            return "", 0
        table, (key, stamp) = max(latest.items(), key=lambda item: item[1][1].mod_revision)
        address = Address(Table(table), *key) if isinstance(key, tuple) else Address(Table(table), key)
        return self._keys.at(address), stamp.mod_revision

    def keys_of(self, table: Table) -> Iterable[str | Pair]:
        """What the keys of a table hold after its name."""
        return self._stamps[table].keys()

    def _fold(self, address: Address, change: RawChange) -> None:
        key, value, created, changed, lease = change
        rows, stamps, row = self.rows[address.table], self._stamps[address.table], row_key(address)
        self._heal(key)
        if value is None:
            rows.pop(row, None)
            stamps.pop(row, None)
            return
        stamps[row] = Stamp(created, changed, lease)
        try:
            rows[row] = self._read(address, value, key)
        except CorruptRecord as error:
            rows.pop(row, None)
            self._blame(key, error.reason)


class Mirror:
    """Folds changes into tables. `tables` says which to keep; the others are skipped unread.

    `read` makes of a value what is kept: the record that it is, unless somebody wants it as it lies in etcd.
    """

    def __init__(self, keys: Keys, tables: Iterable[Table] = Table, read: Read = decode) -> None:
        self._keys, self._read = keys, read
        self._tables = frozenset(tables)
        self._held = self.listing()
        self._revision = 0
        self._stale: set[str] = {*TABLES, CORRUPT}
        self._snapshot = Snapshot()

    def listing(self) -> RecordListing:
        """An empty listing of our tables, to be filled and adopted."""
        return RecordListing(self._keys, self._tables, self._read)

    def older(self, listing: RecordListing) -> str:
        """A key that the listing has as it was before what is shown now, "" if there is none: history went back."""
        return self._held.newer_than(listing)

    def adopt(self, listing: RecordListing, revision: int) -> None:
        """Show a full listing as of `revision` instead of what was shown before. It is ours from here on."""
        self._held, self._revision = listing, revision
        self._stale = {*TABLES, CORRUPT}

    def reset(self, changes: Iterable[RawChange], revision: int = 0) -> None:
        """Start over from a full listing that is at hand."""
        listing = self.listing()
        listing.add(changes)
        self.adopt(listing, revision)

    def apply(self, changes: Iterable[RawChange], revision: int = 0) -> list[Address]:
        """Fold changes in, in order; returns the addresses of the records that changed."""
        before = self._held.corrupt_changes
        changed = self._held.add(changes)
        self._stale.update(address.table for address in changed)
        if before != self._held.corrupt_changes:
            self._stale.add(CORRUPT)
        self._revision = revision
        return changed

    def snapshot(self) -> Snapshot:
        """The present value; cheap when little changed, shares unchanged tables with the one before."""
        tables: dict[str, Any] = {name: self._held.rows[name].get("") for name in SINGLES}
        for name, rows in ((CORRUPT, self._held.corrupt), *self._held.rows.items()):
            if name not in tables:
                stale = name in self._stale
                tables[name] = MappingProxyType(dict(rows)) if stale else getattr(self._snapshot, name)
        self._stale.clear()
        self._snapshot = Snapshot(revision=self._revision, **tables)
        return self._snapshot

    def addresses(self, *tables: Table) -> list[Address]:
        """Where records of these tables lie, those that do not parse included."""
        pairs = ((table, key) for table in tables for key in self._held.keys_of(table))
        return [Address(table, *(key if isinstance(key, tuple) else key.split("/"))) for table, key in pairs]

    @property
    def corrupt(self) -> Mapping[str, Corrupt]:
        """What does not parse now, by key."""
        return self._held.corrupt

    @property
    def corrupt_changes(self) -> int:
        """How often what does not parse has changed since the last listing."""
        return self._held.corrupt_changes

    def row(self, table: Table, address: Address) -> Any:  # noqa: ANN401 - any record
        """The record at `address` now, or None."""
        return self._held.rows[table].get(row_key(address))

    def count(self, table: Table) -> int:
        """How many records a table has."""
        return len(self._held.rows[table])

    def stamp(self, key: str) -> Stamp | None:
        """What etcd knows of `key`, for guards; None when it does not exist."""
        return self._held.stamp(key)

    def mod_revision(self, key: str) -> int:
        """The revision at which `key` was written last, for guards; 0 when it does not exist."""
        found = self.stamp(key)
        return found.mod_revision if found else 0


SINGLES = (Table.CLUSTER.value, Table.LEADER.value)
TABLES = tuple(table.value for table in Table)
CORRUPT = "corrupt"


def row_key(address: Address) -> str | Pair:
    """What a snapshot's table has the record at `address` under; of an event its id and its writer, as one text."""
    if address.table is Table.EVENTS:
        return event_key(address)
    return (address.first, address.second) if address.second else address.first


def event_key(address: Address) -> str:
    """What `Snapshot.events` has an event under: they sort by time."""
    return f"{address.first}/{address.second}" if address.second else address.first
