"""The program in a pty of its own: however it is told to end, it ends, and leaves the terminal as it was."""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.console_pty import Pty
from tests.console.fleetshow import NOW, scene
from tests.console.pastshow import bereaved, recorded
from tests.etcd_server import free_ports
from tests.remote.sshd import Sshd, make_key


@contextmanager
def console(home: Path) -> Iterator[Pty]:
    """A console whose registry is away."""
    program = str(Path(sys.executable).with_name("fleettui"))
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color", "HOME": str(home)}
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Pty([program, "--endpoint", endpoint], environment) as pty:
        pty.until("Units", "no answer from the registry", timeout_s=60)
        yield pty


@pytest.mark.parametrize("signals", [(), (signal.SIGCONT,) * 8])
def test_a_closed_terminal_ends_the_console(tmp_path: Path, signals: tuple[signal.Signals, ...]) -> None:
    with console(tmp_path) as pty:
        os.close(pty.near)
        pty.near = os.open("/dev/null", os.O_RDWR)
        for number in signals:  # the kernel sends one itself, and it is seen now before and now after SIGHUP
            pty.process.send_signal(number)
            time.sleep(0.01)
        pty.ended(30)


@pytest.mark.parametrize(
    "typed",
    [
        b"\xff\xe9",  # no UTF-8: a meta key of eight bits
        b"\x1b[200~\xe9t\xe9\x1b[201~",
        b"\x1b[97:65;2u",  # keys that Textual cannot read
        b"\x1b[99999999;5u",
        b"\x1b[48;0;0;0;0t\x1b[<0;5;5M",  # a terminal without an extent, and a click on it
        b"\x1b[48;99999999;99999999;1;1t",  # and one that is drawn for ever
    ],
)
def test_nothing_that_is_typed_or_pasted_makes_the_console_deaf(tmp_path: Path, typed: bytes) -> None:
    with console(tmp_path) as pty:
        pty.send(typed)
        pty.rest(1)
        pty.send(b"?")
        pty.until("type to search")


def test_a_terminated_console_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    with console(tmp_path) as pty:
        drawn = termios.tcgetattr(pty.near)
        pty.process.terminate()
        pty.pump(lambda: pty.process.poll() is not None, 30)  # its last words; they end a moment before it does
        assert pty.ended(30) == 0
        assert termios.tcgetattr(pty.near)[3] != drawn[3]  # the line discipline is on again


def test_a_suspended_console_gives_the_terminal_back_and_goes_on(tmp_path: Path) -> None:
    with console(tmp_path) as pty:
        drawn = termios.tcgetattr(pty.near)
        pty.send(b"\x1a")
        stat = Path(f"/proc/{pty.process.pid}/stat")
        pty.pump(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 30)
        assert termios.tcgetattr(pty.near)[3] & termios.ICANON
        pty.process.send_signal(signal.SIGCONT)
        pty.pump(lambda: termios.tcgetattr(pty.near)[3] == drawn[3], 30)
        pty.send(b"?")
        pty.until("type to search")


@contextmanager
def scripted(what: str, directory: Path) -> Iterator[Pty]:
    """A console on a terminal that is nobody's controlling one: no signal comes when it is closed.

    `what` it does: see `closing`. The editor, and the shell, write their process id and mind nothing but SIGKILL.
    """
    stubborn = directory / "stubborn"
    stubborn.write_text(f"#!/bin/sh\ntrap '' HUP TERM\necho $$ >{directory}/child\nwhile :; do sleep 1; done\n")
    stubborn.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color", "HOME": str(directory),
                   "EDITOR": str(stubborn), "TMPDIR": str(directory)}  # fmt: skip
    with Pty([sys.executable, "-m", "tests.console.closing", what], environment, controlling=False) as pty:
        pty.until("Units", "cache.service", timeout_s=60)
        yield pty


def child_of(pty: Pty, directory: Path) -> int:
    """The process that the console handed its terminal to."""
    told = directory / "child"
    assert pty.pump(lambda: told.exists() and told.read_text().strip(), 60), pty.text[-2000:]
    return int(told.read_text())


@pytest.mark.parametrize("what", ["rest", "busy", "shell", "editor"])
def test_a_closed_terminal_ends_the_console_without_any_signal(tmp_path: Path, what: str) -> None:
    with scripted(what, tmp_path) as pty:
        child = 0
        if what in ("shell", "editor"):
            pty.send(b"j" if what == "shell" else b"jj")
            pty.send(b"s" if what == "shell" else b"e")
            child = child_of(pty, tmp_path)
        if what == "busy":
            time.sleep(1)  # nobody reads: its writer is in the middle of a write
        os.close(pty.near)
        pty.near = os.open("/dev/null", os.O_RDWR)
        pty.process.wait(30)
        assert pty.process.returncode != -signal.SIGALRM, "it ends by itself, before the kernel ends it"
        assert not child or not Path(f"/proc/{child}").exists()


def test_a_record_opens_in_a_terminal_without_any_registry(tmp_path: Path) -> None:
    recorded(tmp_path / "record", scene(), bereaved())
    program = str(Path(sys.executable).with_name("fleettui"))
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color", "HOME": str(tmp_path),
                   "TZ": "UTC"}  # fmt: skip
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(NOW + 5))
    argv = [program, "--at", at, "--record", str(tmp_path / "record")]
    with Pty(argv, environment) as pty:
        pty.until(f"◀ {at} UTC", "not now: as it was", "3/3 machines", "sync.service", timeout_s=60)
        pty.forget()
        pty.send(b"]")
        pty.until("2/3 machines", timeout_s=60)
    with Pty([program, "--at", "2001-01-02", "--record", str(tmp_path / "record")], environment) as pty:
        pty.until("error: the record in", "begins at", timeout_s=60)


def test_a_record_is_looked_at_over_ssh_where_no_configuration_says_whose_it_is(tmp_path: Path) -> None:
    recorded(tmp_path / "record", scene(), bereaved())
    program = Path(sys.executable).with_name("fleettui")
    asked = f"env HOME={tmp_path} TZ=UTC LANG=C.UTF-8 {program} --record {tmp_path}/record"
    with Sshd(tmp_path / "sshd", make_key(tmp_path / "identity")) as server:
        (tmp_path / "known").write_text(server.known_hosts_line)
        login = ["ssh", "-tt", "-F", "none", "-p", str(server.port), "-i", str(tmp_path / "identity"),
                 "-o", f"UserKnownHostsFile={tmp_path}/known", "127.0.0.1"]  # fmt: skip
        with Pty([*login, asked], {**os.environ, "TERM": "xterm-256color"}) as pty:
            pty.until("fleet record ◀", "2/3 machines", "sync.service", timeout_s=60)
            pty.forget()
            pty.send(b"[")
            pty.until("3/3 machines", timeout_s=60)
            pty.send(b"\x11")
            pty.ended(30)
        with Pty([*login, f"{asked} --at 2001-01-02"], {**os.environ, "TERM": "xterm-256color"}) as pty:
            pty.until("error: the record in", "begins at", timeout_s=60)
