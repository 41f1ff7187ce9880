"""The Configs table: every config and secret, its newest version, and the units that have it or an older one. Pure.

What a unit has is read from its file (`registry/units/pins.py`), again only where that changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from fleettui.actions.pins import TABLES
from fleettui.console.tables.rows import Column, Delta
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import natural, since
from fleettui.escape import escape
from registry.errors import UserError
from registry.keys import Address, Table
from registry.mirror import Snapshot
from registry.model import Config, Event, Secret
from registry.units.pins import PINS_SECTION, Need, NeedKind, older_holders, pins_of
from registry.wording import listed

KINDS = {table: kind for kind, table in TABLES.items()}


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """One config or secret. `lagging` are the units that have an older version than the newest."""

    key: str  # "config web"
    kind: NeedKind
    name: str
    version: int
    at: float
    by: str
    content: str
    units: int
    lagging: tuple[str, ...]
    parent: str = ""
    is_group: bool = False

    @property
    def unit(self) -> str:
        """What the line below the table calls it."""
        return self.key

    @property
    def reason(self) -> str:
        """Which units lag behind."""
        return f"an older version: {escape(listed(self.lagging, 3))}" if self.lagging else ""

    @property
    def troubled(self) -> bool:
        """Whether there is something to do: an older version is in use."""
        return bool(self.lagging)

    @property
    def search(self) -> str:
        """The text that a filter's words are looked for in."""
        return f"{self.key} {self.by} {self.content} {self.reason}".lower()

    def facet(self, name: str) -> str | float | None:
        """The facets of the filter."""
        values: dict[str, str | float] = {
            "name": self.name, "kind": self.kind.lower(), "actor": self.by, "since": self.at, "why": self.reason,
            "is": "old" if self.lagging else "new", "version": str(self.version), "units": self.units,
        }  # fmt: skip
        return values.get(name)


class ConfigRows:
    """The configs and secrets as rows, and which units have which version of each."""

    def __init__(self) -> None:
        self.rows: dict[str, ConfigRow] = {}
        self._holders: dict[str, dict[str, set[str]]] = defaultdict(dict)  # by row: units, and the hashes of each
        self._held: dict[str, frozenset[str]] = {}  # by unit: the rows that it is in
        self._newest: dict[str, str] = {}  # by row: the hash of the newest version
        self._unread: dict[str, set[str]] = defaultdict(set)  # by the hash of a file that is not there yet: units

    def update(self, snapshot: Snapshot, changed: Collection[Address] | None = None) -> Delta[ConfigRow]:
        """Return the rows that differ from the last call. `changed` None: anything may have changed."""
        if changed is None:
            units = {*snapshot.units, *self._held}
            keys = {*self.rows, *map(row_key, _records(snapshot))}
        else:
            units, keys = set[str](), set[str]()
            for address in changed:
                if address.table is Table.UNITS:
                    units.add(address.first)
                elif address.table is Table.FILES:
                    units |= self._unread.pop(address.first, set())
                elif address.table in KINDS:
                    keys.add(str(Need(KINDS[address.table], address.first)))
        known: dict[str, dict[str, str]] = {}
        for unit in units:
            keys |= self._hold(snapshot, unit, known)
        found = (
            {row_key(each): self._row(each) for each in _records(snapshot) if row_key(each) in keys} if keys else {}
        )
        fresh = {key: row for key, row in found.items() if self.rows.get(key) != row}
        gone = frozenset(key for key in keys - found.keys() if key in self.rows)
        self.rows.update(fresh)
        for key in gone:
            del self.rows[key], self._newest[key]
        return Delta(fresh, gone)

    def holders(self, key: str) -> Mapping[str, str]:
        """The units that have it, and the hash of the version that each has; one that has several, an older one."""
        newest = self._newest.get(key, "")
        found = self._holders.get(key, {})
        return {unit: next((each for each in sorted(has) if each != newest), newest) for unit, has in found.items()}

    def lagging(self, keys: Iterable[str]) -> list[str]:
        """The units that have an older version of one of these."""
        found = {unit for key in keys if key in self.rows for unit in self.rows[key].lagging}
        return sorted(found, key=natural)

    def _hold(self, snapshot: Snapshot, unit: str, known: dict[str, dict[str, str]]) -> frozenset[str]:
        """Read again what a unit has; return the rows that this may change. `known`: what files have, by hash."""
        record = snapshot.units.get(unit)
        has: dict[str, set[str]] = defaultdict(set)
        for sha in record.files if record else ():
            file = snapshot.files.get(sha)
            if file is None:
                self._unread[sha].add(unit)
                continue
            if sha not in known:
                known[sha] = _versions(file.text)
            for key, version in known[sha].items():
                has[key].add(version)
        before, after = self._held.get(unit, frozenset()), frozenset(has)
        for key in before - after:
            self._holders[key].pop(unit, None)
        for key, versions in has.items():
            self._holders[key][unit] = versions
        if after:
            self._held[unit] = after
        else:
            self._held.pop(unit, None)
        return before | after

    def _row(self, record: Config | Secret) -> ConfigRow:
        key, newest = row_key(record), record.versions[0]
        holders = self._holders.get(key, {})
        self._newest[key] = newest.hash
        lagging = sorted(older_holders(newest.hash, holders), key=natural)
        return ConfigRow(
            key, _kind(record), record.name, newest.number, newest.at, escape(newest.by), escape(newest.summary),
            len(holders), tuple(lagging),
        )  # fmt: skip


