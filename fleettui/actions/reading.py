"""What an act reads before it decides: unit records with their revisions, unit texts, names. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from fleettui.actions.operator import Operator
from registry.errors import CorruptRecord, UserError
from registry.etcd import MAX_OPS, Compare, KeyValue, Op
from registry.frozen import dataclass
from registry.keys import Address, Table
from registry.lifecycle import ended
from registry.model import Event, Machine, Override, Unit, UnitState
from registry.records import decode
from registry.runtime import waits
from registry.sync.sentinel import cluster_of
from registry.units.name import glob_refusal, is_glob, matches, normalise, parse

PLACES_ASKED = 1000  # states that are read one by one, to learn where units have ended
FEW = 20  # names that events are searched for before they are parsed
TEXTS_AT_ONCE = 16  # unit texts in one answer: each may have a MiB


@dataclass(frozen=True, slots=True)
class FoundUnit:
    """A unit's record as read: None with revision 0 when there is none; `corrupt` says why it does not parse."""

    unit: Unit | None = None
    mod_revision: int = 0
    corrupt: str = ""
    read_at: int = 0  # the registry's revision then
    ended: bool = False  # asked only for a start: it is not launched, or nothing of it runs where it was started

    @property
    def exists(self) -> bool:
        """Whether the registry has a record under the name, readable or not."""
        return self.mod_revision > 0

    def guard(self, key: str) -> Compare:
        """True as long as the record is still the one that was read."""
        return Compare.mod(key, self.mod_revision)

    def guard_of_all(self, prefix: str) -> Compare:
        """True as long as nobody has written a record below the prefix since."""
        return Compare.unchanged(prefix, self.read_at)


NOTHING = FoundUnit()


async def read_units(operator: Operator, names: Sequence[str]) -> dict[str, FoundUnit]:
    """The records of these units. ForeignRegistry when the registry is of a schema that we do not know."""
    found: dict[str, FoundUnit] = {}
    step = MAX_OPS - 1
    for start in range(0, len(names), step):
        part = names[start : start + step]
        gets = [Op.get(operator.keys.cluster), *(Op.get(operator.keys.unit(name)) for name in part)]
        read = await operator.etcd.txn([], gets)
        sentinel, *records = read.gets
        if sentinel:  # an empty registry is an operator's to fill
            cluster_of(sentinel[0])
        found |= {name: _found(name, kvs, read.revision) for name, kvs in zip(part, records, strict=True)}
    return found


def _found(name: str, kvs: tuple[KeyValue, ...], revision: int) -> FoundUnit:
    if not kvs:
        return FoundUnit(read_at=revision)
    kv = kvs[0]
    try:
        record = decode(Address(Table.UNITS, name), kv.value, kv.key)
    except CorruptRecord as error:
        return FoundUnit(None, kv.mod_revision, error.reason, revision)
    return FoundUnit(record, kv.mod_revision, read_at=revision) if isinstance(record, Unit) else NOTHING


class Ended:
    """Which units have ended or failed on some machine, for one act.

    A few units are asked for machine by machine; for many, all states are read, once.
    """

    def __init__(self, operator: Operator, count: int) -> None:
        self._operator, self._count = operator, count
        self._reading = waits.lock()
        self._found: tuple[frozenset[str] | None] | None = None
        self._machines: list[str] = []

    async def among(self, names: Sequence[str]) -> frozenset[str]:
        """Those of the units that have ended or failed somewhere."""
        if not names:
            return frozenset()
        async with self._reading:
            if self._found is None:
                self._found = (await self._begin(),)
        (everywhere,) = self._found
        if everywhere is not None:
            return everywhere.intersection(names)
        keys, etcd = self._operator.keys, self._operator.etcd
        places = [keys.state(machine, name) for name in names for machine in self._machines]
        found: list[KeyValue] = []
        for start in range(0, len(places), MAX_OPS):
            gets = [Op.get(key) for key in places[start : start + MAX_OPS]]
            found += [kv for kvs in (await etcd.txn([], gets)).gets for kv in kvs]
        return self._ended(found)

    async def _begin(self) -> frozenset[str] | None:
        """Find the machines; everything that has ended anywhere when there are too many places to look at each."""
        keys, etcd = self._operator.keys, self._operator.etcd
        prefix = keys.table(Table.MACHINES)
        self._machines = [kv.key.removeprefix(prefix) for kv in (await etcd.range(prefix, keys_only=True)).kvs]
        if self._count * len(self._machines) <= PLACES_ASKED:
            return None
        return self._ended((await etcd.range(keys.table(Table.STATES))).kvs)

    def _ended(self, kvs: Iterable[KeyValue]) -> frozenset[str]:
        found = set()
        for kv in kvs:
            address = self._operator.keys.parse(kv.key)
            with suppress(CorruptRecord):
                state = decode(address, kv.value, kv.key) if address else None
                if isinstance(state, UnitState) and (state.error or ended(state)):
                    found.add(state.unit)
        return frozenset(found)


