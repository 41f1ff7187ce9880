"""Pacemaker on Corosync, by the programs that come with it; they are written in C and talk to a local socket."""

from __future__ import annotations

from pathlib import Path

from bench.nodes import SLEEPER
from bench.peers.fleet import Fleet, look_s
from bench.peers.hosts import Host, Hosts, said

PACKAGES = ("pacemaker", "corosync", "pacemaker-cli-utils")
COROSYNC = """\
totem {{
  version: 2
  cluster_name: bench
  transport: knet
  crypto_cipher: none
  crypto_hash: none
}}
nodelist {{
{nodes}}}
quorum {{
  provider: corosync_votequorum
}}
system {{
  allow_knet_handle_fallback: yes
}}
logging {{
  to_stderr: no
  to_syslog: yes
}}
"""
MEMBER = "  node {{\n    name: {each.name}\n    nodeid: {each.number}\n    ring0_addr: {each.address}\n  }}\n"
# Two cores for three nodes are always busy to Pacemaker, which would hold itself back. How many a node does at a
# time stays twice its cores: with a hundred, its own daemons did not answer one another in time on a busy host.
PROPERTIES = {
    "stonith-enabled": "false",
    "symmetric-cluster": "true",
    "load-threshold": "100000%",
}
STICKINESS = "100"
TIMEOUT = "300s"  # a busy host needs more for a hundred at once than the default of 20 s
RESOURCE = (
    '<primitive id="bench-{name}" class="systemd" type="bench@{name}"><operations>'
    '<op id="bench-{name}-monitor" name="monitor" interval="60s"/></operations></primitive>'
)
STARTED = "crm_mon -1 | grep -c '):[[:space:]]*Started core-'"
STOPS = "stop-all-resources"


class Pacemaker(Fleet):
    """Three nodes without fencing; a unit is a resource of the class systemd."""

    title = "Pacemaker"
    services = ("pacemaker.service", "corosync.service")

    def __init__(self, name: str, archive: Path) -> None:
        self.hosts = Hosts(name, archive, self.services, ["--capability=CAP_IPC_LOCK"])
        self.nodes = self.hosts.nodes

    def up(self) -> None:
        self.hosts.up(self._prepare)
        self.settle()
        for name, value in PROPERTIES.items():
            self._run(f"crm_attribute -t crm_config -n {name} -v {value}")
        self._run(f"crm_attribute -t rsc_defaults -n resource-stickiness -v {STICKINESS}")
        self._run(f"crm_attribute -t op_defaults -n timeout -v {TIMEOUT}")

    def version(self) -> str:
        pacemaker = self._run("pacemakerd --version").split()[1]
        corosync = self._run("corosync -v").split("'")[1]
        return f"Pacemaker {pacemaker} on Corosync {corosync}"

    def start(self, name: str) -> None:
        self._run(f"cibadmin -C -o resources -X '{RESOURCE.format(name=name)}'")

    def stop(self, name: str) -> None:
        self._run(f"crm_resource -r bench-{name} --meta -p target-role -v Stopped")

    def fill(self, count: int) -> None:
        resources = "".join(RESOURCE.format(name=f"{number}") for number in range(1, count + 1))
        self._run("cibadmin -R -o resources -p", text=f"<resources>{resources}</resources>")

    def confirm(self, count: int) -> None:
        self._run(f"until [ $({STARTED}) = {count} ]; do sleep {look_s(count)}; done")

    def drop(self) -> None:
        self._run(f"crm_attribute -t crm_config -n {STOPS} -v true")

    def forget(self) -> None:
        self._run(
            "crm_resource --wait\n"
            "cibadmin -R -o resources -X '<resources/>'\n"
            "crm_resource --wait\n"
            f"crm_attribute -t crm_config -n {STOPS} -v false"
        )

    def listing(self) -> str:
        return self._run("crm_mon -1")

    def leader(self) -> str:
        return self._run("crm_mon -1 | sed -n 's/.*Current DC: \\([^ ]*\\).*/\\1/p'").strip()

    def settle(self) -> None:
        self.boot()
        names = " ".join(self.nodes)
        whole = f"crm_mon -1 | grep -q 'Current DC: core-' && crm_mon -1 | grep -q 'Online: \\[ {names} \\]'"
        self._run(f"until {whole}; do sleep 0.2; done")

    def _prepare(self, node: Host) -> None:
        root = node.root.directory
        members = "".join(MEMBER.format(each=each) for each in self.hosts.layout.nodes)
        (root / "etc/corosync/corosync.conf").write_text(COROSYNC.format(nodes=members))
        (root / "etc/systemd/system/bench@.service").write_text(SLEEPER)

    def _run(self, script: str, text: str | None = None) -> str:
        return said(self.operator, "sh", "-c", script, text=text)
