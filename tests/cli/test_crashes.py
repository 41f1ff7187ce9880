"""The last lines of a unit whose machine is gone: one command shows them, marked; `why`, `status` point at it."""

from __future__ import annotations

import json

import pytest

from registry.model import Crash, Machine, Target, Unit
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import ONE, Fleet

pytestmark = pytest.mark.etcd

GONE = "5d5d5d5d" * 4
AT = 1_790_000_000.0
LINES = ((AT - 2, 6, 42, "web", "good morning"), (AT - 1, 3, 42, "web", "\x1b[31mno disk\x1b[0m \u202egone"))


def crash(fleet: Fleet, unit: str, machine: str = GONE, at: float = AT, **more: object) -> None:
    record = Crash(machine, f"{int(at * 1000):013d}-{unit}", "core-9", "exit code 3", **more)  # type: ignore[arg-type]
    fleet.put(fleet.keys.crash(machine, record.id), record)


@pytest.fixture
def failed(fleet: Fleet) -> Unit:
    """A unit that failed on a machine that has gone since, and that no machine takes now."""
    unit = fleet.add("web.service", Target.LAUNCHED)
    crash(fleet, "web.service", at=AT - 60, lines=((AT - 61, 6, 1, "web", "an older failure"),))
    crash(fleet, "web.service", lines=LINES, cut=True)
    crash(fleet, "other.service", lines=((AT, 6, 1, "x", "of another unit"),))
    return unit


@pytest.mark.usefixtures("failed")
def test_the_last_lines_are_shown_marked_and_harmless(fleetctl: Fleetctl) -> None:
    done = fleetctl("journal", "web.service")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.endswith("core-9(kept) web[42]: good morning")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "no disk" in second
    assert "web.service failed on core-9 (exit code 3) at 2026-09-21" in done.stderr
    assert "its last 2 lines are kept, shortened; they are marked (kept)" in done.stderr
    assert "not in the fleet now" in done.stderr
    assert len(fleetctl("journal", "-n", "1", "web").stdout.splitlines()) == 1
    record = json.loads(fleetctl("journal", "-o", "json", "web").stdout.splitlines()[0])
    assert (record["FLEET_KEPT"], record["MESSAGE"], record["_HOSTNAME"]) == ("1", "good morning", "core-9")


@pytest.mark.usefixtures("failed")
def test_why_and_status_point_at_them(fleetctl: Fleetctl) -> None:
    told = fleetctl("why", "web.service").stdout
    assert "It failed on core-9 (exit code 3) at 2026-09-21" in told
    assert "its last 2 lines are kept, shortened: fleetctl journal web.service" in told
    status = fleetctl("status", "web.service")
    assert "fleetctl journal web.service" in status.stderr
    assert "fleetctl journal" not in fleetctl("why", "web.service", "--json").stdout


def test_a_failure_without_lines_says_why_and_a_machine_that_is_there_is_asked_itself(
    fleetctl: Fleetctl, fleet: Fleet
) -> None:
    unit = fleet.run("web.service")
    fleet.put(fleet.keys.machine(ONE), Machine(ONE, "core-1", "127.0.0.1", "boot", ssh_port=1))
    crash(fleet, "web.service", machine=ONE, lines=LINES)
    there = fleetctl("journal", "web.service")
    assert "core-1" in there.stderr
    fleet.delete(fleet.keys.machine(ONE))
    crash(fleet, "web.service", at=AT + 60, missing="the journal has no line of it")
    done = fleetctl("journal", unit.name)
    assert "nothing of its journal was kept: the journal has no line of it" in done.stderr
    assert "core-9(kept) web[42]: good morning" in done.stdout
