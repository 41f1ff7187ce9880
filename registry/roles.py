"""Roles: what operators, viewers, schedulers, agents and joining hosts may do with which keys. Pure.

Owns the table that docs/security.md shows. Every table of the layout has to stand in it (a test walks `Table`), so
that a new one is nobody's by oversight. etcd knows users, roles and ranges of keys: a user of the fleet has one
role of etcd's of its own, whose name says which of these it is: `fleet/agent/agent-7aea1bb4`.

Write access to `units/` or `schedule/` is root on every machine, so what else operators and schedulers may write
guards against mistakes. What the agent of a machine may write concerns that machine alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from registry.frozen import dataclass
from registry.grammar import token
from registry.keys import Keys, Table


class Role(StrEnum):
    """What a user is to the fleet."""

    OPERATOR = "operator"
    VIEWER = "viewer"
    SCHEDULER = "scheduler"
    AGENT = "agent"
    JOINER = "joiner"


class Access(StrEnum):
    """What may be done with a key, in etcd's words."""

    READ = "READ"
    WRITE = "WRITE"
    READWRITE = "READWRITE"

    @property
    def writes(self) -> bool:
        """Whether it allows writing and deleting."""
        return self is not Access.READ

    @property
    def reads(self) -> bool:
        """Whether it allows reading and watching."""
        return self is not Access.WRITE


class Right(NamedTuple):
    """Access to one key, or with `prefix` to all keys that begin with it."""

    access: Access
    key: str
    prefix: bool = False

    def covers(self, key: str, *, write: bool) -> bool:
        """Whether it allows reading (or writing) this key."""
        held = self.access.writes if write else self.access.reads
        return held and (key.startswith(self.key) if self.prefix else key == self.key)


READS, WRITES, BOTH = Access.READ, Access.WRITE, Access.READWRITE
WRITTEN: dict[Role, tuple[Table, ...]] = {  # by roles that read everything; of events see `rights`
    Role.VIEWER: (),
    Role.OPERATOR: (
        Table.UNITS,
        Table.FILES,
        Table.OVERRIDES,
        Table.CLUSTER,  # accepting a history that went back
        Table.SCHEDULE,  # the same: first it is brought in line with what runs
        Table.ROLLOUTS,
        Table.CONFIG,
        Table.SECRETS,
        Table.CONTENTS,
    ),
    Role.SCHEDULER: (
        Table.CLUSTER,
        Table.LEADER,
        Table.SCHEDULE,
        Table.PENDING,
        Table.EVENTS,
        Table.UNITS,
        Table.ROLLOUTS,
        Table.PLACEMENTS,
        Table.FILES,  # the rest: removing what nobody refers to, and what should have a lease and has none
        Table.STATES,
        Table.MACHINES,
        Table.DUPLICATES,
        Table.USAGE,
        Table.CRASHES,
    ),
}
OF_A_MACHINE: dict[Table, Access] = {  # its agent's: `<table>/<machine>`, and what lies below it
    Table.SCHEDULE: READS,
    Table.STATES: BOTH,
    Table.DUPLICATES: BOTH,
    Table.MACHINES: BOTH,
    Table.USAGE: WRITES,
    Table.CRASHES: WRITES,
}
OF_A_TOKEN = {"requests": WRITES, "results": WRITES, "answers": READS, "parts": READS}  # see `Keys.join`
SHARED: dict[Table, Access] = {  # every agent's; a secret's content is sealed
    Table.CLUSTER: READS,
    Table.FILES: READS,
    Table.CONTENTS: READS,
}


@dataclass(frozen=True, slots=True)
class User:
    """A user of the fleet. `machine` is the machine whose agent it is, "" for all others."""

    name: str
    role: Role
    machine: str = ""

    def etcd_role(self, keys: Keys) -> str:
        """The name of its role in etcd, which several fleets may share: each has a prefix of its own."""
        return f"{stem(keys)}{self.role}/{self.name}"


