"""What is measured: each work by all fleets in turns, so that whatever else this host does burdens all of them."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from bench.nodes import Stuck, median
from bench.peers.fleet import Fleet
from bench.peers.table import Line
from registry.errors import FleetError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: units at once, repetitions, seconds of rest, and the lease of our agents."""

    units: int = 100
    runs: int = 3
    rest_s: float = 60.0
    ttl_s: float = 10.0  # as it is where nobody sets it


@dataclass(frozen=True, slots=True)
class Cost:
    """What one work took: seconds on the clock, and of processor time on the nodes and by its command."""

    took_s: float
    cpu_s: float


@dataclass
class Field:
    """The fleets that are still compared. One that fails is told about and left out from then on."""

    fleets: list[Fleet]
    note: Callable[[str], None]
    failed: dict[str, str] = field(default_factory=dict)

    def each(self, act: Callable[[Fleet], T]) -> dict[str, T]:
        """What `act` gives for each fleet, one after the other."""
        found = {}
        for fleet in tuple(self.fleets):
            try:
                found[fleet.title] = act(fleet)
            except (FleetError, Stuck) as error:
                self.failed[fleet.title] = str(error)
                self.fleets.remove(fleet)
                self.note(f"{fleet.title}: left out from here on: {error}")
        return found


Row = Callable[[Field, Size], Iterator[Line]]


def one(fleets: Field, size: Size) -> Iterator[Line]:
    """One unit that the fleet does not know yet is started, and stopped, by one command each."""
    starts, stops = [], []
    for name in (f"one-{run}" for run in range(size.runs)):
        starts.append(fleets.each(partial(_start, name=name)))
        stops.append(fleets.each(partial(_stop, name=name)))
    fleets.each(lambda fleet: fleet.forget())
    yield from _lines("one start, confirmed", starts)
    yield from _lines("one stop, process gone", stops)


def many(fleets: Field, size: Size) -> Iterator[Line]:
    """Many units are started by one command, and ended by another."""
    up, gone = [], []
    for _ in range(size.runs):
        up.append(fleets.each(partial(_fill, count=size.units)))
        gone.append(fleets.each(_drop))
        fleets.each(lambda fleet: fleet.forget())
    yield from _lines(f"{size.units} up, confirmed", up)
    yield from _lines(f"{size.units} gone, no process left", gone)


def listing(fleets: Field, size: Size) -> Iterator[Line]:
    """The command that lists all units, as a whole process."""
    _hold(fleets, size.units)
    took = [fleets.each(partial(_listed, count=size.units)) for _ in range(3 * size.runs)]
    yield _medians(f"listing {size.units} units, whole command", took)


def at_rest(fleets: Field, size: Size) -> Iterator[Line]:
    """Processor time of everything on the nodes, all fleets over the same span, and memory of the daemons."""
    _hold(fleets, size.units)
    time.sleep(min(10.0, size.rest_s))  # the last states and traces are written
    before, began = fleets.each(Fleet.cpu_s), time.monotonic()
    time.sleep(size.rest_s)
    after, took = fleets.each(Fleet.cpu_s), time.monotonic() - began
    used = {title: 100 * (after[title] - before[title]) / took for title in after}
    yield Line(f"CPU at rest, {size.units} units", "%", used, f"of one core, all nodes together, over {took:.0f} s")
    programs: dict[str, Mapping[str, float]] = {}

    def held(fleet: Fleet) -> float:
        programs[fleet.title] = fleet.memory_mib()
        return sum(programs[fleet.title].values())

    values = fleets.each(held)
    shims = sum(mib for name, mib in programs.get("Docker Swarm", {}).items() if name.startswith("containerd-shim"))
    remark = "all nodes together" + (f"; {shims:.0f} MiB of Swarm's are a shim for each container" if shims else "")
    yield Line(f"memory of the daemons, {size.units} units", "MiB", values, remark)


def killed(fleets: Field, size: Size) -> Iterator[Line]:
    """A power cut of the node that leads, until as many processes as before run on the others."""
    took = []
    for _ in range(size.runs):
        _hold(fleets, size.units)
        took.append(fleets.each(partial(_killed, count=size.units)))
        fleets.each(_drop)
        fleets.each(lambda fleet: fleet.forget())
    yield _medians("the leading node killed: all active elsewhere", took)


ROWS: dict[str, Row] = {"one": one, "many": many, "list": listing, "rest": at_rest, "kill": killed}


def _lines(work: str, costs: Sequence[Mapping[str, Cost]]) -> Iterator[Line]:
    yield _medians(work, [{title: cost.took_s for title, cost in each.items()} for each in costs])
    used = [{title: cost.cpu_s for title, cost in each.items()} for each in costs]
    yield _medians(f"{work}: processor time", used)


def _medians(work: str, rounds: Sequence[Mapping[str, float]]) -> Line:
    taken: dict[str, list[float]] = {}
    for each in rounds:
        for title, value in each.items():
            taken.setdefault(title, []).append(value)
    remark = f"median of {len(rounds)}" if len(rounds) > 1 else ""
    return Line(work, "s", {title: median(values) for title, values in taken.items()}, remark)


def _cost(fleet: Fleet, act: Callable[[], None], then: Callable[[], None]) -> Cost:
    """What it took to act, by one command, and to wait; the waiting itself is no processor time of the fleet's."""
    began, before, commands = time.monotonic(), fleet.cpu_s(), _commands_s()
    act()
    commands = _commands_s() - commands
    then()
    return Cost(time.monotonic() - began, fleet.cpu_s() - before + commands)


def _commands_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _start(fleet: Fleet, name: str) -> Cost:
    return _confirmed(fleet, lambda: fleet.start(name), 1)


def _fill(fleet: Fleet, count: int) -> Cost:
    return _confirmed(fleet, lambda: fleet.fill(count), count)


def _confirmed(fleet: Fleet, act: Callable[[], None], count: int) -> Cost:
    cost = _cost(fleet, act, lambda: fleet.confirm(count))
    found = fleet.alive()
    if found != count:
        raise Stuck(f"it says that {count} units run, but {found} processes do")
    return cost


def _stop(fleet: Fleet, name: str) -> Cost:
    return _gone(fleet, lambda: fleet.stop(name))


def _drop(fleet: Fleet) -> Cost:
    return _gone(fleet, fleet.drop)


def _gone(fleet: Fleet, act: Callable[[], None]) -> Cost:
    return _cost(fleet, act, lambda: fleet.until("the end of all processes", lambda: fleet.alive() == 0))


def _hold(fleets: Field, count: int) -> None:
    fleets.each(lambda fleet: fleet.alive() == count or _fill(fleet, count))


def _listed(fleet: Fleet, count: int) -> float:
    began = time.monotonic()
    text = fleet.listing()
    took = time.monotonic() - began
    if len(text.splitlines()) < count:
        raise Stuck(f"its listing of {count} units has {len(text.splitlines())} lines")
    return took


def _killed(fleet: Fleet, count: int) -> float:
    victim = fleet.nodes[fleet.leader()]
    began = time.monotonic()
    victim.crash()
    fleet.until("all units elsewhere", lambda: fleet.alive() == count)
    took = time.monotonic() - began
    fleet.settle()
    return took
