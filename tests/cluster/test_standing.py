"""What `systemctl status` and the journal say of agent and scheduler on real machines, in health and in trouble."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.etcdmembers import EtcdMembers
from fleettui.demo.node import Node
from tests.cluster.conftest import booted_cluster
from tests.cluster.nodes import eventually

AGENT, SCHEDULER = "fleet-agentd.service", "fleet-scheduler.service"
WITHIN_S = 90

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


def status(node: Node, unit: str) -> str:
    return node.exec(["systemctl", "show", "-P", "StatusText", unit]).stdout.strip()


def says(node: Node, unit: str, *words: str) -> str:
    """Wait until a daemon's status has all these words."""

    def found() -> str:
        told = status(node, unit)
        return told if all(word in told for word in words) else ""

    return eventually(f"{words} in the status of {unit} on {node.name}", found, timeout_s=WITHIN_S)


def warnings(node: Node, unit: str) -> list[str]:
    """What `journalctl -p warning` shows of a daemon."""
    return node.journal("-u", unit, "-p", "warning", "-o", "cat").splitlines()


def leading(cluster: Cluster) -> Node:
    """The machine whose scheduler says that it leads."""

    def leaders() -> list[Node]:
        return [each for each in cluster.nodes.values() if status(each, SCHEDULER).startswith("leading")]

    return eventually("a scheduler that says that it leads", leaders, timeout_s=WITHIN_S)[0]


def test_agent_and_scheduler_say_who_they_are_and_what_they_do(cluster: Cluster) -> None:
    leader = leading(cluster)
    says(leader, SCHEDULER, "leading, term ", f"deciding for {len(cluster.nodes)} machines")
    for node in cluster.nodes.values():
        says(node, AGENT, f"registered as {node.name} ({node.spec.machine_id}) since ")
        if node is not leader:
            says(node, SCHEDULER, f"standing by, {leader.name} leads")


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_neither_says_that_it_is_registered_or_leads_while_etcd_is_gone(cluster: Cluster, fault: str) -> None:
    node = leading(cluster)
    getattr(cluster.etcd, fault)()
    told = says(node, AGENT, "registry does not answer since ", "units are kept as they are")
    assert "registered as" not in told
    assert "leading" not in says(node, SCHEDULER, "registry does not answer since ")
    eventually("a warning of the agent", lambda: "registry" in "".join(warnings(node, AGENT)))
    eventually("a warning of the scheduler", lambda: "registry" in "".join(warnings(node, SCHEDULER)))
    cluster.etcd.thaw()
    cluster.etcd.start()
    says(node, AGENT, f"registered as {node.name} ")
    leading(cluster)


def test_a_registry_that_is_not_the_fleet_s_is_told(cluster: Cluster) -> None:
    node = cluster.node("core-1")
    says(node, AGENT, "registered as ")
    cluster.etcd.wipe()
    assert "registered as" not in says(node, AGENT, "this registry ", "every unit is kept as it is")
    eventually("a warning", lambda: "every unit is kept as it is" in "".join(warnings(node, AGENT)))


def test_a_frozen_scheduler_is_killed_and_started_again(cluster: Cluster) -> None:
    node = leading(cluster)
    old = node.exec(["systemctl", "show", "-P", "MainPID", SCHEDULER]).stdout.strip()
    node.exec(["systemctl", "kill", "--signal=STOP", SCHEDULER])

    def another() -> bool:
        return node.exec(["systemctl", "show", "-P", "MainPID", SCHEDULER]).stdout.strip() not in ("0", old)

    eventually("the watchdog's work", another, timeout_s=WITHIN_S)
    eventually(
        "another status", lambda: status(node, SCHEDULER).startswith(("leading", "standing by")), timeout_s=60
    )


def test_handing_over_is_told_while_it_goes_on(cluster: Cluster) -> None:
    node = cluster.node("core-2")
    text = "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 8\n[X-Fleet]\nMachineMetadata=node=n2\n"
    path = cluster.layout.state / "slow.service"
    path.write_text(text)
    assert cluster.fleetctl("start", str(path)).returncode == 0
    node.exec(["systemctl", "stop", "--no-block", AGENT])
    says(node, AGENT, "handing ", " over since ")


@pytest.fixture
def three_members() -> Iterator[Cluster]:
    """Two machines and an etcd of three members."""
    with booted_cluster(2, members=3) as built:
        yield built


def test_a_dead_member_of_three_is_told_by_every_daemon_and_its_return_too(three_members: Cluster) -> None:
    cluster = three_members
    leading(cluster)
    etcd = cluster.etcd
    assert isinstance(etcd, EtcdMembers)
    leader = etcd.leader()
    dead = next(each for each in etcd.members if each is not leader)
    dead.kill()
    url = next(each.endpoint for each in cluster.layout.etcd_members if each.name == dead.name)
    for node in cluster.nodes.values():
        for unit in (AGENT, SCHEDULER):
            says(node, unit, f"2 of 3 etcd endpoints answer: {url} does not")
            assert sum(url in line for line in warnings(node, unit)) == 1, warnings(node, unit)
    assert url in cluster.fleetctl("drain", "core-1").stderr
    dead.launch()
    daemons = [(node, unit) for node in cluster.nodes.values() for unit in (AGENT, SCHEDULER)]
    eventually("all well", lambda: not any("endpoints" in status(*each) for each in daemons), timeout_s=WITHIN_S)
