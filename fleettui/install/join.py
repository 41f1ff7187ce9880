"""A join from beginning to end: reach the hosts, read what is, object or plan, and carry the plan out."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleettui.access.authority import Authority, names_of, runs_out
from fleettui.access.grants import Grants
from fleettui.install import etcd_member, etcd_program, facts
from fleettui.install.archive import cache_directory, running
from fleettui.install.carry_out import Report, Worksite
from fleettui.install.etcd_program import EtcdProgram
from fleettui.install.facts import OPT, HostFacts
from fleettui.install.fleet_files import FleetFiles, chosen
from fleettui.install.objections import objections, of_fleet
from fleettui.install.plan import RENEW, FleetFacts, JoinGoal, certificates_of, client_url, peer_url, plan
from fleettui.install.steps import Stage
from fleettui.remote.bare_host import BareHost, of_target, reached
from fleettui.remote.errors import LoginRefused
from registry.errors import FleetError, RegistryError, UserError
from registry.etcd import Etcd, KeyValue
from registry.etcd.admin import ROOT, Admin
from registry.keys import Keys, Table
from registry.model import Machine
from registry.program.config import Settings, load
from registry.records import decode

FACTS_S = 30.0
Accept = Callable[[Sequence[tuple[str, str]]], bool]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user has asked for. `members`: how many hold the registry, 0 for what fits."""

    targets: tuple[str, ...]
    fleet: str | None = None
    metadata: Mapping[str, str] | None = None
    members: int = 0
    etcd: Path | None = None
    accept: Accept = field(default=lambda _: False)


@dataclass(slots=True)
class Joining:
    """A join that is ready to be carried out: its stages, and what they are carried out on."""

    site: Worksite
    stages: tuple[Stage, ...]
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
        program, etcd = await _etcd(found, fleet, members, wishes.etcd)
        against = objections(
            found,
            members=members,
            authority=trusted,
            machines=fleet.machines,
            etcd_architecture=program.architecture if program else "",
        )
        if against:
            raise UserError("\n".join(f"{each.host}: {each.what}; {each.remedy}" for each in against))
        programs = await asyncio.to_thread(running)
        wanted = JoinGoal(
            fleet=files.name,
            version=programs.version,
            etcd=etcd,
            members=members,
            operator=files.operator,
            units=programs.units,
            etcd_unit=(Path(etcd_member.__file__).parent / "fleet-etcd.service").read_text(),
            leaves=frozenset(good_leaves(found, authority, members)),
            metadata=wishes.metadata,
            keys=tuple(
                known_hosts_line(each, host.key.text, host.endpoint.address, host.port)
                for each in found
                for host in [hosts[each.name]]
            ),
            login=next(iter(hosts.values())).endpoint.user or settings.ssh.user or "root",
        )
        site = Worksite(
            files, hosts, {each.name: each for each in found}, endpoints if fleet.members else (), keys,
            cache_directory(environ), program, fleet.users_on, programs,
        )  # fmt: skip
        older = [each.name for each in found if each.current and each.current != wanted.version]
        notes = (f"other version of fleettui on {', '.join(older)}: left as it is",) if older else ()
        yield Joining(site, plan(found, fleet, wanted), notes)


@contextlib.asynccontextmanager
async def opened(
    targets: Sequence[str], settings: Settings, accept: Accept = lambda _: False
) -> AsyncIterator[dict[str, BareHost]]:
    """Connections to all hosts, by name. Raises UserError with all errors, after all were tried.

    Host keys that no known_hosts has are `accept`'s to take, as (host, key); the usual is to refuse them.
    """
    names = [of_target(each).name for each in targets]
    if len(set(names)) < len(names):
        raise UserError("a host is named twice")
    async with contextlib.AsyncExitStack() as stack:
        opening = (stack.enter_async_context(reached(each, settings.ssh)) for each in targets)
        found = await asyncio.gather(*opening, return_exceptions=True)
        failed = [each for each in found if isinstance(each, BaseException)]
        if failed:
            texts = [str(each) for each in failed if isinstance(each, FleetError)]
            raise UserError("\n".join(texts)) if len(texts) == len(failed) else failed[0]
        hosts = [each for each in found if isinstance(each, BareHost)]
        fresh = [(each.endpoint.shown, each.key.fingerprint) for each in hosts if not each.key.known]
        if fresh and not accept(fresh):
            told = "\n".join(f"{host}: no known_hosts has its key {key}" for host, key in fresh)
            way = "compare them on the hosts, then log in once with ssh; a join takes --accept-host-keys, too"
            raise UserError(f"{told}\n{way}")
        yield {each.name: each for each in hosts}


