"""Commands on a real sshd, and on this host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.remote import CommandTimeout, LinkLost, LocalMachine, Remote, RemoteError
from fleettui.remote.command import status_argv
from fleettui.remote.here import BOOT_ID
from registry.model import Machine
from registry.program.config import SshTable
from tests.remote.conftest import Home, StartSshd, machine
from tests.remote.sshd import Sshd

NASTY = ["$(touch owned)", "`id`", "a b", "'", '"', "*", ";", "\\", "-n", "", "\n", "é🙂", "\x1b[1m"]


@pytest.fixture
def server(start_sshd: StartSshd) -> Sshd:
    return start_sshd()


@pytest.fixture
async def remote(home: Home, here: Machine) -> AsyncIterator[Remote]:
    async with Remote(home.ssh(), here=LocalMachine(here.id, here.boot_id)) as opened:
        yield opened


@pytest.fixture
def here() -> Machine:
    """This host under the user's own systemd; nothing listens on its port."""
    boot_id = BOOT_ID.read_text().strip()
    return Machine("f" * 32, "laptop", "127.0.0.1", boot_id, ssh_port=9, bus="user")


async def test_output_errors_and_status_come_apart(remote: Remote, server: Sshd) -> None:
    done = await remote.run(machine(server), ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 7)


@pytest.mark.parametrize("local", [False, True])
async def test_arguments_arrive_as_they_are(remote: Remote, server: Sshd, here: Machine, *, local: bool) -> None:
    where = here if local else machine(server)
    done = await remote.run(where, ["printf", "%s\\0", *NASTY])
    assert done.stdout.decode().split("\0")[:-1] == NASTY


@pytest.mark.parametrize("local", [False, True])
async def test_signal_is_128_and_its_number(remote: Remote, server: Sshd, here: Machine, *, local: bool) -> None:
    where = here if local else machine(server)
    assert (await remote.run(where, ["sh", "-c", "kill -TERM $$"])).status == 128 + 15


async def test_large_output(remote: Remote, server: Sshd) -> None:
    done = await remote.run(machine(server), ["head", "-c", "5000000", "/dev/zero"])
    assert done.stdout == bytes(5_000_000)


async def test_output_without_end_is_refused_and_not_kept(
    remote: Remote, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleettui.remote.command.MAX_OUTPUT_BYTES", 1_000_000)
    with pytest.raises(RemoteError, match="core-1: yes printed more than"):
        await remote.run(machine(server), ["yes"])
    assert (await remote.run(machine(server), ["echo", "next"])).stdout == b"next\n"


async def test_command_that_takes_too_long_is_ended(remote: Remote, server: Sshd, tmp_path: Path) -> None:
    mark = tmp_path / "still-there"
    with pytest.raises(CommandTimeout, match=r"core-1.*did not end within 0.5 s"):
        await remote.run(machine(server), ["sh", "-c", f"sleep 2.5; touch {mark}"], timeout_s=0.5)
    assert (await remote.run(machine(server), ["echo", "next"])).stdout == b"next\n"
    await asyncio.sleep(2.6)
    assert not mark.exists()


async def test_connection_that_breaks_under_a_command_is_no_exit_status(
    remote: Remote, server: Sshd, tmp_path: Path
) -> None:
    mark = tmp_path / "begun"

    async def break_it() -> None:
        while not mark.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
        server.kill_sessions()

    breaking = asyncio.create_task(break_it())
    with pytest.raises(LinkLost, match="core-1"):
        await remote.run(machine(server), ["sh", "-c", f"touch {mark}; exec sleep 30"])
    await breaking


async def test_sudo_is_not_needed_as_root(remote: Remote, server: Sshd) -> None:
    done = await remote.run(machine(server), ["id", "-u"], sudo=True)
    assert done.stdout == b"0\n"


async def test_idle_connections_are_closed_and_made_again(
    remote: Remote, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleettui.remote.pool.IDLE_S", 0.2)
    await remote.run(machine(server), ["true"])
    await asyncio.to_thread(await_no_children, server)
    assert (await remote.run(machine(server), ["echo", "x"])).stdout == b"x\n"


async def test_leaving_closes_every_connection(home: Home, server: Sshd) -> None:
    async with Remote(home.ssh()) as remote:
        await remote.run(machine(server), ["true"])
        assert server.children()
    await asyncio.to_thread(await_no_children, server)


async def test_user_machine_of_this_host_needs_no_ssh(here: Machine) -> None:
    async with Remote(SshTable(), here=LocalMachine(here.id, here.boot_id)) as remote:
        assert (await remote.run(here, ["echo", "here"])).stdout == b"here\n"
        began = time.monotonic()
        with pytest.raises(CommandTimeout):
            await remote.run(here, ["sleep", "30"], timeout_s=0.2)
        assert time.monotonic() - began < 15  # it was ended, not waited for


def await_no_children(server: Sshd) -> None:
    deadline = time.monotonic() + 20
    while server.children():
        assert time.monotonic() < deadline, server.children()
        time.sleep(0.05)


def test_status_command() -> None:
    system = Machine("1" * 32, "core-1", "10.0.0.1", "b")
    argv = status_argv(system, "-web.service", colour=True, lines=5)
    assert argv[:4] == ["env", "SYSTEMD_COLORS=1", "SYSTEMD_URLIFY=0", "systemctl"]
    assert argv[-4:] == ["--lines=5", "status", "--", "-web.service"]
    assert status_argv(system, "web.service", sudo=True)[:2] == ["sh", "-c"]
    assert "--user" in status_argv(replace(system, bus="user"), "web.service")
