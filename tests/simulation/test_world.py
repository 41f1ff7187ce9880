"""The simulated world itself: one seed is one story, and a seed or two of the whole fleet."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

SEEDS = (2, 4)


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`make simulate` in a process of its own: it takes the clocks over."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)


def test_a_seed_is_one_story() -> None:
    told = {re.sub(r"(?m)^.*/s; settled.*$", "", simulate("--seed", "3", "--rounds", "1").stdout) for _ in range(2)}
    assert len(told) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fleet_comes_to_rest_and_is_right(seed: int) -> None:
    done = simulate("--seed", str(seed), "--rounds", "1", "--no-shrink")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
