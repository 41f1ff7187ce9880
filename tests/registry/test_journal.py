"""What the daemons send to journald: fields that nobody can forge, and never a loop that waits for journald."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import messages
from registry.messages import MESSAGES, UNIT_START, about
from registry.program import journal
from registry.program.daemonlog import DaemonFormatter

ROOT = Path(__file__).parent.parent.parent
UNIT_FIELD = "OBJECT_SYSTEMD_UNIT" if os.getuid() == 0 else "OBJECT_SYSTEMD_USER_UNIT"


class Journald:
    """Its socket, and what came in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()
        self.path.unlink()

    def entries(self) -> list[list[str]]:
        found: list[list[str]] = []
        while True:
            try:
                data = self.socket.recv(1 << 20).decode()
            except BlockingIOError:
                return found
            assert data.endswith("\n")
            found.append(data[:-1].split("\n"))


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    opened = Journald(tmp_path / "socket")
    monkeypatch.setattr(journal, "SOCKET", str(opened.path))
    yield opened
    opened.close()


class Kept(logging.Handler):
    """What went to stderr instead."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def handler(fallback: logging.Handler | None = None) -> Iterator[journal.JournalHandler]:
    made = journal.JournalHandler("fleet-test", fallback or Kept())
    made.setFormatter(DaemonFormatter(journald=None, traces=False))
    try:
        yield made
    finally:
        made.close()


def send(record: logging.LogRecord) -> None:
    with handler() as made:
        made.handle(record)


def record(message: str, level: int = logging.INFO, extra: dict[str, str] | None = None) -> logging.LogRecord:
    made = logging.LogRecord("fleet.agent", level, __file__, 1, message, (), None)
    vars(made).update(extra or {})
    return made


def test_a_record_has_its_priority_its_kind_and_its_unit(journald: Journald) -> None:
    send(record("web@1.service: start", extra=UNIT_START.of("web@1.service")))
    assert journald.entries() == [[
        "MESSAGE=web@1.service: start", "PRIORITY=6", "SYSLOG_IDENTIFIER=fleet-test", "FLEET_LOGGER=fleet.agent",
        f"MESSAGE_ID={UNIT_START.id}", "FLEET_UNIT=web@1.service", f"{UNIT_FIELD}=web@1.service",
    ]]  # fmt: skip


def test_a_record_of_no_kind_has_neither(journald: Journald) -> None:
    send(record("it is so", logging.ERROR))
    send(record("about one", extra=about("a.service")))
    first, second = journald.entries()
    assert not any(each.startswith(("MESSAGE_ID", "FLEET_UNIT", "OBJECT")) for each in first)
    assert "PRIORITY=3" in first
    assert "FLEET_UNIT=a.service" in second


@given(st.text(max_size=60), st.text(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_forges_a_field(journald: Journald, message: str, unit: str) -> None:
    send(record(f"a{message}\nMESSAGE_ID=0\n_PID=1", extra=about(f"{unit}\nPRIORITY=0")))
    for entry in journald.entries():
        assert [line.partition("=")[0] for line in entry[:4]] == [
            "MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "FLEET_LOGGER",
        ]  # fmt: skip
        assert len(entry) == 4


def test_a_journald_that_takes_nothing_holds_nobody_up_for_long(journald: Journald) -> None:
    with handler() as sender:
        began = time.monotonic()
        for number in range(5000):
            sender.handle(record(f"line {number}"))
        assert time.monotonic() - began < 50 * journal.PATIENCE_S  # one wait, not thousands
        taken = len(journald.entries())
        assert taken < 5000
        sender.handle(record("it goes on"))
    told = [entry[0] for entry in journald.entries()]
    assert told == [f"MESSAGE={5000 - taken} lines could not be written", "MESSAGE=it goes on"]


def test_a_journald_that_is_gone_leaves_stderr_and_is_found_again(journald: Journald) -> None:
    kept = Kept()
    with handler(kept) as sender:
        journald.close()
        for _ in range(2):
            sender.handle(record("while it is gone"))
        assert kept.said == ["while it is gone"] * 2
        journald.open()
        sender.handle(record("once it is back"))
    assert journald.entries()[0][0] == "MESSAGE=once it is back"
    assert len(kept.said) == 2


def test_without_a_journald_there_is_no_handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "nothing"))
    with pytest.raises(OSError, match="No such file"):
        journal.JournalHandler("fleet-test", Kept())


def test_every_kind_has_an_id_of_its_own_and_is_used() -> None:
    ids = [each.id for each in MESSAGES.values()]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch("[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", each) for each in ids)  # random UUIDs
    packages = (ROOT / name for name in ("registry", "scheduler", "agentd"))
    own = Path(messages.__file__)
    sources = "".join(path.read_text() for each in packages for path in each.rglob("*.py") if path != own)
    for name in MESSAGES:
        assert re.search(rf"\b{name}(\.of\(|,|\n)", sources), name
