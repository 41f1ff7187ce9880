"""`fleetctl rebalance`: shown before, asked, and begun as a rollout."""

from __future__ import annotations

import json

import pytest

from registry.keys import Address, Table
from registry.model import Rollout, Target
from registry.records import decode
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import ONE, THREE, TWO, Fleet

pytestmark = pytest.mark.etcd


def crowd(fleet: Fleet, count: int = 3) -> None:
    """All units on one machine."""
    for number in range(1, count + 1):
        fleet.run(f"web@{number}.service", ONE)


def test_moves_are_shown_and_nothing_is_written_without_a_yes(fleetctl: Fleetctl, fleet: Fleet) -> None:
    crowd(fleet)
    told = fleetctl("rebalance", "--dry-run")
    one, two, three = (f"{each[:8]}.../10.199.0.1{number}" for number, each in enumerate((ONE, TWO, THREE), 1))
    assert told.stdout.splitlines() == [
        f"Unit web@1.service goes from {one} to {two}: 3 units here, 0 there",
        f"Unit web@2.service goes from {one} to {three}: 2 units here, 0 there",
        "1 unit stays: 1 well placed",
    ]
    assert told.returncode == 2
    told = fleetctl("rebalance", "--dry-run", "--json")
    assert [(each["source"], each["target"]) for each in json.loads(told.stdout)] == [(ONE, TWO), (ONE, THREE)]
    refused = fleetctl("rebalance", "--no-block")
    assert refused.returncode == 1
    assert "add --yes" in refused.stderr
    assert fleet.unit("web@1.service").generation == 1  # type: ignore[union-attr]


def test_it_is_a_rollout_of_moves(fleetctl: Fleetctl, fleet: Fleet) -> None:
    crowd(fleet)
    begun = fleetctl("rebalance", "--yes", "--no-block", "--at-a-time", "2", "--name", "even")
    assert begun.stdout.splitlines()[-1] == "Rollout even begins: 2 units, 2 at a time"
    key = fleet.keys.rollout("even")
    rollout = decode(Address(Table.ROLLOUTS, "even"), fleet.get(key) or b"", key)
    assert isinstance(rollout, Rollout)
    assert [(step.unit, step.goes_to, step.old == step.new) for step in rollout.steps] == [
        ("web@1.service", TWO, True),
        ("web@2.service", THREE, True),
    ]
    again = fleetctl("rebalance", "--yes", "--no-block")
    assert again.returncode == 1
    assert "rebalance even is not over; see: fleetctl rollout status even" in again.stderr
    undo = fleetctl("rollout", "undo", "even")
    assert "cannot be taken back; abort ends one that is under way" in undo.stderr


def test_an_even_fleet_has_nothing_to_move(fleetctl: Fleetctl, fleet: Fleet) -> None:
    crowd(fleet, 1)
    fleet.add("idle.service", Target.INACTIVE)
    told = fleetctl("rebalance")
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(fleetctl("rebalance", "--json").stdout) == []
