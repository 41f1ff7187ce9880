"""Reading what is judged: files here, each endpoint by itself, then the registry, and machines over SSH if asked.

Nothing here raises for what is wrong: it becomes a fact. Whatever hangs costs no more than a few time-outs of one
request: each endpoint is asked once, all side by side; what is read afterwards is asked of one that has answered.
"""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

from fleettui.access.authority import SIGNING
from fleettui.doctor.facts import (
    CertificateFacts,
    EndpointFacts,
    Examination,
    HostExamination,
    RightsFacts,
    SecretFile,
)
from fleettui.remote import Remote
from registry.errors import CredentialsUnusable, FleetError, RegistryError
from registry.etcd import Etcd, EtcdSettings
from registry.etcd.admin import Admin, KeyRange
from registry.etcd.credentials import OTHERS, certificate_ends, check_private
from registry.etcd.wire import EtcdError, EtcdUnreachable, Glimpse, Json, Member, decode_status
from registry.keys import Keys, Table
from registry.mirror import Snapshot
from registry.model import Machine
from registry.program.version import installed_version
from registry.sync.listing import read_snapshot

READS = 2  # time-outs of one request that all of the registry may take
HOST_S = 8.0  # for one machine
HOSTS_AT_ONCE = 16
TABLES = (
    Table.CLUSTER, Table.LEADER, Table.UNITS, Table.SCHEDULE, Table.PENDING, Table.MACHINES, Table.OVERRIDES,
    Table.STATES, Table.DUPLICATES,
)  # fmt: skip
LOOK = "date +%s.%N; systemctl is-active fleet-agentd.service; df -Pk / /run /var | tail -n +2"

T = TypeVar("T")


async def read_facts(
    settings: EtcdSettings,
    keys: Keys,
    source: str,
    machines: Callable[[Snapshot], Remote] | None = None,
) -> Examination:
    """Return all there is to judge. `source` is the configuration's file; `machines` reaches hosts by SSH."""
    facts = Examination(time.time(), installed_version(), keys, settings.username or "")
    facts = replace(facts, files=tuple(_files(settings, source)), certificates=tuple(_certificates(settings)))
    async with Etcd(settings) as etcd:
        bases = etcd.link.bases
        facts = replace(facts, endpoints=tuple(await asyncio.gather(*(_endpoint(etcd, each) for each in bases))))
        led = [each.base for each in facts.answering if each.leader]
        if not led:
            return replace(facts, registry_problem="etcd has no leader" if facts.answering else "")
        etcd.link.current = led[0]
        facts = await _registry(etcd, keys, facts)
    if machines is not None and facts.snapshot is not None:
        facts = replace(facts, hosts=await _hosts(machines(facts.snapshot), facts.snapshot))
    return facts


def _files(settings: EtcdSettings, source: str) -> Iterator[SecretFile]:
    if source:
        try:
            mode = stat.S_IMODE(Path(source).stat().st_mode)
        except OSError:
            mode = 0
        loose = mode & (stat.S_IWGRP | stat.S_IWOTH)
        problem = f"{source} says where the registry is, and others may write it: its mode is {mode:04o}"
        yield SecretFile(source, problem if loose else "", f"chmod go-w {source}")
    for option, path in (("etcd.password_file", settings.password_file), ("etcd.key_file", settings.key_file)):
        if path:
            try:
                check_private(path, option)
            except CredentialsUnusable as error:
                problem, _, remedy = str(error).partition("; run: ")
                yield SecretFile(path, problem, remedy or "mend the file, or the option")
            else:
                yield SecretFile(path)
    if settings.ca_file:
        yield from _authority(Path(settings.ca_file).parent / SIGNING)


def _authority(path: Path) -> Iterator[SecretFile]:
    """The fleet's authority, where it lies beside the certificate that we trust."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:  # it is elsewhere, as it should be on a machine
        return
    problem = f"{path} is the key of the fleet's authority, and others may read it: its mode is {mode:04o}"
    yield SecretFile(str(path), problem if mode & OTHERS else "", f"chmod 600 {path}")


def _certificates(settings: EtcdSettings) -> Iterator[CertificateFacts]:
    paths = {"client": settings.cert_file, "authority": settings.ca_file}
    for name, ends in certificate_ends(settings.cert_file, settings.ca_file).items():
        yield CertificateFacts(name, paths[name] or "", ends)


async def _endpoint(etcd: Etcd, base: str, *, configured: bool = True) -> EndpointFacts:
    try:
        answer, glimpse = await etcd.link.glimpse(base)
        return _answered(base, answer, glimpse, configured=configured)
    except (EtcdUnreachable, EtcdError, FleetError) as error:
        return EndpointFacts(base, str(error), configured)


def _answered(base: str, answer: Json, glimpse: Glimpse, *, configured: bool) -> EndpointFacts:
    status = decode_status(answer, base)
    used = str(answer.get("dbSizeInUse", ""))
    return EndpointFacts(
        base, "", configured, status.version, status.member, status.leader, status.db_size_bytes,
        int(used) if used.isdecimal() else 0, _ahead_s(glimpse), glimpse.certificate_ends,
    )  # fmt: skip


def _ahead_s(glimpse: Glimpse) -> float | None:
    """How far the other clock is ahead of ours; HTTP's date is in whole seconds, cut off."""
    try:
        told = parsedate_to_datetime(glimpse.date).timestamp()
    except (ValueError, TypeError):
        return None
    return told + 0.5 - glimpse.asked_at


