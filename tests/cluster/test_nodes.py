"""The machines themselves: booted, used, and broken in every way that the other tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from fleettui.demo.cgroup import Cgroup
from fleettui.demo.cluster import Cluster
from fleettui.demo.process import ToolFailed
from fleettui.demo.requirements import nodes_missing
from fleettui.demo.sweep import leftovers
from registry.errors import UserError
from tests.cluster.nodes import eventually

pytestmark = pytest.mark.cluster


def test_each_machine_is_itself(nodes: Cluster) -> None:
    for node in nodes.nodes.values():
        script = "cat /etc/machine-id; hostname; ip -4 -brief address show dev host0; cat /proc/1/comm"
        machine_id, name, address, init = node.exec(["sh", "-c", script]).stdout.splitlines()
        assert (machine_id, name, init) == (node.spec.machine_id, node.name, "systemd")
        assert node.spec.address in address


def test_a_machine_sees_nothing_of_the_hosts_own(nodes: Cluster) -> None:
    seen = nodes.exec(
        "core-1", ["sh", "-c", "ls -A /home; ls /var/lib/fleet; cat /etc/ssh/ssh_host_ed25519_key.pub"]
    )
    assert seen.stdout.split()[-1] == "core-1"
    assert set(seen.stdout.splitlines()[:-1]) <= {"artifacts"}, "what its own agent makes, and nothing else"


def test_no_service_failed_to_start(cluster: Cluster) -> None:
    ours = {"fleet-agentd.service", "fleet-scheduler.service"}
    listed = cluster.exec("core-2", ["systemctl", "--failed", "--no-legend", "--plain"]).stdout.splitlines()
    assert {line.split()[0] for line in listed} - ours == set()


def test_the_operator_logs_in_over_ssh_with_the_clusters_own_key(nodes: Cluster) -> None:
    state = nodes.layout.state
    options = [
        "-o",
        f"UserKnownHostsFile={state}/known_hosts",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "BatchMode=yes",
    ]
    target = f"root@{nodes.node('core-3').spec.address}"
    command = ["ssh", "-F", "none", "-i", f"{state}/id_ed25519", *options, target, "hostname"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert (done.stdout, done.returncode) == ("core-3\n", 0)


def test_a_node_reaches_etcd_and_a_cut_one_does_not(nodes: Cluster) -> None:
    node = nodes.node("core-2")
    eventually("the link", lambda: _reaches_etcd(nodes, "core-2"))
    node.cut()
    assert not _reaches_etcd(nodes, "core-2")
    assert not node.answers()
    assert node.exec(["true"]).returncode == 0  # the machine itself is well
    node.heal()
    eventually("the healed link", lambda: _reaches_etcd(nodes, "core-2"))


def test_a_crash_tells_nobody_and_a_reboot_brings_the_machine_back(nodes: Cluster) -> None:
    node = nodes.node("core-3")
    boot_id = _boot_of(nodes, "core-3")
    node.exec(["sh", "-c", "echo kept >/var/kept; echo gone >/run/gone; sync"])
    node.crash()
    assert not node.alive()
    with pytest.raises(ToolFailed, match="core-3 is down"):
        node.exec(["true"])
    assert "System Shutdown" not in node.journal("-n", "50", "-t", "systemd", "-o", "cat")
    node.reboot()
    assert node.exec(["cat", "/var/kept"]).stdout == "kept\n"
    assert node.exec(["cat", "/run/gone"]).returncode == 1
    assert _boot_of(nodes, "core-3") != boot_id


def test_a_frozen_machine_hangs_and_goes_on(nodes: Cluster) -> None:
    node = nodes.node("core-1")
    node.freeze()
    assert node.alive()
    assert not node.answers()
    node.thaw()
    eventually("its answer", node.answers)


def test_a_crash_ends_even_a_frozen_machine(nodes: Cluster) -> None:
    node = nodes.node("core-1")
    node.freeze()
    node.crash()
    assert not node.alive()


def test_power_off_stops_the_units_in_order(nodes: Cluster) -> None:
    node = nodes.node("core-2")
    node.exec(["systemd-run", "--unit=farewell", "-p", "ExecStop=/bin/sh -c 'echo bye >/var/bye'", "sleep", "99"])
    node.power_off()
    assert not node.alive()
    node.reboot()
    assert node.exec(["cat", "/var/bye"]).stdout == "bye\n"


def test_etcd_loses_nothing_by_a_crash_and_everything_by_a_wipe(nodes: Cluster) -> None:
    nodes.etcd.put("/tests/kept", "1")
    nodes.etcd.kill()
    assert not nodes.etcd.answers()
    nodes.etcd.start()
    assert nodes.etcd.dump("/tests/") == {"/tests/kept": "1"}
    nodes.etcd.freeze()
    assert not nodes.etcd.answers()
    nodes.etcd.thaw()
    eventually("its answer", nodes.etcd.answers)
    nodes.etcd.wipe()
    assert nodes.etcd.dump("/tests/") == {}


def test_up_of_a_cluster_that_is_up_starts_only_what_is_missing(nodes: Cluster) -> None:
    nodes.node("core-2").crash()
    before = _boot_of(nodes, "core-1")
    Cluster.attach(nodes.layout.name).up()
    assert nodes.node("core-2").answers()
    assert _boot_of(nodes, "core-1") == before


def test_an_unknown_node_is_named_with_the_known_ones(nodes: Cluster) -> None:
    with pytest.raises(UserError, match="core-1, core-2, core-3"):
        nodes.node("core-9")
    assert nodes.node("2").name == "core-2"


@pytest.mark.parametrize("delay_s", [0.05, 0.4, 0.9])
def test_down_removes_what_a_killed_up_left(delay_s: float) -> None:
    if nodes_missing():
        pytest.skip("cannot boot nodes")
    program = "from fleettui.demo.cluster import Cluster; Cluster('killed', 2).up()"
    building = subprocess.Popen([sys.executable, "-c", program])
    scratch = Cluster("killed", 2)
    try:
        eventually("the first trace", lambda: leftovers(scratch.layout), timeout_s=10, interval_s=0.01)
        time.sleep(delay_s)  # anywhere in the middle
    finally:
        building.send_signal(signal.SIGKILL)
        building.wait()
        assert Cluster.attach("killed").down() == []
    assert leftovers(scratch.layout) == []


def test_machines_boot_on_a_host_with_unified_control_groups_alone() -> None:
    if nodes_missing():
        pytest.skip("cannot boot nodes")
    program = (
        "from fleettui.demo.cluster import Cluster; c = Cluster('unified', 1); c.up(); n = c.node('1'); "
        "print(n.exec(['stat', '-f', '-c', '%T', '/sys/fs/cgroup']).stdout.strip(), n.root.spec.name); "
        "n.freeze(); assert not n.answers(); n.thaw(); n.reboot(); n.power_off(); assert c.down() == []"
    )
    script = 'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
    command = [
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-c",
        program,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "cgroup2fs core-1\n"), done.stderr


def test_down_of_nothing_is_fine() -> None:
    if nodes_missing():
        pytest.skip("cannot boot nodes")
    assert Cluster("absent").down() == []


def test_a_process_outside_the_clusters_group_is_never_ended(nodes: Cluster) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        Cgroup(f"{nodes.layout.cgroup_prefix}nothing").end()
        Cluster("absent").down()
        assert bystander.poll() is None
    finally:
        os.kill(bystander.pid, signal.SIGKILL)
        bystander.wait()


def _reaches_etcd(cluster: Cluster, node: str) -> bool:
    probe = f"timeout 0.5 bash -c '</dev/tcp/{cluster.layout.host_address}/2379'"
    return cluster.exec(node, ["sh", "-c", probe]).returncode == 0


def _boot_of(cluster: Cluster, node: str) -> str:
    return cluster.exec(node, ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
