"""A registry and its agents as plain values, to decide on: what the real ones would hold after each step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from unittest import mock

from placement.cluster_state import ClusterState
from placement.decide import decide
from placement.decisions import Decision, records_after
from placement.placement import Placement
from registry.keys import Address, Keys, Table
from registry.mirror import Mirror, RawChange, Snapshot
from registry.model import (
    Assignment,
    Availability,
    Machine,
    Override,
    Pending,
    Record,
    Sentinel,
    Target,
    Unit,
    UnitState,
    UnitText,
)
from registry.records import encode
from registry.units.file import file_hash

KEYS = Keys()
CORRUPT = b"{"


def unit_text(*fleet: str, note: str = "") -> str:
    """A unit file with these lines under [X-Fleet]."""
    head = f"# {note}\n" if note else ""
    return head + "[Service]\nExecStart=/bin/true\n[X-Fleet]\n" + "\n".join(fleet) + "\n"


def machine(machine_id: str, *, leaving: bool = False, **metadata: str) -> Machine:
    """A live machine, which does not tell what it has."""
    pairs = tuple(sorted(metadata.items()))
    return Machine(machine_id, f"host-{machine_id}", "10.0.0.1", f"boot-{machine_id}", pairs, leaving=leaving)


def sized(found: Machine, memory_bytes: int, cpus: int) -> Machine:
    """The machine with so much memory and so many processors."""
    return replace(found, memory_bytes=memory_bytes, cpus=cpus)


def decide_snapshot(snapshot: Snapshot, keys: Keys = KEYS) -> tuple[Decision, ...]:
    """Decide on a snapshot from scratch, with a close look at every unit. Without a sentinel: nothing."""
    with mock.patch.object(Placement, "_rests", return_value=False):  # else one is passed over at a glance
        return decide(ClusterState.from_snapshot(snapshot, keys)) if snapshot.cluster else ()


class World:
    """Keys and values, their snapshot, and a state that is kept current change by change."""

    def __init__(self, *machines: Machine) -> None:
        self.mirror = Mirror(KEYS)
        self.revision = 1
        self.state = ClusterState()
        self.values: dict[str, bytes] = {}
        self.put(KEYS.cluster, Sentinel("c1"))
        for each in machines:
            self.put(KEYS.machine(each.id), each)

    # -- writing

    def put(self, key: str, record: Record | UnitText | bytes) -> None:
        self._write(key, record if isinstance(record, bytes) else encode(record))

    def delete(self, key: str) -> None:
        if key in self.values:
            self._write(key, None)

    def _write(self, key: str, value: bytes | None) -> None:
        self.revision += 1
        if value is None:
            del self.values[key]
        else:
            self.values[key] = value
        change = RawChange(key, value, self.revision, self.revision)
        for address in self.mirror.apply([change], self.revision):
            self.state.apply(address, self.mirror.row(address.table, address), exists=value is not None)

    def unit(self, name: str, *fleet: str, target: Target = Target.LAUNCHED, note: str = "") -> Unit:
        """Submit a unit with these lines under [X-Fleet], or change it."""
        text = unit_text(*fleet, note=note)
        sha256 = file_hash(text)
        old = self.mirror.row(Table.UNITS, Address(Table.UNITS, name))
        generation = 1 if old is None else old.generation + (old.hash != sha256)
        self.put(KEYS.file(sha256), UnitText(sha256, text))
        wish = Unit(name, sha256, target, generation)
        if wish != old:
            self.put(KEYS.unit(name), wish)
        return wish

    def destroy(self, name: str) -> None:
        self.delete(KEYS.unit(name))

    def set(self, machine_id: str, availability: Availability, **metadata: str) -> None:
        """What the operator sets on a machine."""
        self.put(KEYS.override(machine_id), Override(machine_id, availability, tuple(sorted(metadata.items()))))

    def lose(self, machine_id: str) -> None:
        """A machine's lease ends: its states go with it."""
        for pair in [pair for pair in self.snapshot.states if pair[0] == machine_id]:
            self.delete(KEYS.state(*pair))
        for key in [key for key in self.values if key.startswith(KEYS.state(machine_id))]:
            self.delete(key)
        self.delete(KEYS.machine(machine_id))

    # -- the programs

    def agents(self, *machines: str, claim: bool = True, release: bool = True) -> None:
        """What the agents do: claim what is scheduled, drop what is not."""
        snapshot = self.snapshot
        for each in machines or tuple(snapshot.machines):
            site = snapshot.machines.get(each)
            if claim and site and not site.leaving:
                for pair, line in snapshot.schedule.items():
                    if pair[0] == each:
                        self.put(
                            KEYS.state(*pair), UnitState(pair[1], each, line.hash, line.generation, line.target)
                        )
            if release and site:
                for pair in snapshot.states:
                    scheduled = pair in snapshot.schedule or KEYS.schedule(*pair) in snapshot.corrupt
                    if pair[0] == each and (site.leaving or not scheduled):
                        self.delete(KEYS.state(*pair))

    def decide(self) -> tuple[Decision, ...]:
        """Decide on what changed; it must be what deciding from scratch says."""
        scratch = decide_snapshot(self.snapshot, KEYS)
        changed = decide(self.state)
        assert changed == scratch
        return changed

    def carry_out(self, decisions: Iterable[Decision]) -> None:
        for each in decisions:
            for address, record in records_after(each):
                key = KEYS.at(address)
                if record is None:
                    self.delete(key)
                else:
                    self.put(key, record)

    def step(self) -> tuple[Decision, ...]:
        """Decide and carry out."""
        decisions = self.decide()
        self.carry_out(decisions)
        return decisions

    def settle(self, rounds: int = 40) -> None:
        """Let scheduler and agents work until nothing happens any more."""
        for _ in range(rounds):
            decisions = self.step()
            self.agents()
            if not decisions and not self.decide():
                return
        raise AssertionError("does not come to rest")

    # -- reading

    @property
    def snapshot(self) -> Snapshot:
        return self.mirror.snapshot()

    def where(self, name: str) -> tuple[str, ...]:
        """The machines that schedule a unit, sorted."""
        return tuple(sorted(where for where, unit in self.snapshot.schedule if unit == name))

    def runs(self, name: str) -> tuple[str, ...]:
        """The machines that report a state of a unit, sorted."""
        return tuple(sorted(where for where, unit in self.snapshot.states if unit == name))

    def pending(self, name: str) -> Pending | None:
        return self.snapshot.pending.get(name)

    def waits(self, name: str) -> str:
        """Why a unit waits, "" when it does not."""
        pending = self.pending(name)
        return pending.summary if pending else ""

    def line(self, machine_id: str, name: str) -> Assignment:
        return self.snapshot.schedule[machine_id, name]
