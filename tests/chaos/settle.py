"""After a round, everything healed: has the fleet come to rest, and is what rests right?

`problems` compares the operator's wishes with what systemd on every machine says, and with every file, link and key
that is left. Whatever it lists must be gone within the time that the campaign allows.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from fleettui.demo.process import ToolFailed
from registry.errors import FleetError
from registry.etcd import Etcd
from registry.keys import Keys
from registry.lifecycle import Progress, standing, whereabouts
from registry.mirror import Snapshot
from registry.model import Target
from registry.sync.follow import FOLLOWED
from registry.sync.listing import read_snapshot
from tests.chaos import crowd
from tests.placement.world import decide_snapshot

PROPERTIES = "Id,LoadState,ActiveState,SubState,FragmentPath,Result"
UP = ("active", "activating", "reloading", "deactivating")
STATE = "run/fleet"


@dataclass(frozen=True, slots=True)
class Ground:
    """One machine as it is: what its systemd says, and the files that the agent keeps."""

    units: dict[str, dict[str, str]]
    files: dict[str, str]  # unit: sha256
    entries: frozenset[str]
    links: frozenset[str]
    programs: str


def problems(cluster: Cluster) -> list[str]:
    """Everything that is not as it should be at rest."""
    try:
        snapshot = read(cluster)
        grounds = {node.spec.machine_id: ground(node) for node in cluster.nodes.values()}
    except (FleetError, OSError) as error:
        return [f"cannot look: {error}"]
    return [
        *_cluster(snapshot, cluster),
        *_registry(snapshot),
        *(each for name in sorted(snapshot.units) for each in _unit(snapshot, grounds, name)),
        *(each for machine, place in sorted(grounds.items()) for each in _ground(snapshot, machine, place)),
        *(f"9: deciding again decides {decision}" for decision in decide_snapshot(snapshot)[:3]),
    ]


def read(cluster: Cluster) -> Snapshot:
    """The registry now."""

    async def listed() -> Snapshot:
        async with Etcd(cluster.as_root) as etcd:
            return await read_snapshot(etcd, Keys(), FOLLOWED)

    return asyncio.run(listed())


def ground(node: Node) -> Ground:
    """A machine as it is. Raises ToolFailed while it does not answer."""
    leader = node.leader()
    if leader is None:
        raise ToolFailed(f"{node.name} is down")
    shown = node.exec(["systemctl", "show", "--all", "-p", PROPERTIES, "--", f"{crowd.PREFIX}*"], timeout_s=10)
    programs = node.exec(["systemctl", "is-active", "fleet-agentd", "fleet-scheduler"], timeout_s=10)
    root = Path(f"/proc/{leader}/root")
    files = {path.name: sha256(path.read_bytes()).hexdigest() for path in _within(root / STATE / "units")}
    links = {path.name for path in (root / "run/systemd/system").glob(f"{crowd.PREFIX}*") if path.is_symlink()}
    entries = frozenset(path.name for path in _within(root / STATE / "applied"))
    return Ground(dict(_units(shown.stdout)), files, entries, frozenset(links), " ".join(programs.stdout.split()))


def _within(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.exists() else []


def _units(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    for block in re.split(r"\n\n", text.strip()):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id") and values["Id"] != crowd.HOST_UNIT:
            yield values["Id"], values


def _cluster(snapshot: Snapshot, cluster: Cluster) -> Iterator[str]:
    absent = {node.spec.machine_id: node.name for node in cluster.nodes.values()}
    for machine in snapshot.machines:
        absent.pop(machine, None)
    for name in absent.values():
        yield f"{name} has not registered"
    if snapshot.leader is None:
        yield "no scheduler leads"


def _registry(snapshot: Snapshot) -> Iterator[str]:
    """Keys that nothing accounts for."""
    yield from (
        f"leftover: schedule of {unit}, which nobody wants"
        for _, unit in snapshot.schedule
        if unit not in snapshot.units
    )
    yield from (f"leftover: pending/{unit}" for unit in snapshot.pending if unit not in snapshot.units)
    yield from (
        f"leftover: states/{machine[:8]}/{unit}"
        for machine, unit in snapshot.states
        if (machine, unit) not in snapshot.schedule
    )
    yield from (f"corrupt: {key}" for key in snapshot.corrupt)


def _unit(snapshot: Snapshot, grounds: dict[str, Ground], name: str) -> Iterator[str]:
    unit, kind = snapshot.units[name], crowd.KINDS.get(name)
    found = standing(snapshot, name, whereabouts(snapshot))
    if kind is None:
        return
    if found.progress is Progress.UNDER_WAY:
        yield f"{name} has not arrived: {found.reason}"
    if found.progress is not Progress.REACHED and not found.reason:
        yield f"7: {name} is {found.progress} without a reason"
    if found.progress is Progress.FAILED and not kind.fails and name != crowd.HOST_UNIT:
        yield f"8: {name} failed: {found.reason}"
    if (
        found.progress is Progress.WAITING
        and kind in (crowd.SLEEPER, crowd.SLOW, crowd.STUBBORN)
        and name != crowd.HOST_UNIT
    ):
        yield f"1: {name} waits though every machine could run it: {found.reason}"
    if found.progress is not Progress.REACHED or name == crowd.HOST_UNIT:
        return
    up = [machine for machine, place in grounds.items() if place.units.get(name, {}).get("ActiveState") in UP]
    wanted = list(found.machines) if unit.target is Target.LAUNCHED and kind.stays else []
    if kind.stays and sorted(up) != sorted(wanted):
        yield f"1: {name} ({unit.target}) should be up on {_short(wanted)} and is on {_short(up)}"
    for machine, state in ((machine, snapshot.states.get((machine, name))) for machine in found.machines):
        truth = grounds[machine].units.get(name, {})
        active = truth.get("ActiveState", "inactive")
        if state and kind.stays and state.active != active:
            yield f"{name}: the registry says {state.active}, systemd on {machine[:8]} says {active}"


def _ground(snapshot: Snapshot, machine: str, place: Ground) -> Iterator[str]:
    lines = {unit: line for (where, unit), line in snapshot.schedule.items() if where == machine}
    here = machine[:8]
    if place.programs != "active active":
        yield f"the programs of {here} are {place.programs}"
    for unit, shown in place.units.items():
        if shown.get("ActiveState") in UP and unit not in lines:
            yield f"leftover: {unit} is {shown['ActiveState']} on {here}, which is not to run it"
    for what, names in (("file", set(place.files)), ("entry", set(place.entries)), ("link", set(place.links))):
        yield from (f"leftover: {what} of {unit} on {here}" for unit in sorted(names - set(lines)))
    for unit, line in lines.items():
        if unit in place.files and place.files[unit] != line.hash:
            yield f"{unit} on {here} runs another file than it should"


def _short(machines: list[str]) -> str:
    return ", ".join(each[:8] for each in machines) or "none"
