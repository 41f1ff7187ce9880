"""What is left to be done so that hosts are machines of a fleet: `plan(hosts, fleet, wanted) -> stages`. Pure.

What is done already is no step: it is seen in the facts, never remembered. So a run that was interrupted anywhere
is gone on with by planning again, and a second run plans nothing. A step that another one needs stands in an
earlier stage, or earlier on the same host. Nothing that runs is restarted, but for an agent whose configuration
changes, which no unit notices.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum

from fleettui.install import steps
from fleettui.install.facts import ETC, OPT, UNITS, HostFacts
from fleettui.install.steps import Certificate, HostFile, LeafKind, Stage, Step
from fleettui.services import scheduler_access, writable
from registry.etcd import Member
from registry.model import Machine
from registry.roles import scheduler_of

SCHEDULERS = 3
MEMBER = "fleet-etcd.service"
DROP_IN = "50-join.conf"
RENEW = datetime.timedelta(days=14)
CLIENT_PORT, PEER_PORT = 2379, 2380
SERVICES = (
    ("scheduler", "fleet-scheduler.service", f"{ETC}/scheduler.toml"),
    ("agent", "fleet-agentd.service", f"{ETC}/fleet.toml"),
)
METRICS_PORT = 9465
AGAIN = "mend what it says and run the same again: it goes on from here"


class Metrics(StrEnum):
    """Who may scrape a host: its own programs, all who reach its address, or nobody."""

    LOOPBACK = "loopback"
    NETWORK = "network"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """What this laptop and the registry hold. `users` are etcd's that are as they should be."""

    authority: bool = False
    operator_leaf: bool = False
    root_password: bool = False
    operator_password: bool = False
    known_hosts: frozenset[str] = frozenset()
    config: bool = False
    configured: frozenset[str] = frozenset()  # where this laptop's configuration says that the registry is
    members: tuple[Member, ...] = ()  # none: no registry answers, or there is none yet
    etcd: str = ""  # the version of a member
    users_on: bool = False
    users: frozenset[str] = frozenset()
    registered: tuple[Machine, ...] = ()
    machines: Mapping[str, str] = field(default_factory=dict)  # host names by id
    schedulers: int = 0


@dataclass(frozen=True, slots=True)
class JoinGoal:
    """What the hosts are to be. `leaves` are the certificates on the hosts that are good: (host, path).

    `members` are the hosts that hold the registry, the first of a new one in front; `keys` the known_hosts lines.
    """

    fleet: str
    version: str
    etcd: str
    members: tuple[str, ...]
    operator: str
    units: Mapping[str, str]
    etcd_unit: str
    leaves: frozenset[tuple[str, str]] = frozenset()
    metadata: Mapping[str, str] | None = None
    keys: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)  # of etcd-server, to be fetched by a host's apt
    login: str = "root"
    schedulers: int = SCHEDULERS  # as many the fleet gets, as far as there are hosts
    secrets_keys: frozenset[str] = frozenset()  # hashes of the files of keys for secrets that are good; none: any
    metrics: Metrics | None = None  # None: as it is, and loopback where nothing is written yet


def plan(
    hosts: tuple[HostFacts, ...], fleet: FleetFacts, wanted: JoinGoal, others: Sequence[HostFacts] | None = None
) -> tuple[Stage, ...]:
    """The stages of a join that have something to do. `others` are told of the members alone; None: nobody is."""
    members = tuple(host for name in wanted.members for host in hosts if host.name == name)
    endpoints = endpoints_of(fleet.members, members)
    schedulers = _schedulers(hosts, fleet, wanted.schedulers)
    stages = (
        Stage("this laptop", tuple(_laptop(fleet, wanted)), together=False),
        Stage("programs and certificates", tuple(each for host in hosts for each in _programs(host, wanted))),
        Stage("registry", tuple(_registry(members, fleet, wanted)), together=False),
        Stage("configuration of this laptop", tuple(_config(fleet, wanted, endpoints)), together=False),
        Stage(
            "machines",
            tuple(
                each
                for host in hosts
                for each in _machine(host, fleet, wanted, endpoints, scheduler=host.name in schedulers)
            ),
        ),
        *(() if others is None else members_told(others, own_list(fleet, endpoints))),
    )
    return tuple(stage for stage in stages if stage.steps)


def endpoints_of(existing: tuple[Member, ...], new: Sequence[HostFacts]) -> tuple[str, ...]:
    """Where the registry will answer: at its members of now, and at those to come."""
    found = [url for member in existing for url in member.client_urls]
    return tuple(dict.fromkeys([*found, *(client_url(host.address) for host in new)]))


