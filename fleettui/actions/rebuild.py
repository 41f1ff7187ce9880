"""Making a backup out of what the machines of a fleet hold, where the registry and every backup of it are lost.

An agent whose registry is empty keeps what runs, and comes back as soon as the registry has the sentinel of its
cluster. That one is held, so agents begin nothing and show what they have applied: units, hashes, targets. The
texts lie on the machines, and a hash proves each of them. What was on no machine (units that were only submitted,
templates, cordons, metadata set at run time) is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256

from fleettui.actions.backup import Backup
from fleettui.actions.operator import Operator
from fleettui.actions.restore_file import BEGINNING
from registry.errors import Conflict, UserError
from registry.etcd import Compare, Op
from registry.grammar import token
from registry.keys import Keys, Table
from registry.mirror import Pair, Snapshot
from registry.model import Assignment, Record, Sentinel, Target, Unit, UnitState
from registry.program.version import installed_version
from registry.records import encode
from registry.sync.listing import read_snapshot
from registry.sync.sentinel import read_cluster

TABLES = (Table.CLUSTER, Table.MACHINES, Table.STATES)
KEYS = Keys("")


async def begin_again(operator: Operator, cluster: str) -> None:
    """Give an empty registry the sentinel of a cluster, held. UserError for a registry that is not empty."""
    try:
        wanted = Sentinel(token(cluster), held=BEGINNING, restoring="of what runs")
    except ValueError as error:
        raise UserError(f"{error} of a cluster; systemctl status fleet-agentd names it on every machine") from error
    found = await read_cluster(operator.etcd, operator.keys)
    if found is None:
        key = operator.keys.cluster
        if not (await operator.etcd.txn([Compare.absent(key)], [Op.put(key, encode(wanted))])).succeeded:
            raise Conflict("somebody else has begun a cluster here just now; run it again")
    elif found.id != wanted.id or found.held != BEGINNING:
        raise UserError(
            f"this registry is not empty: it is of cluster {found.id}. A backup of it: fleetctl backup FILE"
        )


async def read_running(operator: Operator) -> Snapshot:
    """The machines that have come back, and what they run."""
    return await read_snapshot(operator.etcd, operator.keys, TABLES)


def sources_of(snapshot: Snapshot) -> dict[str, list[Pair]]:
    """Where the text of each hash lies: on which machines, as which units."""
    found: dict[str, list[Pair]] = {}
    for pair, state in sorted(snapshot.states.items()):
        if pair[0] in snapshot.machines:
            found.setdefault(state.hash, []).append(pair)
    return found


def is_text_of(text: bytes, hash_: str) -> bool:
    """Whether this is the file that the hash is of."""
    return sha256(text).hexdigest() == hash_


def backup_of(snapshot: Snapshot, texts: Mapping[str, bytes], at: float) -> Backup:
    """The backup of what runs; units whose text nobody has are left out. Pure."""
    sentinel = snapshot.cluster or Sentinel("unknown")
    found: dict[str, Record | bytes] = {KEYS.cluster: replace(sentinel, held="", restoring="")}
    by_unit: dict[str, list[UnitState]] = {}
    for (machine, name), state in snapshot.states.items():
        if machine in snapshot.machines and state.hash in texts:
            by_unit.setdefault(name, []).append(state)
    for name, states in sorted(by_unit.items()):
        newest = max(states, key=lambda each: (each.generation, each.attempt))
        target = newest.target if newest.target.scheduled else Target.LOADED
        found[KEYS.file(newest.hash)] = texts[newest.hash]
        found[KEYS.unit(name)] = Unit(
            name, newest.hash, target, newest.generation, at=at, by="rebuilt", attempt=newest.attempt
        )
        for state in states:
            line = Assignment(name, state.machine, newest.hash, target, newest.generation, newest.attempt)
            found[KEYS.schedule(state.machine, name)] = line
    records = {key: value if isinstance(value, bytes) else encode(value) for key, value in found.items()}
    machines = {each.id: each.hostname for each in snapshot.machines.values()}
    return Backup(sentinel.id, snapshot.revision, at, installed_version(), records, machines)


def lost_units(snapshot: Snapshot, hashes: Iterable[str]) -> list[str]:
    """The units whose text is one of these hashes."""
    missing = set(hashes)
    return sorted({name for (_, name), state in snapshot.states.items() if state.hash in missing})
