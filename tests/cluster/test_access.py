"""Users and rights of a real fleet, whose programs run under their roles: given, renewed and taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleettui.demo.cluster import PROGRAMS, Cluster
from fleettui.demo.process import Completed
from tests.cluster.nodes import active_on, eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

UNIT = "[Service]\nExecStart=/bin/sleep infinity\n"
SHOW = ["systemctl", "show", "-P"]
FILES = ["sha256sum", "/etc/fleet/client.pem", "/etc/fleet/agent.password", "/etc/fleet/scheduler.password"]


OTHERS = """
import asyncio
from pathlib import Path
from registry.etcd import Etcd, Op
from registry.keys import Keys
from registry.program.config import load

async def main():
    keys, settings = Keys(), load(Path("/etc/fleet/fleet.toml"), {}).etcd.client_settings()
    async with Etcd(settings) as etcd:
        for op in (
            Op.delete_prefix(keys.state("OTHER")),
            Op.delete(keys.machine("OTHER")),
            Op.delete(keys.usage("OTHER")),
            Op.put(keys.event("operator", "0"), b""),
            Op.delete_prefix("/fleet/events/"),
            Op.delete(keys.cluster),
        ):
            try:
                await etcd.txn([], [op])
            except Exception as error:
                print("refused" if "permission denied" in str(error) else error)

