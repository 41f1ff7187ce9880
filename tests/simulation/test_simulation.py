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

pytestmark = pytest.mark.timeout(600)  # of a busy machine: most take some seconds of its processor
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))
FIXED = "1..12"
NEW_S = "75"
ROUNDS = "2"
MOST = 0.1  # of the new seeds may find something that is open


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


def test_there_is_something_that_was_found() -> None:
    assert REGRESSIONS


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path: Path) -> None:
    done = simulate("--replay", str(path), "--no-shrink")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.mark.parametrize(
    ("mutant", "invariant"),
    [
        ("lost-ledger", "invariant 12"),
        ("early-placement", "invariant 1"),
        ("one-too-many", "invariant 13"),
        ("deaf-to-pauses", "invariant 14"),
    ],
)
def test_a_known_fault_is_found(mutant: str, invariant: str) -> None:
    """Whatever else a seed finds before, which would be another fault."""
    told, first = "", 1000
    while f": {invariant}: " not in told:
        done = simulate("--seeds", f"{first}..1200", "--jobs", "1", "--mutant", mutant)
        told += done.stdout
        found = re.match(r"seed (\d+): ", done.stdout)
        assert found, told + done.stderr
        first = int(found[1]) + 1


def test_seeds_come_to_rest_and_are_right() -> None:
    done = simulate("--seeds", FIXED, "--rounds", ROUNDS, "--jobs", "1", "--keep-going")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.mark.parametrize(
    ("mutant", "invariant"),
    [
        ("missing-fence", "invariant 2: a deposed leader writes nothing"),
        ("any-answer-is-well", "invariant 13: a rollout never takes down more than it was allowed"),
    ],
)
def test_a_known_fault_is_found_in_a_script(mutant: str, invariant: str) -> None:
    replay = ("--replay", str(Path(__file__).parent / "planted" / f"{mutant}.json"), "--no-shrink")
    done = simulate(*replay, "--mutant", mutant)
    assert invariant in done.stdout, done.stdout[-4000:] + done.stderr
    done = simulate(*replay)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_new_seeds_come_to_rest_and_are_right(record_property: Callable[[str, object], None]) -> None:
    """Other ones in each run, which the summary of the run names, with those of them that found something.

    A few still do (docs/simulation.md, What is open): that is an expected failure as long as it is a few, and is to
    be mended like any other. A story that cannot be played, or that many seeds find something, is none.
    """
    done = simulate("--seconds", NEW_S, "--rounds", ROUNDS, "--jobs", "1", "--keep-going")
    assert done.returncode in (0, 1), done.stdout[-4000:] + done.stderr
    *told, summary = done.stdout.rstrip().splitlines()
    found = [each for each in told if each.startswith("seed ")]
    for each in (*found, summary):
        record_property("simulated", each)
    first, last = map(int, re.findall(r"\d+", summary)[:2])
    assert len(found) <= max(MOST * (last - first + 1), 1), done.stdout
    if found:
        pytest.xfail("; ".join(found))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
