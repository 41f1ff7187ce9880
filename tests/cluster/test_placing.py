"""Room, preferences, moves and what-ifs on real machines: what is told before is what happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import SLEEPER, Fleet
from tests.cluster.nodes import eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

FAILING = "[Service]\nExecStart=/bin/sh -c 'sleep 0.2; exit 3'\nRestart=on-failure\nRestartSec=300ms\n"


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Fleet:
    return Fleet(cluster, tmp_path)


def summaries(fleet: Fleet) -> dict[str, str]:
    """What each unit waits for."""
    return {
        key.partition("/")[2]: json.loads(text)["summary"]
        for key, text in registry(fleet.cluster, "pending/").items()
    }


def test_what_a_plan_says_of_a_loss_happens(fleet: Fleet) -> None:
    memory = min(json.loads(text)["memory_bytes"] for text in registry(fleet.cluster, "machines/").values())
    large = f"{SLEEPER}[X-Fleet]\nMemoryReserve={memory * 2 // 3}\n"
    names = [
        *(f"place-large@{number}.service" for number in range(1, len(fleet.cluster.nodes) + 1)),
        "place-free.service",
    ]
    fleet.ctl("start", *(fleet.write(name, large if "@" in name else SLEEPER) for name in names))
    homes = fleet.settled("place-*.service", len(names))
    lost = homes["place-free.service"]
    fleet.ctl("why", "place-large@1.service")
    planned = fleet.cluster.fleetctl("plan", "--without", lost, "--json")
    assert planned.returncode == 2, planned.stderr
    (told,) = json.loads(planned.stdout)
    assert [each["unit"] for each in told["moves"]] == ["place-free.service"]
    (waits,) = told["waits"]
    assert homes[waits["unit"]] == lost
    assert "full: needs" in waits["reason"]
    fleet.cluster.node(lost).crash()
    machine = told["moves"][0]["machines"][0]
    line = f"schedule/{machine}/place-free.service"
    eventually("the other one moves", lambda: line in registry(fleet.cluster, "schedule/"), timeout_s=60)
    eventually(
        "it waits for the reason", lambda: summaries(fleet).get(waits["unit"]) == waits["reason"], timeout_s=30
    )


def test_a_rebalance_brings_about_what_it_shows(fleet: Fleet) -> None:
    first, *others = sorted(fleet.cluster.nodes)
    fleet.ctl("cordon", *others)
    names = [f"web@{number}.service" for number in range(1, 4)]
    fleet.start(*names)
    fleet.settled("web@*.service", 3)
    fleet.ctl("uncordon", *others)
    moves = json.loads(fleet.cluster.fleetctl("rebalance", "--dry-run", "--json").stdout)
    assert len(moves) == len({each["target"] for each in moves}) == 2
    fleet.ctl("rebalance", "--yes", "--healthy-for", "1s", timeout_s=90)
    homes = fleet.settled("web@*.service", 3)
    for each in moves:
        assert fleet.machine_id(homes[each["unit"]]) == each["target"]
    assert sorted(homes.values()) == sorted([first, *others])
    assert "Nothing is to be moved" in fleet.ctl("rebalance").stdout


def test_a_unit_that_keeps_failing_is_tried_on_another_machine(fleet: Fleet) -> None:
    text = f"{FAILING}[X-Fleet]\nMoveAfterFailures=2/10min\n"
    fleet.ctl("start", "--no-block", fleet.write("bad.service", text))  # it may have failed before that is heard
    (before,) = eventually("it is placed", lambda: registry(fleet.cluster, "schedule/"))

    def elsewhere() -> list[str]:
        return [key for key in registry(fleet.cluster, "schedule/") if key != before]

    eventually("it is tried elsewhere", elsewhere, timeout_s=30)
    told = fleet.cluster.fleetctl("why", "bad.service", "--json").stdout
    machine = before.split("/")[1]
    notes = {each["machine"]: each["notes"] for each in json.loads(told)[0]["verdicts"]}
    assert "it failed here 2 times in 10min (exit-code)" in " ".join(notes[machine])
