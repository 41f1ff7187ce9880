"""A fleet whose etcd has users and speaks TLS: what is restored, denied or rotated takes nobody out of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleettui.demo.cluster import PROGRAMS, Cluster
from fleettui.demo.etcdserver import find_tool
from fleettui.demo.node import Node
from fleettui.demo.process import run
from tests.certificates import Authority
from tests.cluster.nodes import active_on
from tests.cluster.nodes import eventually as soon
from tests.etcd_server import available_versions, binary, free_ports, write_pair

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PASSWORD = "geheim-und-lang"
CONFIG = "/etc/fleet/fleet.toml"
DROP_IN = "/etc/systemd/system/fleet-scheduler.service.d/zz-guarded.conf"
AS_THE_FILE_SAYS = "[Service]\nLoadCredential=\nEnvironment=\n"  # instead of as a user of the cluster's own etcd
TTL = re.compile(r"^ttl = .*$", re.MULTILINE)
LEASE_S = 12  # a slow machine's etcd takes several seconds to start
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n"


def eventually(what: str, fact: Callable[[], object], *, timeout_s: float = 60) -> None:
    """As elsewhere, but seldom: each question to this etcd is a login, too."""
    soon(what, fact, timeout_s=timeout_s, interval_s=0.5)


class Guarded:
    """An etcd with TLS and users for the booted nodes, beside the cluster's own."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory
        self.client, self.peer, self.metrics = free_ports(3)
        self.url = f"https://{cluster.layout.host_address}:{self.client}"
        self.process: subprocess.Popen[bytes] | None = None
        self.rotate()

    def rotate(self) -> None:
        """New authority and certificates on this host."""
        authority = Authority()
        (self.directory / "ca.pem").write_bytes(authority.certificate_pem)
        pair = authority.issue(self.cluster.layout.host_address, "127.0.0.1")
        write_pair(self.directory / "cert.pem", self.directory / "key.pem", pair)

    def start(self) -> None:
        program = binary(available_versions()[-1])
        assert program
        peer = f"http://127.0.0.1:{self.peer}"
        command = [program, "--name=guarded", f"--data-dir={self.directory / 'data'}"]
        command += [f"--listen-client-urls={self.url},https://127.0.0.1:{self.client}"]
        command += [f"--advertise-client-urls={self.url}", f"--listen-peer-urls={peer}"]
        command += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=guarded={peer}"]
        command += [f"--listen-metrics-urls=http://127.0.0.1:{self.metrics}", "--logger=zap", "--bcrypt-cost=4"]
        command += [f"--cert-file={self.directory / 'cert.pem'}", f"--key-file={self.directory / 'key.pem'}"]
        with (self.directory / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually("etcd serving", self.healthy, timeout_s=60)

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/health", timeout=2) as answer:
                return bool(json.load(answer)["health"] == "true")
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def ctl(self, *words: str, user: str = "root:root") -> str:
        command: list[str | Path] = [find_tool("etcdctl"), f"--endpoints=https://127.0.0.1:{self.client}"]
        command += [f"--cacert={self.directory / 'ca.pem'}", *([f"--user={user}"] if user else []), *words]
        environment = {"ETCDCTL_API": "3", "PATH": os.environ["PATH"]}
        return run(command, timeout_s=30, environment=environment).stdout

    def enable_users(self) -> None:
        for words in (
            ("user", "add", "root:root"),
            ("user", "grant-role", "root", "root"),
            ("user", "add", f"fleet:{PASSWORD}"),
            ("role", "add", "fleet"),
            ("role", "grant-permission", "fleet", "readwrite", "/fleet/", "/fleet0"),
            ("user", "grant-role", "fleet", "fleet"),
            ("auth", "enable"),
        ):
            self.ctl(*words, user="")

    def restore(self, snapshot: Path) -> None:
        """Stopped, it takes the snapshot for its data."""
        run(["rm", "-rf", self.directory / "data"], timeout_s=20)
        peer = f"http://127.0.0.1:{self.peer}"
        command: list[str | Path] = [
            find_tool("etcdutl"),
            "snapshot",
            "restore",
            snapshot,
            f"--data-dir={self.directory / 'data'}",
        ]
        command += ["--name=guarded", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=guarded={peer}"]
        run(command, timeout_s=30)

    def denials(self) -> int:
        """Logins that etcd has refused since it started."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        counts = re.findall(
            r'grpc_server_handled_total\{grpc_code="(\w+)",grpc_method="Authenticate".*\} (\d+)', text
        )
        return sum(int(count) for code, count in counts if code != "OK")

    def records(self, table: str) -> dict[str, Any]:
        found = json.loads(self.ctl("get", f"/fleet/{table}", "--prefix", "-w", "json"))
        return {each["key"]: each for each in found.get("kvs", ())}

    def table(self) -> str:
        files = 'ca_file = "/etc/fleet/ca.pem"\nusername = "fleet"\npassword_file = "/etc/fleet/password"\n'
        return f'[etcd]\nendpoints = ["{self.url}"]\n{files}'

    def fleetctl(self, *words: str, text: str | None = None) -> str:
        config = self.directory / "fleet.toml"
        here = self.table().replace("/etc/fleet/", f"{self.directory}/")
        config.write_text(here.replace(self.url, f"https://127.0.0.1:{self.client}"))
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(PASSWORD)
        environment = {**self.cluster.environment, "FLEET_CONFIG": str(config)}
        program = Path(".venv/bin/fleetctl").absolute()
        return run([program, *words], timeout_s=90, text=text, environment=environment, check=False).stdout


def give(node: Node, path: str, text: str) -> None:
    """Write a secret file on a node in one step."""
    node.exec(["sh", "-c", f"umask 077; cat > {path}.new && mv {path}.new {path}"], text=text)


@pytest.fixture
def guarded(nodes: Cluster, tmp_path: Path) -> Iterator[Guarded]:
    etcd = Guarded(nodes, tmp_path)
    before = {node: node.exec(["cat", CONFIG]).stdout for node in nodes.nodes.values()}
    try:
        etcd.start()
        etcd.enable_users()
        for node, config in before.items():
            node.exec(["systemctl", "stop", *PROGRAMS], timeout_s=60)
            node.exec(["sh", "-c", "rm -f /run/fleet/agent.json; systemctl reset-failed"])
            give(node, "/etc/fleet/ca.pem", (tmp_path / "ca.pem").read_text())
            give(node, "/etc/fleet/password", PASSWORD)
            give(node, DROP_IN, AS_THE_FILE_SAYS)
            node.exec(["systemctl", "daemon-reload"])
            give(node, CONFIG, etcd.table() + TTL.sub(f'ttl = "{LEASE_S}s"', config.partition("\n\n")[2]))
            node.exec(["systemctl", "start", *PROGRAMS], timeout_s=60)
        eventually("all machines here", lambda: len(etcd.records("machines/")) == len(before), timeout_s=90)
        eventually("a leader", lambda: etcd.records("leader"), timeout_s=60)
        yield etcd
    finally:
        for node, config in before.items():
            node.exec(["systemctl", "stop", *PROGRAMS], timeout_s=150)
            node.exec(["sh", "-c", "rm -f /run/fleet/agent.json"])
            give(node, CONFIG, config)
            give(node, "/etc/fleet/ca.pem", nodes.credentials.ca.read_text())
            node.exec(["sh", "-c", f"rm -f {DROP_IN}; systemctl daemon-reload"])
            node.exec(["systemctl", "start", "--no-block", *PROGRAMS], timeout_s=60)
        etcd.stop()


def restarts(node: Node) -> list[str]:
    return node.exec(["systemctl", "show", "--value", "-p", "NRestarts", *PROGRAMS]).stdout.split()


def lines_since(node: Node, unit: str, since: float) -> list[str]:
    return node.journal("-u", unit, "-o", "cat", "--since", f"@{int(since)}").splitlines()


def test_a_fleet_hears_an_etcd_that_was_restored_with_users_on(guarded: Guarded, tmp_path: Path) -> None:
    cluster = guarded.cluster
    (tmp_path / "one.service").write_text(UNIT)
    guarded.fleetctl("start", str(tmp_path / "one.service"))
    eventually("the unit running", lambda: len(active_on(cluster, "one.service")) == 1)
    where = active_on(cluster, "one.service")
    snapshot = tmp_path / "snapshot.db"
    guarded.ctl("snapshot", "save", str(snapshot))
    for number in range(60):  # the log grows, and who logs in now has a token of the restored log's future
        guarded.ctl("put", "/fleet-aside", str(number))
    for node in cluster.nodes.values():
        node.exec(["systemctl", "restart", *PROGRAMS], timeout_s=60)
    eventually("all back", lambda: len(guarded.records("machines/")) == len(cluster.nodes), timeout_s=60)
    counts = [restarts(node) for node in cluster.nodes.values()]

    since = time.time()
    guarded.stop()
    guarded.restore(snapshot)
    guarded.start()

    for node in cluster.nodes.values():  # whoever sees that history went back has been heard
        for unit in PROGRAMS:
            eventually(
                f"{unit} of {node.name} reading the registry",
                lambda node=node, unit=unit: any(  # type: ignore[misc]
                    "history went back" in line for line in lines_since(node, unit, since)
                ),
            )
    guarded.fleetctl("restore", "--accept", "--yes")
    (tmp_path / "two.service").write_text(UNIT)
    eventually("all machines here", lambda: len(guarded.records("machines/")) == len(cluster.nodes), timeout_s=90)
    eventually("a leader", lambda: guarded.records("leader"), timeout_s=60)
    guarded.fleetctl("start", str(tmp_path / "two.service"))
    eventually("a new unit running", lambda: len(active_on(cluster, "two.service")) == 1, timeout_s=60)
    assert active_on(cluster, "one.service") == where
    assert [restarts(node) for node in cluster.nodes.values()] == counts


def test_a_wrong_password_on_one_host_floods_nobody_and_is_mended_by_a_new_file(guarded: Guarded) -> None:
    node = guarded.cluster.node("core-1")
    give(node, "/etc/fleet/password", "falsch")
    since, before = time.time(), guarded.denials()
    node.exec(["systemctl", "restart", *PROGRAMS], timeout_s=60)
    eventually("the machine gone", lambda: len(guarded.records("machines/")) == 2, timeout_s=60)
    time.sleep(15)
    assert 2 <= guarded.denials() - before <= 2 * (2 + (time.time() - since) / 5)  # of two programs
    for unit in PROGRAMS:
        told = [line for line in lines_since(node, unit, since) if "password" in line]
        assert len(told) in (1, 2), told  # the follower and the registration each say it once
    assert restarts(node) == ["0", "0"]

    give(node, "/etc/fleet/password", PASSWORD)
    eventually("the machine back", lambda: len(guarded.records("machines/")) == 3, timeout_s=25)


def test_a_rotation_of_the_authority_keeps_every_machine(guarded: Guarded, tmp_path: Path) -> None:
    cluster = guarded.cluster
    counts = [restarts(node) for node in cluster.nodes.values()]
    keys = {key: each["create_revision"] for key, each in guarded.records("machines/").items()}
    guarded.rotate()
    for node in cluster.nodes.values():
        give(node, "/etc/fleet/ca.pem", (tmp_path / "ca.pem").read_text())
    guarded.stop()
    guarded.start()
    time.sleep(2 * LEASE_S)
    found = {key: each["create_revision"] for key, each in guarded.records("machines/").items()}
    assert found == keys
    assert [restarts(node) for node in cluster.nodes.values()] == counts
