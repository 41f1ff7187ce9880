"""`fleetctl plan`: which units would wait without a machine; `why`: what is free there, and what is preferred."""

from __future__ import annotations

import json

import pytest

from registry.model import FailedPlacement, PastPlacement, Target
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import HELLO, ONE, THREE, TWO, Fleet

pytestmark = pytest.mark.etcd
PINNED = f"{HELLO}[X-Fleet]\nMachineMetadata=region=r1\n"


def running(fleet: Fleet, name: str, machine: str, text: str = HELLO) -> None:
    unit = fleet.add(name, Target.LAUNCHED, text)
    fleet.assign(unit, machine)
    fleet.report(unit, machine)


def test_what_waits_without_a_machine_is_told_with_the_reason(fleetctl: Fleetctl, fleet: Fleet) -> None:
    running(fleet, "pinned.service", ONE, PINNED)
    running(fleet, "free.service", ONE)
    running(fleet, "other.service", TWO)
    told = fleetctl("plan", "--without", "core-1")
    assert told.stdout.splitlines() == [
        "Unit free.service would go to 9c0c3dd6.../10.199.0.13",
        "Unit pinned.service would wait: machine 7aea1bb4... is lost; no machine has region=r1",
        "Without 7aea1bb4.../10.199.0.11: 1 unit would move, 1 unit would wait",
    ]
    assert (told.returncode, told.stderr) == (2, "")
    told = fleetctl("plan", "--without", "core-1", "--without", TWO[:8], "--json")
    (loss,) = json.loads(told.stdout)
    assert loss["machines"] == [ONE, TWO]
    assert loss["moves"] == [
        {"unit": "free.service", "machines": [THREE]},
        {"unit": "other.service", "machines": [THREE]},
    ]


def test_each_machine_is_tried_where_none_is_named(fleetctl: Fleetctl, fleet: Fleet) -> None:
    running(fleet, "free.service", ONE)
    told = fleetctl("plan")
    assert (told.returncode, told.stdout) == (0, "Any one of 3 machines may be lost: no unit would wait\n")
    running(fleet, "pinned.service", ONE, PINNED)
    told = fleetctl("plan")
    assert told.returncode == 2
    assert told.stdout.splitlines() == [
        "Without 7aea1bb4.../10.199.0.11 1 unit would wait: pinned.service",
        "See: fleetctl plan --without 7aea1bb4",
    ]


def test_a_machine_that_is_not_there_is_an_error_with_a_remedy(fleetctl: Fleetctl, fleet: Fleet) -> None:
    running(fleet, "free.service", ONE)
    told = fleetctl("plan", "--without", "core-9")
    assert told.returncode == 1
    assert "no machine is called 'core-9'; see: fleetctl list-machines" in told.stderr


def test_why_tells_what_is_free_and_what_is_preferred(fleetctl: Fleetctl, fleet: Fleet) -> None:
    text = f"{HELLO}[X-Fleet]\nMoveAfterFailures=3/10min\nPreferMetadata=region=r1\nSpreadOver=node\n"
    running(fleet, "web@1.service", ONE, text)
    failed = FailedPlacement(ONE, 1, "it failed here 3 times in 10min")
    fleet.put(fleet.keys.placement("web@1.service"), PastPlacement("web@1.service", failed=(failed,)))
    told = fleetctl("why", "web@1.service")
    assert told.stdout.splitlines()[1] == (
        "  7aea1bb4.../10.199.0.11  node=n1 has 1 of web@.service (SpreadOver); it failed here 3 times in 10min, "
        "so that others come first (MoveAfterFailures); has region=r1 (PreferMetadata)"
    )


def test_a_drain_is_shown_and_nothing_is_written(fleetctl: Fleetctl, fleet: Fleet) -> None:
    running(fleet, "pinned.service", ONE, PINNED)
    running(fleet, "free.service", ONE)
    running(fleet, "everywhere.service", ONE, f"{HELLO}[X-Fleet]\nGlobal=true\n")
    told = fleetctl("drain", "--dry-run", "core-1")
    assert told.stdout.splitlines() == [
        "Unit free.service would go from 7aea1bb4.../10.199.0.11 to 8bfb2cc5.../10.199.0.12",
        "Unit pinned.service stays on 7aea1bb4.../10.199.0.11, no other takes it: "
        "no machine has region=r1 (2 of 2 refuse)",
        "Unit everywhere.service stays on 7aea1bb4.../10.199.0.11: it is global",
    ]
    assert told.returncode == 2
    assert fleet.get(fleet.keys.override(ONE)) is None
    assert fleetctl("drain", "--dry-run", "core-2").stdout == "Nothing would move\n"


def test_what_a_scale_would_have_wait_is_said_before_and_what_it_destroys_makes_room(
    fleet: Fleet, fleetctl: Fleetctl
) -> None:
    text = f"{HELLO}[X-Fleet]\nConflicts=web@*\n"
    fleet.add("web@.service", text=text)
    running(fleet, "web@1.service", ONE, text)
    running(fleet, "web@9.service", TWO, text)
    done = fleetctl("scale", "web@", "3", "--dry-run")
    assert (done.returncode, done.stderr) == (2, "")
    assert "would wait" not in done.stdout  # web@9 goes, on whose machine there is room for one
    done = fleetctl("scale", "web@", "5", "--dry-run")
    assert done.stdout.splitlines()[-1].startswith(
        "By what is known now, web@4.service, web@5.service would wait: "
    ), done.stdout
