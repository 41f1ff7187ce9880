"""Everything is renewed on a host with a member of etcd, while a program there goes on writing.

The etcd is a real one and so are the scripts; instead of over SSH they run here, below a directory of the test's.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fleettui.cli.access
from fleettui.access import rotation
from fleettui.access.authority import Authority, names_of
from fleettui.access.grants import Grants
from fleettui.access.secrets_key import make_keys
from fleettui.actions import configs, units
from fleettui.actions.operator import Operator
from fleettui.actions.pins import read_stored, renewed
from fleettui.cli.access import access
from fleettui.cli.arguments import parse
from fleettui.remote.command import Completed
from registry.errors import RegistryError, RegistryUnavailable, UserError
from registry.etcd import Etcd, EtcdSettings
from registry.keys import Keys
from registry.model import Machine
from registry.records import encode
from registry.roles import Role, User, agent_of, scheduler_of
from registry.sealing import key_names, new_key, public_of, seal, unseal
from registry.units.content import read_secret, secret_text
from registry.units.pins import NeedKind, pins_of
from tests.access.fleet import QUICK, ROOT_PASSWORD, password_file, settings_of, write_leaf
from tests.etcd_server import EtcdServer, Tls, available_versions

pytestmark = pytest.mark.etcd

KEYS = Keys()
M = "7aea1bb43c8d4b0e9d2f6f1a5a0c9e11"


class Host:
    """A host with a member of etcd. What its systemd is told is in `told`."""

    name = "core-1"

    def __init__(self, directory: Path, home: Path, version: str, etcd: Path) -> None:
        self.etc = directory
        self.told: list[str] = []
        authority = Authority.create(home, "test")
        (directory / "etcd").mkdir(parents=True)
        for name in ("server", "peer"):
            write_leaf(directory / "etcd", name, authority.issue_server(["127.0.0.1", "localhost"]))
        client = write_leaf(directory, "client", authority.issue_client())
        write_leaf(home, "client", authority.issue_client())
        for ca in (directory / "ca.pem", directory / "etcd" / "ca.pem"):
            ca.write_bytes(authority.certificate_pem)
        self.copies = etcd / "run"
        self.reload()
        server = self.copies / "server.pem", self.copies / "server.key"
        tls = Tls(self.copies / "ca.pem", *server, *client, require_client=True)
        self.server = EtcdServer(etcd, version, tls=tls, flags=QUICK)

    def reload(self) -> None:
        """As the unit fleet-etcd.service does: etcd reads copies of its own."""
        shutil.copytree(self.etc / "etcd", self.copies, dirs_exist_ok=True)

    async def run(self, script: str, *arguments: str, data: bytes = b"", timeout_s: float = 60) -> Completed:
        del timeout_s
        if script.startswith("systemctl"):
            self.told.append(script)
            if "fleet-etcd" in script:
                self.reload()
            if script == rotation.RESTART:
                await asyncio.to_thread(self.server.stop)
                await self.server.restart()
            return Completed(b"", b"", 0)
        words = [each.replace(rotation.ETC, str(self.etc)) for each in (script, *arguments)]
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", words[0], "sh", "- - - -", *words[1:],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate(data)
        return Completed(out, err, process.returncode or 0)


@pytest.fixture(params=available_versions())
async def host(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Host]:
    home = tmp_path / "home"
    host = Host(tmp_path / "etc", home, request.param, tmp_path / "etcd")

    class Here(rotation.Rotation):
        @asynccontextmanager
        async def _host(self, found: Machine) -> AsyncIterator[Any]:
            if found.id != M:
                raise UserError(f"cannot reach {found.hostname}")
            yield host

    monkeypatch.setattr(fleettui.cli.access, "Rotation", Here)
    host.server._spawn()
    await asyncio.to_thread(host.server.members[0].wait_ready)
    try:
        root = password_file(home / "root.password", ROOT_PASSWORD)
        async with Etcd(settings_of(host.server, "root", root)) as etcd:
            grants = Grants(etcd, KEYS)
            for user, path in (
                (User("ann", Role.OPERATOR), home / "ann.password"),
                (agent_of(M), host.etc / "agent.password"),
                (scheduler_of(M), host.etc / "scheduler.password"),
            ):
                password_file(path, f"of {user.name}")
                await grants.grant(user, f"of {user.name}")
            await grants.turn_on(ROOT_PASSWORD)
            await etcd.put(KEYS.machine(M), encode(Machine(M, "core-1", "127.0.0.1", "boot")))
        files = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"}
        rows = {"endpoints": host.server.endpoints, "username": "ann", "password_file": str(home / "ann.password")}
        rows |= {key: str(home / name) for key, name in files.items()}
        text = "[etcd]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())
        (home / "fleet.toml").write_text(text)
        monkeypatch.setenv("FLEET_CONFIG", str(home / "fleet.toml"))
        yield host
    finally:
        host.server.close()


@asynccontextmanager
async def an_agent_that_writes(host: Host) -> AsyncIterator[list[str]]:
    """An agent that writes all the time; why it could not is in the list, but for etcd being restarted."""
    ca, cert, key, password = (
        str(host.etc / each) for each in ("ca.pem", "client.pem", "client.key", "agent.password")
    )
    settings = EtcdSettings(host.server.endpoints, ca, cert, key, f"agent-{M}", password)
    refused: list[str] = []
    written = 0

    async def write() -> None:
        nonlocal written
        async with Etcd(settings) as etcd:
            while True:
                try:
                    await etcd.put(KEYS.state(M, "a.service"), str(written).encode())
                    written += 1
                except RegistryError as error:
                    if not isinstance(error, RegistryUnavailable) or "certificate" in str(error):
                        refused.append(str(error))
                await asyncio.sleep(0.01)

    task = asyncio.create_task(write())
    await asyncio.sleep(0.1)
    try:
        yield refused
        before = written
        async with asyncio.timeout(20):
            while written < before + 3:  # noqa: ASYNC110 - it writes after all of it, too
                await asyncio.sleep(0.01)
    finally:
        task.cancel()


async def run(*words: str) -> int:
    _, flags = parse(["access", *words])
    return await access(flags)


def held(host: Host, home: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for root in (host.etc, home) for each in root.rglob("*") if each.is_file()}


async def test_passwords_and_certificates_are_others_and_nobody_was_locked_out(host: Host, tmp_path: Path) -> None:
    before = held(host, tmp_path / "home")
    async with an_agent_that_writes(host) as refused:
        assert await run("rotate") == 0
    after = held(host, tmp_path / "home")
    kept = {Path(each).name for each in before if before[each] == after[each]}
    assert kept == {"ca.pem", "authority.pem", "root.password", "fleet.toml"}
    assert names_of((host.etc / "etcd" / "server.pem").read_bytes()) == {"127.0.0.1", "localhost"}
    assert rotation.RESTART not in host.told
    assert rotation.RELOAD in host.told
    assert not refused


async def test_the_authority_is_another_one_and_nobody_was_locked_out(host: Host, tmp_path: Path) -> None:
    old = (tmp_path / "home" / "ca.pem").read_bytes()
    stolen = write_leaf(tmp_path, "stolen", Authority.load(tmp_path / "home").issue_client())
    async with an_agent_that_writes(host) as refused:
        assert await run("rotate", "--authority") == 0
    assert not refused
    authority = Authority.load(tmp_path / "home")
    assert not authority.replaced
    assert authority.certificate_pem != old
    for each in (host.etc / "ca.pem", host.etc / "etcd" / "ca.pem", tmp_path / "home" / "ca.pem"):
        assert each.read_bytes() == authority.certificate_pem
    for name in ("client.pem", "etcd/server.pem", "etcd/peer.pem"):
        assert authority.signed((host.etc / name).read_bytes())
    assert host.told.count(rotation.RESTART) == 2
    settings = EtcdSettings(host.server.endpoints, str(host.etc / "ca.pem"), str(stolen[0]), str(stolen[1]))
    async with Etcd(settings) as etcd:
        with pytest.raises(RegistryError, match="client certificate"):
            await etcd.member_list()
    assert await run("check") == 0


async def test_an_interrupted_renewal_of_the_authority_is_finished_by_the_next(host: Host, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (host.etc / "client.key.new").mkdir()  # nothing can be written there
    with pytest.raises(UserError, match="mend it, then run the same again, or leave out"):
        await run("rotate", "--authority")
    assert Authority.load(home).replaced
    (host.etc / "client.key.new").rmdir()
    begun = Authority.load(home).certificate_pem
    assert await run("rotate", "--authority") == 0
    assert begun.startswith(Authority.load(home).certificate_pem), "the one that was begun, not a third"


async def test_a_machine_that_no_ssh_reaches_is_left_out_and_is_asked_about(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, away = tmp_path / "home", "0c9e117aea1bb43c8d4b0e9d2f6f1a5a"
    async with Etcd(settings_of(host.server, "root", home / "root.password")) as etcd:
        await Grants(etcd, KEYS).grant(agent_of(away), "of the one that is away")
        await etcd.put(KEYS.machine(away), encode(Machine(away, "core-2", "10.0.0.9", "boot")))
    with pytest.raises(UserError, match="cannot reach core-2"):
        await run("rotate")
    assert await run("rotate", "--without", "core-2") == 0
    assert f"agent-{away}: left as it is" in capsys.readouterr().out
    with pytest.raises(UserError, match="core-1 holds a member of the registry"):
        await run("rotate", "--authority", "--without", "core-1")
    both = ("rotate", "--authority", "--without", "core-2")
    assert await run(*both) == 0
    assert "fleettui token create --machine" in capsys.readouterr().out
    assert Authority.load(home).replaced
    assert host.told.count(rotation.RESTART) == 1, "whoever has a certificate of either is let in"
    with pytest.raises(UserError, match="add --yes"):
        await run(*both)
    assert await run(*both, "--yes") == 0
    assert not Authority.load(home).replaced


async def test_a_certificate_that_was_copied_from_another_host_is_not_renewed(host: Host, tmp_path: Path) -> None:
    other = Authority.load(tmp_path / "home").issue_server(["10.0.0.9"])
    (host.etc / "etcd" / "server.pem").write_bytes(other.certificate)
    with pytest.raises(UserError, match=r"core-1: cannot renew .*server\.pem: it is for 10\.0\.0\.9, not for 127"):
        await run("rotate")


async def test_the_key_for_secrets_is_renewed_in_two_steps_and_no_unit_is_ever_without(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, value = tmp_path / "home", b"correct horse"
    old = make_keys(home)
    (host.etc / "secrets.key").write_text(old)
    (host.etc / "secrets.key").chmod(0o600)
    root = settings_of(host.server, "root", home / "root.password")
    async with Etcd(root) as etcd:
        operator = Operator(etcd, KEYS, "root")

        async def set_secret(name: str, secret: bytes) -> None:
            text = secret_text(name, *seal((home / "secrets.pub").read_text(), name, secret))
            await configs.change(operator, NeedKind.SECRET, name, lambda _: (text, "sealed"))

        async def opened(sha: str, private: str) -> bytes:
            kv = await etcd.get(KEYS.content(sha))
            assert kv is not None
            key, sealed = read_secret(kv.value.decode(), "db")
            return unseal(private, key, sealed, "db")

        async def version_of_unit() -> str:
            (text,) = (await read_stored(operator, ["a.service"])).values()
            return pins_of(text)[0].version

        await set_secret("db", b"an earlier value")
        await set_secret("db", value)
        await set_secret("unused", b"x")
        unit = "[X-Fleet]\nSecret=db\n[Service]\nExecStart=/bin/true\n"
        await units.submit(operator, [units.UnitSource("a.service", unit)])
        before = await version_of_unit()

        # A new key on every machine first; every secret is sealed for it, and the unit keeps what it can open.
        assert await run("rotate", "--secrets") == 0
        both = (host.etc / "secrets.key").read_text()
        assert (home / "secrets.key").read_text() == both
        assert both.endswith(old)
        assert len(key_names(both)) == 2
        assert (host.etc / "secrets.key").stat().st_mode & 0o777 == 0o600
        newest = (await configs.read(operator, NeedKind.SECRET, "db")).versions[0].hash
        assert await version_of_unit() == before != newest
        assert await opened(before, both) == await opened(newest, both) == value
        told = capsys.readouterr().out
        assert "secret db: sealed for the new key" in told
        assert "a.service has versions that are sealed for the earlier key" in told

        # As long as a unit needs the earlier one, it stays, and nothing is sealed once more.
        assert await run("rotate", "--secrets") == 0
        assert (host.etc / "secrets.key").read_text() == both
        assert (await configs.read(operator, NeedKind.SECRET, "db")).versions[0].hash == newest
        assert "sealed for the new key" not in capsys.readouterr().out

        # After the rollout it is nowhere any more, nor what was sealed for it.
        texts = await renewed(operator, ["a.service"])
        await units.submit(operator, [units.UnitSource("a.service", texts["a.service"])], replace=True)
        assert await run("rotate", "--secrets") == 0
        alone = (host.etc / "secrets.key").read_text()
        assert (home / "secrets.key").read_text() == alone
        assert key_names(alone) == key_names(both)[:1]
        assert public_of(alone) == (home / "secrets.pub").read_text()
        assert await opened(await version_of_unit(), alone) == value
        assert [each.hash for each in (await configs.read(operator, NeedKind.SECRET, "db")).versions] == [newest]
        assert await etcd.get(KEYS.content(before)) is None
        assert "The earlier key opens nothing any more" in capsys.readouterr().out


async def test_a_secret_that_nobody_here_can_open_keeps_the_earlier_key(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    make_keys(home)
    async with Etcd(settings_of(host.server, "root", home / "root.password")) as etcd:
        text = secret_text("db", *seal(public_of(new_key()), "db", b"of another fleet"))
        operator = Operator(etcd, KEYS, "root")
        await configs.change(operator, NeedKind.SECRET, "db", lambda _: (text, "sealed"))
        assert await run("rotate", "--secrets") == 1
    assert "secret db is still sealed for the earlier key: it is sealed for another key" in capsys.readouterr().err
    assert len(key_names((host.etc / "secrets.key").read_text())) == 2


async def test_without_a_key_for_secrets_nothing_is_renewed(host: Host) -> None:
    with pytest.raises(UserError, match="cannot read the fleet's key for secrets"):
        await run("rotate", "--secrets")
    assert not (host.etc / "secrets.key").exists()
