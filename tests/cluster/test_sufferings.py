"""What users of CoreOS fleet suffered from, one by one: each is provoked, and shown to be mended.

Where an invariant's test already provokes a case in full (1, 3, 4, 5, 6), the test here is the shorter story, as
its user met it.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import SLEEPER, Fleet, never_twice
from tests.cluster.nodes import eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

AGENT = "fleet-agentd.service"


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Fleet:
    return Fleet(cluster, tmp_path)


def units(count: int, stem: str = "suf") -> list[str]:
    return [f"{stem}-{number}.service" for number in range(count)]


def test_1_an_etcd_hiccup_stops_and_restarts_nothing(fleet: Fleet) -> None:
    fleet.start(*units(6))
    fleet.settled("suf-*.service", 6)
    before = fleet.running("suf-*.service")
    for _ in range(3):
        fleet.cluster.etcd.freeze()
        time.sleep(0.9)
        fleet.cluster.etcd.thaw()
        fleet.cluster.etcd.stop()
        fleet.cluster.etcd.start()
    eventually("every machine there", lambda: len(registry(fleet.cluster, "machines/")) == 3)
    assert fleet.running("suf-*.service") == before


def test_1_an_etcd_that_hangs_past_every_lease_moves_nothing(fleet: Fleet) -> None:
    fleet.start(*units(6))
    fleet.settled("suf-*.service", 6)
    before = fleet.running("suf-*.service")
    fleet.cluster.etcd.freeze()
    time.sleep(12)  # three leases of a machine
    fleet.cluster.etcd.thaw()
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        assert fleet.running("suf-*.service") == before
        time.sleep(0.2)
    eventually("every machine there", lambda: len(registry(fleet.cluster, "machines/")) == 3)


def test_1_an_etcd_that_hangs_until_agents_try_it_rarely_moves_nothing(fleet: Fleet) -> None:
    fleet.start(*units(6))
    fleet.settled("suf-*.service", 6)
    before = fleet.running("suf-*.service")
    fleet.cluster.etcd.freeze()
    time.sleep(60)  # pauses have grown to many seconds by then
    fleet.cluster.etcd.thaw()
    eventually("every machine there", lambda: len(registry(fleet.cluster, "machines/")) == 3, timeout_s=60)
    assert fleet.running("suf-*.service") == before
    for node in fleet.cluster.nodes.values():  # the next tests' machines are lost in earnest: no grace is left over
        node.exec(["systemctl", "restart", "fleet-scheduler"], timeout_s=60)


def test_2_a_change_wakes_its_own_machine_only(fleet: Fleet) -> None:
    pin = f"[X-Fleet]\nMachineID={fleet.machine_id('core-1')}\n"
    before = {node: _bytes_received(fleet, node) for node in fleet.cluster.nodes}
    fleet.start(*units(30), text=SLEEPER + pin)
    got = {node: _bytes_received(fleet, node) - before[node] for node in fleet.cluster.nodes}
    assert got["core-1"] > 30 * 300
    assert got["core-2"] < got["core-1"] / 2, "renewals of its lease, more of them on a slow machine"
    assert got["core-3"] < got["core-1"] / 2


def _bytes_received(fleet: Fleet, node: str) -> int:
    """What the agent's open connections have received so far."""
    pid = fleet.shell(node, f"systemctl show -P MainPID {AGENT}").strip()
    sockets = re.split(r"\n(?=\S)", fleet.shell(node, "ss --tcp --info --processes --no-header"))
    mine = [each for each in sockets if f"pid={pid}," in each]
    return sum(int(count) for each in mine for count in re.findall(r"bytes_received:(\d+)", each))


def test_3_an_unschedulable_unit_says_why_instead_of_hanging(fleet: Fleet) -> None:
    began = time.monotonic()
    said = fleet.fails("start", fleet.write("suf-0.service", SLEEPER + "[X-Fleet]\nMachineMetadata=disk=tape\n"))
    assert time.monotonic() - began < 15
    assert "disk=tape" in said


def test_4_restarting_the_daemon_is_quick_and_stops_nothing(fleet: Fleet) -> None:
    fleet.start(*units(6))
    fleet.settled("suf-*.service", 6)
    before = fleet.running("suf-*.service")
    for node in fleet.cluster.nodes:
        began = time.monotonic()
        fleet.shell(node, f"systemctl restart {AGENT}")
        assert time.monotonic() - began < 20
    assert fleet.running("suf-*.service") == before