async def _registry(etcd: Etcd, keys: Keys, facts: Examination) -> Examination:
    admin, limit_s = Admin(etcd), READS * etcd.link.timeout_s
    found = await asyncio.gather(
        _within(limit_s, etcd.member_list(), ()),
        _within(limit_s, admin.alarms(), ()),
        _rights(admin, facts.user, limit_s),
        _within(limit_s, read_snapshot(etcd, keys, TABLES), None),
        _within(limit_s, _count(etcd, keys.table(Table.EVENTS)), 0),
    )
    (members, members_problem), (alarms, alarms_problem), rights, (snapshot, problem), (events, _) = found
    unread = members_problem or alarms_problem
    others = await asyncio.gather(
        *(_endpoint(etcd, base, configured=False) for base in _unknown(members, facts, etcd.link.bases))
    )
    return replace(
        facts, endpoints=(*facts.endpoints, *others), members=members, members_problem=unread,
        alarms=alarms, rights=rights, snapshot=snapshot, registry_problem=problem, events=events,
    )  # fmt: skip


def _unknown(members: tuple[Member, ...], facts: Examination, bases: tuple[str, ...]) -> Iterator[str]:
    """Where members listen that are none of our endpoints; never in clear where ours speak TLS."""
    known = {each.member for each in facts.endpoints}
    scheme = bases[0].partition(":")[0]
    for each in members:
        urls = [url for url in each.client_urls if url.startswith(f"{scheme}://")]
        if each.id not in known and urls and not set(each.client_urls) & set(bases):
            yield urls[0]


async def _count(etcd: Etcd, prefix: str) -> int:
    return (await etcd.range(prefix, keys_only=True)).count


async def _rights(admin: Admin, user: str, limit_s: float) -> RightsFacts:
    on, problem = await _within(limit_s, admin.users_are_on(), None)
    if not on or not user:
        return RightsFacts(on, user, problem=problem)

    async def ours() -> tuple[tuple[str, ...], tuple[KeyRange, ...]]:
        roles = await admin.roles_of(user)
        return roles, tuple([each for role in roles for each in await admin.ranges_of(role)])

    (roles, ranges), problem = await _within(limit_s, ours(), ((), ()))
    return RightsFacts(on, user, roles, ranges, problem)


async def _within(seconds: float, work: Awaitable[T], nothing: T) -> tuple[T, str]:
    """What the work brings, and why it brought `nothing`."""
    try:
        async with asyncio.timeout(seconds):
            return await work, ""
    except TimeoutError:
        return nothing, f"etcd did not answer within {seconds:g} s"
    except RegistryError as error:
        return nothing, str(error)


async def _hosts(remote: Remote, snapshot: Snapshot) -> tuple[HostExamination, ...]:
    turns = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def look(machine: Machine) -> HostExamination:
        async with turns:
            return await _host(remote, machine)

    async with remote:
        machines = sorted(snapshot.machines.values(), key=lambda each: each.hostname)
        return tuple(await asyncio.gather(*map(look, machines)))


async def _host(remote: Remote, machine: Machine) -> HostExamination:
    began = time.time()
    try:
        async with asyncio.timeout(HOST_S + 1):
            done = await remote.run(machine, ["sh", "-c", LOOK], timeout_s=HOST_S)
    except (FleetError, TimeoutError) as error:
        return HostExamination(machine.id, machine.hostname, str(error) or f"no answer within {HOST_S:g} s")
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    try:
        ahead_s = float(lines[0]) - (began + time.time()) / 2
        agent = "active" if machine.bus == "user" else lines[1]
        return HostExamination(machine.id, machine.hostname, "", ahead_s, agent, _disks(lines[2:]))
    except (IndexError, ValueError):
        return HostExamination(machine.id, machine.hostname, "its answer cannot be understood")


def _disks(lines: list[str]) -> Mapping[str, tuple[int, int]]:
    """Free and all bytes by where a file system is mounted, from the lines of df(1)."""
    rows = [line.split(maxsplit=5) for line in lines]
    return {row[5]: (int(row[3]) << 10, int(row[1]) << 10) for row in rows if len(row) == 6}
