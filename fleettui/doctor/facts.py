"""All that the doctor looks at, as values: read at one moment, judged afterwards. Pure.

What could not be read has a `problem` that says why; whoever judges says so instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.etcd import Member
from registry.etcd.admin import Alarm, KeyRange
from registry.keys import Keys
from registry.mirror import Snapshot


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What a member's client port said. `configured`: it is one of our endpoints, not found in the member list."""

    base: str
    problem: str = ""
    configured: bool = True
    version: str = ""
    member: int = 0
    leader: int = 0  # 0: it knows none
    size_bytes: int = 0  # of its database
    used_bytes: int = 0  # of that; 0 where it does not tell
    clock_ahead_s: float | None = None  # of ours
    certificate_ends: float = 0.0  # seconds since 1970; 0 without TLS


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that lets us in, or that must be nobody else's; `problem` says what is wrong with it."""

    path: str
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A certificate in a file of ours: `name` is "client" or "authority"."""

    name: str
    path: str
    ends: float


@dataclass(frozen=True, slots=True)
class RightsFacts:
    """Who we are to etcd. `users_on` None: it could not be found out."""

    users_on: bool | None = None
    user: str = ""
    roles: tuple[str, ...] = ()
    ranges: tuple[KeyRange, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class HostExamination:
    """A machine, as it was found over SSH."""

    machine: str
    hostname: str
    problem: str = ""
    clock_ahead_s: float = 0.0
    agent: str = ""  # systemd's word
    disks: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # place: free and all bytes


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything, at `now` (seconds since 1970, by our clock)."""

    now: float
    version: str  # of this program
    keys: Keys = field(default_factory=Keys)
    user: str = ""  # as which we are to log in
    files: tuple[SecretFile, ...] = ()
    certificates: tuple[CertificateFacts, ...] = ()
    endpoints: tuple[EndpointFacts, ...] = ()
    members: tuple[Member, ...] = ()
    members_problem: str = ""
    alarms: tuple[Alarm, ...] = ()
    rights: RightsFacts = field(default_factory=RightsFacts)
    snapshot: Snapshot | None = None
    events: int = 0
    registry_problem: str = ""  # why there is no snapshot
    secrets_keys: frozenset[str] = frozenset()  # hashes of files of keys that machines may have; none: not known
    hosts: tuple[HostExamination, ...] = ()

    @property
    def answering(self) -> tuple[EndpointFacts, ...]:
        """The configured endpoints that answer."""
        return tuple(each for each in self.endpoints if each.configured and not each.problem)