def test_5_a_machine_that_was_cut_off_runs_no_duplicates_after_its_return(fleet: Fleet) -> None:
    fleet.start(*units(20))
    fleet.settled("suf-*.service", 20)
    fleet.cluster.node("core-1").cut()
    eventually(
        "the rest took over",
        lambda: len([node for node, _ in fleet.running("suf-*.service") if node != "core-1"]) == 20,
        timeout_s=60,
    )
    fleet.cluster.node("core-1").heal()
    fleet.settled("suf-*.service", 20)


def test_6_a_failing_unit_does_not_jam_the_pass(fleet: Fleet) -> None:
    pin = f"[X-Fleet]\nMachineID={fleet.machine_id('core-2')}\n"
    hangs = "[Service]\nType=oneshot\nExecStart=/bin/sleep 30\nTimeoutStartSec=40\n"
    fleet.ctl("start", "--no-block", fleet.write("suf-hang.service", hangs + pin))
    began = time.monotonic()
    fleet.start(*units(5), text=SLEEPER + pin)
    fleet.ctl("stop", "suf-hang.service")  # and a start under way can be stopped
    assert time.monotonic() - began < 28  # all of that while it would still hang


def test_7_destroy_waits_for_execstop_and_its_file(fleet: Fleet) -> None:
    text = SLEEPER + "ExecStop=/bin/sh -c 'sleep 1; echo done >/var/stopped'\n"
    for node in fleet.cluster.nodes:
        fleet.shell(node, "rm -f /var/stopped")
    fleet.start("suf-0.service", text=text)
    home = fleet.settled("suf-0.service", 1)["suf-0.service"]
    fleet.ctl("destroy", "suf-0.service")
    assert fleet.shell(home, "cat /var/stopped").strip() == "done"
    assert not fleet.truth("suf-0.service")
    assert fleet.shell(home, "ls /run/fleet/units").strip() == ""


def test_8_changes_missed_while_away_are_found_after_a_compaction(fleet: Fleet) -> None:
    pin = f"[X-Fleet]\nMachineID={fleet.machine_id('core-3')}\n"
    fleet.start(*units(4), text=SLEEPER + pin)
    fleet.settled("suf-*.service", 4)
    fleet.cluster.node("core-3").cut()
    fleet.ctl("destroy", "--no-block", *units(2))
    fleet.ctl("start", "--no-block", fleet.write("suf-new.service", SLEEPER + pin))
    fleet.cluster.etcd.compact()
    fleet.cluster.node("core-3").heal()
    homes = fleet.settled("suf-*.service", 3)
    assert set(homes) == {"suf-2.service", "suf-3.service", "suf-new.service"}


def test_9_no_ghost_states_and_no_garbage(fleet: Fleet) -> None:
    fleet.start(*units(6))
    fleet.settled("suf-*.service", 6)
    fleet.cluster.node("core-2").crash()
    fleet.settled("suf-*.service", 6)
    assert fleet.machine_id("core-2") not in str(registry(fleet.cluster, "states/"))
    assert fleet.machine_id("core-2")[:8] not in fleet.ctl("list-units").stdout
    fleet.ctl("destroy", *units(6))
    left = [table for table in ("units/", "schedule/", "states/", "pending/") if registry(fleet.cluster, table)]
    assert not left


def test_10_global_units_are_seen_by_status_journal_and_ssh(fleet: Fleet) -> None:
    text = (
        "[Service]\nExecStart=/bin/sh -c 'echo hello from $HOSTNAME; exec sleep infinity'\n[X-Fleet]\nGlobal=true\n"
    )
    fleet.ctl("start", fleet.write("suf-all.service", text.replace("$HOSTNAME", "$(hostname)")))
    eventually("one on each", lambda: len(fleet.running("suf-all.service")) == 3)
    status = fleet.ctl("status", "suf-all.service").stdout
    assert status.count("Active: active (running)") == 3
    journal = fleet.ctl("journal", "--lines", "50", "suf-all.service").stdout
    assert all(f"hello from {node}" in journal for node in fleet.cluster.nodes)
    rows = fleet.ctl("list-units", "--no-legend").stdout.splitlines()
    assert len([row for row in rows if row.startswith("suf-all.service")]) == 3
    name = fleet.ctl("ssh", "--machine", fleet.machine_id("core-2")[:6], "hostname").stdout
    assert name.strip() == "core-2"


