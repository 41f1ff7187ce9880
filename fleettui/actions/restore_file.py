"""Bringing a registry back to what a backup says: what that changes, and writing it; no order until it is complete.

Owns the merge: what is written over what was found, and what is left alone. A registry that is empty, or was begun
by accident, gets the sentinel of the backup's cluster first, held, so that its machines come back, begin nothing
and show what runs. While records are written the sentinel is held and names the backup (`restoring`); an
interrupted restore stays so, and goes on when it is run again, since only what differs is written. Then it is
accepted like any history that went back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleettui.actions.backup import Backup, table_of
from fleettui.actions.operator import MAX_BYTES, Operator
from fleettui.actions.restore import OVERWRITING, Restoration, accept, restoration_of
from registry.errors import Conflict, CorruptRecord, RegistryDenied, UserError
from registry.etcd import MAX_OPS, Compare, KeyValue, Op
from registry.frozen import dataclass
from registry.keys import Keys, Table
from registry.mirror import RawChange
from registry.model import Sentinel, Unit, UnitState
from registry.records import decode, encode
from registry.sync.listing import raw
from registry.sync.sentinel import cluster_of

BEGINNING = "a backup is being restored into an empty registry"
HISTORY = (Table.EVENTS, Table.CRASHES)  # what happened has happened: it is added to, and never overwritten
REPLACED = (Table.UNITS, Table.OVERRIDES)  # what the backup does not have goes
BATCH = MAX_OPS // 2 - 1


@dataclass(frozen=True, slots=True)
class FileRestoration:
    """What restoring a backup writes, and what that comes to.

    `writes` are values by key, None for what goes; `rest` follows once that is accepted: the history, and kinds of
    records that this version does not know. `begins`: the registry gets the sentinel first. `awaited` are machines
    that units were on and that have not said yet what runs there. `kept` counts, by kind, the records that this
    version does not know and the backup does not have.
    """

    backup: Backup
    after: Restoration
    writes: Mapping[str, bytes | None]
    rest: Mapping[str, bytes]
    sentinel: Sentinel
    begins: bool
    replaces: str  # the id of the cluster that was begun there by accident
    awaited: tuple[str, ...]
    kept: Mapping[str, int]


async def read_file_restoration(operator: Operator, backup: Backup, *, force: bool = False) -> FileRestoration:
    """What restoring the backup would change. UserError for another cluster's registry, unless `force`."""
    listing = await operator.etcd.range(operator.keys.prefix)
    now = operator.now()
    return await asyncio.to_thread(plan, operator.keys, backup, listing.kvs, listing.revision, now, force=force)


def plan(
    keys: Keys, backup: Backup, kvs: Sequence[KeyValue], revision: int, now: float, *, force: bool = False
) -> FileRestoration:
    """What restoring the backup into a registry with these keys comes to. Pure; UserError as above."""
    found = {kv.key: kv for kv in kvs}
    bare = not any(key.startswith(keys.table(Table.UNITS)) for key in found)
    present = cluster_of(found[keys.cluster]) if keys.cluster in found else None
    other = present is not None and present.id != backup.cluster
    if other and not bare and not force and present:
        raise UserError(
            f"this registry is of cluster {present.id} and has units, and the backup is of cluster"
            f" {backup.cluster}; nothing was restored. To give this cluster what the backup says, with all that it"
            " would stop here: --force"
        )
    begins = present is None or (other and bare)
    if other and bare and (joined := [key for key in found if key.startswith(keys.table(Table.MACHINES))]):
        names = ", ".join(sorted(key.rpartition("/")[2] for key in joined))
        raise UserError(
            f"the cluster that was begun here since has no unit, but these machines have joined it: {names}."
            " Nothing was restored. On each of them: systemctl stop fleet-agentd && rm /run/fleet/agent.json;"
            " then restore, and start the agents again"
        )
    if present is None or begins:
        mark = replace(backup.sentinel, held=BEGINNING, restoring=backup.digest)
    else:
        mark = replace(present, held=present.held or OVERWRITING, restoring=backup.digest)
    all_hold = mark.held == BEGINNING  # whoever came to this registry did so while it was held
    writes = _merged(keys, backup, found, with_lines=all_hold)
    changed = {keys.cluster: encode(mark), **writes}
    then = [raw(kv) for kv in kvs if kv.key not in changed]
    then += [
        RawChange(key, value, 1, found[key].mod_revision if key in found else 0)
        for key, value in changed.items()
        if value is not None
    ]
    after = restoration_of(keys, then, revision, now)
    lines = {machine for machine, _ in after.snapshot.schedule}
    unknown = Counter(table_of(key.removeprefix(keys.prefix)) for key, kv in found.items() if not kv.lease)
    in_file = backup.unknown
    return FileRestoration(
        backup,
        replace(after, revisions={kv.key: kv.mod_revision for kv in kvs}),
        writes,
        _rest(keys, backup, found),
        mark,
        begins,
        present.id if begins and present else "",
        tuple(sorted(lines - after.snapshot.machines.keys())) if all_hold else (),
        {kind: count for kind, count in unknown.items() if kind not in [*Table, *in_file]},
    )


