"""etcd through a jump host: a real sshd before a real etcd, and what nobody else on this host may reach."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.cli.connection import open_operator
from fleettui.remote import Remote
from registry.errors import RegistryUnavailable
from registry.program.config import EtcdTable, Settings
from tests.etcd_server import EtcdServer, make_tls
from tests.remote.conftest import Home, StartSshd
from tests.remote.sshd import Sshd

LOCAL = "127.0.0.1"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A server whose certificate holds for a name and for no address."""
    directory = tmp_path_factory.mktemp("secure")
    with EtcdServer(directory, tls=make_tls(directory / "tls", "localhost")) as server:
        yield server


@pytest.fixture
def jump(home: Home, start_sshd: StartSshd) -> Sshd:
    server = start_sshd()
    home.write("known_hosts", server.known_hosts_line)
    return server


def settings(home: Home, jump: Sshd, etcd: EtcdTable) -> Settings:
    return replace(Settings(), etcd=etcd, ssh=home.ssh(tunnel=f"{LOCAL}:{jump.port}"))


def table(server: EtcdServer, *endpoints: str) -> EtcdTable:
    tls = server.members[0].tls
    assert tls
    port = server.members[0].client_port
    return EtcdTable(endpoints or (f"https://localhost:{port}",), ca_file=str(tls.ca), request_timeout=8.0)


def listening() -> set[str]:
    """Every TCP socket of this process that listens, and every unix socket with a name."""
    targets = {_target(each) for each in Path("/proc/self/fd").iterdir()}
    inodes = {each[8:-1] for each in targets if each.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    found = {f"tcp {row[1]}" for row in rows if row[3] == "0A" and row[9] in inodes}
    unix = [line.split() for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]]
    return found | {f"unix {row[7]}" for row in unix if len(row) > 7 and row[6] in inodes}


def _target(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:  # closed meanwhile
        return ""


async def test_tls_through_the_tunnel_verifies_the_servers_own_name(
    home: Home, jump: Sshd, secure: EtcdServer
) -> None:
    async with open_operator(settings(home, jump, table(secure))) as operator:
        start = await operator.etcd.put("/tunnel/k", b"1")
        batch = await asyncio.wait_for(anext(operator.etcd.watch("/tunnel/", start)), 20)
    assert [change.key for change in batch.changes] == ["/tunnel/k"]


async def test_tls_through_the_tunnel_refuses_a_certificate_of_another_name(
    home: Home, jump: Sshd, secure: EtcdServer
) -> None:
    wrong = table(secure, f"https://{LOCAL}:{secure.members[0].client_port}")
    with pytest.raises(RegistryUnavailable, match=r"not valid for host 127\.0\.0\.1"):
        async with open_operator(settings(home, jump, wrong)) as operator:
            await operator.etcd.range("/tunnel/")


async def test_the_tunnel_listens_for_nobody_else_on_this_host(home: Home, jump: Sshd, secure: EtcdServer) -> None:
    before = listening()
    async with open_operator(settings(home, jump, table(secure))) as operator:
        await operator.etcd.range("/tunnel/")
        assert listening() == before


async def test_one_login_carries_all_endpoints_and_a_dead_one_is_passed_over(
    home: Home, jump: Sshd, secure: EtcdServer
) -> None:
    port = secure.members[0].client_port
    both = table(secure, "https://localhost:9", "https://name.invalid:2379", f"https://localhost:{port}")
    async with open_operator(settings(home, jump, both)) as operator:
        await operator.etcd.range("/tunnel/")
        assert len(jump.children()) == 1


async def test_what_the_jump_host_cannot_reach_is_told_as_such(home: Home, jump: Sshd) -> None:
    with pytest.raises(RegistryUnavailable, match=r"the jump host cannot reach 127\.0\.0\.1:9: ") as caught:
        async with open_operator(settings(home, jump, EtcdTable((f"http://{LOCAL}:9",)))) as operator:
            await operator.etcd.range("/tunnel/")
    assert "\n" not in str(caught.value)
    assert "TLS" not in str(caught.value)


async def test_the_tunnel_survives_a_broken_jump_host(home: Home, jump: Sshd, start_sshd: StartSshd) -> None:
    server = start_sshd()
    async with Remote(home.ssh(tunnel=f"{LOCAL}:{jump.port}")) as remote, remote.tunnel() as tunnel:
        assert (await banner(tunnel.dial(LOCAL, server.port))).startswith(b"SSH-2.0")
        jump.kill_sessions()
        await asyncio.sleep(0.2)
        assert (await banner(tunnel.dial(LOCAL, server.port))).startswith(b"SSH-2.0")


async def banner(connected: socket.socket) -> bytes:
    connected.settimeout(0)
    reader, writer = await asyncio.open_connection(sock=connected)
    line = await asyncio.wait_for(reader.readline(), 20)
    writer.close()
    await writer.wait_closed()
    return line
