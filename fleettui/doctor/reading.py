"""Reading what is judged: files here, each endpoint by itself, then the registry, and machines over SSH if asked.

Nothing here raises for what is wrong: it becomes a fact. Whatever hangs costs no more than a few time-outs of one
request: each endpoint is asked once, all side by side; what is read afterwards is asked of one that has answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TypeVar

from fleettui.access.secrets_key import keys_here
from fleettui.doctor.facts import (
    CertificateFacts,
    EndpointFacts,
    Examination,
    RightsFacts,
)
from fleettui.doctor.file_reading import secret_files
from fleettui.doctor.host_reading import examine_hosts
from fleettui.remote import Remote
from registry.errors import FleetError, RegistryError
from registry.etcd import Etcd, EtcdSettings
from registry.etcd.admin import Admin, KeyRange
from registry.etcd.credentials import certificate_ends
from registry.etcd.wire import EtcdError, EtcdUnreachable, Glimpse, Member, decode_status
from registry.keys import Keys, Table
from registry.mirror import Snapshot
from registry.program.version import installed_version
from registry.sync.listing import read_snapshot

READS = 2  # time-outs of one request that all of the registry may take
TABLES = (
    Table.CLUSTER, Table.LEADER, Table.UNITS, Table.SCHEDULE, Table.PENDING, Table.MACHINES, Table.OVERRIDES,
    Table.STATES, Table.DUPLICATES, Table.SECRETS,
)  # fmt: skip

T = TypeVar("T")


async def read_facts(
    settings: EtcdSettings,
    keys: Keys,
    source: str,
    machines: Callable[[Snapshot], Remote] | None = None,
) -> Examination:
    """Return all there is to judge. `source` is the configuration's file; `machines` reaches hosts by SSH."""
    facts = Examination(time.time(), installed_version(), keys, settings.username or "")
    paths = {"client": settings.cert_file, "authority": settings.ca_file}
    ends = certificate_ends(settings.cert_file, settings.ca_file)
    certificates = tuple(CertificateFacts(name, paths[name] or "", at) for name, at in ends.items())
    facts = replace(facts, files=tuple(secret_files(settings, source)), certificates=certificates)
    facts = replace(facts, secrets_keys=keys_here(settings.ca_file))
    async with Etcd(settings) as etcd:
        bases = etcd.link.bases
        facts = replace(facts, endpoints=tuple(await asyncio.gather(*(_endpoint(etcd, each) for each in bases))))
        led = [each.base for each in facts.answering if each.leader]
        if not led:
            return replace(facts, registry_problem="etcd has no leader" if facts.answering else "")
        etcd.link.current = led[0]
        facts = await _registry(etcd, keys, facts)
    if machines is not None and facts.snapshot is not None:
        facts = replace(facts, hosts=await examine_hosts(machines(facts.snapshot), facts.snapshot))
    return facts


async def _endpoint(etcd: Etcd, base: str, *, configured: bool = True) -> EndpointFacts:
    try:
        answer, glimpse = await etcd.link.glimpse(base)
        status, used = decode_status(answer, base), str(answer.get("dbSizeInUse", ""))
    except (EtcdUnreachable, EtcdError, FleetError) as error:
        return EndpointFacts(base, str(error), configured)
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
        _within(limit_s, etcd.range(keys.table(Table.EVENTS), keys_only=True), None),
    )
    (members, members_problem), (alarms, alarms_problem), rights, (snapshot, problem), (events, _) = found
    unread = members_problem or alarms_problem
    others = await asyncio.gather(
        *(_endpoint(etcd, base, configured=False) for base in _unknown(members, facts, etcd.link.bases))
    )
    return replace(
        facts, endpoints=(*facts.endpoints, *others), members=members, members_problem=unread,
        alarms=alarms, rights=rights, snapshot=snapshot, registry_problem=problem,
        events=events.count if events else 0,
    )  # fmt: skip


def _unknown(members: tuple[Member, ...], facts: Examination, bases: tuple[str, ...]) -> Iterator[str]:
    """Where members listen that are none of our endpoints; never in clear where ours speak TLS."""
    known = {each.member for each in facts.endpoints}
    scheme = bases[0].partition(":")[0]
    for each in members:
        urls = [url for url in each.client_urls if url.startswith(f"{scheme}://")]
        if each.id not in known and urls and not set(each.client_urls) & set(bases):
            yield urls[0]


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