async def read_texts(operator: Operator, hashes: Iterable[str]) -> dict[str, str]:
    """The texts of these files, by hash; those that the registry lacks, or that do not decode, are left out."""
    wanted = list(dict.fromkeys(hashes))
    texts: dict[str, str] = {}
    for start in range(0, len(wanted), TEXTS_AT_ONCE):
        part = wanted[start : start + TEXTS_AT_ONCE]
        gets = (await operator.etcd.txn([], [Op.get(operator.keys.file(sha)) for sha in part])).gets
        texts |= {sha: kvs[0].value.decode("utf-8", "replace") for sha, kvs in zip(part, gets, strict=True) if kvs}
    return texts


async def unit_names(operator: Operator) -> tuple[str, ...]:
    """Every unit's name in the registry, sorted."""
    return await names_in(operator, Table.UNITS)


async def names_in(operator: Operator, table: Table) -> tuple[str, ...]:
    """The names in a table of the registry, sorted; a key that is none's is left out."""
    listing = await operator.etcd.range(operator.keys.table(table), keys_only=True)
    addresses = (operator.keys.parse(kv.key) for kv in listing.kvs)
    return tuple(address.first for address in addresses if address is not None)


async def expand(operator: Operator, patterns: Iterable[str], *, running: bool = False) -> tuple[str, ...]:
    """Names and globs as unit names, each once, in order. UserError for a glob that is none or matches nothing.

    `running`: for a verb that is about what runs, globs leave out templates (see `matching`).
    """
    patterns = tuple(patterns)
    known = await unit_names(operator) if any(is_glob(pattern) for pattern in patterns) else ()
    names: dict[str, None] = {}
    for pattern in patterns:
        found = matching(pattern, known, running=running) if is_glob(pattern) else (normalise(pattern),)
        names |= dict.fromkeys(found)
    return tuple(names)


def matching(pattern: str, known: Iterable[str], *, running: bool = False) -> list[str]:
    """The names that a glob matches. UserError when it is no glob or matches none.

    `running`: no templates, which never run. Where templates are all that it matches, they are what was meant, and
    the verb says of them what it says of one that is named.
    """
    if refusal := glob_refusal(pattern):
        raise UserError("; ".join(refusal))
    matched = [name for name in known if matches(pattern, name)]
    if not matched:
        raise UserError(f"no unit in the registry matches {pattern!r}; see: fleetctl list-unit-files")
    instances = [name for name in matched if not parse(name).is_template] if running else []
    return instances or matched


async def read_machines(operator: Operator) -> tuple[dict[str, Machine], dict[str, Override], set[str]]:
    """The live machines and the operator's overrides, by machine id; the ids of those whose record is corrupt."""
    machines: dict[str, Machine] = {}
    overrides: dict[str, Override] = {}
    unread: set[str] = set()
    for table in (Table.MACHINES, Table.OVERRIDES):
        for kv in (await operator.etcd.range(operator.keys.table(table))).kvs:
            address = operator.keys.parse(kv.key)
            try:
                record = decode(address, kv.value, kv.key) if address else None
            except CorruptRecord:
                unread |= unread_machines([address])
                continue
            if isinstance(record, Machine):
                machines[record.id] = record
            elif isinstance(record, Override):
                overrides[record.machine] = record
    return machines, overrides, unread


def unread_machines(corrupt: Iterable[Address | None]) -> set[str]:
    """The machines among the addresses of corrupt records."""
    return {each.first for each in corrupt if each is not None and each.table is Table.MACHINES}


def find_machine(
    text: str, machines: Mapping[str, Machine], others: Iterable[str] = (), unread: Iterable[str] = ()
) -> str:
    """The id of the one machine meant by an id, a beginning of it, a host name or an address.

    `others` are ids of machines that are known and away, `unread` of those whose record is corrupt: nobody knows
    their names. UserError when none or several fit.
    """
    wanted = text.removesuffix("...").lower()
    exact = [each.id for each in machines.values() if text in (each.id, each.hostname, each.address)]
    prefixed = sorted({machine for machine in (*machines, *others) if wanted and machine.startswith(wanted)})
    fitting = exact or prefixed
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        lost = ", ".join(machine[:12] for machine in sorted(unread)[:4])
        hint = f"; it may be one whose record is corrupt ({lost}): restart fleet-agentd there" if lost else ""
        raise UserError(f"no machine is called {text!r}{hint}; see: fleetctl list-machines")
    shown = ", ".join(machine[:12] for machine in fitting[:4])
    raise UserError(f"{text!r} could be {len(fitting)} machines ({shown}); give more of the id")


async def events_of(operator: Operator, names: Collection[str]) -> list[Event]:
    """Events of these units, and those of no unit. Records that do not parse are left out."""
    listing = await operator.etcd.range(operator.keys.table(Table.EVENTS))
    words = [json.dumps(name, ensure_ascii=False).encode("utf-8", "replace") for name in names]
    found = []
    for kv in listing.kvs:
        if len(words) < FEW and b'"unit"' in kv.value and not any(word in kv.value for word in words):
            continue
        address = operator.keys.parse(kv.key)
        with suppress(CorruptRecord):
            record = decode(address, kv.value, kv.key) if address else None
            found += [record] if isinstance(record, Event) else []
    return found
