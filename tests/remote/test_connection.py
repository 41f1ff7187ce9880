"""Reaching machines: real sshd servers, and one clear error for each way in which it can fail."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.remote import HostKeyRefused, LoginRefused, MachineUnreachable, Remote
from fleettui.remote.connection import translate
from fleettui.remote.endpoint import Endpoint
from registry.errors import FleetError, UserError
from registry.model import Machine
from tests.remote.conftest import Home, StartSshd, machine
from tests.remote.sshd import Sshd, make_key

LOCAL = "127.0.0.1"


async def hello(home: Home, server: Sshd, keys: tuple[str, ...] | None = None, **ssh: object) -> str:
    async with Remote(home.ssh(**ssh)) as remote:
        done = await remote.run(machine(server, keys=keys), ["echo", "hello"])
    return done.stdout.decode()


async def refused(home: Home, server: Sshd, keys: tuple[str, ...] | None = None, **ssh: object) -> FleetError:
    with pytest.raises(FleetError) as caught:
        await hello(home, server, keys, **ssh)
    assert "\n" not in str(caught.value)
    return caught.value


# Host keys


async def test_registry_vouches_for_a_host_key_without_any_known_hosts(home: Home, start_sshd: StartSshd) -> None:
    assert await hello(home, start_sshd()) == "hello\n"
    assert not (home.path / ".ssh" / "known_hosts").exists()


async def test_known_hosts_vouches_when_the_registry_knows_nothing(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    home.write("known_hosts", "garbage that is no entry\n" + server.known_hosts_line)
    assert await hello(home, server, keys=()) == "hello\n"


async def test_known_hosts_file_of_the_configuration_wins(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    elsewhere = home.write("other_hosts", server.known_hosts_line)
    assert await hello(home, server, keys=(), known_hosts=str(elsewhere)) == "hello\n"
    home.write("known_hosts", server.known_hosts_line)
    error = await refused(home, server, keys=(), known_hosts=str(home.write("empty", "")))
    assert isinstance(error, HostKeyRefused)


async def test_unknown_host_key_is_refused_with_its_fingerprint_and_the_remedy(
    home: Home, start_sshd: StartSshd
) -> None:
    server = start_sshd()
    error = await refused(home, server, keys=())
    assert isinstance(error, HostKeyRefused)
    assert not error.changed
    assert fingerprint(server) in str(error)
    assert f"ssh-keyscan -p {server.port}" in str(error)


async def test_lenient_checking_lets_only_unknown_keys_in(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    assert await hello(home, server, keys=(), strict_host_key_checking=False) == "hello\n"
    other = make_key(home.path / "other")
    error = await refused(home, server, keys=(other,), strict_host_key_checking=False)
    assert isinstance(error, HostKeyRefused)
    assert error.changed


async def test_changed_host_key_names_machine_both_keys_and_their_source(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    server.stop()
    old = fingerprint(server)
    old_key = server.change_host_key()
    server.start()
    error = await refused(home, server, keys=(old_key,))
    assert isinstance(error, HostKeyRefused)
    assert error.changed
    for part in ("core-1", old, fingerprint(server), "the registry"):
        assert part in str(error)


async def test_changed_host_key_is_seen_in_known_hosts_too(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    home.write("known_hosts", f"[{LOCAL}]:{server.port} {make_key(home.path / 'other')}\n")
    error = await refused(home, server, keys=())
    assert "known_hosts" in str(error)
    assert "ssh-keygen -R" in str(error)


async def test_host_key_of_another_type_is_refused_as_changed(home: Home, start_sshd: StartSshd) -> None:
    error = await refused(home, start_sshd(), keys=(make_key(home.path / "ecdsa", "ecdsa"),))
    assert isinstance(error, HostKeyRefused)
    assert error.changed


async def test_revoked_key_is_refused_though_the_registry_has_it(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    home.write("known_hosts", f"@revoked {server.known_hosts_line}")
    error = await refused(home, server)
    assert "revoked" in str(error)


async def test_user_known_hosts_none_does_not_switch_the_check_off(home: Home, start_sshd: StartSshd) -> None:
    home.write("config", "UserKnownHostsFile none\nGlobalKnownHostsFile none\n")
    assert isinstance(await refused(home, start_sshd(), keys=()), HostKeyRefused)


async def test_two_servers_on_one_address_are_told_apart_by_their_keys(home: Home, start_sshd: StartSshd) -> None:
    one, two = start_sshd(), start_sshd()
    assert await hello(home, one) == await hello(home, two) == "hello\n"
    assert isinstance(await refused(home, one, keys=(two.host_key,)), HostKeyRefused)


# Identities


async def test_default_key_of_the_user_is_found_without_agent(home: Home, start_sshd: StartSshd) -> None:
    public = make_key(home.path / ".ssh" / "id_ed25519")
    assert await hello(home, start_sshd(authorized=public), identity_files=()) == "hello\n"


async def test_without_any_key_the_error_says_so(home: Home, start_sshd: StartSshd) -> None:
    error = await refused(home, start_sshd(), identity_files=())
    assert isinstance(error, LoginRefused)
    assert "no key to offer" in str(error)
    assert "no ssh agent is running" in str(error)


async def test_wrong_key_is_named(home: Home, start_sshd: StartSshd) -> None:
    error = await refused(home, start_sshd(authorized=make_key(home.path / "other")))
    assert isinstance(error, LoginRefused)
    assert str(home.identity) in str(error)


async def test_encrypted_key_without_agent_is_named(home: Home, start_sshd: StartSshd) -> None:
    public = make_key(home.path / ".ssh" / "id_ed25519", passphrase="secret")
    error = await refused(home, start_sshd(authorized=public), identity_files=())
    assert "~/.ssh/id_ed25519 is encrypted" in str(error)


async def test_missing_identity_file_of_the_configuration_is_a_user_error(
    home: Home, start_sshd: StartSshd
) -> None:
    error = await refused(home, start_sshd(), identity_files=("/nonexistent/key",))
    assert isinstance(error, UserError)
    assert "/nonexistent/key" in str(error)


@pytest.fixture
def agent(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real ssh-agent, named by SSH_AUTH_SOCK."""
    socket = str(home.path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", socket)
    while not Path(socket).exists():
        time.sleep(0.01)
    yield socket
    process.terminate()
    process.wait()


@pytest.mark.usefixtures("agent")
async def test_agent_is_used_when_there_is_one(home: Home, start_sshd: StartSshd) -> None:
    key = home.path / "agent_key"
    public = make_key(key)
    add_to_agent(key)
    key.unlink()
    server = start_sshd(authorized=public)
    assert await hello(home, server, identity_files=()) == "hello\n"
    home.write("config", "IdentitiesOnly yes\n")
    error = await refused(home, server, identity_files=())
    assert "agent_key" not in str(error)


@pytest.mark.usefixtures("agent")
async def test_identity_file_comes_before_the_keys_of_a_full_agent(home: Home, start_sshd: StartSshd) -> None:
    for number in range(6):  # sshd hangs up after six
        key = home.path / f"key{number}"
        make_key(key)
        add_to_agent(key)
    assert await hello(home, start_sshd()) == "hello\n"


async def test_dead_agent_does_not_matter(
    home: Home, start_sshd: StartSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
    assert await hello(home, start_sshd()) == "hello\n"


def add_to_agent(key: Path) -> None:
    subprocess.run(["ssh-add", "-q", str(key)], check=True)


# The user's ssh configuration


async def test_host_lines_match_the_hostname_and_missing_identity_files_do_not_matter(
    home: Home, start_sshd: StartSshd
) -> None:
    server = start_sshd()
    home.write(
        "config",
        f"Host core-1\n  IdentityFile /nonexistent\n  IdentityFile {home.identity}\n  Port {server.port}\n"
        f"  Hostname {LOCAL}\nHost *\n  User nobody-at-all\n",
    )
    wrong = replace(machine(server), address="192.0.2.1", ssh_port=9)  # which only the ssh configuration puts right
    async with Remote(home.ssh(identity_files=(), user="root")) as remote:
        done = await remote.run(wrong, ["echo", "hello"])
    assert done.stdout == b"hello\n"


async def test_host_lines_match_the_address_when_nothing_is_said_of_the_hostname(
    home: Home, start_sshd: StartSshd
) -> None:
    home.write("config", f"Host {LOCAL}\n  IdentityFile %d/.ssh/fleet_key\nHost *\n  IdentityFile /none/%h\n")
    assert await hello(home, start_sshd(), identity_files=()) == "hello\n"


async def test_user_of_the_ssh_configuration_holds_until_ours_is_given(home: Home, start_sshd: StartSshd) -> None:
    home.write("config", "User nobody-at-all\n")
    server = start_sshd()
    error = await refused(home, server)
    assert "nobody-at-all" in str(error)
    assert await hello(home, server, user="root") == "hello\n"


async def test_broken_ssh_configuration_is_a_user_error(home: Home, start_sshd: StartSshd) -> None:
    home.write("config", "Port many\n")
    error = await refused(home, start_sshd())
    assert isinstance(error, UserError)
    assert ".ssh/config" in str(error)


async def test_proxy_command_is_honoured(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    home.write("config", f"ProxyCommand {home.path}/relay %h %p\n")
    relay = home.path / "relay"
    relay.write_text(
        "#!/usr/bin/python3\nimport os, select, socket, sys\n"
        f"open('{home.path}/relayed', 'w').write(' '.join(sys.argv[1:]))\n"
        "far = socket.create_connection(('127.0.0.1', int(sys.argv[2])))\n"
        "while True:\n"
        "    for each in select.select([0, far], [], [])[0]:\n"
        "        data = os.read(0 if each == 0 else far.fileno(), 65536)\n"
        "        if not data: sys.exit()\n"
        "        far.sendall(data) if each == 0 else os.write(1, data)\n"
    )
    relay.chmod(0o755)
    assert await hello(home, server) == "hello\n"
    assert (home.path / "relayed").read_text() == f"{LOCAL} {server.port}"


async def test_a_proxy_command_that_is_not_there_is_named(home: Home, start_sshd: StartSshd) -> None:
    home.write("config", "ProxyCommand /nonexistent/relay %h %p\n")
    error = await refused(home, start_sshd())
    assert "ProxyCommand /nonexistent/relay cannot be started" in str(error)


# Jump hosts


async def test_a_jump_host_that_is_silent_is_named(home: Home, start_sshd: StartSshd) -> None:
    with socket.create_server((LOCAL, 0)) as silent:
        tunnel = f"{LOCAL}:{silent.getsockname()[1]}"
        error = await refused(home, start_sshd(), tunnel=tunnel, timeout=0.5)
    assert tunnel in str(error)


@pytest.mark.parametrize("spec", ["no-such-host.invalid", f"{LOCAL}:9"])
async def test_a_jump_host_that_cannot_be_reached_is_named(home: Home, start_sshd: StartSshd, spec: str) -> None:
    error = await refused(home, start_sshd(), tunnel=spec)
    assert isinstance(error, MachineUnreachable)
    assert str(error).startswith(f"cannot reach {spec.partition(':')[0]}")


async def test_tunnel_is_used_for_machines_and_shared(home: Home, start_sshd: StartSshd) -> None:
    jump, one, two = start_sshd(), start_sshd(), start_sshd()
    home.write("known_hosts", jump.known_hosts_line)
    async with Remote(home.ssh(tunnel=f"root@{LOCAL}:{jump.port}")) as remote:
        machines = [machine(one), machine(two, name="core-2")]
        done = await asyncio.gather(*(remote.run(each, ["sh", "-c", "echo $SSH_CLIENT"]) for each in machines))
        assert len(logins(jump)) == 1
    assert all(each.status == 0 for each in done)


async def test_proxy_jump_of_the_ssh_configuration(home: Home, start_sshd: StartSshd) -> None:
    jump, server = start_sshd(), start_sshd()
    home.write("known_hosts", jump.known_hosts_line)
    home.write("config", f"Host core-1\n  ProxyJump {LOCAL}:{jump.port}\n")
    assert await hello(home, server) == "hello\n"
    assert len(logins(jump)) == 1


async def test_errors_name_the_jump_host_when_it_is_the_jump_host(home: Home, start_sshd: StartSshd) -> None:
    jump, server = start_sshd(), start_sshd()
    error = await refused(home, server, tunnel=f"{LOCAL}:{jump.port}")
    assert isinstance(error, HostKeyRefused)
    assert error.host == LOCAL


async def test_jump_host_that_cannot_reach_the_machine(home: Home, start_sshd: StartSshd) -> None:
    jump, server = start_sshd(), start_sshd()
    home.write("known_hosts", jump.known_hosts_line)
    server.stop()
    error = await refused(home, server, tunnel=f"{LOCAL}:{jump.port}")
    assert isinstance(error, MachineUnreachable)
    assert error.host == f"core-1 ({LOCAL})"
    assert "jump host" in str(error)


@pytest.mark.parametrize("spec", ["", "  ", "host:port", "a b", "host:99999", "[::1", "@host"])
async def test_bad_tunnel_is_a_user_error(home: Home, start_sshd: StartSshd, spec: str) -> None:
    if not spec.strip():
        with pytest.raises(UserError):
            async with Remote(home.ssh(tunnel=spec)) as remote, remote.tunnel():
                pass
        return
    error = await refused(home, start_sshd(), tunnel=spec)
    assert isinstance(error, UserError)


# Other failures


async def test_nobody_listens(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    server.stop()
    error = await refused(home, server)
    assert isinstance(error, MachineUnreachable)
    assert f"connection refused on port {server.port}" in str(error)


async def test_somebody_listens_and_says_nothing(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    server.stop()
    with socket.create_server((LOCAL, server.port)):
        error = await refused(home, server, timeout=0.5)
    assert isinstance(error, MachineUnreachable)
    assert "no answer within 0.5 s" in str(error)


async def test_something_else_listens(home: Home, start_sshd: StartSshd) -> None:
    async def web(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = start_sshd()
    server.stop()
    other = await asyncio.start_server(web, LOCAL, server.port)
    error = await refused(home, server)
    other.close()
    assert isinstance(error, MachineUnreachable)


async def test_name_that_does_not_resolve(home: Home) -> None:
    lost = Machine("a" * 32, "lost", "no-such-host.invalid", "boot")
    async with Remote(home.ssh()) as remote:
        with pytest.raises(MachineUnreachable, match="does not resolve"):
            await remote.run(lost, ["true"])


# Many at once


async def test_more_sessions_than_one_connection_takes(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    async with Remote(home.ssh()) as remote:
        await remote.run(machine(server), ["true"])
        jobs = [remote.run(machine(server), ["sh", "-c", f"sleep 0.5; echo {n}"]) for n in range(20)]
        done = await asyncio.gather(*jobs)
    assert [each.stdout for each in done] == [f"{n}\n".encode() for n in range(20)]
    assert len(logins(server)) == 3  # eight on each


async def test_server_that_takes_fewer_sessions_is_believed(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd("MaxSessions 2")
    async with Remote(home.ssh()) as remote:
        jobs = [remote.run(machine(server), ["sh", "-c", f"sleep 0.3; echo {n}"]) for n in range(7)]
        done = await asyncio.gather(*jobs)
    assert [each.stdout for each in done] == [f"{n}\n".encode() for n in range(7)]


async def test_server_without_sessions_says_so(home: Home, start_sshd: StartSshd) -> None:
    error = await refused(home, start_sshd("MaxSessions 0"))
    assert "MaxSessions" in str(error)


async def test_twenty_connections_against_max_startups(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd("MaxStartups 2:50:4")
    remotes = [Remote(home.ssh()) for _ in range(12)]
    done = await asyncio.gather(*(remote.run(machine(server), ["true"]) for remote in remotes))
    assert [each.status for each in done] == [0] * 12
    await asyncio.gather(*(remote.__aexit__(None, None, None) for remote in remotes))


async def test_broken_connection_is_replaced_unseen(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    async with Remote(home.ssh()) as remote:
        await remote.run(machine(server), ["true"])
        server.kill_sessions()
        assert (await remote.run(machine(server), ["echo", "again"])).stdout == b"again\n"


async def test_machine_with_new_keys_gets_a_new_connection(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    async with Remote(home.ssh()) as remote:
        await remote.run(machine(server), ["true"])
        with pytest.raises(HostKeyRefused):
            await remote.run(machine(server, keys=(make_key(home.path / "other"),)), ["true"])


def fingerprint(server: Sshd) -> str:
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(server.directory / "host_key.pub")], check=True, capture_output=True, text=True
    )
    return shown.stdout.split()[1]


def logins(server: Sshd) -> list[str]:
    return re.findall(r"^Accepted publickey.*$", (server.directory / "log").read_text(), re.MULTILINE)


def test_why_a_host_is_out_of_reach_is_told_in_the_system_s_words_not_in_those_of_a_library() -> None:
    error = OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.9', 22)")
    told = str(translate(error, Endpoint("core-1", "10.0.0.9"), 22))
    assert told.startswith("cannot reach core-1 (10.0.0.9): no route to host on port 22; ")
