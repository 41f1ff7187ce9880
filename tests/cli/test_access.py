"""`fleetctl access` against a real etcd with users on, as the operator who made the fleet."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.access.grants import Grants
from fleettui.cli.access import access
from fleettui.cli.arguments import parse
from fleettui.cli.failures import UsageError
from registry.errors import RegistryDenied, UserError
from registry.etcd import Etcd
from registry.etcd.admin import KeyRange
from registry.keys import Keys
from registry.program.config import load
from registry.roles import Role, User
from tests.access.fleet import secured

pytestmark = pytest.mark.etcd

KEYS = Keys()
ANN = User("ann", Role.OPERATOR)


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """The directory of a fleet's authority, of which this is the operator's host."""
    async with secured(tmp_path, [ANN]) as etcd:
        own, tls = etcd.home / "ann.password", etcd.tls
        rows = {"endpoints": etcd.server.endpoints, "username": "ann", "password_file": str(own)}
        rows |= {"ca_file": str(tls.ca), "cert_file": str(tls.client_cert), "key_file": str(tls.client_key)}
        text = "[etcd]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())
        (etcd.home / "fleet.toml").write_text(text)
        monkeypatch.setenv("FLEET_CONFIG", str(etcd.home / "fleet.toml"))
        yield etcd.home


async def run(*words: str) -> int:
    _, flags = parse(["access", *words])
    return await access(flags)


def etcd_of(config: Path) -> Etcd:
    return Etcd(load(config, {}).etcd.client_settings())


@pytest.mark.usefixtures("home")
async def test_who_is_who_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run() == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["USER", "ROLE", "MACHINE", "TROUBLE"],
        ["ann", "operator", "-", "-"],
        ["root", "root", "-", "-"],
    ]


async def test_a_new_user_gets_all_that_it_needs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("grant", "vic", "viewer") == 0
    directory = home / "users" / "vic"
    assert f"vic is a viewer now; what lets it in lies in {directory}: hand it over" in capsys.readouterr().out
    assert {each.stat().st_mode & 0o777 for each in directory.iterdir()} == {0o600}
    async with etcd_of(directory / "fleet.toml") as vic:
        assert await vic.get(KEYS.cluster)
        with pytest.raises(RegistryDenied, match="fleetctl access grant vic operator"):
            await vic.put(KEYS.unit("a.service"), b"")
        assert await run("grant", "vic", "operator") == 0
        assert "vic is an operator now, no longer a viewer" in capsys.readouterr().out
        assert await vic.put(KEYS.unit("a.service"), b"")
        assert await run("grant", "vic", "operator") == 0
        assert "already; nothing was changed" in capsys.readouterr().out
        assert await run("revoke", "vic", "--yes") == 0
        with pytest.raises(RegistryDenied):
            await vic.get(KEYS.cluster)
    with pytest.raises(UserError, match="vic"):
        await run("revoke", "vic", "--yes")


async def test_another_password_is_in_the_file_and_in_etcd(home: Path) -> None:
    old = (home / "ann.password").read_text()
    async with etcd_of(home / "fleet.toml") as ann:
        assert await ann.get(KEYS.cluster)
        assert await run("rotate", "ann") == 0
        assert await run("rotate", "root") == 0
        assert (home / "ann.password").read_text() != old
        assert await ann.get(KEYS.cluster), "the client that is open goes on"
    assert await run("list") == 0
    with pytest.raises(UserError, match="where bob keeps its password is not known here"):
        await run("rotate", "bob")


async def test_certificates_and_passwords_of_this_host_are_renewed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {each: (home / each).read_bytes() for each in ("client.pem", "client.key", "ann.password", "ca.pem")}
    async with etcd_of(home / "fleet.toml") as ann:
        assert await run("rotate") == 0
        after = {each: (home / each).read_bytes() for each in before}
        assert [each for each in before if before[each] == after[each]] == ["ca.pem"]
        assert await ann.get(KEYS.cluster)
    assert len(capsys.readouterr().out.splitlines()) == 2, "of the certificate and of ann's password"
    with pytest.raises(UserError, match="renew the authority where etcd runs"):
        await run("rotate", "--authority")


async def test_what_is_not_as_it_should_be_is_told_with_the_remedy(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("check") == 0
    assert "All is as it should be with 2 users" in capsys.readouterr().out
    settings = load(home / "fleet.toml", {}).etcd.client_settings()
    async with Etcd(replace(settings, username="root", password_file=str(home / "root.password"))) as root:
        admin = Grants(root, KEYS).admin
        await admin.set_ranges(ANN.etcd_role(KEYS), [KeyRange.of("READ", KEYS.prefix, prefix=True)])
    assert await run("check") == 1
    said = capsys.readouterr().out
    assert "ann: lacks WRITE of /fleet/units/*" in said
    assert "To mend it: fleetctl access grant ann operator" in said
    assert await run("grant", "ann", "operator") == 0
    assert await run("check") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("frobnicate",), "unknown word 'frobnicate'; known: list, grant, revoke, rotate, check"),
        (("grant", "ann"), "access grant takes USER ROLE"),
        (("list", "x"), "access list takes nothing more"),
        (("rotate", "ann", "--authority"), "--authority is about everybody's certificates"),
    ],
)
@pytest.mark.usefixtures("home")
async def test_wrong_words_are_told(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        await run(*words)


async def test_wrong_names_are_told(home: Path) -> None:
    with pytest.raises(UserError, match="unknown role 'boss'; known: operator, viewer, scheduler, agent"):
        await run("grant", "ann", "boss")
    with pytest.raises(UserError, match="letters, digits"):
        await run("grant", "a/b", "viewer")
    with pytest.raises(UserError, match="add --yes"):
        await run("revoke", "ann")
    (home / "root.password").rename(home / "elsewhere")
    with pytest.raises(UserError, match=r"only etcd's root manages users, and .*root\.password is not there"):
        await run("list")
    assert await run("list", "--root-password-file", str(home / "elsewhere")) == 0