def own_list(fleet: FleetFacts, endpoints: tuple[str, ...]) -> tuple[str, ...]:
    """The endpoints that this laptop's configuration lacks or has too many of; () when it is as it should be.

    A list that names no member as the members call themselves is the user's own, and stays.
    """
    existing = {url for member in fleet.members for url in member.client_urls}
    return endpoints if fleet.configured & existing and fleet.configured != {*endpoints} else ()


def members_told(others: Iterable[HostFacts], endpoints: tuple[str, ...]) -> tuple[Stage, ...]:
    """The stages that tell other machines, and then this laptop, where the registry is; none without endpoints."""
    if not endpoints:
        return ()
    own = Step(
        "", "write where the registry is into this laptop's fleet.toml", steps.OwnEndpoints(endpoints), AGAIN
    )
    return (
        Stage(
            "where the registry is, on the other machines",
            tuple(s for each in others for s in _told(each, endpoints)),
        ),
        Stage("and on this laptop", (own,)),
    )


def _told(host: HostFacts, endpoints: tuple[str, ...]) -> Iterator[Step]:
    moved = outdated(host, endpoints)
    if moved:
        yield Step(
            host.name,
            f"write where the registry is into {', '.join(moved)}",
            steps.SetEndpoints(moved, endpoints),
            AGAIN,
        )
    for role, service, path in SERVICES:
        if host.unit(service).active == "active" and (path in moved or service in host.stale):
            logs = f"see journalctl -u {service} there, then run the same again"
            yield Step(host.name, f"start the {role} again", steps.StartService(service, again=True), logs)


def outdated(host: HostFacts, endpoints: tuple[str, ...]) -> tuple[str, ...]:
    """The configuration files of a host that list other endpoints."""
    return tuple(sorted(path for path, listed in host.endpoints.items() if listed != {*endpoints}))


def tolerance(members: int) -> str:
    """So many members of the registry, and what loss they bear, as part of a sentence."""
    if members == 1:
        return "1 member, whose disk is all that there is of the fleet's records"
    borne = (members - 1) // 2
    bears = (
        "none of which may be lost"
        if not borne
        else f"which bear the loss of {borne}, no more than {members - 1} do"
    )
    return f"{members} members, {bears}"


def client_url(address: str) -> str:
    """Where a member serves clients."""
    return f"https://{_bracketed(address)}:{CLIENT_PORT}"


def peer_url(address: str) -> str:
    """Where a member serves the others."""
    return f"https://{_bracketed(address)}:{PEER_PORT}"


def member_names(host: HostFacts) -> tuple[str, ...]:
    """What clients and other members may call a member."""
    return tuple(dict.fromkeys(filter(None, (host.address, host.hostname, host.name, "localhost", "127.0.0.1"))))


def certificates_of(host: HostFacts, *, member: bool) -> tuple[Certificate, ...]:
    """The certificates that a host has to have."""
    found = [Certificate(LeafKind.CLIENT, f"{ETC}/client")]
    if member:
        names = member_names(host)
        found.append(Certificate(LeafKind.SERVER, f"{ETC}/etcd/server", names))
        found.append(Certificate(LeafKind.PEER, f"{ETC}/etcd/peer", names))
    return tuple(found)


def listen_of(host: HostFacts, metrics: Metrics | None) -> str:
    """Where a host's agent serves metrics; its scheduler takes the next port."""
    places = {Metrics.OFF: "", Metrics.NETWORK: f"{_bracketed(host.address)}:{METRICS_PORT}"}
    return places.get(metrics or Metrics.LOOPBACK, f"127.0.0.1:{METRICS_PORT}")


def metrics_table(listen: str) -> str:
    """The table [metrics] of a configuration file."""
    return f'[metrics]\nlisten = "{listen}"\n'


def config_of_host(host: HostFacts, endpoints: tuple[str, ...], metadata: Mapping[str, str], listen: str) -> str:
    """The fleet.toml of a host."""
    pairs = "".join(f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in sorted(metadata.items()))
    return (
        f"[etcd]\nendpoints = {json.dumps(list(endpoints))}\n"
        f'ca_file = "{ETC}/ca.pem"\ncert_file = "{ETC}/client.pem"\nkey_file = "{ETC}/client.key"\n'
        f'username = "agent-{host.machine}"\npassword_file = "{ETC}/agent.password"\n\n'
        f'{metrics_table(listen)}\n[agent]\npublic_ip = "{host.address}"\n\n[agent.metadata]\n{pairs}'
    )


def _laptop(fleet: FleetFacts, wanted: JoinGoal) -> Iterator[Step]:
    if not (fleet.authority and fleet.operator_leaf and fleet.root_password and fleet.operator_password):
        yield Step("", "make the fleet's authority and this laptop's certificate", steps.OwnAuthority(), AGAIN)
    lines = tuple(line for line in wanted.keys if line not in fleet.known_hosts)
    if lines:
        yield Step("", f"pin {len(lines)} host keys", steps.OwnHostKeys(lines), AGAIN)


