"""Docker Swarm: three managers that are workers, too, as the smallest swarm that outlives one of them."""

from __future__ import annotations

from pathlib import Path

from bench.peers.fleet import Fleet, look_s
from bench.peers.hosts import Host, Hosts, said
from fleettui.demo.images import image_archive
from fleettui.demo.node import Node

PACKAGES = ("docker.io", "busybox-static")
DOCKER = "/usr/bin/docker"
IMAGE = "bench:1"
STORE = "docker"  # a node's root is an overlay, which cannot carry another one
OPTIONS = (
    f"--bind=%h/{STORE}:/var/lib/docker",
    "--system-call-filter=bpf keyctl add_key request_key",
    "--capability=CAP_BPF",
)
# The first process of a container ignores SIGTERM, and Docker would wait ten seconds for its end; units of the
# other fleets have no network of their own either.
LIKE_UNITS = f"--no-resolve-image --network host --stop-signal KILL {IMAGE} /bin/sleep infinity"
STATES, MEMBERS, LEADERS, VERSION = (
    "{{.CurrentState}}",
    "{{.Status}} {{.ManagerStatus}}",
    "{{.Hostname}} {{.ManagerStatus}}",
    "{{.Server.Version}}",
)
MANY = "many"


class Swarm(Fleet):
    """A unit is a service of one replica, many units are the replicas of one service."""

    title = "Docker Swarm"
    services = ("docker.service", "containerd.service")

    def __init__(self, name: str, archive: Path) -> None:
        self.hosts = Hosts(name, archive, self.services, OPTIONS)
        self.nodes = self.hosts.nodes
        self.newest = ""  # the service that was made last

    def up(self) -> None:
        self.hosts.up(self._prepare)
        first, *others = self.nodes.values()
        for node in self.nodes.values():
            self._answers(node)
            said(node, DOCKER, "import", "/var/lib/docker/image.tar", IMAGE)
        said(first, DOCKER, "swarm", "init", f"--advertise-addr={first.spec.address}")
        token = said(first, DOCKER, "swarm", "join-token", "--quiet", "manager").strip()
        for node in others:
            said(node, DOCKER, "swarm", "join", f"--token={token}", f"{first.spec.address}:2377")
        self.settle()

    def version(self) -> str:
        return "Docker " + self._run(f"{DOCKER} version --format '{VERSION}'").strip()

    def start(self, name: str) -> None:
        self._create(name, 1)

    def stop(self, name: str) -> None:
        self._run(f"{DOCKER} service scale --detach {name}=0")

    def fill(self, count: int) -> None:
        self._create(MANY, count)

    def confirm(self, count: int) -> None:
        running = f"{DOCKER} service ps --filter desired-state=running --format '{STATES}' {self.newest}"
        self._run(f"until [ $({running} | grep -c ^Running) = {count} ]; do sleep {look_s(count)}; done")

    def drop(self) -> None:
        self._run(f"{DOCKER} service rm {MANY}")

    def forget(self) -> None:
        self._run(f"{DOCKER} service ls --quiet | xargs --no-run-if-empty {DOCKER} service rm")
        self.until("no container", lambda: self.alive() == 0)

    def listing(self) -> str:
        return self._run(f"{DOCKER} service ps {MANY}")

    def leader(self) -> str:
        rows = self._run(f"{DOCKER} node ls --format '{LEADERS}'").splitlines()
        return next(row.split()[0] for row in rows if row.endswith(" Leader"))

    def settle(self) -> None:
        self.boot()
        for node in self.nodes.values():
            self._answers(node)
        well = "'^Ready (Leader|Reachable)$'"
        listed = f"{DOCKER} node ls --format '{MEMBERS}' 2>/dev/null"
        self._run(f"until [ $({listed} | grep -cE {well}) = {len(self.nodes)} ]; do sleep 0.2; done")

    def _create(self, name: str, count: int) -> None:
        self.newest = name
        self._run(f"{DOCKER} service create --quiet --detach --name {name} --replicas {count} {LIKE_UNITS}")

    def _answers(self, node: Node) -> None:
        self.until(f"Docker on {node.name}", lambda: node.exec([DOCKER, "info"]).returncode == 0)

    def _prepare(self, node: Host) -> None:
        store = node.root.home / STORE
        store.mkdir()
        busybox = node.root.directory / "bin/busybox"
        (store / "image.tar").write_bytes(image_archive(busybox))

    def _run(self, script: str) -> str:
        return said(self.operator, "sh", "-c", script)
