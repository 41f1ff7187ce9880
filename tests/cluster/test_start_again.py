"""An operator's start, whatever has become of the unit: on real machines, in the operator's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import Fleet
from tests.cluster.hand import AGENT
from tests.cluster.nodes import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
EVERYWHERE = "[X-Fleet]\nGlobal=true\n"


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Fleet:
    return Fleet(cluster, tmp_path)


def test_start_starts_what_was_stopped_or_killed_on_its_machine(fleet: Fleet) -> None:
    fleet.start("bb.service")
    (node,) = fleet.homes("bb.service").values()
    for order in ("systemctl stop bb.service", "systemctl kill -s KILL bb.service"):
        fleet.shell(node, order)
        eventually("it is down", lambda: not fleet.running("bb.service"))
        eventually("told", lambda: " active " not in fleet.ctl("list-units", "--no-legend").stdout)
        said = fleet.ctl("start", "bb").stdout
        assert said.startswith("Unit bb.service launched on ")
        assert fleet.homes("bb.service") == {"bb.service": node}


def test_only_an_operator_s_word_starts_it_over(fleet: Fleet) -> None:
    fleet.start("bb.service")
    (node,) = fleet.homes("bb.service").values()
    fleet.ctl("start", "bb")  # it runs: no attempt
    fleet.shell(node, "systemctl stop bb.service")
    eventually("told", lambda: "inactive" in fleet.ctl("list-units", "--no-legend").stdout)
    fleet.shell(node, f"systemctl restart {AGENT}")
    fleet.ctl("load", "bb")
    fleet.ctl("submit", "bb")
    eventually("the agent is back", lambda: fleet.ctl("list-units", "--no-legend").stdout.count("bb.service"))
    assert not fleet.running("bb.service")
    fleet.ctl("start", "bb")
    assert fleet.running("bb.service")
    fleet.shell(node, f"systemctl restart {AGENT}")
    assert fleet.homes("bb.service") == {"bb.service": node}


def test_what_ran_once_is_run_again_and_a_failure_is_each_attempt_s_own(fleet: Fleet) -> None:
    once = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran >> /var/ran; test ! -e /var/refuse'\n"
    for node in fleet.cluster.nodes:
        fleet.shell(node, "rm -f /var/ran /var/refuse")
    fleet.ctl("start", fleet.write("once@1.service", once))
    fleet.ctl("start", "once@1")
    fleet.ctl("start", "once@*", "once@1")
    homes = [node for node in fleet.cluster.nodes if fleet.shell(node, "cat /var/ran 2>/dev/null || true")]
    assert len(homes) == 1
    assert fleet.shell(homes[0], "cat /var/ran") == "ran\n" * 3
    fleet.shell(homes[0], "touch /var/refuse")
    for _ in range(2):
        assert "start failed: exit code 1" in fleet.fails("start", "once@1")
    fleet.shell(homes[0], "rm /var/refuse")
    fleet.ctl("start", "once@1")
    assert fleet.shell(homes[0], "cat /var/ran") == "ran\n" * 6
    fleet.shell(homes[0], "rm /var/ran")


def test_a_unit_that_was_started_too_often_is_tried_again_at_an_operator_s_word(fleet: Fleet) -> None:
    text = "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n[Service]\nExecStart=/bin/sleep infinity\n"
    fleet.start("bb.service", text=text)
    (node,) = fleet.homes("bb.service").values()
    for _ in range(3):
        fleet.shell(node, "systemctl kill -s KILL bb.service")
        eventually("told", lambda: "failed" in fleet.ctl("list-units", "--no-legend").stdout)
        fleet.ctl("start", "bb")


def test_of_a_global_unit_only_the_copy_that_is_down_is_started_and_each_row_tells_its_own(fleet: Fleet) -> None:
    text = "[Service]\nExecStart=/bin/sh -c 'test ! -e /var/refuse && exec sleep infinity'\n" + EVERYWHERE
    fleet.shell("core-2", "touch /var/refuse")
    fleet.write("g.service", text)
    said = fleet.fails("start", str(fleet.directory / "g.service"))
    assert "on 1 of 3 machines (core-2): start failed: exit code 1" in said
    rows = fleet.ctl("list-units", "--fields=machine,active,reason", "--no-legend").stdout.splitlines()
    assert sorted(row.split(maxsplit=1)[1].split()[0] for row in rows) == ["active", "active", "failed"]
    assert [row for row in rows if "exit code 1" in row] == [row for row in rows if " failed " in row]
    told = fleet.ctl("why", "g").stdout.splitlines()
    assert sum("active (running)" in line for line in told) == 2
    before = fleet.running("g.service")
    fleet.shell("core-2", "rm /var/refuse")
    fleet.ctl("start", "g")
    after = fleet.running("g.service")
    assert set(after) - set(before) == {("core-2", "g.service")}
    assert {place: after[place].invocation for place in before} == {
        place: truth.invocation for place, truth in before.items()
    }
