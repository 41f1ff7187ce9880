"""What a join and a leave consist of, as data. Pure.

A step says on which host it is done ("" for the registry or this laptop), what it does, and what to do when it
fails. Its act is the instruction that `carry_out` follows. A step is planned only when the facts say that it is not
done; each act stands being interrupted and done again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from registry.roles import User


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file of a host. Its directory is made if it is missing."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Unpack:
    """The programs into /opt/fleet/versions, and `current` to them where there is none."""

    version: str
    python: str
    architecture: str


class EtcdSource(StrEnum):
    """Where a host's etcd program comes from."""

    SENT = "sent"  # from this laptop
    OWN = "own"  # the host's own package, which is installed
    APT = "apt"  # the package that the host's apt offers, fetched and not installed


@dataclass(frozen=True, slots=True)
class PutEtcd:
    """etcd's program into /opt/fleet/etcd; from apt as this version of the `package`."""

    version: str
    source: EtcdSource = EtcdSource.SENT
    package: str = ""


class LeafKind(StrEnum):
    """Whom a certificate is for."""

    CLIENT = "client"
    SERVER = "server"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One to be issued. `stem` is its path without .pem and its key's without .key, `names` what it is for."""

    kind: LeafKind
    stem: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PutCertificates:
    """New certificates with their keys, and the authority's beside them."""

    certificates: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class PutFiles:
    """Files with known content."""

    files: tuple[HostFile, ...]


@dataclass(frozen=True, slots=True)
class SetEndpoints:
    """Other endpoints of the registry into configuration files, of which nothing else changes."""

    paths: tuple[str, ...]
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetMetrics:
    """Another address for metrics into configuration files, of which nothing else changes; "" for none."""

    paths: tuple[str, ...]
    listen: str


@dataclass(frozen=True, slots=True)
class PutPassword:
    """A new password into a file of the host, then into etcd: `user` is agent or scheduler of `machine`."""

    role: str
    machine: str
    path: str


@dataclass(frozen=True, slots=True)
class PutSecretsKey:
    """The fleet's private key for secrets into a file of the host."""

    path: str


@dataclass(frozen=True, slots=True)
class StartMember:
    """The first member of the registry, alone."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class AddMember:
    """One more member: announced as a learner, which counts for no quorum, started, and promoted."""

    name: str
    address: str
    discard: bool  # data of a membership that has ended


@dataclass(frozen=True, slots=True)
class TurnUsersOn:
    """Roles and root, then nobody without a user; and this laptop's operator."""

    operator: str


@dataclass(frozen=True, slots=True)
class StartService:
    """Enable a service and start it; `again` when its files have changed since it started."""

    unit: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class RenewRole:
    """What this version lets a user do, that exists."""

    user: User


@dataclass(frozen=True, slots=True)
class SwitchVersion:
    """Let `current` lead to a version that is unpacked, start a service over, and see that no unit noticed.

    `back` is a return to the version before, after which there is none to return to; after the `last` service of a
    host no version is kept but these two.
    """

    version: str
    unit: str
    machine: str
    back: bool
    last: bool = True


@dataclass(frozen=True, slots=True)
class AwaitMachine:
    """Wait until the agent has registered."""

    machine: str


@dataclass(frozen=True, slots=True)
class OwnAuthority:
    """The fleet's authority and this laptop's certificate and root password."""


@dataclass(frozen=True, slots=True)
class OwnHostKeys:
    """The host keys that were shown, into the fleet's known_hosts."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnConfig:
    """This laptop's fleet.toml."""

    endpoints: tuple[str, ...]
    user: str


@dataclass(frozen=True, slots=True)
class OwnEndpoints:
    """Other endpoints of the registry into this laptop's fleet.toml."""

    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrainMachine:
    """Move away what other machines take, and wait for it."""

    machine: str
    force: bool


@dataclass(frozen=True, slots=True)
class StopService:
    """Stop a service and take back that it starts."""

    unit: str


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Take a member out of the registry; the others have to be enough for a quorum."""

    address: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """Delete the users of a machine's programs, and what operators set on it."""

    machine: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget the machine's host key on this laptop."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForgetFleet:
    """Delete what this laptop keeps of a fleet that is no more."""


@dataclass(frozen=True, slots=True)
class Purge:
    """Delete everything of ours on the host."""


Act = (
    Unpack | PutEtcd | PutCertificates | PutFiles | SetEndpoints | SetMetrics
    | PutPassword | PutSecretsKey | StartMember | AddMember
    | TurnUsersOn | RenewRole | StartService | SwitchVersion | AwaitMachine | OwnAuthority | OwnHostKeys | OwnConfig
    | OwnEndpoints | DrainMachine | StopService | RemoveMember | Revoke | Forget | ForgetFleet | Purge
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `does` goes on from "a: …", `remedy` from "… failed; "."""

    host: str
    does: str
    act: Act
    remedy: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps of one time. `together`: hosts go on side by side, else each step waits for the one before."""

    name: str
    steps: tuple[Step, ...]
    together: bool = True
