"""`python -m tests.fuzz`: run the fuzz tests over and over with new seeds until the time is over or one fails."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = 2000  # of each test in a round


def main() -> int:
    """Run it; the exit status is 0 when nothing was found."""
    options = _parser().parse_args()
    rounds = 0
    ends = time.monotonic() + options.seconds
    while time.monotonic() < ends:
        seed = options.seed if options.seed is not None else random.randrange(1, 1 << 32)
        rounds += 1
        print(f"round {rounds}: seed {seed}, {options.examples} examples of each test", flush=True)
        if code := _round(seed, options):
            print(
                f"found something; again: make fuzz ARGS='--seed {seed} --seconds 1 --examples {options.examples}'"
            )
            return code
        if options.seed is not None:
            break
    print(f"{rounds} rounds, nothing found")
    return 0


def _round(seed: int, options: argparse.Namespace) -> int:
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(HERE),
        "-q",
        "-x",
        f"--hypothesis-seed={seed}",
        "-n",
        options.workers,
    ]
    environment = os.environ | {"FLEET_FUZZ_EXAMPLES": str(options.examples)}
    return subprocess.run([*command, *options.pytest], env=environment, check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="no round begins later (default: 3600)")
    parser.add_argument(
        "--examples", type=int, default=EXAMPLES, help=f"of each test, in a round (default: {EXAMPLES})"
    )
    parser.add_argument("--seed", type=int, help="one round with this seed instead")
    parser.add_argument("--workers", default="2", help="tests that run at once (default: 2)")
    parser.add_argument("pytest", nargs="*", help="more for pytest, such as -k name (after --)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
