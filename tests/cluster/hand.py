"""The scheduler's hand, led by a test: puts schedule lines for one real agent and reads what it answers.

With no scheduler running, an agent's behaviour is the agent's alone.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from registry.etcd import Etcd, Op
from registry.keys import Keys
from registry.model import Assignment, Target, UnitText
from registry.records import encode
from registry.units.file import file_hash
from tests.cluster.nodes import eventually, registry

AGENT = "fleet-agentd.service"
KEYS = Keys()
State = dict[str, Any]


class Hand:
    """The schedule of one node of a cluster."""

    def __init__(self, cluster: Cluster, node: str = "core-1") -> None:
        self.cluster = cluster
        self.node: Node = cluster.node(node)
        self.machine = self.node.spec.machine_id

    def put(self, texts: dict[str, str], *, target: Target = Target.LAUNCHED, generation: int = 1) -> None:
        """Schedule units, each with its text, at most 60 in one transaction."""
        items = list(texts.items())
        for at in range(0, len(items), 60):
            files = {file_hash(text): text for _, text in items[at : at + 60]}
            ops = [Op.put(KEYS.file(sha), encode(UnitText(sha, text))) for sha, text in files.items()]
            ops += [self._line(name, text, target, generation) for name, text in items[at : at + 60]]
            self._transact(ops)

    def _line(self, name: str, text: str, target: Target, generation: int) -> Op:
        line = Assignment(name, self.machine, file_hash(text), target, generation)
        return Op.put(KEYS.schedule(self.machine, name), encode(line))

    def withdraw(self, *names: str) -> None:
        """Take schedule lines away; all of them when none is named."""
        prefix = KEYS.schedule(self.machine)
        self._transact([Op.delete(prefix + name) for name in names] or [Op.delete_prefix(prefix)])

    def _transact(self, ops: list[Op]) -> None:
        async def transact() -> None:
            async with Etcd(self.cluster.as_root) as etcd:
                await etcd.txn([], ops)

        asyncio.run(transact())

    def states(self) -> dict[str, State]:
        """The node's states by unit."""
        found = registry(self.cluster, f"states/{self.machine}/")
        return {key.rpartition("/")[2]: json.loads(value) for key, value in found.items()}

    def until(self, name: str, fact: Callable[[State], object], *, within_s: float = 30) -> State:
        """Wait until the unit's state satisfies `fact`."""

        def found() -> State:
            state = self.states().get(name, {})
            return state if state and fact(state) else {}

        return eventually(f"{name} as expected", found, timeout_s=within_s, interval_s=0.02)

    def launched(self, name: str, generation: int = 1, *, within_s: float = 30) -> State:
        """Wait until a start is over, whatever came of it."""
        return self.until(
            name, lambda state: (state.get("target"), state.get("generation", 1)) == ("launched", generation),
            within_s=within_s,
        )  # fmt: skip

    def gone(self, *names: str, within_s: float = 30) -> None:
        """Wait until the node has given units up."""
        eventually("units given up", lambda: not set(names) & set(self.states()), timeout_s=within_s)

    def shell(self, script: str, *, timeout_s: float = 60) -> str:
        """A script's output on the node."""
        done = self.node.exec(["sh", "-c", script], timeout_s=timeout_s)
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property as the node's own systemd says it."""
        return self.shell(f"systemctl show -P {name} -- '{unit}'")

    def said(self) -> str:
        """The agent's log of this boot."""
        return self.node.journal("-u", AGENT, "-o", "cat")

    def reloads(self) -> int:
        """How often this systemd has read its unit files again."""
        said = self.node.journal("-o", "cat", "_PID=1")
        return len(re.findall(r"^Reloading\.+$", said, re.MULTILINE))  # newer versions say it with three dots

    def back(self, old: str) -> None:
        """Wait until the agent after process `old` holds the machine's place: a lease may have to end."""

        def placed() -> bool:
            pid = self.show(AGENT, "MainPID")
            said = "" if pid in (old, "0") else self.node.journal(f"_PID={pid}", "-o", "cat")
            return "back as machine" in said or "joined as machine" in said

        eventually("the agent back in its place", placed, timeout_s=60)

    def registered(self) -> None:
        """Wait until the machine is there."""
        eventually("the machine registered", lambda: self.machine in str(registry(self.cluster, "machines/")))


def elapsed(began: float) -> float:
    """Seconds since `began` (monotonic)."""
    return time.monotonic() - began


def prepared(cluster: Cluster) -> Hand:
    """A hand on core-1, once no scheduler runs anywhere and the machine is empty."""
    for node in cluster.nodes.values():
        node.exec(["systemctl", "stop", "fleet-scheduler.service"])
        node.exec(["systemctl", "start", AGENT], timeout_s=60)
    hand = Hand(cluster)
    hand.registered()
    cluster.etcd.delete("/fleet/schedule/")
    eventually("an empty machine", lambda: not hand.states(), timeout_s=60)
    hand.shell("rm -f /var/trace")
    return hand


def released(hand: Hand) -> None:
    """Give everything up again."""
    hand.withdraw()
    eventually("all given up", lambda: not hand.states(), timeout_s=60)
