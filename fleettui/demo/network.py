"""The cluster's bridge on the host, and the links of its machines: create, cut, heal, remove.

Only `ip` is used, and only on interfaces that a Layout names.
"""

from __future__ import annotations

import json
from pathlib import Path

from fleettui.demo.layout import ClusterLayout, EtcdSpec, NodeSpec
from fleettui.demo.process import run
from registry.errors import UserError


def create_bridge(layout: ClusterLayout) -> None:
    """Make the bridge with the host's address on it; a bridge that exists is kept."""
    if not exists(layout.bridge):
        shown = run(["ip", "-oneline", "-4", "address", "show", "to", f"{layout.host_address}/24"]).stdout.split()
        if shown:
            raise UserError(
                f"the subnet {layout.host_address}/24 is already used by {shown[1]}; "
                "remove that interface or give the cluster another name"
            )
        # An address of its own: else the bridge takes its lowest port's, and when that machine goes, all others
        # talk to nobody until their neighbour caches notice.
        address = f"02:91:{layout.subnet:02x}:00:00:01"
        run(["ip", "link", "add", layout.bridge, "address", address, "type", "bridge"])
    run(["ip", "address", "replace", f"{layout.host_address}/24", "dev", layout.bridge])
    run(["ip", "link", "set", layout.bridge, "up"])


def remove_bridge(layout: ClusterLayout) -> None:
    """Remove the links of the machines that are gone and the bridge itself."""
    for spec in layout.nodes:
        remove_link(spec)
    if exists(layout.bridge):
        run(["ip", "link", "delete", layout.bridge], check=False)


def remove_link(spec: NodeSpec) -> None:
    """Remove the host's end of a machine's link; the kernel does so itself, though later than we may want."""
    if exists(spec.link):
        run(["ip", "link", "delete", spec.link], check=False)


def create_namespace(spec: EtcdSpec, bridge: str) -> None:
    """Make a network namespace with a link to the bridge, as a machine of its own would have."""
    if spec.namespace in namespaces():
        return
    run(["ip", "netns", "add", spec.namespace])
    peer = ["peer", "name", "host0", "netns", spec.namespace]
    run(["ip", "link", "add", spec.link, "type", "veth", *peer])
    run(["ip", "link", "set", spec.link, "master", bridge, "up"])
    inside = ["ip", "-netns", spec.namespace]
    run([*inside, "address", "add", f"{spec.address}/24", "dev", "host0"])
    for device in ("lo", "host0"):
        run([*inside, "link", "set", device, "up"])


def remove_namespace(name: str) -> None:
    """Remove a network namespace; its link goes with it."""
    run(["ip", "netns", "delete", name], check=False)


def namespaces() -> list[str]:
    """The network namespaces of this host."""
    shown = json.loads(run(["ip", "-json", "netns", "list"]).stdout or "[]")
    return [each["name"] for each in shown]


def cut(spec: NodeSpec | EtcdSpec) -> None:
    """Take the machine off the network, as if its cable were pulled behind the switch."""
    run(["ip", "link", "set", spec.link, "nomaster"])


def heal(spec: NodeSpec | EtcdSpec, bridge: str) -> None:
    """Put the machine back on the network."""
    run(["ip", "link", "set", spec.link, "master", bridge])


def is_cut(spec: NodeSpec | EtcdSpec) -> bool:
    """Whether the machine has a link that no bridge holds."""
    shown = run(["ip", "-oneline", "link", "show", "dev", spec.link], check=False)
    return shown.returncode == 0 and " master " not in shown.stdout


def exists(interface: str) -> bool:
    """Whether the host has this interface, by its name or an alternative one."""
    if Path("/sys/class/net", interface).exists():
        return True
    return run(["ip", "link", "show", "dev", interface], check=False).returncode == 0