def row_key(record: Config | Secret) -> str:
    """What its row is called: "config web"."""
    return str(Need(_kind(record), record.name))


def _kind(record: Config | Secret) -> NeedKind:
    return NeedKind.CONFIG if isinstance(record, Config) else NeedKind.SECRET


def _records(snapshot: Snapshot) -> list[Config | Secret]:
    """Those that have a version."""
    every: list[Config | Secret] = [*snapshot.config.values(), *snapshot.secrets.values()]
    return [each for each in every if each.versions]


def config_told(event: Event) -> tuple[NeedKind, str] | None:
    """The config or the secret that an event is about, by its words; None for none."""
    kind = next((each for each in NeedKind if each.lower() == event.verb), None)
    what, colon, _ = event.reason.partition(":")
    known = kind is not None and colon and what.startswith(f"{event.verb} ")
    return (kind, what.removeprefix(f"{event.verb} ")) if kind is not None and known else None


def _versions(text: str) -> dict[str, str]:
    """The versions that a stored text has, by row; none of one whose end was changed."""
    if PINS_SECTION not in text:
        return {}
    try:
        return {str(Need(pin.need.kind, pin.need.name)): pin.version for pin in pins_of(text)}
    except UserError:
        return {}


def _number(number: int, tone: Tone = Tone.PLAIN) -> Cell:
    return Cell(str(number) if number else "-", tone if number else Tone.QUIET)


COLUMNS: tuple[Column[ConfigRow], ...] = (
    Column("name", "NAME", 30, lambda row, _: Cell(escape(row.name)),
           lambda row: (natural(row.name), row.kind), longest=lambda row: len(row.name), middle=True),
    Column("kind", "KIND", 6, lambda row, _: Cell(row.kind.lower(), Tone.QUIET), lambda row: row.kind),
    Column("version", "VERSION", 7, lambda row, _: Cell(str(row.version)), lambda row: -row.version, right=True),
    Column("set", "SET", 7, lambda row, now: Cell(since(row.at, now), Tone.QUIET), lambda row: -row.at, drop=1),
    Column("by", "WHO", 20, lambda row, _: Cell(row.by, Tone.QUIET), lambda row: row.by, drop=3,
           longest=lambda row: len(row.by)),
    Column("content", "HOLDS", 22, lambda row, _: Cell(row.content, Tone.QUIET), lambda row: row.content, drop=2,
           longest=lambda row: len(row.content)),
    Column("units", "UNITS", 6, lambda row, _: _number(row.units), lambda row: -row.units, right=True),
    Column("older", "OLDER", 6, lambda row, _: _number(len(row.lagging), Tone.BUSY),
           lambda row: -len(row.lagging), right=True),
    Column("why", "WHICH", 0, lambda row, _: Cell(escape(listed(row.lagging, 3)), Tone.BUSY),
           lambda row: (not row.lagging, row.lagging)),
)  # fmt: skip
