"""The daemons' log as journald and people read it, and how the daemons end."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import RegistryUnavailable, UserError, first_cause
from registry.program.daemonlog import LINE_CHARACTERS, DaemonFormatter, one_line, run
from registry.program.notify import Notifier

JOURNALD_LINE_BYTES = 48 * 1024  # systemd's LINE_MAX of a stream


def record(level: int, message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("fleet.agent", level, __file__, 1, message, arguments, info)


@pytest.mark.parametrize(
    ("level", "prefix"), [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (50, 2)]
)
def test_every_level_has_its_priority_in_the_journal(level: int, prefix: int) -> None:
    assert DaemonFormatter(journald=True, traces=False).format(record(level, "it is so")) == f"<{prefix}>it is so"


@given(st.text(max_size=200))
def test_no_name_forges_a_line_or_a_priority(name: str) -> None:
    formatter = DaemonFormatter(journald=True, traces=False)
    line = formatter.format(record(logging.INFO, "unit %s: done", f"a\n<0>{name}\r<1>b"))
    assert line.startswith("<6>unit ")
    assert line.isprintable()
    assert line.encode()


@given(st.sampled_from(["x", "\n", "\x1b", "𝄞", "\ud800", "\u2028"]), st.integers(1, 60_000))
def test_no_line_is_so_long_that_journald_cuts_it(piece: str, times: int) -> None:
    line = DaemonFormatter(journald=True, traces=False).format(record(logging.INFO, piece * times))
    assert len(line.encode()) < JOURNALD_LINE_BYTES
    assert len(one_line(piece * times)) <= LINE_CHARACTERS


def failed() -> BaseException:
    try:
        raise KeyError("a\n<0>forged")
    except KeyError as error:
        return error


def test_an_error_is_one_line_and_its_trace_is_for_debug_alone() -> None:
    short = DaemonFormatter(journald=True, traces=False).format(record(logging.ERROR, "oops", error=failed()))
    assert short.startswith("<3>oops: unexpected error KeyError at ")
    assert "test_daemonlog.py:" in short
    assert "\n" not in short
    long = DaemonFormatter(journald=True, traces=True).format(record(logging.ERROR, "oops", error=failed()))
    assert "Traceback" in long
    assert all(line.startswith("<3>") for line in long.splitlines())


def test_of_several_errors_the_one_that_nobody_foresaw_is_told() -> None:
    group = BaseExceptionGroup(
        "tasks", [RegistryUnavailable("away"), BaseExceptionGroup("inner", [KeyError("here")])]
    )
    assert isinstance(first_cause(group), KeyError)


def test_the_ends_of_a_daemon_are_its_exit_status_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException) -> int:
        def work() -> None:
            raise error

        return run("fleet-test", work)

    assert run("fleet-test", lambda: None) == 0
    assert fail(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""
    assert fail(ExceptionGroup("tasks", [UserError("wrong\nhere")])) == 1
    assert capsys.readouterr().err == "fleet-test: wrong\\nhere\n"
    assert fail(ZeroDivisionError("division by zero")) == 1
    told = capsys.readouterr().err
    assert told.startswith("fleet-test: unexpected error ZeroDivisionError at ")
    assert told.count("\n") == 1


SPEAKER = """
import logging, sys, threading, warnings
from registry.program import daemonlog, journal
journal.SOCKET = "/nowhere"
daemonlog.set_up("fleet-test", debug=False)
logging.getLogger("fleet.agent").warning("a name: %s", "x\\n<0>y")
logging.getLogger("fleet.agent").debug("not told")
logging.getLogger("fleet.agent").info("%d", "no number")
warnings.warn("old")
threading.Thread(target=lambda: 1 / 0).start()
class Ends:
    def __del__(self): raise ValueError("late")
