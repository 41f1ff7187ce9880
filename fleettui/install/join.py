"""A join from beginning to end: reach the hosts, read what is, object or plan, and carry the plan out."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleettui.access.authority import Authority, names_of, runs_out
from fleettui.access.grants import Grants
from fleettui.access.secrets_key import good_files
from fleettui.escape import escape
from fleettui.install import etcd_member, etcd_program
from fleettui.install.archive import cache_directory, running
from fleettui.install.carry_out import APT_OPTIONS, Report, Worksite
from fleettui.install.etcd_program import EtcdProgram
from fleettui.install.facts import OPT, HostFacts
from fleettui.install.fleet_files import FleetFiles, chosen
from fleettui.install.objections import objections, of_fleet
from fleettui.install.plan import (
    RENEW,
    FleetFacts,
    JoinGoal,
    Metrics,
    certificates_of,
    client_url,
    endpoints_of,
    own_list,
    peer_url,
    plan,
    tolerance,
)
from fleettui.install.reach import Accept, OtherMachines, all_facts, known_host, opened, other_machines
from fleettui.install.steps import Stage
from fleettui.remote.bare_host import BareHost
from registry.errors import FleetError, RegistryError, UserError
from registry.etcd import Etcd, KeyValue
from registry.etcd.admin import ROOT, Admin
from registry.keys import Keys, Table
from registry.model import Machine
from registry.program.config import Settings, load
from registry.records import decode

# What apt would install, asked so that it leaves no cache behind.
OFFERED = f"LC_ALL=C apt-cache {APT_OPTIONS} policy etcd-server 2>/dev/null | sed -n 's/^  Candidate: //p'"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user has asked for. `members`: how many hold the registry, 0 for what fits."""

    targets: tuple[str, ...]
    fleet: str | None = None
    metadata: Mapping[str, str] | None = None
    members: int = 0
    metrics: Metrics | None = None
    etcd: Path | None = None
    accept: Accept = field(default=lambda _: False)


@dataclass(slots=True)
class Joining:
    """A join that is ready to be carried out: its stages, and what they are carried out on."""

    site: Worksite
    stages: tuple[Stage, ...]
    named: int  # hosts that the user has named
    notes: tuple[str, ...] = ()

    async def carry_out(self, report: Report) -> None:
        """Do it. Raises StepFailed."""
        await self.site.carry_out(self.stages, report)


@contextlib.asynccontextmanager
async def prepared(wishes: Wishes, environ: Mapping[str, str]) -> AsyncIterator[Joining]:
    """Reach the hosts, read everything and plan. Changes nothing. Raises FleetError."""
    files = await asyncio.to_thread(chosen, environ, wishes.fleet)
    settings = await asyncio.to_thread(settings_of, files, environ)
    keys = Keys.under(settings.etcd.prefix)
    async with opened(wishes.targets, settings, wishes.accept) as hosts:
        found = await all_facts(hosts)
        authority = await asyncio.to_thread(files.authority)
        trusted = authority.certificate_pem if authority else b""
        endpoints = _endpoints(files, settings, found, trusted)
        asleep = [each.name for each in found if each.etcd_data and of_fleet(each, trusted)]
        if len(asleep) > 1 and not endpoints:
            raise UserError(
                f"the registry on {', '.join(asleep)} does not run: on each of them run"
                " systemctl start --no-block fleet-etcd, then the same again"
            )
        fleet = await fleet_facts(files, endpoints, keys, found)
        members = members_of(found, fleet, wishes.members)
        etcd = await _etcd(hosts, found, fleet, members, wishes.etcd)
        against = objections(
            found,
            members=members,
            authority=trusted,
            machines=fleet.machines,
            etcd_architecture=etcd.program.architecture if etcd.program else "",
        )
        if against:
            raise UserError("\n".join(f"{each.host}: {each.what}; {each.remedy}" for each in against))
        programs = await asyncio.to_thread(running)
        wanted = JoinGoal(
            fleet=files.name,
            version=programs.version,
            etcd=etcd.version,
            packages=etcd.packages,
            members=members,
            operator=files.operator,
            units=programs.units,
            etcd_unit=(Path(etcd_member.__file__).parent / "fleet-etcd.service").read_text(),
            leaves=frozenset(good_leaves(found, authority, members)),
            metadata=wishes.metadata,
            metrics=wishes.metrics,
            secrets_keys=await asyncio.to_thread(good_files, files.directory),
            keys=tuple(
                known_hosts_line(each, host.key.text, host.endpoint.address, host.port)
                for each in found
                for host in [hosts[each.name]]
            ),
            login=next(iter(hosts.values())).endpoint.user or settings.ssh.user or "root",
        )
        async with _others(files, settings, found, fleet, members) as others:
            site = Worksite(
                files, {**others.hosts, **hosts}, {each.name: each for each in found},
                endpoints if fleet.members else (), keys, cache_directory(environ), etcd.program, fleet.users_on,
                programs,
            )  # fmt: skip
            stages = plan(found, fleet, wanted, others.facts)
            notes = [*_notes(found, fleet, wanted, others)]
            if files.config.exists() and (user := settings.ssh.user):
                notes += [
                    f"{name} was reached as {host.user}, and fleetctl reaches all machines as {user}"
                    f" ([ssh] user in {files.config}): let {user} in there, too"
                    for name, host in hosts.items()
                    if host.user != user
                ]
            yield Joining(site, stages, len(hosts), tuple(notes))


