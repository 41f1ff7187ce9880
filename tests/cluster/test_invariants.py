"""The invariants of ARCHITECTURE.md: each is named, and each is attacked on real machines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from fleettui.demo.process import ToolFailed
from tests.cluster.fleet import SLEEPER, Fleet, never_twice
from tests.cluster.nodes import eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

AGENT, SCHEDULER = "fleet-agentd.service", "fleet-scheduler.service"
PROGRAMS = (AGENT, SCHEDULER)
STUBBORN = "[Service]\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'\n"


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Fleet:
    return Fleet(cluster, tmp_path)


def units(count: int, stem: str = "inv") -> list[str]:
    return [f"{stem}-{number}.service" for number in range(count)]


def test_invariant_1_one_place_when_a_machine_crashes(fleet: Fleet) -> None:
    fleet.start(*units(12))
    before = fleet.settled("inv-*.service", 12)
    assert sorted(list(before.values()).count(node) for node in fleet.cluster.nodes) == [4, 4, 4]
    with never_twice(fleet, "inv-*.service"):
        fleet.cluster.node("core-2").crash()
        after = fleet.settled("inv-*.service", 12)
    assert set(after.values()) == {"core-1", "core-3"}
    assert all(after[unit] == node for unit, node in before.items() if node != "core-2")


def test_invariant_1_one_place_while_units_move(fleet: Fleet) -> None:
    slow = SLEEPER + "ExecStop=/bin/sleep 0.5\n"
    fleet.start(*units(6), text=slow)
    fleet.settled("inv-*.service", 6)
    with never_twice(fleet, "inv-*.service"):
        for node in ("core-1", "core-2"):
            fleet.ctl("drain", fleet.machine_id(node))
            eventually("a drained machine", partial(_emptied, fleet, node))
            fleet.ctl("uncordon", fleet.machine_id(node))


def _emptied(fleet: Fleet, node: str) -> bool:
    homes = fleet.homes("inv-*.service")
    return node not in homes.values() and len(homes) == 6


def test_invariant_2_a_paused_leader_writes_nothing_when_it_wakes(fleet: Fleet) -> None:
    paused = fleet.leader()
    fleet.cluster.node(paused).signal_unit(SCHEDULER, "STOP")
    eventually("another leader", lambda: fleet.leader() != paused, timeout_s=15)
    fleet.start(*units(3))
    fleet.settled("inv-*.service", 3)
    before = _quiet_revisions(fleet)
    fleet.cluster.node(paused).signal_unit(SCHEDULER, "CONT")
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        assert _revisions(fleet) == before
        time.sleep(0.1)
    assert fleet.leader() != paused


def _quiet_revisions(fleet: Fleet) -> dict[str, str]:
    """What is written, once the new leader has told all that it did: its events come a little later."""
    while True:
        before = _revisions(fleet)
        time.sleep(1.5)
        if _revisions(fleet) == before:
            return before


def _revisions(fleet: Fleet) -> dict[str, str]:
    tables = ("schedule/", "pending/", "leader", "events/")
    return {table: repr(registry(fleet.cluster, table)) for table in tables}


@pytest.fixture
def forgetful(fleet: Fleet) -> Iterator[Fleet]:
    """A fleet whose registry may be lost: afterwards it is empty, and every agent has forgotten what it applied."""
    sentinel = registry(fleet.cluster, "cluster")
    yield fleet
    fleet.cluster.repair()
    for node in fleet.cluster.nodes:
        fleet.shell(node, f"systemctl stop {AGENT}; systemctl stop 'inv-*' 2>/dev/null; rm -rf /run/fleet/*")
    fleet.cluster.etcd.wipe()
    for key, value in sentinel.items():
        fleet.cluster.etcd.put(f"/fleet/{key}", value)
    for node in fleet.cluster.nodes:
        fleet.shell(node, f"systemctl restart {SCHEDULER}; systemctl start {AGENT}")


def test_invariant_3_an_emptied_registry_stops_nothing(forgetful: Fleet) -> None:
    forgetful.start(*units(6))
    forgetful.settled("inv-*.service", 6)
    before = forgetful.running("inv-*.service")
    forgetful.cluster.etcd.delete("/fleet/")
    _nothing_changes(forgetful, before, for_s=4)
    forgetful.cluster.etcd.wipe()
    _nothing_changes(forgetful, before, for_s=6)
    for node in forgetful.cluster.nodes.values():
        said = node.journal("-u", AGENT, "-o", "cat")
        assert "empty or not a fleet's" in said or "belongs to cluster" in said


def test_invariant_3_a_foreign_registry_stops_nothing(forgetful: Fleet) -> None:
    forgetful.start(*units(3))
    forgetful.settled("inv-*.service", 3)
    before = forgetful.running("inv-*.service")
    forgetful.cluster.etcd.wipe()
    for node in forgetful.cluster.nodes:
        forgetful.shell(node, f"systemctl restart {SCHEDULER}")
    eventually("a new cluster", lambda: registry(forgetful.cluster, "cluster"))
    _nothing_changes(forgetful, before, for_s=6)
    for machine in forgetful.cluster.nodes.values():
        assert "belongs to cluster" in machine.journal("-u", AGENT, "-o", "cat")


def test_invariant_3_an_unreachable_registry_stops_nothing(fleet: Fleet) -> None:
    fleet.start(*units(6))
    fleet.settled("inv-*.service", 6)
    before = fleet.running("inv-*.service")
    fleet.cluster.etcd.kill()
    _nothing_changes(fleet, before, for_s=12)  # three leases long
    assert _programs_alive(fleet)
    fleet.cluster.etcd.start()
    _nothing_changes(fleet, before, for_s=3)
    eventually("every machine back", lambda: len(registry(fleet.cluster, "machines/")) == 3)


def test_invariant_3_a_corrupt_registry_stops_nothing(fleet: Fleet) -> None:
    fleet.start(*units(3))
    homes = fleet.settled("inv-*.service", 3)
    before = fleet.running("inv-*.service")
    for unit, node in homes.items():
        fleet.cluster.etcd.put(f"/fleet/schedule/{fleet.machine_id(node)}/{unit}", "{not json")
        fleet.cluster.etcd.put(f"/fleet/units/{unit}", "\x00")
    _nothing_changes(fleet, before, for_s=3)
    assert _programs_alive(fleet)


def _nothing_changes(fleet: Fleet, before: object, *, for_s: float) -> None:
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert fleet.running("inv-*.service") == before
        time.sleep(0.2)


def _programs_alive(fleet: Fleet) -> bool:
    script = f"systemctl is-active {' '.join(PROGRAMS)}"
    return all(fleet.shell(node, script).split() == ["active", "active"] for node in fleet.cluster.nodes)


@pytest.mark.parametrize("how", ["kill -9", "restart"])
def test_invariant_4_restarting_everything_at_once_is_invisible(fleet: Fleet, how: str) -> None:
    fleet.start(*units(9))
    fleet.settled("inv-*.service", 9)
    before = fleet.running("inv-*.service")
    for node in fleet.cluster.nodes:
        words = "kill -s KILL" if how == "kill -9" else "restart --no-block"
        fleet.shell(node, f"systemctl {words} {' '.join(PROGRAMS)}")
    fleet.cluster.etcd.kill()
    fleet.cluster.etcd.start()
    _nothing_changes(fleet, before, for_s=10)
    eventually("every machine registered", lambda: len(registry(fleet.cluster, "machines/")) == 3)
    fleet.ctl("stop", "inv-0.service")  # and the fleet still works
    assert len(fleet.running("inv-*.service")) == 8


def test_invariant_4_a_clean_stop_hands_over_at_once(fleet: Fleet) -> None:
    fleet.start(*units(9))
    fleet.settled("inv-*.service", 9)
    with never_twice(fleet, "inv-*.service"):
        began = time.monotonic()
        fleet.shell("core-1", f"systemctl stop {AGENT}")
        homes = fleet.settled("inv-*.service", 9)
        took_s = time.monotonic() - began
    assert "core-1" not in homes.values()
    said = str(registry(fleet.cluster, "events/"))
    assert '"verb":"leave"' in said  # it was told, not missed when its lease ended
    assert took_s < 20
    assert fleet.machine_id("core-1") not in str(registry(fleet.cluster, "machines/"))


def test_invariant_5_the_old_stops_before_the_new_starts(fleet: Fleet) -> None:
    def text(version: str) -> str:
        return (
            "[Service]\n"
            f"ExecStartPre=/bin/sh -c 'echo {version} start-pre >>/var/trace'\n"
            "ExecStart=/bin/sleep infinity\n"
            f"ExecStopPost=/bin/sh -c 'sleep 1; echo {version} stop-post >>/var/trace'\n"
        )

    for node in fleet.cluster.nodes:
        fleet.shell(node, "rm -f /var/trace")
    fleet.start("inv-0.service", text=text("old"))
    home = fleet.settled("inv-0.service", 1)["inv-0.service"]
    fleet.ctl("start", "--replace", fleet.write("inv-0.service", text("new")))
    assert fleet.settled("inv-0.service", 1) == {"inv-0.service": home}
    trace = fleet.shell(home, "cat /var/trace").splitlines()
    assert trace == ["old start-pre", "old stop-post", "new start-pre"]


def test_invariant_6_a_new_machine_moves_nothing(fleet: Fleet) -> None:
    fleet.cluster.node("core-3").power_off()
    eventually("two machines", lambda: len(registry(fleet.cluster, "machines/")) == 2)
    fleet.start(*units(6))
    fleet.settled("inv-*.service", 6)
    before = fleet.running("inv-*.service")
    fleet.cluster.node("core-3").reboot()
    eventually("three machines", lambda: len(registry(fleet.cluster, "machines/")) == 3)
    _nothing_changes(fleet, before, for_s=2)
    fleet.start("inv-new.service")
    assert fleet.homes("inv-new.service") == {"inv-new.service": "core-3"}


def test_invariant_7_nothing_waits_without_a_reason(fleet: Fleet) -> None:
    mars = SLEEPER + "[X-Fleet]\nMachineMetadata=region=mars\n"
    began = time.monotonic()
    said = fleet.fails("start", fleet.write("inv-mars.service", mars))
    assert time.monotonic() - began < 15  # and not when all attempts are over
    assert "no machine has region=mars" in said
    why = fleet.ctl("why", "inv-mars.service").stdout
    assert all(fleet.machine_id(node)[:8] in why for node in fleet.cluster.nodes)
    cycle = [
        fleet.write(f"inv-{a}.service", SLEEPER + f"[X-Fleet]\nMachineOf=inv-{b}.service\n")
        for a, b in ("ab", "ba")
    ]
    assert "inv-a.service" in fleet.fails("start", *cycle)
    eventually("reasons for all", lambda: len(registry(fleet.cluster, "pending/")) == 3)


def test_invariant_8_one_bad_unit_harms_no_other(fleet: Fleet) -> None:
    bad = {
        "bad-missing.service": "[Service]\nExecStart=/usr/bin/does-not-exist\n",
        "bad-exit.service": "[Service]\nExecStart=/bin/false\n",
        "bad-hang.service": "[Service]\nType=notify\nTimeoutStartSec=60\nExecStart=/bin/sleep infinity\n",
        "bad-stop.service": STUBBORN + "TimeoutStopSec=3\n",
        "bad-needs.service": "[Unit]\nRequires=nowhere.service\nAfter=nowhere.service\n"
        + SLEEPER.split("\n", 2)[2],
    }
    fleet.ctl("start", "--no-block", *[fleet.write(name, text) for name, text in bad.items()])
    began = time.monotonic()
    fleet.start(*units(9))
    fleet.settled("inv-*.service", 9)
    assert time.monotonic() - began < 30  # nobody waited for the 60 s of the one that hangs
    said = fleet.fails("start", "bad-missing.service")
    assert "does-not-exist" in said or "203" in said
    fleet.ctl("destroy", "bad-*", *units(9), timeout_s=90)
    assert not fleet.running("bad-*")


def test_invariant_9_a_new_leader_decides_nothing_anew(fleet: Fleet) -> None:
    fleet.start(*units(9))
    fleet.settled("inv-*.service", 9)
    before = {table: registry(fleet.cluster, table) for table in ("schedule/", "pending/")}
    for _ in range(3):
        leader = fleet.leader()
        fleet.shell(leader, f"systemctl restart {SCHEDULER}")
        eventually("the next leader", partial(_leads_another, fleet, leader), timeout_s=15)
    assert {table: registry(fleet.cluster, table) for table in before} == before


def _leads_another(fleet: Fleet, old: str) -> bool:
    return fleet.leader() != old


def test_invariant_10_keep_a_cut_machine_keeps_and_gives_up_on_its_return(fleet: Fleet) -> None:
    fleet.start(*units(9))
    before = fleet.settled("inv-*.service", 9)
    fleet.cluster.node("core-2").cut()
    with never_twice(fleet, "inv-*.service", apart_from=("core-2",)):
        eventually(
            "all nine on the other side",
            lambda: len([node for node, _ in fleet.running("inv-*.service") if node != "core-2"]) == 9,
        )
    kept = {unit for node, unit in fleet.running("inv-*.service") if node == "core-2"}
    assert kept == {unit for unit, node in before.items() if node == "core-2"}
    fleet.cluster.node("core-2").heal()
    homes = fleet.settled("inv-*.service", 9)
    assert "core-2" not in homes.values()
    eventually("core-2 back", lambda: len(registry(fleet.cluster, "machines/")) == 3)


@pytest.fixture
def strict(fleet: Fleet) -> Iterator[Fleet]:
    """A fleet whose machines stop their units when they lose the registry."""
    undo = "sed -i '/^on_lost_registry/d' /etc/fleet/fleet.toml"
    edit = f"{undo}; sed -i 's/^\\[agent\\]/[agent]\\non_lost_registry = \"stop\"/' /etc/fleet/fleet.toml"
    for node in fleet.cluster.nodes:
        fleet.shell(node, f"{edit} && systemctl restart {AGENT}")
    yield fleet
    fleet.cluster.repair()
    for node in fleet.cluster.nodes:
        fleet.shell(node, f"{undo}; systemctl restart {AGENT}")


def test_invariant_10_stop_a_unit_never_runs_twice(strict: Fleet) -> None:
    strict.start(*units(6))
    strict.start("inv-stubborn.service", text=STUBBORN + "TimeoutStopSec=10\n")
    strict.settled("inv-*.service", 7)
    with never_twice(strict, "inv-*.service"):
        for node in strict.cluster.nodes:
            strict.cluster.node(node).cut()
            eventually("the cut one empty", partial(_empty, strict, node))
            strict.settled("inv-*.service", 7)
            strict.cluster.node(node).heal()
            eventually("it is back", lambda: len(registry(strict.cluster, "machines/")) == 3)
        strict.settled("inv-*.service", 7)


@pytest.mark.parametrize("how", ["KILL", "STOP"])
def test_invariant_10_stop_even_when_the_agent_dies_or_hangs_meanwhile(strict: Fleet, how: str) -> None:
    strict.start(*units(6))
    strict.settled("inv-*.service", 6)
    with never_twice(strict, "inv-*.service"):
        strict.cluster.node("core-2").cut()
        strict.cluster.node("core-2").signal_unit(AGENT, how)
        eventually("the cut one empty", partial(_empty, strict, "core-2"), timeout_s=8)
        strict.settled("inv-*.service", 6)
        strict.cluster.node("core-2").heal()
        eventually("it is back", lambda: len(registry(strict.cluster, "machines/")) == 3)
        strict.settled("inv-*.service", 6)


def test_invariant_10_stop_without_an_agent_the_switch_stops_everything(strict: Fleet) -> None:
    strict.start(*units(6))
    strict.settled("inv-*.service", 6)
    program = "/usr/local/bin/fleet-agentd"
    with never_twice(strict, "inv-*.service"):
        strict.shell("core-2", f"mv {program} {program}.away")
        try:
            strict.cluster.node("core-2").signal_unit(AGENT, "KILL")
            eventually("core-2 empty", partial(_empty, strict, "core-2"), timeout_s=8)
            strict.settled("inv-*.service", 6)
        finally:
            strict.shell("core-2", f"mv {program}.away {program}; systemctl reset-failed {AGENT}")
            strict.shell("core-2", f"systemctl restart {AGENT}")
        eventually("it is back", lambda: len(registry(strict.cluster, "machines/")) == 3)


@pytest.mark.parametrize("text", [None, "garbled"])
def test_invariant_10_stop_without_an_agent_or_a_deadline_everything_stops(strict: Fleet, text: str | None) -> None:
    strict.start(*units(6))
    strict.settled("inv-*.service", 6)
    path = "/run/fleet/lease-deadline"
    with never_twice(strict, "inv-*.service"):
        strict.cluster.node("core-2").signal_unit(AGENT, "STOP")
        strict.shell("core-2", f"rm {path}" if text is None else f"echo {text} >{path}")
        eventually("core-2 empty", partial(_empty, strict, "core-2"), timeout_s=8)
        _let_go_on(strict.cluster.node("core-2"))
        strict.settled("inv-*.service", 6)


def test_invariant_10_stop_without_an_agent_a_switch_that_is_killed_goes_on(strict: Fleet) -> None:
    strict.start(*units(6))
    strict.settled("inv-*.service", 6)
    node = strict.cluster.node("core-2")
    with never_twice(strict, "inv-*.service"):
        node.signal_unit(AGENT, "STOP")
        for _ in range(3):
            node.exec(["systemctl", "kill", "--signal=KILL", "fleet-lease.service"])  # it may be down from the last
            time.sleep(0.3)
        eventually("core-2 empty", partial(_empty, strict, "core-2"), timeout_s=8)
        _let_go_on(node)
        strict.settled("inv-*.service", 6)


def test_invariant_10_stop_a_fleet_at_rest_writes_nothing_to_the_journal(strict: Fleet) -> None:
    strict.start(*units(3))
    strict.settled("inv-*.service", 3)
    node = strict.cluster.node("core-2")
    eventually("the switch", lambda: node.exec(["systemctl", "is-active", "fleet-lease.service"]).returncode == 0)
    cursor = node.journal("-n", "0", "--show-cursor").partition("-- cursor: ")[2].strip()
    time.sleep(12)  # seven renewals
    told = node.journal(f"--after-cursor={cursor}", "-o", "cat", "_PID=1")
    assert "fleet-lease" not in told, told


def test_invariant_10_what_the_switch_stopped_starts_again_also_when_stop_has_become_keep(strict: Fleet) -> None:
    everywhere = SLEEPER + "[X-Fleet]\nGlobal=true\n"
    strict.start("inv-global.service", text=everywhere)
    eventually("it runs on all", lambda: len(strict.running("inv-*.service")) == 3)
    program = "/usr/local/bin/fleet-agentd"
    strict.shell("core-2", f"mv {program} {program}.away")
    try:
        strict.cluster.node("core-2").signal_unit(AGENT, "KILL")
        eventually("core-2 empty", partial(_empty, strict, "core-2"), timeout_s=8)
        strict.shell("core-2", "sed -i '/^on_lost_registry/d' /etc/fleet/fleet.toml")
    finally:
        strict.shell("core-2", f"mv {program}.away {program}; systemctl reset-failed {AGENT}")
        strict.shell("core-2", f"systemctl restart {AGENT}")
    eventually("it runs on all again", lambda: len(strict.running("inv-*.service")) == 3)


def _empty(fleet: Fleet, node: str) -> bool:
    return not [home for home, _ in fleet.running("inv-*.service") if home == node]


def _let_go_on(node: Node) -> None:
    """Let an agent that was stopped go on, unless systemd's watchdog has started another one meanwhile."""
    with suppress(ToolFailed):
        node.signal_unit(AGENT, "CONT")


