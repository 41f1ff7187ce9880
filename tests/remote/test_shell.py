"""The user's terminal on a machine: in a real terminal of its own, against a real sshd."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.model import Machine
from tests.remote.conftest import Home, StartSshd, machine

PROGRAM = """
import asyncio, sys
from fleettui.remote import Remote
from registry.program.config import SshTable
from registry.model import Machine
async def main():
    async with Remote(SshTable(identity_files=({identity!r},), timeout=5.0)) as remote:
        return await remote.interactive({machine!r}, {argv!r})
sys.exit(asyncio.run(main()))
"""


def program(home: Home, target: Machine, argv: list[str]) -> list[str]:
    text = PROGRAM.format(identity=str(home.identity), machine=target, argv=argv)
    return [sys.executable, "-c", text]


def piped(home: Home, target: Machine, argv: list[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(program(home, target, argv), input=given, capture_output=True, timeout=30, check=False)


class Terminal:
    """A program in a pseudo-terminal of 100x30, as a user has it."""

    def __init__(self, argv: list[str]) -> None:
        self.near, self.far = pty.openpty()
        self.resize(30, 100)
        self.before = termios.tcgetattr(self.far)
        self.process = subprocess.Popen(
            argv, stdin=self.far, stdout=self.far, stderr=self.far, start_new_session=True
        )
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.near, text.encode())

    def expect(self, text: bytes, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.near], [], [], 0.1)[0]:
                self.seen += os.read(self.near, 65536)

    def end(self) -> int:
        """Wait for the program while its output is read."""
        deadline = time.monotonic() + 30
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.near], [], [], 0.1)[0]:
                self.seen += os.read(self.near, 65536)
        return self.process.returncode

    def restored(self) -> bool:
        blocking = os.get_blocking(self.far)
        return termios.tcgetattr(self.far)[:4] == self.before[:4] and blocking


@contextlib.contextmanager
def terminal(argv: list[str]) -> Iterator[Terminal]:
    opened = Terminal(argv)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.near)
        os.close(opened.far)


def test_pipes_carry_input_output_and_status(home: Home, start_sshd: StartSshd) -> None:
    done = piped(home, machine(start_sshd()), ["sort;", "echo", "err", ">&2;", "exit", "3"], b"b\na\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"a\nb\n", b"err\n", 3)


def test_large_input_and_output_pass(home: Home, start_sshd: StartSshd) -> None:
    given = os.urandom(3_000_000)
    assert piped(home, machine(start_sshd()), ["cat"], given).stdout == given


def test_input_from_a_file_and_from_nothing(home: Home, start_sshd: StartSshd, tmp_path: Path) -> None:
    argv = program(home, machine(start_sshd()), ["cat; echo end"])
    (tmp_path / "input").write_bytes(b"from a file\n")
    with (tmp_path / "input").open("rb") as file:
        done = subprocess.run(argv, stdin=file, capture_output=True, timeout=30, check=False)
    assert done.stdout == b"from a file\nend\n"
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    assert done.stdout == b"end\n"


def test_command_that_does_not_read_ends_all_the_same(home: Home, start_sshd: StartSshd) -> None:
    reading, writing = os.pipe()  # never closed while it runs: no end of input
    argv = program(home, machine(start_sshd()), ["true"])
    done = subprocess.run(argv, stdin=reading, capture_output=True, timeout=20, check=False)
    os.close(reading)
    os.close(writing)
    assert done.returncode == 0


def test_connection_failure_is_one_line_and_255(home: Home, start_sshd: StartSshd) -> None:
    done = piped(home, replace(machine(start_sshd()), ssh_port=9), ["true"])
    assert done.returncode == 255
    assert done.stderr.count(b"\n") == 1
    assert b"cannot reach core-1" in done.stderr


def test_killed_command_is_128_and_the_signal(home: Home, start_sshd: StartSshd) -> None:
    assert piped(home, machine(start_sshd()), ["kill -KILL $$"]).returncode == 137


def test_reader_that_had_enough_ends_it(home: Home, start_sshd: StartSshd) -> None:
    argv = program(home, machine(start_sshd()), ["yes"])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.read(4) == b"y\ny\n"
        run.stdout.close()
        assert run.wait(30) == 128 + signal.SIGPIPE
        assert run.stderr.read() == b""


def test_shell_in_a_terminal(home: Home, start_sshd: StartSshd) -> None:
    with terminal(program(home, machine(start_sshd()), [])) as term:
        term.type("stty size; echo term=$TERM\n")
        term.expect(b"30 100")
        term.resize(40, 120)
        os.kill(term.process.pid, signal.SIGWINCH)
        term.type("until [ \"$(stty size)\" = '40 120' ]; do sleep 0.1; done; echo lar''ger\n")
        term.expect(b"larger")
        term.type("sleep 60\n")
        time.sleep(0.5)
        term.type("\x03")  # interrupts there, not here
        term.type("echo sta''tus $?\n")
        term.expect(b"status 130")
        term.type("exit 5\n")
        assert term.end() == 5
        assert term.restored()


def test_lost_connection_restores_the_terminal(home: Home, start_sshd: StartSshd) -> None:
    server = start_sshd()
    with terminal(program(home, machine(server), [])) as term:
        term.type("echo rea''dy\n")
        term.expect(b"ready")
        server.kill_sessions()
        assert term.end() == 255, term.seen
        term.expect(b"lost the connection to core-1")
        assert term.restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_restores_the_terminal(home: Home, start_sshd: StartSshd, number: signal.Signals) -> None:
    with terminal(program(home, machine(start_sshd()), [])) as term:
        term.type("echo rea''dy\n")
        term.expect(b"ready")
        term.process.send_signal(number)
        assert term.end() == 128 + number
        assert term.restored()
