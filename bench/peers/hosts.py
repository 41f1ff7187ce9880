"""Nodes like those of our own clusters, with a layer of packages instead of our programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.peers.packages import unpack
from fleettui.demo import network
from fleettui.demo.cluster import PROGRAMS
from fleettui.demo.layout import ClusterLayout, NodeSpec, layout
from fleettui.demo.node import Node
from fleettui.demo.noderoot import System, generate_key
from fleettui.demo.process import ToolFailed, run
from fleettui.demo.sweep import sweep

SIZE = 3
COMMAND_S = 300
WANTS = "etc/systemd/system/multi-user.target.wants"


class Host(Node):
    """A node with none of our programs; `options` are added to those of its systemd-nspawn."""

    def __init__(self, spec: NodeSpec, layout: ClusterLayout, system: System, options: Sequence[str]) -> None:
        super().__init__(spec, layout, system)
        self.options = options

    def programs(self) -> list[Path]:
        """Nothing of this host."""
        return []

    def _nspawn(self) -> list[str]:
        command = super()._nspawn()
        at = command.index("systemd-nspawn") + 1
        own = [each.replace("%h", str(self.root.home)) for each in self.options]
        return [*command[:at], *own, *command[at:]]


class Hosts:
    """Three nodes on a bridge of their own, each a view of this host's root with the packages of `archive` on top.

    `services` start with a node; `options` go to its systemd-nspawn, "%h" in them is a directory of its own.
    """

    def __init__(self, name: str, archive: Path, services: Sequence[str], options: Sequence[str]) -> None:
        self.layout = layout(name, SIZE)
        self.archive = archive
        self.services = services
        base = self.layout.state / "base"
        self.nodes = {each.name: Host(each, self.layout, System(base), options) for each in self.layout.nodes}

    def up(self, prepare: Callable[[Host], None]) -> None:
        """Boot all nodes, `prepare` each before; returns when they answer. Raises ToolFailed."""
        where = self.layout.state
        sweep(self.layout)
        where.mkdir(parents=True)
        run(["mount", "-t", "tmpfs", "-o", "mode=0711,size=50%", f"fleet-{self.layout.name}", where])
        for secret in ("nodes", "hostkeys"):
            (where / secret).mkdir(mode=0o700)
        generate_key(where / "id_ed25519", f"operator of {self.layout.name}")
        network.create_bridge(self.layout)
        layer, base = where / "layer", where / "base"
        unpack(self.archive, layer)
        base.mkdir()
        run(["mount", "-t", "overlay", "-o", f"ro,lowerdir={layer}:/", f"fleet-{self.layout.name}-base", base])
        with ThreadPoolExecutor(self.layout.size) as pool:
            list(pool.map(lambda node: self._boot(node, prepare), self.nodes.values()))

    def _boot(self, node: Host, prepare: Callable[[Host], None]) -> None:
        node.root.prepare("", {})
        root = node.root.directory
        for each in PROGRAMS:
            (root / WANTS / each).unlink()
        run(["cp", "-a", f"{self.layout.state}/layer/var/.", root / "var"])
        for each in self.services:
            (root / WANTS / each).symlink_to(f"/usr/lib/systemd/system/{each}")
        prepare(node)
        node.boot()
        node.wait_ready()


def said(node: Node, *command: str, text: str | None = None) -> str:
    """What a command on the node prints; `text` is its standard input. Raises ToolFailed when it fails."""
    done = node.exec(command, timeout_s=COMMAND_S, text=text)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise ToolFailed(f"{node.name}: {' '.join(command)} ended with {done.returncode}: {lines[-1]}")
    return done.stdout