def test_invariant_10_stop_without_etcd_what_was_stopped_starts_again(strict: Fleet) -> None:
    strict.start(*units(3))
    before = strict.settled("inv-*.service", 3)
    strict.cluster.etcd.freeze()
    eventually("all stopped", lambda: not strict.running("inv-*.service"))
    strict.cluster.etcd.thaw()
    assert len(strict.settled("inv-*.service", 3)) == len(before)


def test_invariant_12_what_has_ended_is_not_started_over_by_a_loss_of_the_registry(strict: Fleet) -> None:
    once = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran >>/var/once'\n"
    for node in strict.cluster.nodes:
        strict.shell(node, "rm -f /var/once")
    strict.start("inv-0.service")
    strict.start("inv-once.service", text=once)
    strict.cluster.etcd.freeze()
    eventually("all stopped", lambda: not strict.running("inv-*.service"), timeout_s=6)
    strict.cluster.etcd.thaw()
    strict.settled("inv-0.service", 1)
    runs = [strict.shell(node, "cat /var/once 2>/dev/null || true").split() for node in strict.cluster.nodes]
    assert sorted(runs) == [[], [], ["ran"]]


def test_invariant_11_the_hosts_own_units_are_safe(fleet: Fleet) -> None:
    before = {
        node: fleet.shell(node, "systemctl show -p MainPID,FragmentPath ssh.service")
        for node in fleet.cluster.nodes
    }
    said = fleet.fails("start", fleet.write("ssh.service", SLEEPER))
    assert "belongs to this host" in said
    fleet.ctl("destroy", "ssh.service")
    after = {
        node: fleet.shell(node, "systemctl show -p MainPID,FragmentPath ssh.service")
        for node in fleet.cluster.nodes
    }
    assert after == before


