"""Users, roles and rights made from nothing, again, and taken back, in a real etcd with TLS."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fleettui.access.authority import Authority
from fleettui.access.grants import Grants, new_password
from registry.errors import RegistryDenied, RegistryError, UserError
from registry.etcd import Etcd
from registry.etcd.admin import KeyRange
from registry.etcd.cluster import EtcdCluster
from registry.keys import Keys
from registry.roles import Role, User, agent_of, user_named
from registry.sync.sentinel import read_cluster
from tests.access.fleet import QUICK, ROOT_PASSWORD, password_file, settings_of, tls_of
from tests.etcd_server import EtcdServer, available_versions

pytestmark = pytest.mark.etcd

KEYS = Keys()
ANN = User("ann", Role.OPERATOR)
AGENT = agent_of("7aea1bb43c8d4b0e9d2f6f1a5a0c9e11")


@pytest.fixture(params=available_versions())
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdServer]:
    tls = tls_of(Authority.create(tmp_path / "authority", "test"), tmp_path / "tls")
    with EtcdServer(tmp_path / "etcd", request.param, tls=tls, flags=QUICK) as running:
        yield running


@pytest.fixture
async def root(server: EtcdServer, tmp_path: Path) -> AsyncIterator[Etcd]:
    settings = settings_of(server, "root", password_file(tmp_path / "root", ROOT_PASSWORD))
    async with Etcd(settings) as etcd:
        yield etcd


async def test_from_nothing_to_users_on(server: EtcdServer, root: Etcd, tmp_path: Path) -> None:
    grants = Grants(root, KEYS)
    assert not await grants.admin.users_are_on()
    assert await grants.grant(ANN, "ann's password")
    assert await grants.turn_on(ROOT_PASSWORD)
    assert await grants.admin.users_are_on()
    assert await grants.grant(AGENT, "the agent's password")
    assert await read_cluster(root, KEYS)
    async with Etcd(settings_of(server, "ann", password_file(tmp_path / "ann", "ann's password"))) as ann:
        await ann.put(KEYS.unit("web.service"), b"")
        with pytest.raises(RegistryDenied):
            await ann.put(KEYS.leader, b"")
    async with Etcd(settings_of(server)) as nobody:
        with pytest.raises(RegistryDenied, match=r"set etcd\.username"):
            await nobody.get(KEYS.cluster)
    assert [(each.name, each.user, each.faults) for each in await grants.users()] == [
        (AGENT.name, AGENT, ()),
        ("ann", ANN, ()),
        ("root", None, ()),
    ]


async def test_done_twice_it_changes_nothing(server: EtcdServer, root: Etcd, tmp_path: Path) -> None:
    grants = Grants(root, KEYS)
    await grants.turn_on(ROOT_PASSWORD)
    await grants.grant(ANN, "ann's password")
    before = await grants.users(), await read_cluster(root, KEYS)
    assert not await grants.turn_on("another password")
    assert not await grants.grant(ANN)
    assert before == (await grants.users(), await read_cluster(root, KEYS))
    async with Etcd(settings_of(server, "ann", password_file(tmp_path / "ann", "ann's password"))) as ann:
        assert await ann.get(KEYS.cluster)


async def test_interrupted_anywhere_it_ends_well_when_done_again(
    root: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants, call = Grants(root, KEYS), EtcdCluster.call
    left = 0

    async def until(self: EtcdCluster, path: str, *rest: object, **more: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise RegistryError("interrupted")
        return await call(self, path, *rest, **more)  # type: ignore[arg-type]

    async def everything() -> None:
        await grants.grant(ANN, "ann's password")
        await grants.turn_on(ROOT_PASSWORD)
        await grants.grant(AGENT, "the agent's password")

    for steps in itertools.count():
        left = steps
        monkeypatch.setattr(EtcdCluster, "call", until)
        try:
            await everything()
        except RegistryError as error:
            assert str(error) == "interrupted"  # noqa: PT017
        else:
            break
        finally:
            monkeypatch.setattr(EtcdCluster, "call", call)
    assert steps > 10
    assert [each.faults for each in await grants.users()] == [(), (), ()]
    assert await grants.admin.users_are_on()


async def test_a_user_is_one_thing_at_a_time(root: Etcd) -> None:
    grants = Grants(root, KEYS)
    await grants.turn_on(ROOT_PASSWORD)
    await grants.grant(ANN, "ann's password")
    assert not await grants.grant(User("ann", Role.VIEWER))
    assert await grants.admin.roles_of("ann") == ("fleet/viewer/ann",)
    assert await grants.admin.roles() == ("fleet/viewer/ann", "root")


async def test_a_revoked_user_is_out_at_once(server: EtcdServer, root: Etcd, tmp_path: Path) -> None:
    grants = Grants(root, KEYS)
    await grants.turn_on(ROOT_PASSWORD)
    await grants.grant(AGENT, "secret")
    async with Etcd(settings_of(server, AGENT.name, password_file(tmp_path / "agent", "secret"))) as agent:
        assert await agent.get(KEYS.cluster)
        assert await grants.revoke(AGENT.name)
        with pytest.raises(RegistryDenied):
            await agent.get(KEYS.cluster)
    assert not await grants.revoke(AGENT.name)
    assert await grants.admin.roles() == ("root",)


async def test_what_is_not_as_it_should_be_is_told_and_mended(root: Etcd) -> None:
    grants = Grants(root, KEYS)
    await grants.turn_on(ROOT_PASSWORD)
    await grants.grant(ANN, "ann's password")
    role = ANN.etcd_role(KEYS)
    held = await grants.admin.ranges_of(role)
    spoilt = [each for each in held if b"units" not in each.key]
    await grants.admin.set_ranges(role, [*spoilt, KeyRange.of("READWRITE", "/", prefix=True)])
    assert (await grants.users())[0].faults == (
        "lacks WRITE of /fleet/units/*",
        "has too much: READWRITE of /*",
    )
    await grants.grant(ANN)
    assert (await grants.users())[0].faults == ()


async def test_root_is_no_user_of_the_fleet(root: Etcd) -> None:
    grants = Grants(root, KEYS)
    with pytest.raises(UserError, match="root is etcd's own"):
        await grants.grant(User("root", Role.VIEWER), "x")
    with pytest.raises(UserError, match="root cannot be revoked"):
        await grants.revoke("root")
    with pytest.raises(UserError, match="bob is no user yet"):
        await grants.grant(User("bob", Role.VIEWER))


async def test_no_new_password_travels_in_clear() -> None:
    from registry.etcd import EtcdSettings

    async with Etcd(EtcdSettings(("http://10.0.0.1",))) as etcd:
        with pytest.raises(UserError, match="in clear"):
            await Grants(etcd, KEYS).admin.add_user("ann", "secret")


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a b", "a\n"])
def test_a_name_that_is_no_part_of_a_key_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        user_named(name, Role.VIEWER)


def test_an_agent_is_named_for_its_machine() -> None:
    assert user_named("agent-abc", Role.AGENT) == agent_of("abc")
    with pytest.raises(ValueError, match="agent-MACHINE"):
        user_named("ann", Role.AGENT)


def test_passwords_are_long_and_differ() -> None:
    assert len({new_password() for _ in range(100)}) == 100
    assert len(new_password()) == 32
