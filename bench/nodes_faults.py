"""What units go through when a machine dies, leaves or is cut off, and when the registry is away.

Every judgement is made from systemd's own times on the nodes. Each row leaves the cluster whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from bench.nodes import REFERENCE, STARTED, STOPPED, STOPPING, Event, Nodes, Size, Stuck, median
from bench.report import Figure
from fleettui.demo.cluster import PROGRAMS

AFTER_LEASE_S = 1.5
AGENT = PROGRAMS[0]
CONFIG = "/etc/fleet/fleet.toml"


def killed(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """A power cut of the machine with the leading scheduler, until the last of its units is active on another."""
    nodes.hold(size.units)
    victim = nodes.leader()
    lost = nodes.active(nodes=[victim])
    began = time.monotonic()
    nodes.cluster.node(victim).crash()
    nodes.until("all units elsewhere", lambda: nodes.active() == size.units, every_s=0.2)
    last = max(found.since for found in nodes.running().values()) - began
    nodes.cluster.up()
    nodes.settle(size.units)
    yield Figure(
        f"the leader's machine killed with {lost} units: all active elsewhere",
        last, "s", size.ttl_s + AFTER_LEASE_S, size.ttl_s, "the lease",
    )  # fmt: skip


def handed_over(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """A clean stop of the agent and a drain: how long each unit is down, beside a restart by systemctl."""
    nodes.hold(size.units)
    leaver = nodes.names[0]
    yield from _moved(nodes, size, "clean stop", leaver, lambda: _systemctl(nodes, leaver, "stop", AGENT))
    _systemctl(nodes, leaver, "start", AGENT)
    nodes.hold(size.units)
    machine = nodes.machine_id(leaver)
    yield from _moved(nodes, size, "drain", leaver, lambda: nodes.act("drain", machine))
    nodes.fleetctl("uncordon", machine)
    nodes.settle(size.units)


def _moved(nodes: Nodes, size: Size, what: str, leaver: str, act: Callable[[], None]) -> Iterator[Figure]:
    bare = _restarts(nodes, size.runs)
    units = nodes.active(nodes=[leaver])
    began = time.time()
    act()
    others = [name for name in nodes.names if name != leaver]
    nodes.until("all units elsewhere", lambda: nodes.active(nodes=others) == size.units, every_s=0.1)
    events = nodes.events(began)
    down = _downtimes(events, lambda event: event.node == leaver)
    if len(down) != units:
        raise Stuck(f"{what}: systemd tells of {len(down)} moves of {units}")
    reference, against = 1000 * median(bare), "stop and start of one unit by systemctl restart"
    last_s = max(event.at for event in events if event.kind == STARTED) - began
    yield Figure(
        f"{what} of a machine with {units} units: each down (median)",
        1000 * median(down), "ms", reference, reference, against,
    )  # fmt: skip
    yield Figure(f"{what}: the one that is down longest", 1000 * max(down), "ms", None, reference, against)
    yield Figure(
        f"{what}: all {units} moved", last_s, "s", None, sum(bare) / len(bare) * units, "one after the other"
    )


def _restarts(nodes: Nodes, runs: int) -> list[float]:
    """How long one unit is down when nobody but systemd has a part in it."""
    with nodes.reference():
        began = time.time()
        each = "systemctl start ref@1; " + "systemctl restart ref@1; " * runs
        nodes.everywhere(each, nodes=nodes.names[:1])
        return _downtimes(nodes.events(began, nodes=nodes.names[:1], of=REFERENCE), lambda _: True)


def _downtimes(events: Iterable[Event], leaves: Callable[[Event], bool]) -> list[float]:
    """Seconds from the begin of each stop that counts to the next start of that unit, wherever it is."""
    begun: dict[str, float] = {}
    found = []
    for event in events:
        if event.kind == STOPPING and leaves(event):
            begun[event.unit] = event.at
        elif event.kind == STARTED and event.unit in begun:
            found.append(event.at - begun.pop(event.unit))
    return found


def cut_off(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """A cut network with `on_lost_registry = "stop"`: units that ran on two machines at any moment."""
    with _stopping_when_lost(nodes):
        nodes.hold(size.units)
        victim = nodes.names[1]
        began = time.time()
        before = {unit for node, unit in nodes.running(nodes=[victim])}
        nodes.cluster.node(victim).cut()
        time.sleep(size.cut_s)
        nodes.cluster.node(victim).heal()
        nodes.settle(size.units)
        twice = _twice(nodes.events(began), victim, before)
        yield Figure(
            f'{size.cut_s:g} s cut, on_lost_registry = "stop", {len(before)} units: running twice',
            len(twice), "units", 0, None, f"longest overlap {max(twice.values(), default=0):.2f} s",
        )  # fmt: skip
        nodes.clear()


@contextmanager
def _stopping_when_lost(nodes: Nodes) -> Iterator[None]:
    put = f"""sed -i 's/^\\[agent\\]$/[agent]\\non_lost_registry = "stop"/' {CONFIG}; systemctl restart {AGENT}"""
    nodes.everywhere(put)
    nodes.settle(nodes.rows("schedule/"))  # a unit may be on its way just now
    try:
        yield
    finally:
        nodes.everywhere(f"sed -i '/^on_lost_registry/d' {CONFIG}; systemctl restart {AGENT}")


def _twice(events: Iterable[Event], victim: str, before: Iterable[str]) -> dict[str, float]:
    """Units that started elsewhere before systemd on the victim had stopped them; by how many seconds."""
    stopped: dict[str, float] = {}
    started: dict[str, float] = {}
    for event in events:
        if event.node == victim and event.kind == STOPPED:
            stopped.setdefault(event.unit, event.at)
        elif event.node != victim and event.kind == STARTED:
            started.setdefault(event.unit, event.at)
    late = {unit: stopped.get(unit, time.time()) - started[unit] for unit in before if unit in started}
    return {unit: overlap for unit, overlap in late.items() if overlap > 0}


def without_etcd(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """etcd killed and started again after a while: what it did to units and programs."""
    nodes.hold(size.units)
    began = time.time()
    before, programs = nodes.running(), nodes.programs()
    nodes.cluster.etcd.kill()
    time.sleep(size.outage_s)
    nodes.cluster.etcd.start()
    nodes.settle(size.units)
    time.sleep(2 * size.ttl_s)  # until every lease of before would have ended
    nodes.settle(size.units)
    after, events, now = nodes.running(), nodes.events(began), nodes.programs()
    what = f"{size.outage_s:g} s without etcd, {size.units} units"
    touched = sum(1 for key, found in before.items() if after.get(key) != found)
    told = f"{len(events)} starts and stops in systemd's journals"
    yield Figure(f"{what}: stopped, moved or restarted", touched, "units", 0, None, told)
    dead = sum(1 for key in programs if programs[key] != now.get(key))
    yield Figure(f"{what}: programs dead", dead, "", 0, None, f"of {len(programs)}")


def _systemctl(nodes: Nodes, node: str, verb: str, unit: str) -> None:
    done = nodes.cluster.exec(node, ["systemctl", verb, unit], timeout_s=150)
    if done.returncode:
        raise Stuck(f"systemctl {verb} {unit} on {node}: {done.stderr.strip()}")