def test_invariant_12_a_start_happens_once(fleet: Fleet) -> None:
    once = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran >>/var/once'\n"
    fails = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran >>/var/fails; exit 3'\n"
    pin = f"[X-Fleet]\nMachineID={fleet.machine_id('core-2')}\n"
    fleet.shell("core-2", "rm -f /var/once /var/fails")
    fleet.ctl(
        "start",
        "--no-block",
        fleet.write("inv-once.service", once + pin),
        fleet.write("inv-fails.service", fails + pin),
    )
    eventually("both ran", lambda: _runs(fleet) == (1, 1))
    fleet.shell("core-2", f"systemctl restart {AGENT}")
    fleet.shell("core-2", f"systemctl kill -s KILL {AGENT}")
    fleet.cluster.node("core-2").cut()
    eventually("lease over", lambda: len(registry(fleet.cluster, "machines/")) == 2)
    fleet.cluster.node("core-2").heal()
    eventually("back", lambda: len(registry(fleet.cluster, "machines/")) == 3)
    time.sleep(2)
    assert _runs(fleet) == (1, 1)
    fleet.ctl("restart", "inv-once.service")
    assert _runs(fleet) == (2, 1)
    fleet.cluster.node("core-2").reboot()
    eventually("a new boot starts both again", lambda: _runs(fleet) == (3, 2), timeout_s=30)


def _runs(fleet: Fleet) -> tuple[int, ...]:
    return tuple(
        len(fleet.cluster.exec("core-2", ["cat", path]).stdout.split()) for path in ("/var/once", "/var/fails")
    )