async def fleet_facts(
    files: FleetFiles, endpoints: tuple[str, ...], keys: Keys, hosts: Sequence[HostFacts]
) -> FleetFacts:
    """What this laptop holds and what the registry says. UserError when there is one that does not answer."""
    here = FleetFacts(
        authority=await asyncio.to_thread(files.authority) is not None,
        operator_leaf=files.certificate.exists() and files.key.exists(),
        root_password=files.password(ROOT).exists(),
        operator_password=files.password(files.operator).exists(),
        known_hosts=frozenset(files.host_keys()),
        config=files.config.exists(),
        configured=await asyncio.to_thread(files.endpoints),
    )
    if not endpoints:
        return here
    if not files.complete():
        raise UserError(f"the fleet's authority and passwords are not in {files.directory}; copy them there")
    try:
        async with Etcd(files.settings(endpoints)) as etcd:
            users_on = await Admin(etcd).users_are_on()
        async with Etcd(files.settings(endpoints, ROOT if users_on else "")) as etcd:
            granted = await Grants(etcd, keys).users() if users_on else ()
            kvs = (await etcd.range(keys.table(Table.MACHINES))).kvs
            members = await etcd.member_list()
            version = (await etcd.status()).version
    except RegistryError as error:
        down = [each.name for each in hosts if each.etcd_data]
        raise UserError(
            f"the fleet's registry does not answer: {error};"
            f" see journalctl -u fleet-etcd{' on ' + ', '.join(down) if down else ''}, then run the same again"
        ) from error
    good = frozenset(each.name for each in granted if each.user is not None and not each.faults)
    registered = tuple(_machines(keys, kvs))
    return replace(
        here,
        members=members,
        etcd=version,
        users_on=users_on,
        users=good,
        registered=registered,
        machines={each.id: each.hostname for each in registered},
        schedulers=sum(each.startswith("scheduler-") for each in good),
    )


def good_leaves(
    hosts: Sequence[HostFacts], authority: Authority | None, members: Sequence[str]
) -> list[tuple[str, str]]:
    """The certificates on the hosts that are good: of our authority, for the right names, not about to run out."""
    soon, found = datetime.datetime.now(datetime.UTC) + RENEW, []
    for host in hosts if authority else ():
        for each in certificates_of(host, member=host.name in members):
            pem = host.pems.get(f"{each.stem}.pem", b"")
            if authority and authority.signed(pem) and runs_out(pem) > soon and names_of(pem) >= set(each.names):
                found.append((host.name, f"{each.stem}.pem"))
    return found


@contextlib.asynccontextmanager
async def _others(
    files: FleetFiles, settings: Settings, hosts: Sequence[HostFacts], fleet: FleetFacts, members: Sequence[str]
) -> AsyncIterator[OtherMachines]:
    """The fleet's other machines, if they have to be told of the registry's members."""
    told = endpoints_of(fleet.members, [host for host in hosts if host.name in members])
    if not own_list(fleet, told):
        yield OtherMachines()
        return
    known = map(known_host, await asyncio.to_thread(files.host_keys))
    async with other_machines(fleet.registered, known, [host.machine for host in hosts], settings.ssh) as others:
        yield others


def _notes(hosts: Sequence[HostFacts], fleet: FleetFacts, wanted: JoinGoal, others: OtherMachines) -> Iterator[str]:
    """What the user should know beside the steps."""
    older = [each.name for each in hosts if each.current and each.current != wanted.version]
    if older:
        yield f"other version of fleettui on {', '.join(older)}: left as it is"
    for host in (*hosts, *others.facts):
        for path in sorted(host.unread):
            yield f"{host.name}: {path} lists the endpoints in a way that is not rewritten; see that they are right"
    for why in others.away:
        yield f"{why}: once it is back, tell it where the registry is: fleettui join there"
    known = {url for each in fleet.members for url in each.peer_urls}
    new = [host for host in hosts if host.name in wanted.members and peer_url(host.address) not in known]
    members = len(fleet.members) + len(new)
    if members and members % 2 == 0:
        yield f"the registry will have {tolerance(members)}; name one more host, with --members {members + 1}"


def settings_of(files: FleetFiles, environ: Mapping[str, str]) -> Settings:
    """The configuration of the fleet, or the usual one while it has none. Blocks."""
    others = {key: value for key, value in environ.items() if key != "FLEET_CONFIG"}
    return load(files.config if files.config.exists() else None, others)


