"""A refusal names the user, what was to be done, and who can allow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from fleettui.access.grants import Grants
from registry.errors import RegistryDenied
from registry.etcd import Compare, Etcd, Op
from registry.keys import Keys
from registry.program.config import EtcdTable
from registry.roles import Role, User, agent_of, remedy
from tests.access.fleet import secured
from tests.etcd_server import available_versions

KEYS = Keys()
M, N = "7aea1bb43c8d4b0e9d2f6f1a5a0c9e11", "0c9e117aea1bb43c8d4b0e9d2f6f1a5a"
ROOT = "who has the password of etcd's root can allow it: fleetctl access grant"


@pytest.mark.parametrize(
    ("name", "key", "write", "said"),
    [
        ("vic", KEYS.unit("a.service"), True, f"{ROOT} vic operator"),
        ("vic", KEYS.unit("a.service"), False, f"{ROOT} vic viewer"),
        ("scheduler-x", KEYS.leader, True, f"{ROOT} scheduler-x scheduler"),
        (f"agent-{M}", KEYS.state(M, "a.service"), True, f"{ROOT} agent-{M} agent"),
        (f"agent-{M}", KEYS.state(N, "a.service"), True, "no role of the fleet allows it to this user"),
        (f"agent-{M}", KEYS.unit("a.service"), True, "no role of the fleet allows it to this user"),
        ("vic", "/flaet/cluster", False, "none of the fleet's keys, which begin with /fleet/: check etcd.prefix"),
    ],
)
def test_the_remedy_is_a_command_where_there_is_one(name: str, key: str, write: bool, said: str) -> None:
    assert said in remedy(KEYS, name, [key], write)[1]


def test_of_several_keys_that_is_named_which_an_agent_may_not_touch() -> None:
    keys = [KEYS.cluster, KEYS.state(M, "a.service"), f"{KEYS.unit('a')}*", KEYS.leader]
    assert remedy(KEYS, f"agent-{M}", keys, False)[0] == f"{KEYS.unit('a')}*"
    assert remedy(KEYS, "vic", keys, False)[0] == KEYS.cluster
    keys = [KEYS.unit("a.service"), KEYS.event("somebody", "0")]
    assert remedy(KEYS, "vic", keys, True) == (keys[1], "no role of the fleet allows it to this user")


@pytest.fixture(params=available_versions())
async def viewer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Etcd]:
    """A client as a program makes it, for the user `vic`, a viewer."""
    async with secured(tmp_path, (User("vic", Role.VIEWER), agent_of(M)), request.param) as etcd:
        table = EtcdTable(
            etcd.server.endpoints,
            ca_file=str(etcd.tls.ca),
            cert_file=str(etcd.tls.client_cert),
            key_file=str(etcd.tls.client_key),
            username="vic",
            password_file=str(etcd.home / "vic.password"),
        )
        async with Etcd(table.client_settings()) as client:
            yield client


@pytest.mark.etcd
async def test_every_kind_of_call_tells_it(viewer: Etcd) -> None:
    unit, schedule = KEYS.unit("a.service"), KEYS.schedule(M, "a.service")
    may_write = f"does not let vic write {unit} (permission denied): {ROOT} vic operator"
    for call, said in (
        (viewer.put(unit, b""), may_write),
        (viewer.delete(unit), may_write),
        (viewer.txn([Compare.absent(schedule)], [Op.get(schedule), Op.put(unit, b"")]), may_write),
        (viewer.txn([], [], [Op.delete_prefix(unit)]), may_write.replace(unit, f"{unit}*")),
        (viewer.get("/other"), "does not let vic read /other (permission denied): it is none of the fleet's keys"),
        (viewer.range("/other/"), "does not let vic read /other/* (permission denied): it is none"),
        (Grants(viewer, KEYS).grant(User("x", Role.VIEWER), "x"), "does not let vic manage users"),
    ):
        with pytest.raises(RegistryDenied) as caught:
            await call
        assert said in str(caught.value)
    async with aclosing(viewer.watch("/other/", 1)) as watch:
        with pytest.raises(RegistryDenied, match=r"does not let vic read /other/\* \(permission denied\)"):
            await asyncio.wait_for(anext(watch), 20)
    assert viewer.health.denied
    assert "vic" in viewer.health.denied.reason
