"""Every key of the layout against every role, in a real etcd: what may be read and written is what is written here.

The table is the contract, and repeats on purpose what `registry.roles` says. A table of the registry that does not
stand in it fails the test.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import pytest

from fleettui.access.grants import Grants
from registry.errors import RegistryDenied
from registry.etcd import Compare, Etcd, Op
from registry.keys import PARTS, Address, Keys, Table
from registry.roles import Role, User, agent_of, joiner_of, may, rights, scheduler_of
from tests.access.fleet import secured
from tests.etcd_server import EtcdServer, available_versions

pytestmark = pytest.mark.etcd

KEYS = Keys()
M, N = "7aea1bb43c8d4b0e9d2f6f1a5a0c9e11", "0c9e117aea1bb43c8d4b0e9d2f6f1a5a"
T, U = "1f2e3d4c", "4c3d2e1f"
USERS = (User("ann", Role.OPERATOR), User("vic", Role.VIEWER), scheduler_of(M), agent_of(M), joiner_of(T))


class Allowed(NamedTuple):
    """What each user may do with a key: r, w, rw, or nothing."""

    operator: str
    viewer: str
    scheduler: str
    agent: str
    joiner: str = ""


ANYBODYS = {  # tables whose keys belong to no machine and no user
    Table.CLUSTER: Allowed("rw", "r", "rw", "r"),
    Table.LEADER: Allowed("r", "r", "rw", ""),
    Table.FILES: Allowed("rw", "r", "rw", "r"),
    Table.UNITS: Allowed("rw", "r", "rw", ""),
    Table.PENDING: Allowed("r", "r", "rw", ""),
    Table.OVERRIDES: Allowed("rw", "r", "r", ""),
    Table.ROLLOUTS: Allowed("rw", "r", "rw", ""),
    Table.PLACEMENTS: Allowed("r", "r", "rw", ""),
    Table.CONFIG: Allowed("rw", "r", "r", ""),
    Table.SECRETS: Allowed("rw", "r", "r", ""),
    Table.CONTENTS: Allowed("rw", "r", "r", "r"),
}
OWN = {  # tables whose keys belong to the machine of this agent, or to this user
    Table.SCHEDULE: Allowed("rw", "r", "rw", "r"),
    Table.STATES: Allowed("r", "r", "rw", "rw"),
    Table.DUPLICATES: Allowed("r", "r", "rw", "rw"),
    Table.MACHINES: Allowed("r", "r", "rw", "rw"),
    Table.USAGE: Allowed("r", "r", "rw", "w"),
    Table.CRASHES: Allowed("r", "r", "rw", "w"),
}
NOT_OWN = {  # the same of another machine
    Table.SCHEDULE: Allowed("rw", "r", "rw", ""),
    Table.STATES: Allowed("r", "r", "rw", ""),
    Table.DUPLICATES: Allowed("r", "r", "rw", ""),
    Table.MACHINES: Allowed("r", "r", "rw", ""),
    Table.USAGE: Allowed("r", "r", "rw", ""),
    Table.CRASHES: Allowed("r", "r", "rw", ""),
}
EVENTS_BY = {  # by writer
    "ann": Allowed("rw", "r", "rw", ""),
    agent_of(M).name: Allowed("r", "r", "rw", "w"),
    agent_of(N).name: Allowed("r", "r", "rw", ""),
    scheduler_of(M).name: Allowed("r", "r", "rw", ""),
    "an-older-version": Allowed("r", "r", "rw", ""),
}


JOINS = {  # beside the fleet's keys: of the joiner's own token
    "tokens": "",
    "requests": "w",
    "results": "w",
    "answers": "r",
    "parts": "r",
    "other": "",
}


def samples() -> Iterator[tuple[str, Allowed]]:
    """A key of each kind, and what is allowed."""
    for table, allowed in ANYBODYS.items():
        yield KEYS.at(Address(table, *["x"] * PARTS.get(table, 1))), allowed
    for machine, allowed_of in ((M, OWN), (N, NOT_OWN), (f"{M}0", NOT_OWN), (M[:-1], NOT_OWN)):
        for table, allowed in allowed_of.items():
            yield KEYS.at(Address(table, machine, *["x"] * (PARTS.get(table, 1) - 1))), allowed
    for writer, allowed in EVENTS_BY.items():
        yield KEYS.event(writer, "0000000000000-x"), allowed
    yield f"{KEYS.prefix}events/0000000000000-x", Allowed("r", "r", "rw", "")
    yield f"{KEYS.prefix}clusters", Allowed("r", "r", "r", "")
    yield f"{KEYS.prefix}other/x", Allowed("r", "r", "r", "")
    for kind, letters in JOINS.items():
        yield KEYS.join(kind, T, "x"), Allowed("", "", "", "", letters)
        for other in (U, f"{T}0", T[:-1]):
            yield KEYS.join(kind, other, "x"), Allowed("", "", "", "")
        yield KEYS.join(kind, T), Allowed("", "", "", "")
    yield "/fleet", Allowed("", "", "", "")
    yield "/other/x", Allowed("", "", "", "")


def test_every_table_of_the_registry_stands_in_the_matrix() -> None:
    assert {*ANYBODYS, *OWN, Table.EVENTS} == set(Table)
    assert OWN.keys() == NOT_OWN.keys()


def test_the_roles_say_what_the_matrix_says() -> None:
    for key, allowed in samples():
        for user, letters in zip(USERS, allowed, strict=True):
            held = rights(user, KEYS)
            found = "r" * may(held, key, write=False) + "w" * may(held, key, write=True)
            assert found == letters, (key, user)


class Fleet(NamedTuple):
    """A secured etcd, and a client for each user."""

    server: EtcdServer
    clients: dict[str, Etcd]


@pytest.fixture(params=available_versions())
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with secured(tmp_path, USERS, request.param) as etcd:
        for key, _ in samples():
            await etcd.root.put(key, b"before")
        clients = {each.name: await etcd.client(each.name) for each in USERS}
        yield Fleet(etcd.server, {"root": etcd.root} | clients)


async def is_allowed(call: Awaitable[object]) -> bool:
    try:
        await call
    except RegistryDenied:
        return False
    return True


async def test_etcd_holds_everybody_to_the_matrix(fleet: Fleet) -> None:
    root = fleet.clients["root"]
    for key, allowed in samples():
        for user, letters in zip(USERS, allowed, strict=True):
            etcd, told = fleet.clients[user.name], (key, user)
            reads, writes = "r" in letters, "w" in letters
            assert await is_allowed(etcd.get(key)) == reads, told
            assert await is_allowed(etcd.txn([Compare.exists(key)], [])) == reads, told
            assert await is_allowed(etcd.txn([], [Op.put(key, user.name.encode())])) == writes, told
            kept = await root.get(key)
            assert kept
            assert (kept.value == user.name.encode()) == writes, told
            assert await is_allowed(etcd.delete(key)) == writes, told
            assert bool(await root.get(key)) != writes, told
            await root.put(key, b"again")


async def test_nobody_reads_more_by_asking_for_more(fleet: Fleet) -> None:
    agent = fleet.clients[agent_of(M).name]
    for prefix in ("", KEYS.prefix, KEYS.table(Table.SCHEDULE), KEYS.cluster, KEYS.machine(M), KEYS.state(M)[:-1]):
        assert not await is_allowed(agent.range(prefix)), prefix
        async with aclosing(agent.watch(prefix, 1)) as watch:
            with pytest.raises(RegistryDenied):
                await asyncio.wait_for(anext(watch), 20)
    assert (await agent.range(KEYS.schedule(M))).count == 1
    assert (await agent.range(KEYS.table(Table.FILES))).count == 1
    for name in ("ann", "vic", scheduler_of(M).name):
        assert await is_allowed(fleet.clients[name].range(KEYS.prefix)), name
        assert not await is_allowed(fleet.clients[name].range("/")), name


async def test_hosts_with_one_token_see_nothing_of_one_another(fleet: Fleet) -> None:
    joiner = fleet.clients[joiner_of(T).name]
    for prefix in (
        "",
        "/",
        KEYS.prefix,
        KEYS.join("requests", T, ""),
        KEYS.join("results", T, ""),
        KEYS.join("answers"),
    ):
        assert not await is_allowed(joiner.range(prefix)), prefix
    assert (await joiner.range(KEYS.join("answers", T, ""))).count == 1


async def test_nobody_but_root_manages_users(fleet: Fleet) -> None:
    for user in USERS:
        grants = Grants(fleet.clients[user.name], KEYS)
        with pytest.raises(RegistryDenied):
            await grants.grant(User("mallory", Role.OPERATOR), "x")
        with pytest.raises(RegistryDenied):
            await grants.admin.set_password("root", "x")


async def test_without_a_certificate_the_port_answers_nothing(fleet: Fleet) -> None:
    tls = fleet.server.members[0].tls
    assert tls
    bare = ssl.create_default_context(cafile=str(tls.ca))
    for path in ("kv/range", "lease/grant", "lease/leases", "maintenance/status", "maintenance/snapshot",
                 "cluster/member/list", "kv/compaction", "auth/authenticate"):  # fmt: skip
        assert await _asked(fleet.server, bare, f"POST /v3/{path}") == b"", path
    for path in ("health", "version", "metrics", "debug/pprof/", "v2/keys"):
        assert await _asked(fleet.server, bare, f"GET /{path}") == b"", path
    ours = ssl.create_default_context(cafile=str(tls.ca))
    ours.load_cert_chain(tls.client_cert, tls.client_key)
    assert b"200 OK" in await _asked(fleet.server, ours, "GET /version")


async def _asked(server: EtcdServer, context: ssl.SSLContext, line: str) -> bytes:
    """What comes back for a request."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.members[0].client_port, ssl=context)
        writer.write(
            f"{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()
        )
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return b""
    return answer
