"""What a record of a large fleet costs: python -m bench.record [MINUTES]. No registry, no root.

Plays 1,000 machines with 20,000 units and 1,000 changes a second as a recorder writes them: processor and disk a
day, and how long it takes to open a moment.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from fleettui.record.format import Head, Moment
from fleettui.record.reader import Playback
from fleettui.record.recorder import LEAST
from fleettui.record.writer import Bounds, RecordWriter, segments
from registry.model import Assignment, Machine, Target, Unit, UnitState, Usage
from registry.program import collector
from registry.records import encode

MACHINES, UNITS, CHANGES = 1000, 20_000, 1000
BEGUN = 1_795_000_000.0
DAY_S = 86_400


def fleet(chance: random.Random) -> tuple[dict[str, bytes | None], list[UnitState]]:
    """All that such a registry holds, and the states in it."""
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(MACHINES)]
    held: dict[str, bytes | None] = {}
    states: list[UnitState] = []
    for number in range(UNITS):
        name, machine = f"web-{number // 100}@{number % 100}.service", ids[number % MACHINES]
        text = f"{number // 100:064x}"
        held[f"units/{name}"] = encode(Unit(name, text, Target.LAUNCHED, by="ann@desk", at=BEGUN - number))
        held[f"schedule/{machine}/{name}"] = encode(Assignment(name, machine, text, Target.LAUNCHED, 1))
        pid, since = chance.randrange(1 << 22), BEGUN - chance.random() * DAY_S
        words = ("loaded", "active", "running", "success")
        states.append(UnitState(name, machine, text, 1, Target.LAUNCHED, *words, main_pid=pid, since=since))
        held[f"states/{machine}/{name}"] = encode(states[-1])
    for number, machine in enumerate(ids):
        held[f"machines/{machine}"] = encode(Machine(machine, f"m{number}", "10.0.0.1", machine, cpus=8))
        units = tuple((each.unit, chance.randrange(1 << 30) >> 12 << 12, round(chance.random(), 3))
                      for each in states[number::MACHINES])  # fmt: skip
        held[f"usage/{machine}"] = encode(Usage(machine, BEGUN, (0.5, 0.4, 0.3), 1 << 34, 1 << 33, units))
    return held, states


def main() -> None:
    """Write so many minutes, and read them."""
    collector.relax()
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    chance = random.Random(7)
    held, states = fleet(chance)
    with tempfile.TemporaryDirectory() as directory:
        writer = RecordWriter(Path(directory), Bounds(1 << 40, 1e9))
        spent, whole_s, wholes, at = 0.0, 0.0, 0, BEGUN
        for second in range(minutes * 60):
            at = BEGUN + second
            changes: dict[str, bytes | None] = {}
            for _ in range(CHANGES):
                number = chance.randrange(UNITS)
                state = states[number]
                states[number] = state = replace(state, since=at, restarts=state.restarts + 1,
                                                 main_pid=chance.randrange(1 << 22))  # fmt: skip
                changes[f"states/{state.machine}/{state.unit}"] = encode(state)
            held |= changes
            begun = time.process_time()
            if not writer.is_open or writer.changes > max(LEAST, 2 * len(held)):
                head = Head(at, "c", "/fleet/", "box", "0", "the next part" if second else "started")
                writer.begin(head, Moment(at, second + 1, held, whole=True, link="live"))
                whole_s += time.process_time() - begun
                wholes += 1
            else:
                writer.write(Moment(at, second + 1, changes))
            spent += time.process_time() - begun
        writer.close()
        size = sum(each.size_bytes for each in segments(Path(directory)))
        share = spent / (minutes * 60)
        print(f"{len(held):,} records, {CHANGES:,} changes a second, {minutes} minutes: {size >> 20} MiB")
        print(f"disk a day: {size / minutes * 1440 / 1e9:.1f} GB; processor: {share:.1%} of one core "
              f"(a whole takes {whole_s / wholes:.2f} s, {wholes} of them)")  # fmt: skip
        for moment in (BEGUN + 1, BEGUN + (at - BEGUN) / 2, at):
            playback, begun = Playback(Path(directory)), time.perf_counter()
            used = time.process_time()
            view = playback.seek(moment)
            print(
                f"open at {moment - BEGUN:5.0f} s: {time.perf_counter() - begun:.2f} s, "
                f"{time.process_time() - used:.2f} s of it processor; {len(view.snapshot.states):,} states"
            )
            used = time.process_time()
            playback.step(-1)
            print(f"  a step back: {time.process_time() - used:.2f} s of processor")


if __name__ == "__main__":
    main()
