"""What the console costs, measured in a pty: `python -m bench.console`.

The real `fleettui` runs in a pty of 140x40, against a real etcd that holds 20,000 units on 1,000 machines while
another process changes a thousand states a second, and against a real sshd. No cluster is booted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.console_fleet import PLAIN, Size, fill, machine_id, records, state_op, units
from bench.console_pty import Pty
from bench.report import Figure, table, write_json
from registry.etcd import Etcd, EtcdSettings, Op
from registry.keys import Keys, Table
from registry.model import Assignment, Target, Unit
from registry.records import encode
from registry.sync.listing import read_snapshot
from registry.units.file import file_hash
from tests.etcd_server import EtcdServer
from tests.remote.sshd import Sshd, make_key

HERE = Path(__file__).parent
DOWN, UP, PAGE_UP, END = b"\x1b[B", b"\x1b[A", b"\x1b[5~", b"\x1b[F"
DEMO = Size(14, 3)
RATE = 1000.0
ECHO = """import os; os.write(1, b"ready")
while typed := os.read(0, 100): os.write(1, typed)"""


class Bench:
    """An etcd, an sshd and consoles in ptys; everything lies in `directory`."""

    def __init__(self, directory: Path, size: Size, seconds: float) -> None:
        self.directory, self.size, self.seconds = directory, size, seconds
        self.large, self.small = Keys.under("large"), Keys.under("small")
        self.etcd = EtcdServer(directory / "etcd")
        self.sshd = _sshd(directory)

    def measure(self) -> list[Figure]:
        """All figures, in the order of the table."""
        with self.etcd, self.sshd:
            self._fill()
            return [*self._start(), *self._first_paint(), *self._at_rest(), *self._under_load(), *self._journal()]

    def _fill(self) -> None:
        ssh = {"ssh_port": self.sshd.port, "host_key": self.sshd.host_key}
        asyncio.run(fill(self.etcd.endpoints, records(self.size, self.large, **ssh)))  # type: ignore[arg-type]
        asyncio.run(fill(self.etcd.endpoints, self._talking(records(DEMO, self.small, **ssh))))  # type: ignore[arg-type]

    def _talking(self, ops: Iterator[Op]) -> Iterator[Op]:
        yield from ops
        unit = Unit("talker.service", file_hash(PLAIN), Target.LAUNCHED)
        line = Assignment(unit.name, machine_id(0), unit.hash, unit.target, 1)
        yield Op.put(self.small.unit(unit.name), encode(unit))
        yield Op.put(self.small.schedule(line.machine, unit.name), encode(line))
        yield state_op(unit.name, 0, unit.hash, self.small, time.time())

    # What is measured

    def _start(self) -> list[Figure]:
        firsts, fulls = [], []
        for _ in range(7):
            with self._console(self.small) as pty:
                firsts.append(pty.until("Units", "Machines") - pty.began)
                fulls.append(pty.until("a00000.service", "talker.service", "zglobal.service") - pty.began)
        python = statistics.median(_timed([sys.executable, "-c", "pass"]) for _ in range(7))
        beside = "python -c pass"
        return [
            Figure("start to first paint, 14 units", statistics.median(firsts), "s", 0.8, python, beside),
            Figure("start to every unit, 14 units", statistics.median(fulls), "s", None, python, beside),
        ]

    def _first_paint(self) -> list[Figure]:
        bare = asyncio.run(self._bare_listing())
        since_snapshot, since_start = [], []
        for number in range(3):
            moment = self.directory / f"moment{number}"
            with self._console(self.large, probe=moment) as pty:
                full = pty.until(*(f"a{each:05}.service" for each in (0, 1, 3, 18)))
            since_snapshot.append(full - float(moment.read_text()))
            since_start.append(full - pty.began)
        what = f"{self.size.units:,} units"
        return [
            Figure(f"snapshot to first full paint, {what}", statistics.median(since_snapshot), "s", 1.0),
            Figure(
                f"start to first full paint, {what}", statistics.median(since_start), "s", None, bare, "read bare"
            ),
        ]

    async def _bare_listing(self) -> float:
        async with Etcd(EtcdSettings(self.etcd.endpoints)) as etcd:
            began = time.monotonic()
            await read_snapshot(etcd, self.large, Table)
            return time.monotonic() - began

    def _at_rest(self) -> list[Figure]:
        with self._console(self.large) as pty:
            pty.until("a00000.service")
            pty.rest(4)
            share, resident = _share(pty, self.seconds), pty.resident_mib()
        return [
            Figure(f"at rest, {self.size.units:,} units on {self.size.machines:,} machines: CPU", share, "%", 1.0),
            Figure("at rest: resident memory", resident, "MiB"),
        ]

    def _under_load(self) -> list[Figure]:
        with self._console(self.large) as pty, self._writer() as writer, _echo() as echo:
            pty.until("a00000.service")
            pty.rest(4)
            share = _share(pty, self.seconds)
            waits, bare = _walk(pty, self.size, 300, echo)
            resident = pty.resident_mib()
        written = float(writer.read_text().split()[-1])
        return [
            Figure("changing states: changes a second", written, "1/s", RATE * 0.95, more=True),
            Figure("changing states: CPU", share, "%", 50.0),
            *_latencies("changing states: key to screen", waits, bare),
            Figure("changing states: resident memory", resident, "MiB"),
        ]

    def _journal(self) -> list[Figure]:
        bare = _bare_latencies()
        with self._console(self.small) as pty:
            pty.until("talker.service")
            _find(pty, "talker")
            pty.until("following")
            pty.rest(3)
            before, began = _newest(pty), time.monotonic()
            share = _share(pty, self.seconds)
            rate = (_newest(pty) - before) / (time.monotonic() - began)
            pty.rest(max(0.0, 22 - self.seconds))
            resident = pty.resident_mib()
            pty.send(b"\t")
            waits = _scroll(pty, 60)
        return [
            Figure("journal: lines a second that arrived", rate, "1/s", None, 5000.0, "written"),
            Figure("journal: CPU", share, "%", 60.0),
            *_latencies("journal: key to screen", waits, bare),
            Figure("journal: resident memory with 100,000 lines", resident, "MiB"),
        ]

    # Its parts

    @contextmanager
    def _console(self, keys: Keys, probe: Path | None = None) -> Iterator[Pty]:
        config = self.directory / f"{keys.prefix.strip('/')}.toml"
        config.write_text(
            f'[etcd]\nendpoints = ["{self.etcd.endpoints[0]}"]\nprefix = "{keys.prefix}"\n'
            f'[ssh]\nuser = "root"\nidentity_files = ["{self.directory}/identity"]\n'
        )
        program = [str(Path(sys.executable).with_name("fleettui"))]
        if probe:
            program = [sys.executable, "-m", "bench.console_probe", str(probe)]
        with Pty([*program, "--config", str(config)], self._environment()) as pty:
            yield pty

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
        return {"LANG": "C.UTF-8", **kept, "HOME": str(self.directory), "TERM": "xterm-256color",
                "COLORTERM": "truecolor"}  # fmt: skip

    @contextmanager
    def _writer(self) -> Iterator[Path]:
        path = self.directory / "written"
        arguments = [self.etcd.endpoints[0], self.large.prefix, str(self.size.units), str(self.size.machines)]
        with path.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.console_fleet", *arguments, str(RATE)], stdout=out
            )
        try:
            yield path
        finally:
            process.kill()
            process.wait()


def _sshd(directory: Path) -> Sshd:
    """A server whose journalctl is ours."""
    programs = directory / "bin"
    programs.mkdir()
    shutil.copy(HERE / "console_journalctl.py", programs / "journalctl")
    (programs / "journalctl").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return Sshd(directory / "sshd", make_key(directory / "identity"), f"SetEnv PATH={path}", "MaxSessions 50")


def _share(pty: Pty, seconds: float) -> float:
    """Per cent of one core that the console takes while its output is read."""
    before, began = pty.cpu_s(), time.monotonic()
    pty.rest(seconds)
    return 100 * (pty.cpu_s() - before) / (time.monotonic() - began)


def _walk(pty: Pty, size: Size, presses: int, echo: Pty) -> tuple[list[float], list[float]]:
    """Move the cursor up and down over the rows; how long each move takes to be seen, and what an echo takes.

    The echo is asked in the same minute under the same load, a moment after the console's answer: what it waits for
    is a processor, and no more.
    """
    lot = random.Random(3)
    names = sorted(name for name, _ in units(size) if name.startswith("a"))
    at, waits, bare = 0, list[float](), list[float]()
    for number in range(presses):
        step = -1 if at > 3 and lot.random() < 0.3 else 1
        at += step
        waits.append(_press(pty, DOWN if step > 0 else UP, f"▌ {names[at]}"))
        pty.rest(lot.uniform(0.03, 0.2))
        bare.append(_press(echo, b"%d;" % number, f"{number};"))
    return waits, bare


def _find(pty: Pty, word: str) -> None:
    """Filter the table, as a hand does: the line must be there before the word is typed."""
    pty.forget()
    pty.send(b"/")
    pty.until("filter: words")
    pty.send(word.encode() + b"\r")
    pty.until(f"filter: {word}")


def _scroll(pty: Pty, presses: int) -> list[float]:
    """Leave the newest line of the journal and come back to it."""
    lot = random.Random(3)
    waits = []
    for number in range(presses):
        pty.rest(lot.uniform(0.1, 0.3))
        waits.append(_press(pty, END if number % 2 else PAGE_UP, "following" if number % 2 else "paused"))
    return waits


def _press(pty: Pty, key: bytes, word: str) -> float:
    pty.forget()
    began = time.monotonic()
    pty.send(key)
    return pty.until(word, timeout_s=10) - began


def _newest(pty: Pty) -> int:
    """The number of the newest line shown: the unit counts its lines."""
    pty.forget()
    pty.until(" GET ")
    pty.pump(lambda: False, 0.5)
    return int(re.findall(r"(\d+) GET", pty.text)[-1])


@contextmanager
def _echo() -> Iterator[Pty]:
    """A Python in a pty that gives back what is typed, and does nothing else."""
    with Pty(["sh", "-c", f"stty raw -echo; exec {shlex.quote(sys.executable)} -c '{ECHO}'"], os.environ) as pty:
        pty.until("ready")
        pty.rest(0.3)
        yield pty


def _bare_latencies() -> list[float]:
    """What a pty takes to give back what is typed, with an echo in it."""
    with _echo() as pty:
        waits = list[float]()
        for number in range(200):
            waits.append(_press(pty, b"%d;" % number, f"{number};"))
            pty.rest(0.01)
        return waits


def _latencies(what: str, waits: Sequence[float], bare: Sequence[float]) -> list[Figure]:
    milliseconds = sorted(1000 * each for each in waits)
    beside = sorted(1000 * each for each in bare)
    return [
        Figure(f"{what}, {name}", _part(milliseconds, part), "ms", reach, _part(beside, part), "an echo in a pty")
        for name, part, reach in (("p50", 0.5, None), ("p99", 0.99, 50.0), ("worst", 1.0, None))
    ]


def _part(ordered: Sequence[float], part: float) -> float:
    return ordered[int(part * (len(ordered) - 1))]


def _timed(argv: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run(argv, check=True)
    return time.monotonic() - began


def main() -> int:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("--units", type=int, default=20_000, help="how many units (20000)")
    parser.add_argument("--machines", type=int, default=1_000, help="how many machines (1000)")
    parser.add_argument("--seconds", type=float, default=20, help="how long each share of the CPU is measured (20)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        size = Size(arguments.units, arguments.machines)
        figures = Bench(Path(directory), size, arguments.seconds).measure()
    print(table(figures))
    if arguments.json:
        write_json(arguments.json, figures, units=size.units, machines=size.machines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