def _programs(host: HostFacts, wanted: JoinGoal) -> Iterator[Step]:
    member = host.name in wanted.members
    if not host.current or f"{OPT}/versions/{host.current}" not in host.complete:
        act = steps.Unpack(wanted.version, host.python, host.architecture)
        yield Step(host.name, f"unpack fleettui {wanted.version} into {OPT}/versions", act, AGAIN)
    if member and not any(each.startswith(f"{OPT}/etcd/") for each in host.complete):
        yield _etcd(host, wanted)
    unit = HostFile(f"{UNITS}/fleet-etcd.service", wanted.etcd_unit.encode())
    if member and not _same(host, unit):
        yield Step(host.name, "put the registry's unit", steps.PutFiles((unit,)), AGAIN)
    certificates = tuple(
        each
        for each in certificates_of(host, member=member)
        if (host.name, f"{each.stem}.pem") not in wanted.leaves
        or not {f"{each.stem}.key", f"{each.stem.rpartition('/')[0]}/ca.pem"} <= host.files.keys()
    )
    if certificates:
        names = ", ".join(f"{each.stem.rpartition('/')[2]}.pem" for each in certificates)
        yield Step(host.name, f"issue {names}", steps.PutCertificates(certificates), AGAIN)


def _etcd(host: HostFacts, wanted: JoinGoal) -> Step:
    does = f"put etcd {wanted.etcd} into {OPT}/etcd"
    if package := wanted.packages.get(host.name):
        act = steps.PutEtcd(wanted.etcd, steps.EtcdSource.APT, package)
        remedy = "see apt-get update and apt-cache policy etcd-server there, or give etcd with --etcd FILE"
        return Step(host.name, f"fetch its apt's etcd-server {package}, and {does}", act, remedy)
    if host.own_etcd == wanted.etcd:
        return Step(
            host.name, f"{does}, from its own package", steps.PutEtcd(wanted.etcd, steps.EtcdSource.OWN), AGAIN
        )
    return Step(host.name, does, steps.PutEtcd(wanted.etcd), AGAIN)


def _registry(members: tuple[HostFacts, ...], fleet: FleetFacts, wanted: JoinGoal) -> Iterator[Step]:
    logs = "see journalctl -u fleet-etcd there, then run the same again"
    started = fleet.members
    for number, host in enumerate(members):
        known = next((each for each in fleet.members if peer_url(host.address) in each.peer_urls), None)
        if known is None and not started and not number:
            yield Step(host.name, "start the registry", steps.StartMember(host.hostname, host.address), logs)
        elif known is None or not known.name or known.learner or not host.unit(MEMBER).stays:
            discard = known is None and host.etcd_data
            act = steps.AddMember(host.hostname, host.address, discard)
            yield Step(host.name, "add a member to the registry", act, logs)
        if not number and not (fleet.users_on and wanted.operator in fleet.users):
            yield Step("", "let nobody in without a user", steps.TurnUsersOn(wanted.operator), AGAIN)


def _config(fleet: FleetFacts, wanted: JoinGoal, endpoints: tuple[str, ...]) -> Iterator[Step]:
    if not fleet.config:
        act = steps.OwnConfig(endpoints, wanted.login)
        yield Step("", "write this laptop's fleet.toml", act, AGAIN)


def _schedulers(hosts: tuple[HostFacts, ...], fleet: FleetFacts, wanted: int) -> frozenset[str]:
    """The hosts that run a scheduler: those that do, and as many more as the fleet lacks."""
    there = [host for host in hosts if f"{UNITS}/fleet-scheduler.service" in host.files]
    others = max(0, fleet.schedulers - sum(f"scheduler-{host.machine}" in fleet.users for host in hosts))
    fresh = [host for host in hosts if host not in there][: max(0, wanted - others - len(there))]
    return frozenset(host.name for host in (*there, *fresh))


