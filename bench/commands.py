"""How long short commands of `fleetctl` take, beside `python -c pass` in the same run, in turns with it.

    python -m bench.commands [--units 300] [--many 20000] [--runs 15] [--json FILE]

Against an etcd of its own that holds units at rest; no root, no nodes. Modules are compiled beforehand, as they are
where fleettui is installed. Of each row the least is taken of wall and processor time: whatever else runs on the
machine only adds to them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.report import Figure, table, write_json
from bench.scale_etcd import BenchEtcd
from registry.etcd import Op
from registry.keys import Keys
from registry.model import Assignment, Machine, Sentinel, Target, Unit, UnitState
from registry.records import encode
from registry.units.file import file_hash

TIMES = 8  # a short command may cost so many times an interpreter that does nothing
WAITING_MS = 60  # and one that waits for its effect so much more
MACHINES = 3
TEXT = "[Service]\nExecStart=/bin/sleep infinity\n"
Cost = tuple[float, float, float]  # wall seconds, processor seconds, MiB at the peak


async def fill(etcd: BenchEtcd, units: int) -> None:
    """Put units that run into the registry."""
    keys, sha256 = Keys(), file_hash(TEXT)
    ids = [f"{number:032x}" for number in range(MACHINES)]
    ops = [Op.put(keys.cluster, encode(Sentinel("bench"))), Op.put(keys.file(sha256), TEXT.encode())]
    ops += [Op.put(keys.machine(each), encode(Machine(each, each[-4:], "10.0.0.1", "boot"))) for each in ids]
    for number in range(units):
        name, machine = f"bench@{number}.service", ids[number % MACHINES]
        state = UnitState(name, machine, sha256, 1, Target.LAUNCHED, "loaded", "active", "running")
        line = Assignment(name, machine, sha256, Target.LAUNCHED, 1)
        ops.append(Op.put(keys.unit(name), encode(Unit(name, sha256, Target.LAUNCHED))))
        ops.append(Op.put(keys.schedule(machine, name), encode(line)))
        ops.append(Op.put(keys.state(machine, name), encode(state)))
    async with etcd.client() as client:
        for start in range(0, len(ops), 120):
            await client.txn([], ops[start : start + 120])


def cost(argv: list[str], environ: dict[str, str]) -> Cost:
    """What one run of a program takes. SystemExit when it fails."""
    null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = time.monotonic()
    process = os.posix_spawn(argv[0], argv, environ, file_actions=null)
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(argv)} failed")
    return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def least(costs: Sequence[Cost]) -> Cost:
    """The least of each."""
    wall, cpu, memory = (min(each) for each in zip(*costs, strict=True))
    return wall, cpu, memory


def measure(units: int, many: int, runs: int) -> Iterator[Figure]:
    """Each command in turns with an interpreter that does nothing; then the large listing."""
    with BenchEtcd() as etcd, tempfile.TemporaryDirectory() as compiled:
        environ = dict(os.environ, FLEETCTL_ENDPOINT=etcd.url, PYTHONPYCACHEPREFIX=compiled)
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        fleetctl = [sys.executable, "-c", "from fleettui.cli.__main__ import main; main()"]
        python = [sys.executable, "-c", "pass"]
        asyncio.run(fill(etcd, units))
        commands = (
            ["list-units"],
            ["cat", "bench@1"],
            ["start", "--no-block", "bench@1"],
            ["start", "bench@1"],
            ["version"],
        )
        for arguments in commands:
            cost([*fleetctl, *arguments], environ)  # compiles
        for arguments in commands:
            pairs = [(cost(python, environ), cost([*fleetctl, *arguments], environ)) for _ in range(runs)]
            bare, ours = least([each for each, _ in pairs]), least([each for _, each in pairs])
            name = f"fleetctl {' '.join(arguments)}, {units} units"
            against = f"python -c pass, in turns; least of {runs}"
            more_ms = WAITING_MS if arguments == ["start", "bench@1"] else 0
            reach_ms = [TIMES * 1000 * each + more_ms for each in bare]
            yield Figure(f"{name}: wall", 1000 * ours[0], "ms", reach_ms[0], 1000 * bare[0], against)
            yield Figure(f"{name}: processor", 1000 * ours[1], "ms", reach_ms[1], 1000 * bare[1], against)
        if many:
            asyncio.run(fill(etcd, many))
            wall, cpu, memory = least([cost([*fleetctl, "list-units"], environ) for _ in range(5)])
            about = f"python -c pass; processor {cpu:.2f} s; least of 5"
            yield Figure(f"fleetctl list-units, {many:,} units", wall, "s", 1.2, bare[0], about)
            yield Figure("the same: memory at the peak", memory, "MiB", 150, bare[2], "python -c pass")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=300)
    parser.add_argument("--many", type=int, default=20_000, help="units of the large listing; 0 leaves it out")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    figures = [*measure(options.units, options.many, options.runs)]
    print(table(figures))
    if options.json:
        write_json(options.json, figures, units=options.units, many=options.many, runs=options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
