"""`make simulate`: one seed with its story, or many on all cores.

python -m tests.simulation --seed 7            the story of one seed, shrunk if it fails
python -m tests.simulation --seeds 1..200      many, until one fails
python -m tests.simulation --seconds 120       new seeds for so long
python -m tests.simulation --replay FILE       a script written by an earlier run, perhaps cut down by hand
python -m tests.simulation --mutant NAME       with a known fault put back
"""

from __future__ import annotations

import argparse
import os
import pickle
import select
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import SystemRandom
from time import monotonic as real_monotonic

from tests.simulation import mutants, outside
from tests.simulation.loop import START_AT
from tests.simulation.run import Outcome, play, shrink
from tests.simulation.script import Script, compose

BROKEN = 2  # the exit status when a story could not be played; 1 is that of a violation
FAILURES = Path("tests/artifacts/simulation")
MEMORY = "/dev/shm"  # noqa: S108 - a directory of our own is made in it


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.seed is not None or options.replay:
        script = (
            Script.loaded(options.replay.read_text())
            if options.replay
            else compose(options.seed, options.rounds, calm=options.calm)
        )
        outcome = apart(script, options.mutant)
        print("\n".join(outcome.lines))
        _report(outcome)
        if outcome.violation and not options.no_shrink:
            _shrink(outcome, options.mutant)
        return bool(outcome.violation)
    return _walk(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", metavar="A..B")
    parser.add_argument("--seconds", type=float, default=0.0, help="walk new seeds for so long")
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--calm", action="store_true", help="calm rounds alone: one or two courses of events in turn"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS))
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first seed that fails")
    return parser


def _seeds(options: argparse.Namespace) -> Iterator[int]:
    if options.seeds:
        first, _, last = options.seeds.partition("..")
        return iter(range(int(first), int(last or first) + 1))
    return count(SystemRandom().randrange(1_000_000, 1_000_000_000))


def _walk(options: argparse.Namespace) -> int:
    """Seeds side by side, each in a process of its own."""
    began, numbers = real_monotonic(), _seeds(options)
    until = began + options.seconds if options.seconds else float("inf")
    running: dict[int, tuple[int, int]] = {}  # child: seed and pipe
    walked: list[int] = []
    failed = 0
    virtual_s = real_s = 0.0
    exhausted = not (options.seeds or options.seconds)
    with suppress(KeyboardInterrupt):  # what was walked until then is told
        while running or not exhausted:
            while len(running) < options.jobs and not exhausted:
                seed = next(numbers, None)
                exhausted = seed is None or real_monotonic() > until or (failed > 0 and not options.keep_going)
                if seed is not None and not exhausted:
                    child, pipe = _fork(compose(seed, options.rounds, calm=options.calm), options.mutant)
                    running[child] = (seed, pipe)
                    walked.append(seed)
            if not running:
                break
            ready, _, _ = select.select([pipe for _, pipe in running.values()], [], [])
            child = next(child for child, (_, pipe) in running.items() if pipe in ready)
            seed, pipe = running.pop(child)
            outcome = _collect(child, pipe, seed)
            virtual_s += outcome.virtual_s
            real_s += outcome.real_s
            if outcome.violation:
                failed += 1
                print(
                    f"seed {seed}: {outcome.violation} (at {outcome.violation.at_s - START_AT:.1f} s)\n"
                    f'  replay and shrink it: make simulate ARGS="{_command(seed, options)}"\n'
                    f"  or, once other things are drawn: --replay {_kept(outcome)}",
                    flush=True,
                )
    took_s = real_monotonic() - began
    rate = virtual_s / max(real_s, 1e-9)  # of one core
    seeds = f"seeds {walked[0]}..{walked[-1]}" if walked else "no seeds"
    told = f"{seeds}: {virtual_s:.0f} virtual seconds in {took_s:.0f} s, {rate:.0f} a second of one core"
    print(f"{told}; {failed} failed")
    return bool(failed)


def _kept(outcome: Outcome) -> Path:
    """Write a script that failed to a file."""
    FAILURES.mkdir(parents=True, exist_ok=True)
    path = FAILURES / f"{outcome.script.seed}.json"
    path.write_text(outcome.script.dumped())
    return path


def _command(seed: int, options: argparse.Namespace) -> str:
    calm = " --calm" if options.calm else ""
    mutant = f" --mutant {options.mutant}" if options.mutant else ""
    return f"--seed {seed} --rounds {options.rounds}{calm}{mutant}"


def apart(script: Script, mutant: str | None = None) -> Outcome:
    """Play a script in a process of its own."""
    return _collect(*_fork(script, mutant), script.seed)


def _fork(script: Script, mutant: str | None) -> tuple[int, int]:
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    status = 1
    root = Path(tempfile.mkdtemp(prefix="fleet-simulation-", dir=MEMORY if Path(MEMORY).is_dir() else None))
    try:
        os.close(reader)
        mutants.put_back(mutant)
        outcome = play(script, root)
        with open(writer, "wb") as pipe:  # noqa: PTH123 - a descriptor
            pickle.dump(outcome, pipe)
        status = 0
    except KeyboardInterrupt:
        shutil.rmtree(root, ignore_errors=True)
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _collect(child: int, pipe: int, seed: int) -> Outcome:
    with open(pipe, "rb") as reader:
        data = reader.read()
    os.waitpid(child, 0)
    if not data:
        print(f"seed {seed}: the simulation itself has failed", file=sys.stderr)
        raise SystemExit(BROKEN)
    outcome: Outcome = pickle.loads(data)  # noqa: S301 - from our own child
    return outcome


def _report(outcome: Outcome) -> None:
    digest = sha256("\n".join(outcome.lines).encode()).hexdigest()[:16]
    settled = " ".join(f"{each:.1f}" for each in outcome.settled_s) or "-"
    script, rate = outcome.script, outcome.virtual_s / outcome.real_s
    print(f"seed {script.seed} ({script.policy}): {outcome.violation or 'no violation'}")
    print(f"{outcome.virtual_s:.0f} virtual seconds in {outcome.real_s:.2f} s, {rate:.0f}/s; settled in {settled}")
    print(f"{outcome.steps} steps, {outcome.checks} looks of the judge, log {digest}")


def _shrink(outcome: Outcome, mutant: str | None) -> None:
    assert outcome.violation is not None
    invariant = outcome.violation.invariant

    def fails(script: Script) -> bool:
        found = apart(script, mutant).violation
        return found is not None and found.invariant == invariant

    script = shrink(outcome.script, fails)
    found = apart(script, mutant)
    path = _kept(found)
    path.with_suffix(".log").write_text("\n".join(found.lines) + "\n")
    print(f"shrunk to {sum(map(len, script.rounds))} steps ({path}, and its story in {path.with_suffix('.log')}):")
    put_back = f" --mutant {mutant}" if mutant else ""
    print(f'  again: make simulate ARGS="--replay {path}{put_back}"')
    for steps in script.rounds:
        for step in steps:
            print(f"  {step.at_s:8.3f}  {step}")


if __name__ == "__main__":
    outside.same_in_each_run(["-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
