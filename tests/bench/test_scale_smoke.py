"""The scale benchmark still does what it says, in small: every scene comes to its end. No times are judged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import Figure, table

pytestmark = pytest.mark.etcd

MACHINES, LOST, UNITS, KNOWN = 12, 3, 40, 60
TIMEOUT_S = 110.0


def test_every_scene_comes_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    sizes = [f"--machines={MACHINES}", f"--lost={LOST}", f"--units={UNITS}", f"--known={KNOWN}", "--seconds=1"]
    command = [sys.executable, "-m", "bench.scale", *sizes, f"--json={path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output.decode()
    written = json.loads(path.read_text())
    figures = {each["work"]: each for each in written["figures"]}
    assert written["sizes"]["machines"] == MACHINES
    assert f"first decision, {KNOWN} units on {MACHINES} machines" in figures
    assert figures["agents woken by one placement"]["value"] == 1
    lost = next(work for work in figures if work.startswith(f"{LOST} of {MACHINES} machines lost with "))
    assert int(lost.removeprefix(f"{LOST} of {MACHINES} machines lost with ").split()[0]) >= UNITS
    assert figures[lost]["value"] > 0
    assert any(work.startswith("etcd at rest") for work in figures)
    assert all(each["value"] >= 0 for each in figures.values())


def test_a_figure_that_misses_its_reach_is_marked_either_way() -> None:
    slow, low = Figure("slow", 7, "s", reach=6), Figure("low", 7, "/s", reach=8, reference=10, more=True)
    good = Figure("good", 7, "s", reach=8)
    assert (slow.reached, low.reached, good.reached) == (False, False, True)
    assert low.ratio == 0.7
    marks = [" !" in line for line in table([slow, low, good]).splitlines()]
    assert marks == [False, True, True, False]
