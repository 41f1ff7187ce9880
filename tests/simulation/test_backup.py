"""All of etcd is lost around real agents and schedulers, a backup is restored, and only what was told happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("seed", range(1, 5))
def test_15_a_backup_changes_nothing_while_it_is_written_and_then_exactly_what_was_told(seed: int) -> None:
    command = [sys.executable, "-m", "tests.simulation.backup", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert (told["after the loss"], told["while held"], told["broken off"]) == ([], [], [])
    assert {each.split()[0] + each.split()[2] for each in told["told"]} == {
        "startsleep1.service",
        "startsleep4.service",
        "startweb@3.service",
    }
    assert told["done"] == told["told"]
    assert [each.split()[::2] for each in told["told over a live one"]] == [["start", "sleep3.service"]]
    assert told["done over a live one"] == told["told over a live one"]