def _merged(
    keys: Keys, backup: Backup, found: Mapping[str, KeyValue], *, with_lines: bool
) -> dict[str, bytes | None]:
    """What to write: units last, so that a registry with units has all that belongs to them.

    A schedule line is an order to an agent that does not hold: where some may not, the scheduler writes them.
    """
    states: dict[str, list[UnitState]] = {}
    for key, kv in found.items():
        if key.startswith(keys.table(Table.STATES)) and isinstance(state := _read(keys, key, kv.value), UnitState):
            states.setdefault(state.unit, []).append(state)
    writes: dict[str, bytes | None] = {}
    for name in sorted(backup.records, key=lambda each: (table_of(each) == Table.UNITS, each)):
        key, value, table = f"{keys.prefix}{name}", backup.records[name], table_of(name)
        there = found[key].value if key in found else None
        if table not in [*Table] or table in (Table.CLUSTER, Table.PENDING, *HISTORY):
            continue
        if table == Table.SCHEDULE and not with_lines:
            continue
        if table == Table.UNITS and isinstance(unit := _read(keys, key, value), Unit):
            present = _read(keys, key, there) if there is not None else None
            value = _grown(unit, value, present if isinstance(present, Unit) else None, states.get(unit.name, ()))
        if value != there:
            writes[key] = value
    for key, kv in found.items():
        name = key.removeprefix(keys.prefix)
        if table_of(name) in REPLACED and name not in backup.records and not kv.lease:
            writes[key] = None
    return writes


def _rest(keys: Keys, backup: Backup, found: Mapping[str, KeyValue]) -> dict[str, bytes]:
    """What follows: none of it is an order that this version knows of."""
    there = {key.removeprefix(keys.prefix): kv.value for key, kv in found.items()}
    return {
        f"{keys.prefix}{name}": value
        for name, value in backup.records.items()
        if (name not in there if table_of(name) in HISTORY else table_of(name) not in [*Table])
        and there.get(name) != value
    }


def _grown(unit: Unit, value: bytes, present: Unit | None, states: Sequence[UnitState]) -> bytes:
    """The unit's record, with generation and attempt as high as they have come for this very text.

    They only count: an older one would restart what already runs as the backup wants it.
    """
    same = [each for each in (present, *states) if each is not None and each.hash == unit.hash]
    generation = max((unit.generation, *(each.generation for each in same)))
    if present is not None and present.hash != unit.hash:
        generation = max(generation, present.generation + 1)
    attempt = max((unit.attempt, *(each.attempt for each in same)))
    if (generation, attempt) == (unit.generation, unit.attempt):
        return value
    return encode(replace(unit, generation=generation, attempt=attempt))


def _read(keys: Keys, key: str, value: bytes) -> object:
    address = keys.parse(key)
    try:
        return decode(address, value, key) if address else None
    except CorruptRecord:
        return None


async def begin(operator: Operator, found: FileRestoration) -> None:
    """Hold the fleet, and say which backup it waits for. Conflict when somebody else changed the sentinel."""
    await _mark(operator, found)


async def restore(operator: Operator, found: FileRestoration) -> int:
    """Write all of the backup, then accept it; returns the epoch. Conflict when something changed meanwhile.

    Whenever it ends early the fleet stays held, and the same restore goes on with what is left.
    """
    revisions = dict(found.after.revisions)
    cluster = operator.keys.cluster
    revisions[cluster] = await _mark(operator, found)
    for batch in batches_of(found.writes):
        guards = [Compare.mod(cluster, revisions[cluster])]
        guards += [Compare.mod(key, revisions.get(key, 0)) for key in batch]
        ops = [Op.delete(key) if value is None else Op.put(key, value) for key, value in batch.items()]
        result = await operator.etcd.txn(guards, ops)
        if not result.succeeded:
            raise Conflict("the registry changed meanwhile; run the same restore again: it goes on where it was")
        revisions |= dict.fromkeys(batch, result.revision)
    return await accept(operator, replace(found.after, revisions=revisions))


async def add_rest(operator: Operator, found: FileRestoration) -> dict[str, str]:
    """Write what follows, kind by kind; why that was refused, by kind: a user may not write each of them."""
    kinds: dict[str, dict[str, bytes]] = {}
    for key, value in found.rest.items():
        kinds.setdefault(table_of(key.removeprefix(operator.keys.prefix)), {})[key] = value
    refused = {}
    for kind, records in kinds.items():
        try:
            for batch in batches_of(records):
                await operator.etcd.txn(
                    [], [Op.put(key, value) for key, value in batch.items() if value is not None]
                )
        except RegistryDenied as error:
            refused[kind] = str(error)
    return refused


async def _mark(operator: Operator, found: FileRestoration) -> int:
    """Write the sentinel, unless it is as it should be; returns its revision."""
    key = operator.keys.cluster
    present = await operator.etcd.get(key)
    if present is not None and present.value == encode(found.sentinel):
        return present.mod_revision
    guard = Compare.mod(key, found.after.revisions.get(key, 0))
    result = await operator.etcd.txn([guard], [Op.put(key, encode(found.sentinel))])
    if not result.succeeded:
        raise Conflict("the registry's sentinel changed meanwhile; nothing was restored; run it again")
    return result.revision


def batches_of(writes: Mapping[str, bytes | None]) -> list[dict[str, bytes | None]]:
    """The writes, in order, as transactions that etcd takes."""
    found: list[dict[str, bytes | None]] = []
    size = 0
    for key, value in writes.items():
        size += len(key) + len(value or b"")
        if not found or len(found[-1]) >= BATCH or size > MAX_BYTES:
            found.append({})
            size = len(key) + len(value or b"")
        found[-1][key] = value
    return found
