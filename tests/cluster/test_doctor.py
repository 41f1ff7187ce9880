"""`fleetctl doctor` at a real fleet: well, without a scheduler, with a machine that SSH finds ill, without etcd."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def examined(cluster: Cluster, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    patience = "--request-timeout=10s"  # the host may be busy with other tests
    done = cluster.fleetctl("doctor", "--json", patience, *arguments)
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["level"] == {0: "ok", 1: "warning", 2: "broken"}[done.returncode]
    return done.returncode, answer["findings"]


def texts(findings: list[dict[str, Any]], level: str) -> str:
    return "\n".join(each["text"] for each in findings if each["level"] == level)


def test_a_fleet_that_is_well_and_one_that_is_not(cluster: Cluster) -> None:
    _, findings = examined(cluster, "--ssh")
    assert texts(findings, "broken") == ""
    fine = texts(findings, "ok")
    for words in ("leads", "3 machines, none lost", "everywhere", "every record parses", "clocks"):
        assert words in fine
    assert sum("reached, agent active" in each["text"] for each in findings) == 3

    node = cluster.node("core-3")
    node.exec(["systemctl", "stop", "fleet-agentd"])
    for each in cluster.nodes.values():
        each.exec(["systemctl", "stop", "fleet-scheduler"])
    eventually("nobody leads", lambda: not registry(cluster, "leader"))
    code, findings = examined(cluster)
    assert code == 2
    assert "no scheduler leads" in texts(findings, "broken")
    assert "2 machines" in texts(findings, "ok")

    node = cluster.node("core-2")
    journal = "/var/log/journal"
    node.exec(["mkdir", "-p", journal])
    node.exec(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", journal])
    node.exec(["sh", "-c", f"cat /dev/zero >{journal}/ballast"])
    _, findings = examined(cluster, "--ssh")
    assert "/var/log/journal on core-2 has 0 MiB free" in texts(findings, "warning")
    node.exec(["umount", "-l", "/var/log/journal"])
    node.exec(["systemctl", "stop", "ssh"])
    _, findings = examined(cluster, "--ssh")
    assert "core-2 cannot be reached by SSH" in texts(findings, "warning")
    node.exec(["systemctl", "start", "ssh"])

    cluster.etcd.freeze()
    code, findings = examined(cluster)
    assert code == 2
    assert "no endpoint answers" in texts(findings, "broken")
    cluster.etcd.thaw()
