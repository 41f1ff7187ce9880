"""A backup on real machines: all of etcd is lost, and what runs is not touched, then only as was told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import SLEEPER, Fleet, never_twice
from tests.cluster.nodes import eventually, registry
from tests.cluster.test_restore import holding
from tests.documents import block

pytestmark = pytest.mark.timeout(300)  # machines look every half a minute at a registry that is not theirs


def shown(name: str, saved: str) -> list[list[str]]:
    """The commands of a block of the page, as arguments of fleetctl on this backup."""
    commands = block("docs/backup.md", name).commands
    return [[saved if each == "fleet.backup" else each for each in line.split()[1:]] for line in commands]


def test_15_after_the_loss_of_all_of_etcd_a_backup_changes_nothing_until_it_is_accepted_and_then_what_was_told(
    cluster: Cluster, tmp_path: Path
) -> None:
    fleet = Fleet(cluster, tmp_path)
    saved = str(tmp_path / "fleet.backup")
    fleet.start("b-destroyed.service", "b-again.service", "b-stays.service")
    fleet.settled("b-*.service", 3)
    assert "3 units" in fleet.ctl("backup", saved).stderr
    fleet.start("b-made.service")
    fleet.ctl("destroy", "b-destroyed.service")
    fleet.ctl("restart", "b-again.service")
    fleet.settled("b-*.service", 3)
    before = fleet.running("b-*.service")

    with never_twice(fleet, "b-*.service"):
        cluster.etcd.wipe()
        (restore,) = shown("lost", saved)
        assert "empty" in fleet.ctl(*restore).stdout
        assert registry(cluster, "") == {}, "a look writes nothing"
        told = cluster.fleetctl(*restore, "--accept", timeout_s=100)
        assert "add --yes" in told.stderr, told.stderr
        assert "stop b-made.service" in told.stdout
        assert "start b-destroyed.service" in told.stdout
        assert "Restoring it changes 2 units" in told.stdout, told.stdout
        assert len(holding(cluster)) == len(cluster.nodes)
        assert registry(cluster, "units/") == {}
        assert "is only partly there" in fleet.fails("restore", "--accept", "--yes")
        assert fleet.running("b-*.service") == before

        fleet.ctl(*restore, "--accept", "--yes", timeout_s=100)
        wanted = {unit: truth for (_, unit), truth in before.items() if unit != "b-made.service"}

        def as_told() -> bool:
            now = {unit: truth for (_, unit), truth in fleet.running("b-*.service").items()}
            return now.keys() == {*wanted, "b-destroyed.service"} and wanted.items() <= now.items()

        eventually("exactly what was told", as_told, timeout_s=60)
    assert holding(cluster) == []
    assert not json.loads(registry(cluster, "cluster")["cluster"]).get("restoring")

    now = fleet.running("b-*.service")
    fleet.ctl("destroy", "b-destroyed.service")
    fleet.start("b-after.service")
    fleet.ctl("restore", "--accept", "--yes", saved, timeout_s=100)  # over the live registry
    kept = {key: truth for key, truth in now.items() if key[1] != "b-destroyed.service"}

    def as_saved() -> bool:
        found = fleet.running("b-*.service")
        there = {unit for _, unit in found}
        return there == {*wanted, "b-destroyed.service"} and kept.items() <= found.items()

    eventually("the live fleet as the backup says", as_saved, timeout_s=60)


def test_15_without_any_backup_a_registry_is_rebuilt_of_what_machines_run_and_none_of_it_is_touched(
    cluster: Cluster, tmp_path: Path
) -> None:
    fleet = Fleet(cluster, tmp_path)
    saved = str(tmp_path / "fleet.backup")
    fleet.start("n-one.service", "n-two.service", "n-again.service")
    fleet.start("n-global.service", text=f"{SLEEPER}[X-Fleet]\nGlobal=true\n")
    fleet.ctl("restart", "n-again.service")
    before = eventually("six units", lambda: len(now := fleet.running("n-*.service")) == 6 and now)
    assert "is not empty" in fleet.fails("backup", "--rebuild", "0" * 32, saved)
    cluster_id = json.loads(registry(cluster, "cluster")["cluster"])["id"]
    cluster.etcd.wipe()
    status = ["systemctl", "status", "--full", "--no-pager", "fleet-agentd.service"]
    eventually("every machine naming its cluster", lambda: all(
        f"(of cluster {cluster_id})" in node.exec(status).stdout for node in cluster.nodes.values()
    ), timeout_s=60)  # fmt: skip
    rebuild, restore = shown("rebuild", saved)
    rebuild[rebuild.index("--rebuild") + 1] = cluster_id
    rebuild[rebuild.index("--machines") + 1] = str(len(cluster.nodes))
    told = fleet.ctl(*rebuild, timeout_s=100).stderr
    assert "2 unit files, 4 units" in told, told
    assert fleet.running("n-*.service") == before
    done = fleet.ctl(*restore, "--accept", "--yes", timeout_s=100).stdout
    assert "Restoring it changes nothing that runs" in done, done
    eventually("nobody holding", lambda: not holding(cluster), timeout_s=60)
    fleet.start("n-after.service")
    assert {key: each for key, each in fleet.running("n-*.service").items() if "after" not in key[1]} == before