def _endpoints(
    files: FleetFiles, settings: Settings, hosts: Sequence[HostFacts], authority: bytes
) -> tuple[str, ...]:
    """Where a registry of this fleet may answer: at the hosts that run one, and where the configuration says."""
    runs = [each for each in hosts if each.unit("fleet-etcd.service").active == "active"]
    ours = [client_url(each.address) for each in runs if of_fleet(each, authority)]
    configured = settings.etcd.endpoints if files.config.exists() and files.complete() else ()
    return tuple(dict.fromkeys([*ours, *configured]))


def members_of(hosts: Sequence[HostFacts], fleet: FleetFacts, asked: int) -> tuple[str, ...]:
    """The hosts that hold the registry: those that do, and as many more as the registry should have."""
    at = {url for each in fleet.members for url in each.peer_urls}
    there = [host for host in hosts if peer_url(host.address) in at or (not at and host.etcd_data)]
    have = max(len(fleet.members), len(there))
    usual = 3 if len(hosts) >= 3 else 1
    lacking = max(0, (asked or max(usual, have)) - have)
    return tuple(host.name for host in [*there, *[each for each in hosts if each not in there][:lacking]])


@dataclass(frozen=True, slots=True)
class EtcdChoice:
    """Which etcd the members get: of a version, from this laptop's `program`, or by apt as these `packages`."""

    version: str
    program: EtcdProgram | None = None
    packages: Mapping[str, str] = field(default_factory=dict)  # by host


async def _etcd(
    hosts: Mapping[str, BareHost],
    found: Sequence[HostFacts],
    fleet: FleetFacts,
    members: Sequence[str],
    given: Path | None,
) -> EtcdChoice:
    """Where the members that lack etcd's program get it from. UserError when there is none that fits.

    A file that is given, else what each of them has installed, else this laptop's, else what each one's apt offers.
    """
    needy = [
        host
        for host in found
        if host.name in members and not any(each.startswith(f"{OPT}/etcd/") for each in host.complete)
    ]
    there = {each.rpartition("/")[2] for host in found for each in host.complete if each.startswith(f"{OPT}/etcd/")}
    there |= {fleet.etcd} - {""}
    if not needy:
        return EtcdChoice(next(iter(sorted(there)), ""))
    choice = await asyncio.to_thread(_at_hand, needy, given) or await _offered(hosts, needy)
    differing = {each for each in there if each.split(".")[:2] != choice.version.split(".")[:2]}
    if differing:
        raise UserError(
            f"the registry has members of etcd {', '.join(sorted(differing))}, and etcd {choice.version} beside"
            " them would take passwords for good that are not; give the version that they have with --etcd"
        )
    return choice


def _at_hand(needy: Sequence[HostFacts], given: Path | None) -> EtcdChoice | None:
    """The etcd that is given, or installed where it is needed, or here. Blocks. UserError for one that is given."""
    if given is not None:
        program = etcd_program.read(given)
        return EtcdChoice(program.version, program)
    own = {host.own_etcd for host in needy}
    if len(own) == 1 and etcd_program.fits(version := own.pop()):
        return EtcdChoice(version)
    if here := shutil.which("etcd"):
        with contextlib.suppress(UserError):  # too old, say: hosts may have a better one
            program = etcd_program.read(Path(here))
            if all(host.architecture == program.architecture for host in needy):
                return EtcdChoice(program.version, program)
    return None


async def _offered(hosts: Mapping[str, BareHost], needy: Sequence[HostFacts]) -> EtcdChoice:
    """The etcd that the apt of all these hosts offers. UserError when there is none, or not the same."""
    asked = await asyncio.gather(*(hosts[host.name].run(OFFERED) for host in needy))
    packages = {
        host.name: done.stdout.decode("ascii", "replace").replace("(none)", "").strip()
        for host, done in zip(needy, asked, strict=True)
    }
    versions = {etcd_program.of_package(each) for each in packages.values()}
    if len(versions) == 1 and etcd_program.fits(version := versions.pop()):
        return EtcdChoice(version, packages=packages)
    offers = ", ".join(
        f"{name} (its apt offers {escape(each[:40]) or 'none; apt-get update there?'})"
        for name, each in packages.items()
    )
    raise UserError(f"etcd is needed on {offers}: {etcd_program.wanted()}; {etcd_program.ADVICE}")


def known_hosts_line(found: HostFacts, key: str, address: str = "", port: int = 22) -> str:
    """A host's key as a line of known_hosts, by its names and addresses; `address`: as the user wrote it."""
    names = dict.fromkeys(each for each in (found.hostname, address, found.address) if each)
    spelled = names if port == 22 else [f"[{each}]:{port}" for each in names]
    return f"{','.join(spelled)} {key} {found.machine}"


def _machines(keys: Keys, kvs: Sequence[KeyValue]) -> Iterator[Machine]:
    for kv in kvs:
        address = keys.parse(kv.key)
        if address is not None:
            with contextlib.suppress(FleetError):
                record = decode(address, kv.value, kv.key)
                if isinstance(record, Machine):
                    yield record
