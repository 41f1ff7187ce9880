"""Invariant 15 on real machines: a registry restored from a backup changes nothing until an operator accepts it."""

from __future__ import annotations

import json
from pathlib import Path

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from tests.cluster.fleet import SLEEPER, Fleet, never_twice
from tests.cluster.nodes import eventually, registry
from tests.documents import block

SLOW = SLEEPER + "ExecStop=/bin/sleep 4\n"
AGENT, SCHEDULER = "fleet-agentd.service", "fleet-scheduler.service"


def holding(cluster: Cluster) -> list[str]:
    """The machines that say that they hold everything."""
    return [key for key, value in registry(cluster, "machines/").items() if json.loads(value).get("held")]


def all_hold(cluster: Cluster) -> None:
    """Wait until every machine says so, and the registry itself, which the first of them tells after that."""
    eventually("every machine holding", lambda: len(holding(cluster)) == len(cluster.nodes), timeout_s=60)
    eventually(
        "the registry held", lambda: '"held"' in registry(cluster, "cluster").get("cluster", ""), timeout_s=60
    )


def everywhere(cluster: Cluster, *command: str) -> None:
    for node in cluster.nodes.values():
        node.exec([*command], timeout_s=60)


def restarted(cluster: Cluster) -> None:
    """Restart every agent and scheduler, once in order and once not, and wait until all hold again."""
    for verb in (("restart",), ("kill", "-s", "KILL")):
        before = [_pid(node) for node in cluster.nodes.values()]
        everywhere(cluster, "systemctl", *verb, AGENT, SCHEDULER)

        def back(before: list[str] = before) -> bool:
            now = [_pid(node) for node in cluster.nodes.values()]
            said = [_last(node) for node in cluster.nodes.values()]
            placed = all("back as machine" in each or "joined as machine" in each for each in said)
            return placed and not {*before, "0"} & set(now)

        eventually("new agents, back in their places", back, timeout_s=60)
        all_hold(cluster)


def _pid(node: Node) -> str:
    return node.exec(["systemctl", "show", "-P", "MainPID", AGENT]).stdout.strip()


def _last(node: Node) -> str:
    """What the present agent of a node has said."""
    return node.journal(f"_PID={_pid(node)}", "-o", "cat")


def test_15_a_restored_backup_changes_nothing_until_it_is_accepted_and_then_exactly_what_was_told(
    cluster: Cluster, tmp_path: Path
) -> None:
    fleet = Fleet(cluster, tmp_path)
    fleet.start("r-destroyed.service", "r-again.service", "r-stays.service")
    fleet.settled("r-*.service", 3)
    cluster.etcd.save(tmp_path / "backup")
    fleet.start("r-made.service")
    fleet.ctl("destroy", "r-destroyed.service")
    fleet.ctl("restart", "r-again.service")
    fleet.settled("r-*.service", 3)
    before = fleet.running("r-*.service")

    cluster.etcd.restore(tmp_path / "backup")
    all_hold(cluster)
    restarted(cluster)
    assert fleet.running("r-*.service") == before
    cluster.etcd.restore(tmp_path / "backup")  # what the machines have said of the first is lost with it
    all_hold(cluster)
    assert fleet.running("r-*.service") == before
    for command in (("list-machines",), ("list-units",), ("why", "r-again.service")):
        assert "history went back" in fleet.ctl(*command).stderr
    said = "\n".join(cluster.node(name).journal("-u", AGENT, "-o", "cat") for name in cluster.nodes)
    assert "fleetctl restore --accept" in said
    status = cluster.node("core-1").exec(["systemctl", "status", AGENT]).stdout
    assert "holding every unit as it is: the registry's history went back" in status

    look, accept = (line.split()[1:] for line in block("docs/backup.md", "snapshot").commands)
    told = fleet.ctl(*look).stdout
    assert "stop r-made.service" in told
    assert "start r-destroyed.service" in told
    assert "restart r-again.service" in told
    assert "r-stays.service" not in told
    assert "--yes" in fleet.fails(*accept)
    assert fleet.running("r-*.service") == before

    fleet.ctl(*accept, "--yes")

    def as_told() -> bool:
        now = {unit: (node, truth) for (node, unit), truth in fleet.running("r-*.service").items()}
        was = {unit: (node, truth) for (node, unit), truth in before.items()}
        return (
            now.keys() == {"r-destroyed.service", "r-again.service", "r-stays.service"}
            and now["r-stays.service"] == was["r-stays.service"]
            and now["r-again.service"][1].invocation != was["r-again.service"][1].invocation
        )

    eventually("exactly what was told", as_told, timeout_s=60)
    assert holding(cluster) == []
    fleet.start("r-after.service")
    fleet.settled("r-*.service", 4)


def test_1_a_unit_that_moved_since_the_backup_runs_in_one_place_when_the_backup_is_accepted(
    cluster: Cluster, tmp_path: Path
) -> None:
    fleet = Fleet(cluster, tmp_path)
    fleet.start("m-slow.service", text=SLOW)
    home = fleet.settled("m-*.service", 1)["m-slow.service"]
    cluster.etcd.save(tmp_path / "backup")
    fleet.ctl("drain", fleet.machine_id(home), timeout_s=120)
    moved = fleet.settled("m-*.service", 1)["m-slow.service"]
    assert moved != home
    before = fleet.running("m-*.service")
    with never_twice(fleet, "m-*.service"):
        cluster.etcd.restore(tmp_path / "backup")
        all_hold(cluster)
        fleet.ctl("restore", "--accept", "--yes")
        eventually("nobody holding", lambda: not holding(cluster), timeout_s=60)
        fleet.ctl("start", "m-slow.service")
    assert fleet.running("m-*.service") == before


def test_15_a_machine_that_was_away_while_a_backup_was_accepted_takes_it_up_and_holds_nobody(
    cluster: Cluster, tmp_path: Path
) -> None:
    fleet = Fleet(cluster, tmp_path)
    pinned = f"{SLEEPER}[X-Fleet]\nMachineID={fleet.machine_id('core-3')}\n"
    fleet.start("a-away.service", text=pinned)
    fleet.settled("a-*.service", 1)
    cluster.etcd.save(tmp_path / "backup")
    fleet.ctl("restart", "a-away.service")
    fleet.settled("a-*.service", 1)
    with never_twice(fleet, "a-*.service"):
        cluster.node("core-3").cut()
        cluster.etcd.restore(tmp_path / "backup")
        eventually("the others holding", lambda: len(holding(cluster)) >= 2, timeout_s=60)
        fleet.ctl("restore", "--accept", "--yes")
        fleet.start("a-after.service")
        cluster.node("core-3").heal()
        eventually(
            "core-3 taking it up", lambda: "history was accepted" in _last(cluster.node("core-3")), timeout_s=60
        )
        fleet.settled("a-*.service", 2)
    assert holding(cluster) == []
    assert not json.loads(registry(cluster, "cluster")["cluster"]).get("held")
