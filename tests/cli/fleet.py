"""Records in a real etcd, written past our own client as the scheduler and the agents would write them."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Callable

from registry.keys import Keys
from registry.model import (
    Assignment,
    Leader,
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
from registry.records import decode, encode
from registry.units.file import file_hash
from tests.etcd_server import EtcdServer

ONE, TWO, THREE = (digits * 4 for digits in ("7aea1bb4", "8bfb2cc5", "9c0c3dd6"))
HELLO = "# says hello\n[Service]\nExecStart=/bin/sh -c 'while :; do echo hello; sleep 1; done'\n"


class Fleet:
    """The registry below one prefix."""

    def __init__(self, etcd: EtcdServer, prefix: str) -> None:
        self._etcd = etcd
        self.keys = Keys.under(prefix)

    def found(self) -> None:
        """A cluster of three machines with a leader."""
        self.put(self.keys.cluster, Sentinel("c1"))
        self.lead()
        for number, machine in enumerate((ONE, TWO, THREE), 1):
            node = (("node", f"n{number}"), ("region", f"r{number}"))
            address = f"10.199.0.{10 + number}"
            record = Machine(machine, f"core-{number}", address, f"boot{number}", node, agent_version="0.1.0")
            self.put(self.keys.machine(machine), record)

    def lead(self) -> None:
        self.put(self.keys.leader, Leader("core-1", "core-1"))

    def put(self, key: str, record: Record | UnitText | bytes) -> None:
        value = record if isinstance(record, bytes) else encode(record)
        self._etcd.post("/kv/put", {"key": b64encode(key.encode()).decode(), "value": b64encode(value).decode()})

    def delete(self, key: str) -> None:
        self._etcd.post("/kv/deleterange", {"key": b64encode(key.encode()).decode()})

    def get(self, key: str) -> bytes | None:
        kvs = self._etcd.post("/kv/range", {"key": b64encode(key.encode()).decode()}).get("kvs", [])
        return b64decode(kvs[0].get("value", "")) if kvs else None

    def unit(self, name: str) -> Unit | None:
        """The operator's record of a unit."""
        key = self.keys.unit(name)
        value = self.get(key)
        address = self.keys.parse(key)
        if value is None or address is None:
            return None
        record = decode(address, value, key)
        assert isinstance(record, Unit)
        return record

    def add(self, name: str, target: Target = Target.INACTIVE, text: str = HELLO, generation: int = 1) -> Unit:
        """A unit of the operator's."""
        unit = Unit(name, file_hash(text), target, generation)
        self.put(self.keys.file(unit.hash), UnitText(unit.hash, text))
        self.put(self.keys.unit(name), unit)
        return unit

    def assign(self, unit: Unit, machine: str) -> None:
        """What the scheduler does for a unit."""
        line = Assignment(unit.name, machine, unit.hash, unit.target, unit.generation, unit.attempt)
        self.put(self.keys.schedule(machine, unit.name), line)

    def report(
        self, unit: Unit, machine: str, active: str = "active", sub: str = "running", **more: object
    ) -> None:
        """What the agent says of a unit that it has carried out."""
        state = UnitState(unit.name, machine, unit.hash, unit.generation, unit.target, "loaded", active, sub)
        fields = {name: getattr(state, name) for name in state.__slots__} | {"attempt": unit.attempt} | more
        self.put(self.keys.state(machine, unit.name), UnitState(**fields))

    def run(self, name: str, machine: str = ONE, target: Target = Target.LAUNCHED) -> Unit:
        """A unit that is where it should be."""
        unit = self.add(name, target)
        self.assign(unit, machine)
        if target is Target.LAUNCHED:
            self.report(unit, machine)
        else:
            self.report(unit, machine, "inactive", "dead")
        return unit

    def wait(self, unit: Unit, pending: Pending) -> None:
        """Why a unit waits."""
        self.put(self.keys.pending(unit.name), pending)

    def override(self, override: Override) -> None:
        self.put(self.keys.override(override.machine), override)


def eventually(fact: Callable[[], object], timeout_s: float = 30) -> None:
    """Wait until a fact holds."""
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
