"""What everything of a local cluster is called: addresses, interfaces, ports, machines. Pure; reads nothing.

A cluster's name decides all of it, so a demo and a test run stand side by side, and `down` in another process
knows what to look for.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from fleettui.demo.paths import state_directory
from registry.errors import UserError

FIXED_SUBNETS = {"demo": 0, "test": 1}
REGIONS = ("r1", "r1", "r2")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One machine of the cluster, as it is named before it exists."""

    cluster: str
    number: int  # from 1
    subnet: int  # the third octet

    @property
    def name(self) -> str:
        """The host name inside: core-1."""
        return f"core-{self.number}"

    @property
    def machine(self) -> str:
        """The name of the container on the host."""
        return f"{self.cluster}-{self.name}"

    @property
    def address(self) -> str:
        """Its IPv4 address on the bridge."""
        return f"10.91.{self.subnet}.{10 + self.number}"

    @property
    def link(self) -> str:
        """The host's end of its network link. systemd-nspawn keeps this name as an alternative when too long."""
        return f"vb-{self.machine}"

    @property
    def machine_id(self) -> str:
        """Its /etc/machine-id: the same each time, so that a cluster built again shows the same machines."""
        return hashlib.sha256(f"fleet local cluster {self.machine}".encode()).hexdigest()[:32]

    @property
    def metadata(self) -> dict[str, str]:
        """What its agent says of it: the node and the region."""
        return {"node": f"n{self.number}", "region": REGIONS[(self.number - 1) % len(REGIONS)]}


@dataclass(frozen=True, slots=True)
class EtcdSpec:
    """One of several etcd members, as it is named before it exists; each has a network namespace of its own."""

    cluster: str
    number: int  # from 1
    subnet: int

    @property
    def name(self) -> str:
        """etcd-1, etcd-2, …"""
        return f"etcd-{self.number}"

    @property
    def address(self) -> str:
        """Its IPv4 address on the bridge."""
        return f"10.91.{self.subnet}.{1 + self.number}"

    @property
    def namespace(self) -> str:
        """Its network namespace, as `ip netns` lists it."""
        return f"fl-{self.cluster}-{self.name}"

    @property
    def link(self) -> str:
        """The host's end of its network link."""
        return f"ve{self.subnet}-{self.number}"

    @property
    def endpoint(self) -> str:
        """Where it serves nodes and operator."""
        return f"https://{self.address}:2379"

    @property
    def peer_endpoint(self) -> str:
        """Where it serves the other members."""
        return f"https://{self.address}:2380"


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """The names of one cluster."""

    name: str
    size: int
    members: int = 1  # of etcd: a single one runs on the host itself, several each in a namespace of its own

    @property
    def subnet(self) -> int:
        """The third octet of 10.91.N.0/24."""
        return FIXED_SUBNETS.get(self.name, 2 + zlib.crc32(self.name.encode()) % 250)

    @property
    def bridge(self) -> str:
        """The bridge on the host."""
        return f"fl-{self.name}"

    @property
    def host_address(self) -> str:
        """The host's address on the bridge; etcd listens there."""
        return f"10.91.{self.subnet}.1"

    @property
    def node_endpoint(self) -> str:
        """A single etcd as the nodes reach it."""
        return f"https://{self.host_address}:2379"

    @property
    def etcd_members(self) -> tuple[EtcdSpec, ...]:
        """The members of etcd when there are several, none when a single one runs on the host."""
        return tuple(EtcdSpec(self.name, n, self.subnet) for n in range(1, self.members + 1) if self.members > 1)

    @property
    def node_endpoints(self) -> tuple[str, ...]:
        """Every endpoint of etcd as the nodes reach it."""
        return tuple(each.endpoint for each in self.etcd_members) or (self.node_endpoint,)

    @property
    def operator_endpoints(self) -> tuple[str, ...]:
        """Every endpoint of etcd as the operator on this host reaches it."""
        return tuple(each.endpoint for each in self.etcd_members) or (self.operator_endpoint,)

    @property
    def operator_endpoint(self) -> str:
        """A single etcd as the operator on this host reaches it."""
        return f"https://127.0.0.1:{23000 + self.subnet}"

    @property
    def peer_endpoint(self) -> str:
        """A single etcd's peer address; nobody else uses it."""
        return f"https://127.0.0.1:{24000 + self.subnet}"

    @property
    def state(self) -> Path:
        """The directory that holds everything the cluster writes on this host."""
        return state_directory(self.name)

    @property
    def access(self) -> Path:
        """What lets everybody into the registry: the operator's, who made the cluster."""
        return self.state / "access"

    @property
    def etcd_hosts(self) -> tuple[str, ...]:
        """Everything that etcd is called, by programs or by its own members."""
        return ("127.0.0.1", "localhost", "etcd", self.host_address, *(each.address for each in self.etcd_members))

    @property
    def machine_ids(self) -> tuple[str, ...]:
        """The ids of the machines."""
        return tuple(each.machine_id for each in self.nodes)

    @property
    def cgroup_prefix(self) -> str:
        """Every process of the cluster lives in a cgroup whose name starts so."""
        return f"fleet-{self.name}."

    @property
    def nodes(self) -> tuple[NodeSpec, ...]:
        """The machines."""
        return tuple(NodeSpec(self.name, n, self.subnet) for n in range(1, self.size + 1))


def layout(name: str, size: int, members: int = 1) -> ClusterLayout:
    """The layout of a cluster with `members` of etcd. Raises UserError for a name or size that cannot be."""
    if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", name):
        raise UserError(f"cluster name {name!r}: use 1 to 12 lower-case letters and digits, a letter first")
    if not 1 <= size <= 40:
        raise UserError(f"a local cluster of {size} machines: use 1 to 40")
    if members not in (1, 3, 5):
        raise UserError(f"an etcd of {members} members: use 1, 3 or 5")
    return ClusterLayout(name, size, members)
