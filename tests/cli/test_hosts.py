"""`fleetctl ssh`, `status` and `journal` against a registry that lies: real sshd servers, real records."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fleettui.remote.here import BOOT_ID
from registry.model import Assignment, Event, Machine, Target
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import ONE, TWO, Fleet
from tests.remote.sshd import SSHD, Sshd, make_key

pytestmark = [pytest.mark.etcd, pytest.mark.skipif(not SSHD, reason="no sshd is installed")]


@pytest.fixture
def start(fleetctl: Fleetctl, tmp_path: Path) -> Iterator[Callable[[str], Sshd]]:
    """Servers that let the operator in."""
    (fleetctl.home / ".ssh").mkdir(mode=0o700)
    public = make_key(fleetctl.home / ".ssh" / "id_ed25519")
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(Sshd(tmp_path / name, public))


def record(server: Sshd, id_: str = ONE, hostname: str = "core-1", **changes: object) -> Machine:
    known = {"ssh_port": server.port, "host_keys": (server.host_key,)} | changes
    return Machine(id_, hostname, "127.0.0.1", "boot", **known)  # type: ignore[arg-type]


def in_a_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode in (1, 255), (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", done.stderr), repr(done.stderr)
    for word in words:
        assert word in done.stderr


def test_a_rewritten_record_is_refused_until_the_key_is_forgotten(
    fleetctl: Fleetctl, fleet: Fleet, start: Callable[[str], Sshd]
) -> None:
    good, evil = start("good"), start("evil")
    fleet.put(fleet.keys.machine(ONE), record(good))
    first = fleetctl("ssh", ONE, "echo", "hello")
    assert (first.returncode, first.stdout) == (0, "hello\n"), first.stderr
    assert "pinned the host key of core-1" in first.stderr
    assert fleetctl("ssh", ONE, "echo", "hello").stderr == ""
    fleet.put(fleet.keys.machine(ONE), record(evil))
    in_a_line(fleetctl("ssh", ONE, "echo", "hello"), "host key changed", f"fleetctl ssh --forget-key {ONE}")
    assert fleetctl("ssh", "--forget-key", "core-1").returncode == 0
    assert fleetctl("ssh", ONE, "echo", "hello").stdout == "hello\n"
    in_a_line(fleetctl("ssh", "--forget-key", "nobody"), "no host key is pinned for 'nobody'")


def test_a_record_makes_no_command_run_on_the_operators_host(
    fleetctl: Fleetctl, fleet: Fleet, start: Callable[[str], Sshd]
) -> None:
    server, mark = start("good"), fleetctl.home / "ran"
    server.stop()
    here = Machine(ONE, "laptop", "127.0.0.1", BOOT_ID.read_text().strip(), ssh_port=server.port, bus="user")
    fleet.put(fleet.keys.machine(ONE), here)
    in_a_line(fleetctl("ssh", ONE, "touch", str(mark)), "connection refused")
    assert not mark.exists()


@pytest.mark.parametrize(
    "text", ["\x1b]0;owned\x07", "$(touch owned)", "a;touch owned", "-oProxyCommand=touch owned"]
)
@pytest.mark.parametrize("part", ["hostname", "address"])
def test_nothing_of_a_record_is_obeyed(fleetctl: Fleetctl, fleet: Fleet, text: str, part: str) -> None:
    (fleetctl.home / ".ssh").mkdir(mode=0o700)
    (fleetctl.home / ".ssh" / "config").write_text('Host *\n  ProxyCommand sh -c "echo %n; nc %h %p"\n')
    fields = {"hostname": "core-9", "address": "127.0.0.1", "boot_id": "boot"} | {part: text}
    fleet.put(fleet.keys.machine("9" * 32), json.dumps(fields).encode())  # past our own encoder
    done = fleetctl("ssh", "9" * 32, "true")
    assert done.returncode != 0
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stderr), repr(done.stderr)
    assert not (fleetctl.home / "owned").exists()


def test_a_journal_names_the_machines_that_are_away_or_silent(
    fleetctl: Fleetctl, fleet: Fleet, start: Callable[[str], Sshd]
) -> None:
    server, gone, silent = start("good"), "d" * 32, start("silent")
    silent.stop()
    unit = fleet.add("web.service", Target.LAUNCHED)
    fleet.put(fleet.keys.machine(ONE), record(server))
    fleet.put(fleet.keys.machine(TWO), record(silent, TWO, "core-2"))
    fleet.put(fleet.keys.schedule(ONE, unit.name), Assignment(unit.name, ONE, unit.hash, Target.LAUNCHED, 1))
    for number, machine in enumerate((gone, TWO, ONE)):
        event = Event(f"{number:013d}-x", 1.0, "scheduler-core-1", "place", unit.name, machine)
        fleet.put(fleet.keys.event(event.writer, event.id), event)
    done = fleetctl("journal", "web")
    assert done.returncode == 1
    away, refused = done.stderr.splitlines()
    assert away == "not in the fleet now, so what was written there is missing: dddddddd..."
    assert refused.startswith("Error: cannot reach core-2 (127.0.0.1): connection refused")
    assert refused.endswith("what was written there is missing")