def agent_of(machine: str) -> User:
    """The user that the agent of a machine is."""
    return User(f"agent-{machine}", Role.AGENT, machine)


def scheduler_of(machine: str) -> User:
    """The user that the scheduler on a machine is."""
    return User(f"scheduler-{machine}", Role.SCHEDULER)


def joiner_of(token: str) -> User:
    """The user that hosts are until a token has let them in."""
    return User(f"join-{token}", Role.JOINER)


def user_named(name: str, role: Role) -> User:
    """A user by its name. ValueError for a name that cannot be part of a key, or that a role does not go with."""
    token(name)
    if role is Role.AGENT:
        kind, _, machine = name.partition("-")
        if kind != Role.AGENT or not machine:
            raise ValueError(f"the user of an agent is agent-MACHINE, not {name}")
        return agent_of(token(machine))
    if role is Role.JOINER and not re.fullmatch(r"join-[0-9a-f]+", name):
        raise ValueError(f"the user of a token is join-TOKEN, not {name}")
    return User(name, role)


def stem(keys: Keys) -> str:
    """What the names of a fleet's roles in etcd begin with."""
    return f"{keys.prefix.strip('/')}/".lstrip("/")


def user_of(etcd_role: str, keys: Keys) -> User | None:
    """The user that a role of etcd's was made for; None for a role that is none of this fleet's."""
    if not etcd_role.startswith(stem(keys)):
        return None
    role, _, name = etcd_role.removeprefix(stem(keys)).partition("/")
    try:
        return user_named(name, Role(role))
    except ValueError:
        return None


def rights(user: User, keys: Keys) -> tuple[Right, ...]:
    """What a user may do, without overlaps, sorted by key."""
    own = Right(WRITES, keys.events_of(user.name), prefix=True)
    if user.role is Role.AGENT:
        shared = (_table(access, keys, table) for table, access in SHARED.items())
        machine = (Right(access, *keys.extent(table, user.machine)) for table, access in OF_A_MACHINE.items())
        found = [own, *shared, *machine]
    elif user.role is Role.JOINER:
        name = user.name.removeprefix("join-")
        found = [Right(access, keys.join(kind, name, ""), prefix=True) for kind, access in OF_A_TOKEN.items()]
    else:
        found = [Right(READS, keys.prefix, prefix=True)]
        found += [_table(WRITES, keys, table) for table in WRITTEN[user.role]]
        if user.role is Role.OPERATOR:
            found.append(own)
    return tuple(sorted(found, key=lambda each: (each.key, each.access)))


def may(held: Iterable[Right], key: str, *, write: bool) -> bool:
    """Whether one of the rights covers reading (or writing) a key."""
    return any(each.covers(key, write=write) for each in held)


def remedy(keys: Keys, name: str, touched: Sequence[str], write: bool) -> tuple[str, str]:  # noqa: FBT001
    """Which of these keys the user of this name may not read (or write), and what would help. As part of an error.

    etcd does not say which: it is one that users of this name never may, as far as names go, or else the first.
    """
    try:
        roles = [user_named(name, Role.AGENT)]  # an agent never becomes anything else
    except ValueError:
        people = (Role.VIEWER, Role.OPERATOR)
        roles = [User(name, each) for each in ((Role.SCHEDULER,) if name.startswith("scheduler-") else people)]
    barred = (key for key in touched if not any(may(rights(each, keys), key, write=write) for each in roles))
    key = next(barred, touched[0])
    if not key.startswith(keys.prefix):
        return key, f"it is none of the fleet's keys, which begin with {keys.prefix}: check etcd.prefix"
    found = next((each.role for each in roles if may(rights(each, keys), key, write=write)), None)
    if found is None:
        return key, "no role of the fleet allows it to this user"
    return key, f"who has the password of etcd's root can allow it: fleetctl access grant {name} {found}"


def _table(access: Access, keys: Keys, table: Table) -> Right:
    return Right(access, *keys.extent(table))
