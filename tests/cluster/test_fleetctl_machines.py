"""`fleetctl` on machines: their lists, drains, journals and shells, with everything that SSH may refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import active_on, eventually

pytestmark = pytest.mark.cluster
SLEEP = "[Service]\nExecStart=/bin/sleep 1d\n"


def write(directory: Path, name: str, options: str = "", text: str = SLEEP) -> str:
    path = directory / name
    path.write_text(f"{text}{options and f'[X-Fleet]{chr(10)}{options}{chr(10)}'}")
    return str(path)


@pytest.fixture
def everywhere(cluster: Cluster, tmp_path: Path) -> str:
    """A global unit that greets once, launched."""
    text = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/echo greetings from %H\n"
    assert cluster.fleetctl("start", write(tmp_path, "all.service", "Global=true", text)).returncode == 0
    return "all.service"


def machine_ids(cluster: Cluster) -> dict[str, str]:
    listed = json.loads(cluster.fleetctl("list-machines", "--json").stdout)
    return {each["hostname"]: each["machine"] for each in listed}


def test_machines_are_listed_with_what_they_registered(cluster: Cluster) -> None:
    listed = cluster.fleetctl("list-machines", "--full", "--fields=machine,ip,metadata,hostname,state").stdout
    rows = [line.split() for line in listed.splitlines()]
    assert rows[0] == ["MACHINE", "IP", "METADATA", "HOSTNAME", "STATE"]
    assert sorted(row[3] for row in rows[1:]) == sorted(cluster.nodes)
    assert [row[0] for row in rows[1:]] == sorted(row[0] for row in rows[1:])
    addresses = {node.name: node.spec.address for node in cluster.nodes.values()}
    assert {row[3]: row[1] for row in rows[1:]} == addresses


def test_a_drain_moves_what_can_move_and_tells_what_cannot(
    cluster: Cluster, tmp_path: Path, everywhere: str
) -> None:
    write(tmp_path, "web@.service")
    pinned = write(tmp_path, "pin.service", f"MachineMetadata=node={_number(cluster, 'core-1')}")
    cluster.fleetctl("start", pinned, *(str(tmp_path / f"web@{number}") for number in range(6)))
    done = cluster.fleetctl("drain", "core-1")
    assert done.returncode == 1
    assert "Error draining: unit pin.service stays on" in done.stderr
    assert active_on(cluster, "pin.service") == ["core-1"]
    assert len(active_on(cluster, everywhere)) == 3
    assert all("core-1" not in active_on(cluster, f"web@{number}.service") for number in range(6))
    cluster.fleetctl("destroy", "pin")
    again = cluster.fleetctl("drain", "core-1")
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1].endswith(" drained")
    assert cluster.fleetctl("uncordon", machine_ids(cluster)["core-1"][:6]).stdout.endswith(" ready\n")


def _number(cluster: Cluster, name: str) -> str:
    listed = json.loads(cluster.fleetctl("list-machines", "--json").stdout)
    (node,) = [each["metadata"]["node"] for each in listed if each["hostname"] == name]
    return str(node)


def test_a_cordoned_machine_gets_nothing_new_and_keeps_what_it_has(cluster: Cluster, tmp_path: Path) -> None:
    cluster.fleetctl("start", write(tmp_path, "old.service"))
    (home,) = active_on(cluster, "old.service")
    assert cluster.fleetctl("cordon", home).returncode == 0
    write(tmp_path, "new@.service")
    cluster.fleetctl("start", *(str(tmp_path / f"new@{number}") for number in range(4)))
    assert all(home not in active_on(cluster, f"new@{number}.service") for number in range(4))
    assert active_on(cluster, "old.service") == [home]


def test_status_of_a_global_unit_has_a_block_for_each_machine(cluster: Cluster, everywhere: str) -> None:
    done = cluster.fleetctl("status", everywhere)
    assert done.returncode == 0
    assert done.stdout.count("● all.service") == 3
    assert done.stdout.count("Active: active (exited)") == 3


def test_status_of_what_is_not_loaded_or_not_there(cluster: Cluster, tmp_path: Path) -> None:
    cluster.fleetctl("submit", write(tmp_path, "hello.service"))
    done = cluster.fleetctl("status", "hello.service")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Unit hello.service does not appear to be loaded.\n"
    assert cluster.fleetctl("status", "nope").returncode == 1


def test_status_passes_systemctls_exit_status_through(cluster: Cluster, tmp_path: Path) -> None:
    cluster.fleetctl("load", write(tmp_path, "hello.service"))
    assert cluster.fleetctl("status", "hello").returncode == 3


def test_journals_of_all_machines_are_merged(cluster: Cluster, everywhere: str) -> None:
    done = cluster.fleetctl("journal", "--lines=100", everywhere)
    assert (done.returncode, done.stderr) == (0, "")
    for name in cluster.nodes:
        assert f"greetings from {name}" in done.stdout
    messages = cluster.fleetctl("journal", "--output=cat", "-n", "100", everywhere).stdout.splitlines()
    assert sum(line.startswith("greetings from") for line in messages) >= 3
    records = [
        json.loads(line) for line in cluster.fleetctl("journal", "-o", "json", everywhere).stdout.splitlines()
    ]
    assert records
    assert all("__CURSOR" in record for record in records)
    refused = cluster.fleetctl("journal", "-o", "verbose", everywhere)
    assert refused.returncode == 2
    assert "cannot be merged from 3 machines" in refused.stderr


def test_a_journal_of_one_machine_takes_any_format(cluster: Cluster, tmp_path: Path) -> None:
    cluster.fleetctl("start", write(tmp_path, "hello.service"))
    done = cluster.fleetctl("journal", "--output=short-iso", "--since=1 hour ago", "--sudo", "hello")
    assert done.returncode == 0
    assert "Started hello.service" in done.stdout


def test_ssh_takes_machines_and_units_and_passes_the_exit_status_through(
    cluster: Cluster, tmp_path: Path, everywhere: str
) -> None:
    cluster.fleetctl("start", write(tmp_path, "hello.service"))
    (home,) = active_on(cluster, "hello.service")
    identity = machine_ids(cluster)[home]
    for words in (["hello"], [identity[:9]], [home], ["--unit", "hello.service"], [f"--machine={identity}"]):
        done = cluster.fleetctl("ssh", *words, "hostname", "&&", "exit", "7")
        assert (done.returncode, done.stdout) == (7, f"{home}\n"), words
    ambiguous = cluster.fleetctl("ssh", everywhere, "true")
    assert ambiguous.returncode == 1
    assert "runs on 3 machines" in ambiguous.stderr
    assert cluster.fleetctl("ssh", "nowhere", "true").returncode == 1


def test_a_changed_host_key_a_closed_port_and_no_login_are_told_in_a_line(cluster: Cluster, tmp_path: Path) -> None:
    cluster.fleetctl("start", write(tmp_path, "hello.service"))
    (home,) = active_on(cluster, "hello.service")
    node, address = cluster.node(home), cluster.node(home).spec.address
    for text, words in (
        ('identity_files = ["/nowhere/key"]', ("/nowhere/key",)),
        (f"{_ssh(cluster)}port = 1", ("cannot reach", "port 1")),
    ):
        config = tmp_path / "fleet.toml"
        config.write_text(f'{_etcd(cluster)}\n[ssh]\nuser = "root"\n{text}\n')
        done = cluster.fleetctl("--config", str(config), "ssh", home, "true")
        assert done.returncode in (1, 255)
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert all(word in done.stderr for word in words), done.stderr
    key = "/etc/ssh/ssh_host_ed25519_key"
    again = "systemctl restart ssh"  # newer ones read their key once
    other = f"cp -a {key} /tmp/k; cp -a {key}.pub /tmp/k.pub; rm {key}*; ssh-keygen -qN '' -f {key}; {again}"
    node.exec(["sh", "-c", other])
    node.wait_ready()
    try:
        done = cluster.fleetctl("status", "hello")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert address in done.stderr or home in done.stderr
        assert "host key" in done.stderr
    finally:
        node.exec(["sh", "-c", f"mv /tmp/k {key}; mv /tmp/k.pub {key}.pub; {again}"])
        node.wait_ready()


def _etcd(cluster: Cluster) -> str:
    return cluster.config.read_text().partition("\n\n")[0]


def _ssh(cluster: Cluster) -> str:
    lines = cluster.config.read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if line.startswith("identity_files"))


def test_the_registry_is_reached_through_a_machine(cluster: Cluster) -> None:
    node = cluster.node("core-1")
    inside = node.exec(["cat", "/etc/fleet/fleet.toml"]).stdout.split('endpoints = ["')[1].split('"')[0]
    done = cluster.fleetctl(
        "--tunnel", node.spec.address,
        "--known-hosts-file", str(cluster.layout.state / "known_hosts"),
        "--endpoint", inside,
        "list-machines", "--no-legend",
    )  # fmt: skip
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3), done.stderr


def test_a_lost_machine_is_not_shown_as_running(cluster: Cluster, tmp_path: Path) -> None:
    cluster.fleetctl("start", write(tmp_path, "hello.service"))
    (home,) = active_on(cluster, "hello.service")
    cluster.node(home).crash()
    eventually("moved", lambda: [name for name in active_on(cluster, "hello.service") if name != home])
    listed = cluster.fleetctl("list-units", "--no-legend").stdout.splitlines()
    assert len(listed) == 1
    assert len(cluster.fleetctl("list-machines", "--no-legend").stdout.splitlines()) == 2