def test_11_no_ssh_agent_is_needed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    fleet.start("suf-0.service")
    assert "active (running)" in fleet.ctl("status", "suf-0.service").stdout
    assert (
        fleet.ctl("ssh", "--unit", "suf-0.service", "systemctl", "is-active", "suf-0.service").stdout == "active\n"
    )


def test_12_a_second_machine_with_the_same_id_says_so_and_does_nothing(fleet: Fleet) -> None:
    stolen, own = fleet.machine_id("core-2"), fleet.machine_id("core-3")
    fleet.shell("core-3", f"systemctl stop {AGENT}; cp -a /etc/fleet /var/fleet")
    password = fleet.shell("core-2", "cat /etc/fleet/agent.password").strip()
    edit = f's/agent-{own}/agent-{stolen}/; s/^\\[agent\\]/[agent]\\nmachine_id = "{stolen}"/'
    fleet.shell("core-3", f"sed -i '{edit}' /etc/fleet/fleet.toml; echo {password} > /etc/fleet/agent.password")
    fleet.shell("core-3", f"systemctl start {AGENT}")
    try:
        eventually("the duplicate in the registry", lambda: registry(fleet.cluster, f"duplicates/{stolen}"))
        said = fleet.cluster.node("core-3").journal("-u", AGENT, "-o", "cat")
        assert f"DUPLICATE MACHINE ID: {stolen}" in said
        fleet.start(*units(4))
        homes = fleet.settled("suf-*.service", 4)
        assert set(homes.values()) == {"core-1", "core-2"}
    finally:
        fleet.shell("core-3", f"rm -r /etc/fleet; mv /var/fleet /etc/fleet; systemctl restart {AGENT}")


def test_13_no_file_is_missing_when_units_come_and_go_quickly(fleet: Fleet) -> None:
    before = {
        node: fleet.shell(node, "journalctl -b -o cat | grep -c 'No such file' || true")
        for node in fleet.cluster.nodes
    }
    names = units(20)
    for _ in range(3):
        fleet.start(*names)
        fleet.ctl("destroy", *names)
    after = {
        node: fleet.shell(node, "journalctl -b -o cat | grep -c 'No such file' || true")
        for node in fleet.cluster.nodes
    }
    assert after == before
    assert not fleet.truth("suf-*.service")


def test_14_instances_of_an_older_template_can_be_told_apart(fleet: Fleet) -> None:
    template = fleet.write("suf@.service", SLEEPER)
    fleet.ctl("submit", template)
    fleet.ctl("start", "suf@1.service")
    fleet.write("suf@.service", SLEEPER + "RestartSec=7\n")
    fleet.ctl("submit", "--replace", template)
    fleet.ctl("start", "suf@2.service")
    rows = json.loads(fleet.ctl("list-unit-files", "--json").stdout)
    hashes = {row["unit"]: row["hash"] for row in rows}
    assert hashes["suf@2.service"] == hashes["suf@.service"] != hashes["suf@1.service"]


def test_15_drain_history_and_audit_exist(fleet: Fleet) -> None:
    fleet.start(*units(6))
    fleet.settled("suf-*.service", 6)
    with never_twice(fleet, "suf-*.service"):
        fleet.ctl("drain", fleet.machine_id("core-1")[:8])
        eventually("a drained machine", lambda: "core-1" not in fleet.homes("suf-*.service").values())
        fleet.settled("suf-*.service", 6)
    fleet.ctl("start", "--replace", fleet.write("suf-0.service", SLEEPER + "RestartSec=9\n"))
    unit = json.loads(registry(fleet.cluster, "units/")["units/suf-0.service"])
    assert len(unit["history"]) == 1
    assert unit["by"]
    events = fleet.ctl("events").stdout
    assert "drain" in events
    assert "suf-0.service" in events
    fleet.ctl("uncordon", fleet.machine_id("core-1")[:8])
