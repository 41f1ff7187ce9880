"""The nouns of the fleet, as frozen values.

Owns the meaning of every record in the registry. Knows nothing of JSON, keys, clocks or clients: `records`
turns these into text, `keys` says where they lie, `mirror` holds them together.

Times are seconds since the epoch, as floats, taken by the writer of the record; they are shown to people and
never compared across machines to decide anything. The types of fields say what they may hold (`grammar`).

Versions live side by side: a field that this version does not know is kept in `unknown` and written back with the
record, so a changed record is made with `dataclasses.replace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from registry.frozen import dataclass, field, replace
from registry.grammar import (
    Amount,
    AtMost,
    Code,
    Count,
    CrashId,
    Host,
    HostKey,
    Id,
    Label,
    Line,
    Port,
    Prose,
    Range,
    Sha256,
    Time,
    UnitName,
    Writer,
)

SCHEMA_VERSION = 1
MAX_FAILED = 1000  # machines on which one unit has failed, that are remembered
MAX_TTL_S = 31_536_000.0  # a year: a longer lease is a mistake
ID_LENGTH = 32  # of a machine's id as systemd has it; its first 8 are shown
HISTORY_LIMIT = 10  # earlier hashes kept with a unit, newest first


class Target(StrEnum):
    """What the operator wants of a unit (fleet's DSTATE)."""

    INACTIVE = "inactive"  # known, on no machine
    LOADED = "loaded"  # placed, and loaded into that machine's systemd
    LAUNCHED = "launched"  # placed, loaded and started

    @property
    def scheduled(self) -> bool:
        """Whether a unit with this target needs a machine."""
        return self is not Target.INACTIVE


class Availability(StrEnum):
    """What the operator allows on a machine."""

    READY = "ready"
    CORDONED = "cordoned"  # nothing new is placed here; what runs stays
    DRAINING = "draining"  # nothing new is placed here; what can run elsewhere moves away


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """What every record has: the fields that a newer version wrote, as the text of a JSON object; "" for none."""

    unknown: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Sentinel(Versioned):
    """The sentinel: proof that this registry is a fleet's, and which one's.

    An operator who accepts a history that went back (a restored backup) raises `epoch`. Until then `held` says why
    nobody acts on what the registry holds. While a backup is written into the registry, `restoring` says which.
    """

    id: Id  # random, made with the cluster
    schema: Count = SCHEMA_VERSION  # of the layout of keys and records
    epoch: Count = 0  # milliseconds since 1970 when a history was accepted last
    held: Line = ""  # why nobody acts on the registry, or nothing
    restoring: Line = ""  # the checksum of the backup that is not yet wholly there, or nothing


@dataclass(frozen=True, slots=True)
class UnitVersion(Versioned):
    """The file and generation that a global unit has on some machines, other than what its record says."""

    hash: Sha256
    generation: Count
    machines: Annotated[tuple[Id, ...], AtMost(10_000)]  # sorted


@dataclass(frozen=True, slots=True)
class Unit(Versioned):
    """What an operator asked for: which text, in which state."""

    name: UnitName
    hash: Sha256  # sha256 of the file's text, 64 hex digits
    target: Target  # what its operator wants
    generation: Count = 1  # a restart or a replacement adds one
    history: Annotated[tuple[Sha256, ...], AtMost(1000)] = ()  # earlier hashes, newest first
    by: Line = ""  # user@host that wrote this record
    at: Time = 0.0  # when
    attempt: Count = 0  # an operator's start adds one: where nothing of the unit runs it is started again
    owner: Line = ""  # the folder that it is applied from, if it is
    applied: Line = ""  # the hash and the target that were applied last: "3fa9…:launched"
    on: Annotated[tuple[UnitVersion, ...], AtMost(100)] = ()  # a global unit's machines where it is otherwise
    leaves: Line = ""  # the rollout in which it had its turn to leave its machine
    goes_to: Line = ""  # generation and machine, "7:7aea1bb4…": where it goes with that generation, if it may

    def version_on(self, machine: str) -> tuple[str, int]:
        """The hash and the generation that the unit has to have on a machine."""
        for each in self.on:
            if machine in each.machines:
                return each.hash, each.generation
        return self.hash, self.generation

    @property
    def files(self) -> tuple[str, ...]:
        """The hashes of all files that it has: one, and of a global unit those of single machines, too."""
        return tuple(dict.fromkeys((self.hash, *(each.hash for each in self.on))))

    def has_file(self, sha256: str) -> bool:
        """Whether it has this file wherever it is: a rollout that was aborted leaves others on some machines."""
        return self.files == (sha256,)

    @property
    def versions(self) -> dict[str, tuple[str, int]]:
        """The hash and the generation on those machines where they are not its record's own."""
        return {machine: (each.hash, each.generation) for each in self.on for machine in each.machines}

    def with_versions(self, versions: Mapping[str, tuple[str, int]]) -> Unit:
        """The unit with these hashes and generations on these machines, and its record's own on all others."""
        machines: dict[tuple[str, int], list[str]] = {}
        for machine, version in sorted(versions.items()):
            if version != (self.hash, self.generation):
                machines.setdefault(version, []).append(machine)
        return replace(self, on=tuple(UnitVersion(*version, tuple(found)) for version, found in machines.items()))

    def started_anew(self) -> Unit:
        """The unit with the file that its record names, to be stopped and started again wherever it is."""
        newest = max((self.generation, *(each.generation for each in self.on)))
        return replace(self, generation=newest + 1, on=())

    def going_to(self, machine: str) -> Unit:
        """The unit, which goes to this machine as it is started anew, if the machine takes it."""
        return replace(self, goes_to=f"{self.generation}:{machine}")

    def with_file(self, sha256: str) -> Unit:
        """The unit with this file, started anew; the one that it had, if it is another, goes into its history."""
        return replace(self.started_anew(), hash=sha256, history=self.history_with(sha256))

    def history_with(self, sha256: str) -> tuple[str, ...]:
        """The unit's history once it has this file."""
        if sha256 == self.hash:
            return self.history
        return (self.hash, *(each for each in self.history if each not in (self.hash, sha256)))[:HISTORY_LIMIT]


@dataclass(frozen=True, slots=True)
class Assignment(Versioned):
    """One line of a machine's schedule: all that its agent has to do for one unit."""

    unit: UnitName
    machine: Id
    hash: Sha256  # of the file to load
    target: Target  # loaded or launched
    generation: Count  # the unit's
    attempt: Count = 0  # the unit's
    beside: tuple[tuple[UnitName, Sha256], ...] = ()  # Quadlets that its file names, each with the hash of its file


@dataclass(frozen=True, slots=True)
class Pending(Versioned):
    """Why a unit is not where it should be.

    `summary` is one line. It tells what those machines say that have what the file asks for, so that it stays as
    it is where another one comes or goes; what each machine says is found out by who asks. A global unit may be
    pending on some machines while it runs on others. `hash`, `generation` and `attempt` name the request that was
    decided on, so that its author does not take an answer to an older one for his own. `passing` marks a wait that
    ends by itself (an old copy is being stopped); without it, only a change of the fleet can end it.
    """

    unit: UnitName
    hash: Sha256
    generation: Count
    summary: Prose  # one line
    passing: bool = False  # the wait ends by itself
    attempt: Count = 0
    rule: Line = ""  # what it waits for, or what machines refuse for, in a word: to be counted by


NO_SECRETS_KEY = "none: "  # what stands before the reason why a machine opens no secret


@dataclass(frozen=True, slots=True)
class Machine(Versioned):
    """A live machine: exists exactly as long as its agent's lease.

    `boot_id` changes with each boot. `leaving` is set while the agent hands its units over on a clean stop: it
    takes nothing new and its units may go elsewhere as soon as they have stopped here. `held` says why its agent
    holds everything as it is, "" while it does not.
    """

    id: Id
    hostname: Host
    address: Host  # where others reach it
    boot_id: Id  # changes with each boot
    metadata: Annotated[tuple[tuple[Label, Label], ...], AtMost(1000)] = ()  # sorted by key
    ssh_port: Port = 22  # of its sshd
    host_keys: Annotated[tuple[HostKey, ...], AtMost(100)] = ()  # "ssh-ed25519 AAAA…", without comments
    cpus: Count = 0
    memory_bytes: Count = 0
    agent_version: Line = ""
    systemd_version: Line = ""
    operating_system: Line = ""
    bus: Line = "system"  # or "user": whose systemd runs the units
    ttl_s: Annotated[float, Range(0.0, MAX_TTL_S)] = 10.0  # of its lease, in seconds
    leaving: bool = False  # it hands its units over
    since: Time = 0.0  # when this agent registered
    held: Line = ""  # why its agent changes nothing, or nothing
    podman_version: Line = ""  # of Podman's generator of services, or nothing where there is none
    on_lost: Line = ""  # what becomes of its units without the registry: "keep", "stop", or "": not said
    secrets_key: Line = ""  # of its file of keys for secrets: the hash, or "none: " and why; "": not said

    @property
    def opens_nothing(self) -> str:
        """Why it opens no secret; "" where it does, or does not say."""
        return self.secrets_key.partition(NO_SECRETS_KEY)[2]


@dataclass(frozen=True, slots=True)
class Override(Versioned):
    """What an operator set on a machine at run time; outlives the machine's lease.

    `metadata` wins over the machine's own, key by key; an empty value takes the key away.
    """

    machine: Id
    availability: Availability = Availability.READY  # what may be placed there
    metadata: Annotated[tuple[tuple[Label, Label], ...], AtMost(1000)] = ()  # over the machine's own, key by key
    by: Line = ""  # user@host that wrote this record
    at: Time = 0.0  # when
    drained_by: Line = ""  # the rollout that tells which units leave; nothing where all leave that can
    reboot: Line = ""  # the boot that it is drained to end, by its id; nothing where no reboot was asked for


class UnitHealth(StrEnum):
    """What the check that a unit's file names has found; by the agent of its machine."""

    UNCHECKED = ""  # it has no check, or does not run
    STARTING = "starting"  # no check has passed since it was started, and not yet too many have failed
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"  # as many checks in a row failed as its file allows


@dataclass(frozen=True, slots=True)
class UnitState(Versioned):
    """What one machine's systemd says of one unit, and what the agent has applied there.

    It is also the agent's claim: the agent writes it, guarded by its schedule line, before it first touches the
    unit, and deletes it only when the unit is stopped and its file gone. So as long as it exists, the unit may
    be running on that machine. `target` is what was last tried for `hash`, `generation`, `attempt`: inactive when
    only claimed; loaded or launched once that was carried out or given up, `error` telling which: the last task's
    failure in one line, "" when it succeeded. `load`, `active`, `sub`, `result` are systemd's own words,
    unchanged; "" where not known yet.
    """

    unit: UnitName
    machine: Id
    hash: Sha256  # last tried: the file
    generation: Count  # last tried: the unit's generation
    target: Target = Target.INACTIVE  # last tried: loaded or launched; inactive when only claimed
    load: Line = ""  # systemd's word, such as loaded
    active: Line = ""  # systemd's word, such as active
    sub: Line = ""  # systemd's word, such as running
    result: Line = ""  # systemd's word, such as exit-code
    exit_code: Code | None = None  # ExecMainStatus of a service that has exited
    main_pid: Count = 0  # 0: none
    restarts: Count = 0  # by systemd, since it was started
    since: Time = 0.0  # last change of the active state
    error: Prose = ""  # of the last task, in one line; nothing when it succeeded
    attempt: Count = 0  # last tried: the unit's attempt
    waits: tuple[Line, ...] = ()  # units without which it cannot start; it is tried again once they are there
    waits_running: tuple[Line, ...] = ()  # those of them that are there, and have to run
    skipped: Prose = ""  # the condition that did not hold when it was started, so that it was not
    health: UnitHealth = UnitHealth.UNCHECKED  # what its health check says
    sickness: Prose = ""  # what the last check that failed said
    cause: Prose = ""  # why a unit that had started well failed later, as far as it is known beyond `result`


UnitUsage = tuple[UnitName, Count | None, Amount | None]
"""A unit's name, its memory in bytes, and how much of one cpu it used since the look before (1.0: all of it).

None where the machine's kernel does not tell, or not yet.
"""


@dataclass(frozen=True, slots=True)
class Usage(Versioned):
    """What a machine and the units on it use, as its agent saw it at `at`; a habit, not a fact to decide by.

    Written seldom and only when it changed noticeably. `estimated` marks figures of units that were summed over
    their processes, because the kernel keeps no accounts for them: shared memory counts once for each process then.
    """

    machine: Id
    at: Time = 0.0  # when it was measured
    load: tuple[Amount, Amount, Amount] = (0.0, 0.0, 0.0)  # averages over 1, 5 and 15 minutes
    memory_bytes: Count = 0  # of the machine
    available_bytes: Count = 0  # of them, free for programs
    units: tuple[UnitUsage, ...] = ()  # sorted by name; only those that run
    estimated: bool = False  # units' figures are sums over processes
    pressure: tuple[Amount, ...] = ()  # percent of a minute in which something waited: for cpu, memory, disk (PSI)
    disk_bytes: Count = 0  # of the file system of /
    disk_free_bytes: Count = 0  # of them, free for programs


@dataclass(frozen=True, slots=True)
class Leader(Versioned):
    """Which scheduler leads. Its term is the key's create revision, which etcd never repeats."""

    id: Id  # of the scheduler's process
    hostname: Host
    since: Time = 0.0  # when this scheduler was started


@dataclass(frozen=True, slots=True)
class Duplicate(Versioned):
    """A second machine that came with an id in use; it does nothing until the first is gone."""

    machine: Id
    boot_id: Id
    hostname: Host
    address: Host
    since: Time = 0.0  # when it was noticed


@dataclass(frozen=True, slots=True)
class Event(Versioned):
    """Who did what to which unit or machine, and why: the audit trail.

    The key says who wrote it: where the registry has users, it lets each write below its own name alone.
    """

    id: Id
    at: Time
    writer: (
        Writer  # "ann", "agent-7aea1bb4…"; without users what it calls itself: "root@laptop", "scheduler-core-1"
    )
    verb: Line  # "start", "place", "move", "drain", "join", "fail", …
    unit: Line = ""  # which unit, if any
    machine: Line = ""  # which machine, if any
    reason: Prose = ""  # why, in words

    @property
    def actor(self) -> str:
        """The writer as people read it: "ann", "agent 7aea1bb4", "scheduler core-1"."""
        kind, dash, name = self.writer.partition("-")
        if not dash or kind not in ("agent", "scheduler"):
            return self.writer
        return f"{kind} {name[:8] if len(name) == ID_LENGTH else name}"


CrashLine = tuple[Time, Count, Count, Line, Prose]
"""A line of a journal: when, its priority (syslog's 0 to 7), process, who said it, and the text."""


@dataclass(frozen=True, slots=True)
class Crash(Versioned):
    """The last lines that a unit wrote before it failed, kept by its agent for when the machine cannot be asked.

    They are of that one run of the unit, oldest first. All of it is bounded (`agentd/pure/crash.py`), and it is
    kept for as long as events are (`scheduler/collect.py`).
    """

    machine: Id
    id: CrashId  # when it failed, in milliseconds since 1970, and the unit: "1790000000000-web@1.service"
    hostname: Host  # of the machine, which may be gone
    reason: Prose = ""  # how it ended, in words
    hash: Line = ""  # of the file it ran from
    invocation: Line = ""  # systemd's id of the run
    lines: Annotated[tuple[CrashLine, ...], AtMost(1000)] = ()  # time, priority, process, who, text
    cut: bool = False  # there was more: earlier lines, or longer ones
    missing: Prose = ""  # why there are no lines, if there are none

    @property
    def unit(self) -> str:
        """The unit that failed."""
        return self.id.partition("-")[2]

    @property
    def failed_at(self) -> float:
        """When, in seconds since 1970, by the machine's clock."""
        return int(self.id.partition("-")[0]) / 1000


class RolloutState(StrEnum):
    """Whether the leading scheduler works on a rollout."""

    RUNNING = "running"
    PAUSED = "paused"  # by an operator, or because too much failed; it can go on
    ABORTED = "aborted"  # by an operator; what has had its turn keeps it
    FINISHED = "finished"

    @property
    def over(self) -> bool:
        """Whether it is done with its units."""
        return self in (RolloutState.ABORTED, RolloutState.FINISHED)


class OnFailure(StrEnum):
    """What a rollout does when more has failed than it may."""

    PAUSE = "pause"
    ROLLBACK = "rollback"  # give every unit the file again that it had


@dataclass(frozen=True, slots=True)
class RolloutStep(Versioned):
    """One unit of a rollout: from which file to which. Steps of one `group` have their turn together."""

    unit: UnitName
    old: Sha256  # the file it has before its turn
    new: Sha256  # the file it has from its turn on; the same for a restart
    generation: Count  # the unit's before its turn; the turn adds one, and going back another one
    group: Count = 0
    machine: Line = ""  # of a global unit: the machine that this is about
    leaves: Line = ""  # the machine that the unit leaves in its turn, where that is all
    goes_to: Line = ""  # the machine that the unit goes to in its turn, if it takes it

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others: the unit, and of a global one the machine."""
        return self.unit, self.machine


@dataclass(frozen=True, slots=True)
class StepFailure(Versioned):
    """A unit that failed in a rollout before it had settled."""

    unit: UnitName
    reason: Prose = ""  # in words
    machine: Line = ""  # where, if anywhere


@dataclass(frozen=True, slots=True)
class Rollout(Versioned):
    """Units on their way from one file to another, a few at a time.

    An operator writes it, and the leading scheduler works it off. The steps never change: how far one has come is
    told by the unit's own record, which is changed when it is its turn, and by `settled` and `failed`. `back` is
    set once the units are given their old files again; `settled` and `failed` are about that way then.
    """

    name: Id
    steps: Annotated[tuple[RolloutStep, ...], AtMost(4000)]  # in the order of their turns
    state: RolloutState = RolloutState.RUNNING
    back: bool = False  # it gives the units their old files again
    at_a_time: Count = 1  # groups that may be down at once
    canary: Count = 0  # groups that settle before all others
    healthy_for_s: Annotated[float, Range(0.0, 86_400.0)] = 10.0  # for how long a unit must be well to have settled
    max_failures: Count = 0  # groups that may fail
    on_failure: OnFailure = OnFailure.PAUSE  # what happens when more do
    settled: Annotated[tuple[UnitName, ...], AtMost(4000)] = ()
    settled_on: Annotated[tuple[tuple[UnitName, Id], ...], AtMost(4000)] = ()  # global units, by machine
    failed: Annotated[tuple[StepFailure, ...], AtMost(4000)] = ()
    note: Prose = ""  # why it is paused or going back
    by: Line = ""  # user@host that wrote it
    at: Time = 0.0  # when


@dataclass(frozen=True, slots=True)
class FailedPlacement(Versioned):
    """A machine on which a unit has failed too often: while this is remembered, it rather goes elsewhere."""

    machine: Id
    generation: Count  # the unit's: a new file or a restart is a new chance
    reason: Prose = ""  # in words
    at: Time = 0.0  # when it was given up there
    until: Time = 0.0  # when it is forgotten, about


@dataclass(frozen=True, slots=True)
class PastPlacement(Versioned):
    """What is remembered of where a unit was, for the options `Sticky` and `MoveAfterFailures` of its file."""

    unit: UnitName
    machine: Line = ""  # that it left last
    failed: Annotated[tuple[FailedPlacement, ...], AtMost(MAX_FAILED)] = ()  # sorted by machine


@dataclass(frozen=True, slots=True)
class ConfigVersion(Versioned):
    """One version of a config or a secret: which content, and who set it."""

    hash: Sha256  # of the content
    number: Count  # 1 for the first; it only grows, whatever is forgotten
    by: Line = ""  # user@host that set it
    at: Time = 0.0  # when
    summary: Line = ""  # what is in it, in a word: "2 files, 3 variables"


@dataclass(frozen=True, slots=True)
class Config(Versioned):
    """Files and variables for units, by a name; their content lies in `contents/<hash>`."""

    name: Id
    versions: Annotated[tuple[ConfigVersion, ...], AtMost(1000)] = ()  # newest first
    owner: Line = ""  # the folder that it is applied from, if it is
    applied: Line = ""  # the hash of the content that was applied last


@dataclass(frozen=True, slots=True)
class Secret(Versioned):
    """A secret for units, by a name; its content, sealed for the machines, lies in `contents/<hash>`."""

    name: Id
    versions: Annotated[tuple[ConfigVersion, ...], AtMost(1000)] = ()  # newest first


@dataclass(frozen=True, slots=True)
class Corrupt:
    """A value that does not parse: shown to the user by key, never acted on."""

    key: str
    reason: str


def effective_metadata(machine: Machine, override: Override | None) -> dict[str, str]:
    """The metadata that placement goes by: the machine's own, with the operator's over it."""
    metadata = dict(machine.metadata)
    for key, value in override.metadata if override else ():
        if value:
            metadata[key] = value
        else:
            metadata.pop(key, None)
    return metadata


Record = (
    Sentinel
    | Unit
    | Assignment
    | Pending
    | Machine
    | Override
    | UnitState
    | Leader
    | Duplicate
    | Event
    | Usage
    | Crash
    | Rollout
    | PastPlacement
    | Config
    | Secret
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a version of a config or a secret holds, as stored: `contents/<hash>`."""

    hash: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnitText:
    """A unit file as stored: `files/<hash>`."""

    hash: str
    text: str = field(repr=False)