def _machine(
    host: HostFacts, fleet: FleetFacts, wanted: JoinGoal, endpoints: tuple[str, ...], *, scheduler: bool
) -> Iterator[Step]:
    if fleet.members and host.name not in wanted.members and host.lives(MEMBER):
        does = f"stop and disable {MEMBER}, which is no member of the registry any more"
        yield Step(host.name, does, steps.StopService(MEMBER), AGAIN)
    roles = ("scheduler", "agent") if scheduler else ("agent",)
    for role in roles:
        path, user = f"{ETC}/{role}.password", f"{role}-{host.machine}"
        if path not in host.files or user not in fleet.users:
            act = steps.PutPassword(role, host.machine, path)
            yield Step(host.name, f"make the {role}'s user", act, AGAIN)
    held = host.files.get(f"{ETC}/secrets.key")
    if held is None or (wanted.secrets_keys and held not in wanted.secrets_keys):
        key = steps.PutSecretsKey(f"{ETC}/secrets.key")
        yield Step(host.name, "hand over the fleet's key for secrets", key, AGAIN)
    files = [each for each in _files(host, wanted, endpoints, scheduler=scheduler) if not _same(host, each)]
    if files:
        names = ", ".join(each.path.rpartition("/")[2] for each in files)
        yield Step(host.name, f"write {names}", steps.PutFiles(tuple(files)), AGAIN)
    edits = list(_edits(host, wanted, endpoints if fleet.members else (), {each.path for each in files}))
    yield from edits
    edited = [step.act for step in edits if isinstance(step.act, steps.SetEndpoints | steps.SetMetrics)]
    changed = {each.path for each in files} | {path for act in edited for path in act.paths}
    for role, service, path in SERVICES:
        if role not in roles:
            continue
        unit = host.unit(service)
        written = {path, f"{UNITS}/{service}.d/{DROP_IN}"}
        again = unit.active in ("active", "activating") and (bool(written & changed) or service in host.stale)
        if unit.active != "active" or unit.enabled != "enabled" or again:
            logs = f"see journalctl -u {service} there, then run the same again"
            does = f"start the {role}{' again' if again else ''}"
            yield Step(host.name, does, steps.StartService(service, again), logs)
    if fleet.machines.get(host.machine) != host.hostname:
        logs = "see systemctl status fleet-agentd there, then run the same again"
        yield Step(host.name, "wait until it has registered", steps.AwaitMachine(host.machine), logs)


def _edits(host: HostFacts, wanted: JoinGoal, endpoints: tuple[str, ...], written: Set[str]) -> Iterator[Step]:
    """What changes in configuration files that are there and are not `written` as a whole."""
    moved = tuple(path for path in outdated(host, endpoints) if path not in written) if endpoints else ()
    if moved:
        does = f"write where the registry is into {', '.join(moved)}"
        yield Step(host.name, does, steps.SetEndpoints(moved, endpoints), AGAIN)
    listen = listen_of(host, wanted.metrics)
    other = (path for path, now in sorted(host.metrics.items()) if wanted.metrics and now != listen)
    if served := tuple(path for path in other if path not in written):
        does = f"let metrics be served {f'at {listen}' if listen else 'nowhere'}, in {', '.join(served)}"
        yield Step(host.name, does, steps.SetMetrics(served, listen), AGAIN)


def _files(host: HostFacts, wanted: JoinGoal, endpoints: tuple[str, ...], *, scheduler: bool) -> Iterator[HostFile]:
    """The files that the host should have. A configuration that is there stays, unless metadata is given."""
    path = f"{ETC}/fleet.toml"
    if wanted.metadata is not None or path not in host.files:
        listed = host.metrics.get(path) if wanted.metrics is None else None
        listen = listen_of(host, wanted.metrics) if listed is None else listed
        yield HostFile(path, config_of_host(host, endpoints, wanted.metadata or {}, listen).encode(), 0o600)
    older = host.current not in ("", wanted.version)
    kept = ("fleet-agentd.service", "fleet-scheduler.service") if scheduler else ("fleet-agentd.service",)
    for name in kept:
        if not older or f"{UNITS}/{name}" not in host.files:  # the units of another version are its own
            yield HostFile(f"{UNITS}/{name}", wanted.units[name].encode())
    if host.units_directory and not f"{host.units_directory}/".startswith("/run/"):
        state = host.units_directory.rstrip("/").rpartition("/")[0]  # the agent's own files are beside the units
        text = f"# Written by fleettui join.\n{writable(state)}"
        yield HostFile(f"{UNITS}/fleet-agentd.service.d/{DROP_IN}", text.encode())
    if scheduler:
        drop_in = "# Written by fleettui join.\n" + scheduler_access(
            ETC, "scheduler.toml", scheduler_of(host.machine).name
        )
        yield HostFile(f"{UNITS}/fleet-scheduler.service.d/{DROP_IN}", drop_in.encode())
        path = f"{ETC}/scheduler.toml"
        served = metrics_table(listen_of(host, wanted.metrics))
        if path not in host.files:
            yield HostFile(path, f"[etcd]\nendpoints = {json.dumps(list(endpoints))}\n\n{served}".encode(), 0o600)


def _same(host: HostFacts, file: HostFile) -> bool:
    return host.files.get(file.path) == hashlib.sha256(file.content).hexdigest()


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
