"""How long deciding takes: a first decision for many units, each single change after it, also
while many wait, and previews.

    python -m bench.placement [--units 100000] [--machines 1000] [--json FILE]

Processor time of one core, without etcd, beside a brute-force placement (every unit looks at every machine) of a
part of the same units, so that the comparison does not hang on the hardware.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from bench.report import Figure, table
from placement.cluster_state import ClusterState
from placement.decide import decide
from placement.decisions import Assign, Decision, Wait, records_after
from placement.eligibility import Site, conflict_pattern, fits, preference, site_of
from placement.explain import explain
from placement.preview import latest, preview_drain
from registry.keys import Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import Machine, Sentinel, Target, Unit, UnitState, UnitText
from registry.program import collector
from registry.units.file import file_hash, parse
from registry.units.name import matcher
from registry.units.options import FleetOptions, parse_options

TEMPLATES = {  # name to its [X-Fleet] lines; instances are spread over them
    "plain@": "",
    "east@": "MachineMetadata=region=r1 region=r2",
    "ssd@": "MachineMetadata=disk=ssd",
    "apart@": "Conflicts=lonely@*",
    "pair@": "Conflicts=pair-%i@*",
}


def snapshot_of(units: int, machines: int) -> Snapshot:
    """A fleet with nothing placed yet."""
    files = {file_hash(text): UnitText(file_hash(text), text) for text in map(_text, TEMPLATES.values())}
    hashes = [file_hash(_text(lines)) for lines in TEMPLATES.values()]
    names = [
        (f"{prefix}{number}.service", sha256)
        for number in range(units // len(TEMPLATES) + 1)
        for prefix, sha256 in zip(TEMPLATES, hashes, strict=True)
    ][:units]
    return Snapshot(
        cluster=Sentinel("bench"),
        files=files,
        units={name: Unit(name, sha256, Target.LAUNCHED) for name, sha256 in names},
        machines={machine.id: machine for machine in map(_machine, range(machines))},
    )


def _text(lines: str) -> str:
    return f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{lines}\n"


def _machine(number: int) -> Machine:
    metadata = (("disk", "ssd" if number % 4 == 0 else "hdd"), ("region", f"r{number % 5}"))
    return Machine(f"{number:032x}", f"node{number}", "10.0.0.1", f"boot{number}", metadata)


def carry_out(state: ClusterState, decisions: tuple[Decision, ...]) -> None:
    """Apply to the state what the registry would tell after the decisions were written."""
    for each in decisions:
        for address, record in records_after(each):
            state.apply(address, record, exists=record is not None)


def timed(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def settle(state: ClusterState) -> int:
    """Decide and carry out until nothing is left; returns the number of decisions."""
    total = 0
    while decisions := decide(state):
        carry_out(state, decisions)
        total += len(decisions)
    return total


def brute_force_s(snapshot: Snapshot, sample: int) -> float:
    """Seconds for a unit when each looks at each machine and at all units there, for the first `sample` units."""
    sites = [site_of(machine, None) for machine in snapshot.machines.values()]
    placed: dict[str, list[tuple[str, FleetOptions]]] = {site.id: [] for site in sites}
    names = sorted(snapshot.units)[:sample]
    texts = {sha256: parse(file.text) for sha256, file in snapshot.files.items()}

    def place_all() -> None:
        for name in names:
            options = parse_options(texts[snapshot.units[name].hash], name)
            free = [site for site in sites if fits(options, site) and not _rivals(name, options, site, placed)]
            chosen = min(free, key=lambda site: preference(len(placed[site.id]), site.id))
            placed[chosen.id].append((name, options))

    return timed(place_all) / len(names)


def _rivals(
    name: str, options: FleetOptions, site: Site, placed: dict[str, list[tuple[str, FleetOptions]]]
) -> bool:
    return any(conflict_pattern(name, options, other, others) for other, others in placed[site.id])


def single_changes(state: ClusterState, snapshot: Snapshot) -> dict[str, list[float]]:
    """Seconds of single changes on a settled state, by kind."""
    found: dict[str, list[float]] = {}
    names, machines = sorted(snapshot.units), sorted(snapshot.machines)

    def change(kind: str, *folds: tuple[Address, object]) -> None:
        def work() -> None:
            for address, record in folds:
                state.apply(address, record, exists=record is not None)
            settle(state)

        found.setdefault(kind, []).append(timed(work))

    for turn in range(20):
        name = names[turn * 37 % len(names)]
        address, unit = Address(Table.UNITS, name), snapshot.units[name]
        change("restart one unit", (address, replace(unit, generation=2)))
        change("stop one unit", (address, replace(unit, target=Target.INACTIVE, generation=2)))
        change("start one unit", (address, replace(unit, generation=3)))
        change("destroy one unit", (address, None))
        change("submit and start one unit", (address, unit))
        text = _text(f"Conflicts=new{turn}-*")
        fresh = Unit(f"new{turn}-x.service", file_hash(text), Target.LAUNCHED)
        file = (Address(Table.FILES, fresh.hash), UnitText(fresh.hash, text))
        change("start a unit with a new pattern", file, (Address(Table.UNITS, fresh.name), fresh))
        machine = snapshot.machines[machines[turn % len(machines)]]
        change("lose one machine, its units move", (Address(Table.MACHINES, machine.id), None))
        change("a machine joins", (Address(Table.MACHINES, machine.id), machine))
    return found


def measure_waiting(units: int, machines: int) -> list[Figure]:
    """A machine that is lost, and comes back, while many units wait: for one like no machine, and for room."""
    figures = []
    for what, lines in (("region=mars", "MachineMetadata=region=mars"), ("room", "MemoryReserve=2G")):
        resting = snapshot_of(units, machines)
        text = _text(lines)
        waiting = [Unit(f"wait@{number}.service", file_hash(text), Target.LAUNCHED) for number in range(10_000)]
        snapshot = replace(
            resting,
            files={**resting.files, file_hash(text): UnitText(file_hash(text), text)},
            units={**resting.units, **{each.name: each for each in waiting}},
            machines={each.id: replace(each, memory_bytes=1 << 30) for each in resting.machines.values()},
        )
        without, with_ = ClusterState.from_snapshot(resting, Keys()), ClusterState.from_snapshot(snapshot, Keys())
        plain = statistics.median(_losses(without, resting)[0])
        times, written = _losses(with_, snapshot)
        beside = f"the same without them; {written} pending records written, {1000 * max(times):.2f} ms at most"
        work = f"lose one machine, or get it back, while 10,000 units wait for {what}"
        figures.append(Figure(work, 1000 * statistics.median(times), "ms", 50, 1000 * plain, beside))
    return figures


def _losses(state: ClusterState, snapshot: Snapshot) -> tuple[list[float], int]:
    """Seconds of decisions after a loss and a return, and how many pending records those write."""
    times, written = [], 0
    settle(state)
    for machine in sorted(snapshot.machines)[:20]:
        for record in (None, snapshot.machines[machine]):
            decisions: tuple[Decision, ...] = ()

            def change(record: Machine | None = record, machine: str = machine) -> None:
                nonlocal decisions
                state.apply(Address(Table.MACHINES, machine), record, exists=record is not None)
                decisions = decide(state)

            times.append(timed(change))
            written += sum(isinstance(each, Wait) for each in decisions)
            carry_out(state, decisions)
            settle(state)
    return times, written


def measure(units: int, machines: int) -> list[Figure]:
    """The first decision, then each kind of change."""
    collector.relax()  # as the scheduler does
    keys, snapshot = Keys(), snapshot_of(units, machines)
    state, decisions = ClusterState(), ()  # type: tuple[ClusterState, tuple[Decision, ...]]

    def index() -> None:
        nonlocal state
        state = ClusterState.from_snapshot(snapshot, keys)

    def first() -> None:
        nonlocal decisions
        decisions = decide(state)

    index_s, first_s = timed(index), timed(first)
    brute_s = units * brute_force_s(snapshot, min(units, 500))
    carry_out(state, decisions)
    settle(state)
    total_s = index_s + first_s
    figures = [
        Figure(
            f"first decision, {units:,} units on {machines:,} machines", total_s, "s", 5, brute_s,
            f"brute force, from the first 500; index {index_s:.2f} s, decision {first_s:.2f} s",
        )
    ]  # fmt: skip
    for kind, times in single_changes(state, snapshot).items():
        beside = f"that first decision; {1000 * max(times):.2f} ms at most"
        figures.append(Figure(f"then: {kind}", 1000 * statistics.median(times), "ms", 5, 1000 * total_s, beside))
    return figures


def conflicting_fleet(units: int, machines: int) -> tuple[Snapshot, float]:
    """A fleet at rest in which every unit excludes the other instances of its template, ten of each.

    With it, the seconds that it took to decide where all of them go.
    """
    templates = units // 10
    texts = [_text(f"Conflicts=app{number}@*") for number in range(templates)]
    files = {file_hash(text): UnitText(file_hash(text), text) for text in texts}
    hashes = [*files]
    names = [
        (f"app{number % templates}@{number // templates}.service", number % templates) for number in range(units)
    ]
    snapshot = Snapshot(
        cluster=Sentinel("bench"),
        files=files,
        units={name: Unit(name, hashes[template], Target.LAUNCHED) for name, template in names},
        machines={machine.id: machine for machine in map(_machine, range(machines))},
    )
    decisions: tuple[Decision, ...] = ()

    def place_all() -> None:
        nonlocal decisions
        decisions = decide(ClusterState.from_snapshot(snapshot, Keys()))

    first_s = timed(place_all)
    lines = {(each.machine, each.unit): each.line for each in decisions if isinstance(each, Assign)}
    states = {
        pair: UnitState(line.unit, line.machine, line.hash, 1, Target.LAUNCHED, "loaded", "active", "running")
        for pair, line in lines.items()
    }
    return replace(snapshot, schedule=lines, states=states), first_s


def measure_previews(units: int, machines: int) -> list[Figure]:
    """Why a unit is where it is, and a drain of its machine: of the first snapshot, and of a later reading."""
    figures = []
    snapshot, first_s = conflicting_fleet(units, machines)
    machine, name = next(iter(snapshot.schedule))
    questions: dict[str, Callable[[Snapshot], object]] = {
        "why of a unit": lambda seen: explain(seen, name),
        "preview of a drain": lambda seen: preview_drain(seen, (machine,)),
    }
    for question, ask in questions.items():
        cold = []
        for _ in range(5):
            latest.forget()
            matcher.cache_clear()
            gc.collect()
            cold.append(timed(lambda ask=ask: ask(snapshot)))  # type: ignore[misc]
        times = []
        for number, pair in enumerate(list(snapshot.states)[:20]):
            state = replace(snapshot.states[pair], restarts=number)
            reading = replace(snapshot, states={**snapshot.states, pair: state})
            times.append(timed(lambda ask=ask, reading=reading: ask(reading)))  # type: ignore[misc]
        work = f"{question}, {units:,} units with Conflicts on {machines:,} machines"
        beside = f"deciding where all of them go, from nothing; of five {max(cold):.3f} s at most"
        figures.append(Figure(f"{work}: the first question", statistics.median(cold), "s", 0.3, first_s, beside))
        beside = f"the same; {max(times):.3f} s at most"
        figures.append(Figure("the same: after a change", statistics.median(times), "s", 0.3, first_s, beside))
    return figures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--machines", type=int, default=1_000)
    parser.add_argument("--json", type=Path, help="write the figures there instead of printing them")
    options = parser.parse_args()
    figures = measure(options.units, options.machines)
    figures += measure_waiting(options.units // 5, options.machines)
    figures += measure_previews(options.units // 5, options.machines)
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in figures]))
    else:
        sys.stdout.write(table(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