async def all_facts(hosts: Mapping[str, BareHost]) -> tuple[HostFacts, ...]:
    """What the hosts are, in the order in which they were named. Raises RemoteError."""

    async def read(host: BareHost) -> HostFacts:
        began = time.time()
        done = await host.run(facts.SCRIPT, timeout_s=FACTS_S)
        if done.status:
            why = done.stderr.decode("utf-8", "replace")[-300:]
            raise LoginRefused(
                host.name,
                f"its commands do not run as root: {why}",
                "log in as root, or let sudo ask for no password",
            )
        return facts.parse(host.name, done.stdout.decode("utf-8", "replace"), began, time.time())

    return tuple(await asyncio.gather(*(read(host) for host in hosts.values())))


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
    return replace(
        here,
        members=members,
        etcd=version,
        users_on=users_on,
        users=good,
        machines=dict(_machines(keys, kvs)),
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


def settings_of(files: FleetFiles, environ: Mapping[str, str]) -> Settings:
    """The configuration of the fleet, or the usual one while it has none. Blocks."""
    return load(files.config if files.config.exists() else None, _without_config(environ))


def _without_config(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environ.items() if key != "FLEET_CONFIG"}


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


async def _etcd(
    hosts: Sequence[HostFacts], fleet: FleetFacts, members: Sequence[str], given: Path | None
) -> tuple[EtcdProgram | None, str]:
    """The program for the hosts that lack one (None: their own), and its version. UserError when there is none."""
    needy = [
        host
        for host in hosts
        if host.name in members and not any(each.startswith(f"{OPT}/etcd/") for each in host.complete)
    ]
    there = {each.rpartition("/")[2] for host in hosts for each in host.complete if each.startswith(f"{OPT}/etcd/")}
    there |= {fleet.etcd} - {""}
    if not needy:
        return None, next(iter(sorted(there)), "")
    own = {host.own_etcd for host in needy}
    mine = given or Path(shutil.which("etcd") or "")
    if given is None and len(own) == 1 and etcd_program.fits(next(iter(own))):
        program, version = None, own.pop()
    elif mine.name:
        program = await asyncio.to_thread(etcd_program.read, mine)
        version = program.version
    else:
        lacking = ", ".join(host.name for host in needy)
        raise UserError(f"{lacking} needs etcd: {etcd_program.wanted()}; {etcd_program.ADVICE}")
    differing = {each for each in there if each.split(".")[:2] != version.split(".")[:2]}
    if differing:
        raise UserError(
            f"the registry has members of etcd {', '.join(sorted(differing))}, and etcd {version} beside them would"
            " take passwords for good that are not; give the version that they have with --etcd"
        )
    return program, version


def known_hosts_line(found: HostFacts, key: str, address: str = "", port: int = 22) -> str:
    """A host's key as a line of known_hosts, by its names and addresses; `address`: as the user wrote it."""
    names = dict.fromkeys(each for each in (found.hostname, address, found.address) if each)
    spelled = names if port == 22 else [f"[{each}]:{port}" for each in names]
    return f"{','.join(spelled)} {key} {found.machine}"


def _machines(keys: Keys, kvs: Sequence[KeyValue]) -> Iterator[tuple[str, str]]:
    for kv in kvs:
        address = keys.parse(kv.key)
        if address is not None:
            with contextlib.suppress(FleetError):
                record = decode(address, kv.value, kv.key)
                if isinstance(record, Machine):
                    yield record.id, record.hostname