Ends()
raise RuntimeError("nobody\\n<0>foresaw")
"""


@pytest.mark.parametrize("daemon", ["agentd", "scheduler"])
def test_what_ends_a_daemon_is_its_last_status(daemon: str, tmp_path: Path) -> None:
    with Manager(tmp_path) as manager:
        environ = {**os.environ, **manager.environ, "FLEET_ETCD_SERVERS": "x://y"}
        subprocess.run([sys.executable, "-m", daemon], check=False, capture_output=True, env=environ, timeout=120)
        said = [line for lines in iter(manager.heard, list[str]()) for line in lines]
    assert said[-1].startswith("STATUS=ended: ")
    assert "x://y" in said[-1]


STARTED = """
import sys
from registry.program import journal
journal.SOCKET = "/nowhere"
from {}.__main__ import main
sys.exit(main([]))
"""


@pytest.mark.parametrize("daemon", ["agentd", "scheduler"])
def test_both_daemons_write_priorities_where_the_journal_reads(daemon: str) -> None:
    with tempfile.TemporaryFile() as stream:
        found = os.fstat(stream.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}", "FLEET_ETCD_SERVERS": "x://y"}
        command = [sys.executable, "-c", STARTED.format(daemon)]
        subprocess.run(command, check=False, stderr=stream, env=environ, timeout=120)
        stream.seek(0)
        text = stream.read().decode()
    assert text.startswith("<3>fleet-")
    assert text.count("\n") == 1


def test_nothing_that_python_prints_by_itself_reaches_the_journal_as_a_traceback() -> None:
    with tempfile.TemporaryFile() as stream:
        found = os.fstat(stream.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        subprocess.run([sys.executable, "-c", SPEAKER], check=False, stderr=stream, env=environ, timeout=120)
        stream.seek(0)
        lines = stream.read().decode().splitlines()
    assert lines[0] == "<4>a name: x\\n<0>y"
    assert all(line.startswith(("<2>", "<3>", "<4>")) for line in lines), lines
    assert not any("Traceback" in line for line in lines)
    for told in ("old", "ZeroDivisionError", "late", "foresaw"):
        assert sum(told in line for line in lines) == 1, told


def test_a_journal_stream_that_is_inherited_and_not_ours_means_nothing() -> None:
    environ = {**os.environ, "JOURNAL_STREAM": "1:1"}
    done = subprocess.run(
        [sys.executable, "-c", SPEAKER], check=False, capture_output=True, env=environ, text=True, timeout=120
    )
    assert "WARNING a name: x\\n<0>y" in done.stderr
    assert "\n<" not in done.stderr


class Manager:
    """The socket of the systemd that started us."""

    def __init__(self, directory: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(directory / "notify"))
        self.socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": str(directory / "notify")}

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def heard(self) -> list[str]:
        try:
            return self.socket.recv(65536).decode().split("\n")
        except BlockingIOError:
            return []


@given(st.text(max_size=2000))
def test_a_status_is_one_line_whatever_it_holds(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory, Manager(Path(directory)) as manager:
        Notifier(manager.environ).status(f"in use by a\nMAINPID=1\n{text}")
        heard = manager.heard()
    assert len(heard) == 1
    assert heard[0].startswith("STATUS=in use by a\\nMAINPID=1")


def test_a_status_is_sent_when_it_changes(tmp_path: Path) -> None:
    with Manager(tmp_path) as manager:
        notifier = Notifier(manager.environ)
        for text in ("one", "one", "two"):
            notifier.status(text)
        assert [manager.heard(), manager.heard(), manager.heard()] == [["STATUS=one"], ["STATUS=two"], []]


def test_what_a_busy_manager_does_not_take_is_sent_later_and_never_waited_for(tmp_path: Path) -> None:
    with Manager(tmp_path) as manager:
        notifier = Notifier(manager.environ)
        for number in range(5000):  # far more than the socket's queue holds
            notifier.status(f"number {number}")
        notifier.send("READY=1")
        while manager.heard():
            pass
        notifier.send("WATCHDOG=1")
        assert manager.heard() == ["STATUS=number 4999", "READY=1", "WATCHDOG=1"]
