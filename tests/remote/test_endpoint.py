"""What a machine's record may be to an ssh client, and what of it reaches a shell or a terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fleettui.remote import MachineUnreachable, Remote, RemoteError
from fleettui.remote.endpoint import is_address, is_host_name, of_jump, of_jumps, of_machine
from registry.errors import UserError
from registry.model import Machine
from tests.remote.conftest import Home, StartSshd, machine

HOSTILE = (
    "$(touch {mark})",
    "`touch {mark}`",
    "x;touch {mark}",
    "x|touch {mark}",
    "x&touch {mark}",
    "x\ntouch {mark}",
    '"; touch {mark}; "',
    "'; touch {mark}; '",
    "${{IFS}}touch {mark}",
    "-oProxyCommand=touch {mark}",
    "${{HOME}}",
    "%h",
    "a b",
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "core\u202e1",
    "café",
    "core-1\r",
    "",
    "x" * 300,
    "\ud800",
    "fe80::1%$(touch {mark})",
    "1.2.3.4;touch {mark}",
)
PLAIN = Machine("a" * 32, "core-1", "10.0.0.1", "boot")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("part", ["hostname", "address"])
async def test_no_text_of_a_record_reaches_the_shell_of_a_proxy_command(
    home: Home, start_sshd: StartSshd, text: str, part: str
) -> None:
    mark = home.path / "owned"
    home.write("config", 'Host *\n  ProxyCommand sh -c "echo %n %h %p; nc %h %p"\n')
    text = text.format(mark=mark)
    record = replace(machine(start_sshd()), **{part: text})  # type: ignore[arg-type]
    async with Remote(home.ssh(timeout=1.0)) as remote:
        with pytest.raises(MachineUnreachable) as caught:
            await remote.run(record, ["true"])
    assert not mark.exists()
    assert_safe(str(caught.value))


def assert_safe(line: str) -> None:
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069\ud800-\udfff]", line), repr(line)


@pytest.mark.parametrize("port", [-1, 65536, 10**400, 70000])
def test_a_port_that_is_none_is_refused_in_a_line(port: int) -> None:
    with pytest.raises(MachineUnreachable, match="the SSH port is not between 1 and 65535"):
        of_machine(replace(PLAIN, ssh_port=port))


@pytest.mark.parametrize("id_", ["", "a b", "../x", "\x1b[2J", "a" * 65])
def test_an_id_that_is_none_is_refused(id_: str) -> None:
    with pytest.raises(MachineUnreachable) as caught:
        of_machine(replace(PLAIN, id=id_))
    assert_safe(str(caught.value))


@pytest.mark.parametrize("text", ["core-1", "a", "A.b-c_d.example.", "10.0.0.1", "_srv", "x" * 253])
def test_host_names(text: str) -> None:
    assert is_host_name(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "::1", "fe80::1%eth0", "2001:db8::7"])
def test_addresses(text: str) -> None:
    assert is_address(text)
    assert of_machine(replace(PLAIN, address=text)).address == text


@pytest.mark.parametrize("text", ["fe80::1%", "10.0.0.1%eth0", "fe80::1%a;b", "1.2.3", "::g", ""])
def test_no_addresses(text: str) -> None:
    assert not is_address(text)


def test_a_machine_without_a_host_name_goes_by_its_id() -> None:
    assert of_machine(replace(PLAIN, hostname="")).name == "aaaaaaaa"


@pytest.mark.parametrize(
    "spec", ["$(id)", "a;b", "-oProxyCommand=x", "h:123456", "h:٣", "[::1%$(id)]", "\x1b[2J", "a@b@c"]
)
def test_a_jump_host_that_is_none_is_refused_in_a_line(spec: str) -> None:
    with pytest.raises(UserError, match="USER@") as caught:
        of_jump(spec)
    assert_safe(str(caught.value))


def test_a_chain_of_jump_hosts() -> None:
    one, two = of_jumps("core@bastion:2222, [fe80::1%eth0]:22")
    assert (one.user, one.address, one.port) == ("core", "bastion", 2222)
    assert (two.user, two.address, two.port) == ("", "fe80::1%eth0", 22)


@pytest.mark.parametrize("part", ["host", "reason", "remedy"])
def test_an_error_is_one_safe_line_whatever_it_is_made_of(part: str) -> None:
    parts = {"host": "h", "reason": "r", "remedy": "m"} | {part: "a\x1b]0;x\x07\nb\r\u202e"}
    error = RemoteError(**parts)
    assert_safe(str(error))
    assert_safe(getattr(error, part))


def test_a_reason_that_ends_in_a_full_stop_is_joined_without_a_second_mark() -> None:
    assert str(RemoteError("h", "Unit x not found.", "see y")) == "cannot use h: Unit x not found; see y"
    assert str(RemoteError("h", "lost machine 12...", "see y")) == "cannot use h: lost machine 12...; see y"
