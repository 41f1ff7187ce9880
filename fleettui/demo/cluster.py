"""A whole local cluster: bridge, etcd and machines, brought up and taken away as one.

`up` and `down` may be interrupted anywhere, by kill -9 or by a power cut of the host: the next `up` or `down`
clears what is left. The operator's fleet.toml is written last, so its presence means the cluster was complete.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from fleettui.demo import network, nodefiles
from fleettui.demo.credentials import OPERATOR
from fleettui.demo.etcdmembers import EtcdMembers
from fleettui.demo.etcdserver import EtcdServer
from fleettui.demo.layout import layout
from fleettui.demo.node import Node
from fleettui.demo.noderoot import HOST, System, generate_key
from fleettui.demo.process import Completed, run
from fleettui.demo.requirements import refuse_too_many
from fleettui.demo.sweep import is_mounted, leftovers, sweep
from registry.errors import UserError
from registry.etcd import EtcdSettings

PROGRAMS = ("fleet-agentd.service", "fleet-scheduler.service")
Say = Callable[[str], None]


def _silent(_text: str) -> None:
    return


class Cluster:
    """Machines core-1 … core-N with an etcd, on this host. All methods block; none needs a running loop.

    `ttl` is the agents' lease, `etcd` what find_binary takes, `members` how many etcd has, `system` what the nodes
    are a view of. Methods that name a node
    raise UserError for an unknown one and ToolFailed when the host refuses.
    """

    def __init__(
        self,
        name: str = "demo",
        size: int = 3,
        *,
        ttl: str = "5s",
        etcd: str = "",
        members: int = 1,
        system: System = HOST,
    ) -> None:
        self.layout = layout(name, size, members)
        self.ttl = ttl
        self.system = system
        self.etcd = EtcdMembers(self.layout, etcd) if members > 1 else EtcdServer(self.layout, etcd)
        self.credentials = self.etcd.credentials
        self.nodes = {spec.name: Node(spec, self.layout, system) for spec in self.layout.nodes}

    @classmethod
    def attach(cls, name: str = "demo") -> Cluster:
        """The cluster of this name as it was brought up, or of the usual size when it is not up."""
        try:
            saved = json.loads((layout(name, 1).state / "cluster.json").read_text())
        except (OSError, ValueError):
            return cls(name)
        packages = Path(saved["packages"]) if saved.get("packages") else None
        system = System(Path(saved.get("root", "/")), packages)
        members = saved.get("members", 1)
        return cls(name, saved["size"], ttl=saved["ttl"], etcd=saved["etcd"], members=members, system=system)

    @property
    def config(self) -> Path:
        """The operator's fleet.toml; use it as FLEET_CONFIG."""
        return self.layout.state / "fleet.toml"

    @property
    def as_root(self) -> EtcdSettings:
        """How root reaches etcd from this host, past every role of the fleet's."""
        return self.credentials.settings(self.layout.operator_endpoints)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with the operator's configuration of this cluster in it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FLEET_", "FLEETCTL_"))}
        return kept | {"FLEET_CONFIG": str(self.config)}

    def node(self, name: str) -> Node:
        """A machine by its name; "1" is short for "core-1"."""
        found = self.nodes.get(name) or self.nodes.get(f"core-{name}")
        if found is None:
            raise UserError(f"unknown node {name!r}: the cluster {self.layout.name} has {', '.join(self.nodes)}")
        return found

    def complete(self) -> bool:
        """Whether the cluster was brought up to its end (some machines may be down by now)."""
        return self.config.exists() and is_mounted(self.layout.state)

    def up(self, say: Say = _silent) -> None:
        """Bring the cluster up and wait until every machine answers SSH.

        Of a cluster that is up, only what is missing is started. What an interrupted run left is removed first.
        """
        with _locked(self.layout.state.parent):
            if not self.complete():
                sweep(self.layout)
                self._prepare(say)
            self._start(say)
            known = (f"{each.spec.name},{each.spec.address} {each.root.host_key()}" for each in self.nodes.values())
            (self.layout.state / "known_hosts").write_text("".join(known))
            self.config.write_text(nodefiles.operator_config(self.layout, OPERATOR.name))

    def down(self, say: Say = _silent) -> list[str]:
        """Take everything away, whatever state it is in. Returns what could not be removed, in words."""
        with _locked(self.layout.state.parent):
            say(f"stopping {self.layout.name}")
            sweep(self.layout)
            return leftovers(self.layout)

    def repair(self) -> None:
        """Mend every fault: thaw, heal, boot what is down, and let stopped programs go on."""
        self.etcd.thaw()
        self.etcd.heal()
        for node in self.nodes.values():
            node.mend()
        self.up()
        for node in self.nodes.values():
            node.exec(["systemctl", "start", "--no-block", *PROGRAMS], timeout_s=60)

    def exec(self, node: str, argv: Sequence[str], *, timeout_s: float = 30) -> Completed:
        """Run a command on a machine, as root."""
        return self.node(node).exec(argv, timeout_s=timeout_s)

    def fleetctl(self, *arguments: str, timeout_s: float = 60, text: str | None = None) -> Completed:
        """Run fleetctl on this host as the operator of this cluster; the exit code is the caller's to judge."""
        command: list[str | Path] = [nodefiles.program("fleetctl"), *arguments]
        return run(command, timeout_s=timeout_s, check=False, text=text, environment=self.environment)

    def save_journals(self, directory: Path) -> None:
        """Write every machine's journal and console, etcd's log and the registry's content into `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        for node in self.nodes.values():
            (directory / f"{node.name}.journal").write_text(node.journal("-o", "short-precise"))
            (directory / f"{node.name}.console").write_text(node.console_tail(1000))
        for file, text in self.etcd.logs.items():
            (directory / file).write_text(text)
        if self.etcd.answers():
            (directory / "registry.json").write_text(json.dumps(self.etcd.dump(), indent=1, sort_keys=True))

    def _prepare(self, say: Say) -> None:
        refuse_too_many(self.layout.size)
        say(f"preparing {self.layout.name}: bridge {self.layout.bridge}, {len(self.nodes)} machines")
        state = self.layout.state
        state.mkdir(parents=True)
        run(["mount", "-t", "tmpfs", "-o", "mode=0711,size=50%", f"fleet-{self.layout.name}", state])
        for secret in ("nodes", "hostkeys", "etcd"):
            (state / secret).mkdir(mode=0o700)
        saved = {
            "size": self.layout.size,
            "ttl": self.ttl,
            "etcd": self.etcd.binary,
            "members": self.layout.members,
            "root": str(self.system.root),
            "packages": str(self.system.packages or ""),
        }
        (state / "cluster.json").write_text(json.dumps(saved))
        network.create_bridge(self.layout)
        generate_key(state / "id_ed25519", f"operator of {self.layout.name}")
        _give_to_caller(state / "id_ed25519")
        self.credentials.make(self.layout.etcd_hosts, self.layout.machine_ids)
        for path in (self.layout.access, *self.layout.access.iterdir()):
            _give_to_caller(path)

    def _start(self, say: Say) -> None:

        def start_etcd() -> None:
            self.etcd.start()
            for node in self.nodes.values():
                if is_mounted(node.root.directory):
                    self.credentials.adopt(node.spec.machine_id, node.root.directory / "etc/fleet")
            self.credentials.turn_users_on(self.layout.operator_endpoints, self.layout.machine_ids)

        def boot(node: Node) -> None:
            if not is_mounted(node.root.directory):
                node.root.prepare(self.ttl, self.credentials.of_node(node.spec.machine_id))
            node.boot()
            node.wait_ready()

        say("starting etcd and booting the machines")
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="node") as pool:
            etcd = pool.submit(start_etcd)
            booted = [pool.submit(boot, node) for node in self.nodes.values()]
            for each in (etcd, *booted):
                each.result()


def _give_to_caller(key: Path) -> None:
    """Under sudo the operator is who called it; the key is of use to nobody else."""
    caller = os.environ.get("SUDO_UID", "")
    if caller.isdigit():
        os.chown(key, int(caller), -1)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time may build or remove clusters; the lock is on a directory that `down` may remove."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if directory.exists() and directory.stat().st_ino == os.fstat(handle).st_ino:
                yield
                return
        finally:
            os.close(handle)