asyncio.run(main())
"""


def access(cluster: Cluster, *words: str) -> Completed:
    done = cluster.fleetctl("access", *words, timeout_s=120)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done


def started(cluster: Cluster, tmp_path: Path, count: int = 10) -> list[str]:
    (tmp_path / "a@.service").write_text(UNIT)
    units = [f"a@{number}.service" for number in range(count)]
    assert cluster.fleetctl("submit", str(tmp_path / "a@.service")).returncode == 0
    done = cluster.fleetctl("start", *units)
    assert done.returncode == 0, done.stderr
    return units


def untouched(cluster: Cluster) -> dict[str, list[str]]:
    """What changes when a unit is stopped, started or moved, or an agent loses its place."""
    nodes = cluster.nodes.values()
    found = {node.name: node.exec([*SHOW, "InvocationID", "a@*.service"]).stdout.split() for node in nodes}
    return found | {"restarts": [node.exec([*SHOW, "NRestarts", *PROGRAMS]).stdout for node in nodes]}


def files(cluster: Cluster) -> set[str]:
    """The hashes of what lets the programs in."""
    return {line.split()[0] for node in cluster.nodes.values() for line in node.exec(FILES).stdout.splitlines()}


def record(cluster: Cluster, table: str) -> set[str]:
    return {key.rpartition("/")[2] for key in registry(cluster, table)}


def test_every_program_has_a_user_of_its_own_and_lacks_nothing(cluster: Cluster, tmp_path: Path) -> None:
    started(cluster, tmp_path, 3)
    rows = json.loads(access(cluster, "list", "--json").stdout)
    ids = [node.spec.machine_id for node in cluster.nodes.values()]
    expected = {f"agent-{each}": "agent" for each in ids} | {f"scheduler-{each}": "scheduler" for each in ids}
    expected |= {"operator": "operator", "root": "root"}
    assert {row["user"]: row["role"] for row in rows} == expected
    assert not any(row["trouble"] for row in rows)
    assert "All is as it should be" in access(cluster, "check").stdout
    writers = {key.split("/")[1] for key in registry(cluster, "events/")}
    assert writers >= {"operator"}
    assert writers <= expected.keys() - {"root"}
    assert any(each.startswith("scheduler-") for each in writers)
    for node in cluster.nodes.values():
        for unit in PROGRAMS:
            said = node.journal("-u", unit, "-o", "cat", "-b")
            assert "permission denied" not in said, said


def test_a_machine_can_do_nothing_to_another(cluster: Cluster, tmp_path: Path) -> None:
    started(cluster, tmp_path, 1)
    node, other = cluster.node("core-1"), cluster.node("core-2").spec.machine_id
    for words in (("cordon", "core-2"), ("stop", "a@0"), ("list-machines",), ("restore", "--accept", "--yes")):
        done = node.exec(["fleetctl", *words])
        assert done.returncode, words
        assert f"does not let agent-{node.spec.machine_id} read" in done.stderr, done.stderr
        assert "no role of the fleet allows it to this user" in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
    script = OTHERS.replace("OTHER", other)
    python = str(Path(node.exec(["readlink", "-f", "/usr/local/bin/fleetctl"]).stdout.strip()).with_name("python"))
    done = node.exec([python, "-c", script])
    assert done.stdout.split() == ["refused"] * 6, (done.stdout, done.stderr)
    assert active_on(cluster, "a@0.service")


def test_everything_is_renewed_and_no_unit_notices(cluster: Cluster, tmp_path: Path) -> None:
    started(cluster, tmp_path)
    eventually("ten running", lambda: len(record(cluster, "states/")) == 10)
    before, old = untouched(cluster), files(cluster)
    said = access(cluster, "rotate").stdout
    assert said.count("another password") == 7, said
    assert untouched(cluster) == before
    assert len(old) == 9
    assert not files(cluster) & old
    done = cluster.fleetctl("destroy", "a@*")
    assert done.returncode == 0, done.stderr
    eventually("none running", lambda: not record(cluster, "states/"))
    started(cluster, tmp_path, 3)
    assert before["restarts"] == untouched(cluster)["restarts"]


def test_a_viewer_is_let_in_looks_changes_nothing_and_is_out_at_once(cluster: Cluster, tmp_path: Path) -> None:
    (unit,) = started(cluster, tmp_path, 1)
    told = access(cluster, "grant", "vic", "viewer").stdout
    config = f"{told.partition('lies in ')[2].partition(':')[0]}/fleet.toml"
    try:
        listed = cluster.fleetctl("--config", config, "list-units", "--no-legend")
        assert unit in listed.stdout, listed.stderr
        done = cluster.fleetctl("--config", config, "stop", unit)
        assert done.returncode == 1
        assert "does not let vic write /fleet/" in done.stderr
        assert "fleetctl access grant vic operator" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "nothing was changed" in access(cluster, "grant", "vic", "viewer").stdout
        access(cluster, "grant", "vic", "operator")
        assert cluster.fleetctl("--config", config, "stop", unit).returncode == 0
    finally:
        access(cluster, "revoke", "vic", "--yes")
    done = cluster.fleetctl("--config", config, "list-units")
    assert done.returncode == 1
    assert "user name or password" in done.stderr
    refused = cluster.fleetctl("access", "revoke", "vic", "--yes")
    assert "see: fleetctl list-machines" in refused.stderr or "vic" in refused.stderr


def test_a_machine_that_is_revoked_is_told_nothing_more_and_may_come_back(cluster: Cluster, tmp_path: Path) -> None:
    units = started(cluster, tmp_path)
    node = cluster.node("core-3")
    before = untouched(cluster)
    said = access(cluster, "revoke", "core-3", "--yes")
    assert "core-3 then counts as lost" in said.stderr
    assert "fleetctl drain core-3" in said.stderr

    def status() -> str:
        return node.exec(["systemctl", "show", "-P", "StatusText", "fleet-agentd.service"]).stdout

    try:
        eventually(
            "denied, and told so", lambda: f"denied as agent-{node.spec.machine_id}" in status(), timeout_s=60
        )
        eventually("its units elsewhere", lambda: all(set(active_on(cluster, each)) - {"core-3"} for each in units))
        after = untouched(cluster)
        assert set(before["core-1"]) <= set(after["core-1"])
        assert set(before["core-2"]) <= set(after["core-2"])
        assert set(before["core-3"]) <= set(after["core-3"])
    finally:
        for kind in ("agent", "scheduler"):
            told = access(cluster, "grant", f"{kind}-{node.spec.machine_id}", kind).stdout
            bundle = Path(told.partition("lies in ")[2].partition(":")[0])
            text = (bundle / "password").read_text()
            node.exec(["sh", "-c", f"umask 077; cat > /etc/fleet/{kind}.password"], text=text)
        node.exec(["systemctl", "restart", "fleet-scheduler.service"])
    eventually("registered again", lambda: "registered as core-3" in status(), timeout_s=60)
    eventually("each once", lambda: all(len(active_on(cluster, each)) == 1 for each in units), timeout_s=60)
