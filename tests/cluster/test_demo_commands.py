"""`fleettui demo …` as a user types it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.paths import operator_config
from fleettui.demo.requirements import nodes_missing
from fleettui.demo.sweep import leftovers

pytestmark = pytest.mark.cluster
NAME = "typed"


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.prefix, "bin", "fleettui")), "demo", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


@pytest.fixture(scope="module")
def up() -> Iterator[subprocess.CompletedProcess[str]]:
    if nodes_missing():
        pytest.skip("cannot boot nodes")
    try:
        yield demo("up", "--name", NAME, "--nodes", "2")
    finally:
        Cluster.attach(NAME).down()


def state_of(node: str) -> str:
    rows = [line.split("  ") for line in demo("status", "--name", NAME).stdout.splitlines()]
    return next(row[2] for row in rows if row[0] == node)


def test_up_says_what_to_try_and_how_to_stop(up: subprocess.CompletedProcess[str]) -> None:
    assert up.returncode == 0, up.stderr
    assert "2 machines up after" in up.stdout
    assert "warning" not in up.stdout
    assert f"demo down --name {NAME}" in up.stdout
    for program in ("fleettui", "fleetctl"):
        assert f"{program} --config {operator_config(NAME)}" in up.stdout, "another cluster would be opened"


@pytest.mark.usefixtures("up")
def test_status_shows_each_fault_and_its_end() -> None:
    assert state_of("core-1") == "up"
    assert demo("kill", "--name", NAME, "core-1").returncode == 0
    assert demo("cut", "--name", NAME, "2").returncode == 0
    assert (state_of("core-1"), state_of("core-2")) == ("down", "cut off")
    assert demo("reboot", "--name", NAME, "core-1").returncode == 0
    assert demo("heal", "--name", NAME, "core-2").returncode == 0
    assert (state_of("core-1"), state_of("core-2")) == ("up", "up")


@pytest.mark.usefixtures("up")
@pytest.mark.parametrize("verb", ["cut", "heal"])
def test_a_dead_machine_has_no_link_to_cut(verb: str) -> None:
    assert demo("kill", "--name", NAME, "core-2").returncode == 0
    done = demo(verb, "--name", NAME, "core-2")
    assert (done.returncode, done.stderr) == (1, "error: core-2 is down; reboot it first\n")


@pytest.mark.usefixtures("up")
def test_killing_a_dead_machine_is_fine() -> None:
    assert [demo("kill", "--name", NAME, "core-2").returncode for _ in range(2)] == [0, 0]


@pytest.mark.usefixtures("up")
def test_the_operators_key_is_readable_by_its_owner_alone() -> None:
    state = operator_config(NAME).parent
    assert (state / "id_ed25519").stat().st_mode & 0o077 == 0
    assert (state / "nodes").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("up")
def test_a_wrong_node_is_named() -> None:
    done = demo("kill", "--name", NAME, "core-7")
    assert done.returncode == 1
    assert done.stderr == f"error: unknown node 'core-7': the cluster {NAME} has core-1, core-2\n"


@pytest.mark.usefixtures("up")
def test_down_leaves_nothing_and_says_so() -> None:
    done = demo("down", "--name", NAME)
    assert "nothing is left" in done.stdout, done.stderr
    assert leftovers(Cluster(NAME).layout) == []
    assert "is not up; use" in demo("status", "--name", NAME).stderr


def test_a_wrong_command_exits_2() -> None:
    assert demo("dance").returncode == 2
