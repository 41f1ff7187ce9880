"""The simulated fleet: what was found once stays mended, known faults are found, and seeds come to rest.

Each runs `make simulate` in a process of its own, since that takes over clocks and chance.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))
FIXED = "1..12"
NEW_S = "75"
ROUNDS = "2"


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1000, check=False)


def test_a_seed_is_one_story_whatever_the_order_of_sets() -> None:
    told = set()
    for hash_seed in ("0", "1", "2"):
        play = "from tests.simulation.__main__ import main; main(['--seed', '3', '--rounds', '1'])"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", play], capture_output=True, text=True, env=environment, check=True
        )
        told.add(re.sub(r"(?m)^.*/s; settled.*$", "", done.stdout))
    assert len(told) == 1


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path: Path) -> None:
    done = simulate("--replay", str(path), "--no-shrink")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("mutant", "invariant"), [("lost-ledger", "invariant 12"), ("early-placement", "invariant 1")]
)
def test_a_known_fault_is_found(mutant: str, invariant: str) -> None:
    done = simulate("--seeds", "1000..1200", "--jobs", "1", "--mutant", mutant)
    assert f": {invariant}: " in done.stdout, done.stdout + done.stderr


@pytest.mark.timeout(600)
def test_seeds_come_to_rest_and_are_right() -> None:
    done = simulate("--seeds", FIXED, "--rounds", ROUNDS, "--jobs", "1", "--keep-going")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.mark.timeout(600)
def test_new_seeds_come_to_rest_and_are_right(record_property: Callable[[str, object], None]) -> None:
    """Other ones in each run, which the summary of the run names.

    One of a hundred or two still finds something (docs/simulation.md, What is open): that is told as an expected
    failure, with the seed and how to replay it, and is to be mended like any other.
    """
    done = simulate("--seconds", NEW_S, "--rounds", ROUNDS, "--jobs", "1", "--keep-going")
    record_property("simulated", done.stdout.rstrip().rpartition("\n")[2])
    assert "seed" in done.stdout, done.stdout + done.stderr
    if done.returncode:
        pytest.xfail(done.stdout[-4000:])
