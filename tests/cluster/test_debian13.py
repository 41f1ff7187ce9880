"""The programs on machines of Debian 13, newer systemd and Python and all: each verb, the journal, a failover."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import Fleet
from tests.cluster.nodes import eventually, start_over

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]  # a root of Debian 13 may have to be made first

SPEAKER = "[Service]\nExecStart=/bin/sh -c 'echo %p speaks; exec sleep infinity'\n[X-Fleet]\nConflicts=talk@*\n"


@pytest.fixture
def fleet(newer: Cluster, tmp_path: Path) -> Fleet:
    start_over(newer)
    return Fleet(newer, tmp_path)


def test_every_verb_and_the_journal(fleet: Fleet) -> None:
    assert fleet.shell("core-1", "systemctl --version").startswith("systemd 257")
    template = fleet.write("talk@.service", SPEAKER)
    fleet.ctl("submit", template)
    fleet.ctl("load", "talk@1.service")
    assert fleet.running("talk@*.service") == {}
    fleet.ctl("start", "talk@1.service", "talk@2.service", "talk@3.service")
    homes = fleet.settled("talk@*.service", 3)
    assert sorted(homes.values()) == ["core-1", "core-2", "core-3"]
    assert "talk speaks" in fleet.ctl("journal", "talk@1.service").stdout
    assert "active (running)" in fleet.ctl("status", "talk@1.service").stdout
    before = fleet.running("talk@2.service")
    fleet.ctl("restart", "talk@2.service")
    assert fleet.running("talk@2.service") != before
    changed = fleet.write("talk@.service", SPEAKER.replace("speaks", "has changed"))
    fleet.ctl("rollout", "talk@*.service", "--file", changed, "--healthy-for", "100ms", timeout_s=120)
    assert "talk has changed" in fleet.ctl("journal", "talk@3.service").stdout
    fleet.ctl("stop", "talk@3.service")
    fleet.settled("talk@*.service", 2)
    fleet.ctl("unload", "talk@2.service")
    fleet.ctl("destroy", "talk@1.service", "talk@2.service", "talk@3.service", "talk@.service")
    assert fleet.truth("talk@*.service") == {}
    assert fleet.ctl("list-units", "--no-legend").stdout == ""


def test_a_machine_that_dies_is_replaced_and_takes_nothing_up_again(fleet: Fleet) -> None:
    names = [f"stay@{number}.service" for number in range(1, 4)]
    fleet.start(*names)
    homes = fleet.settled("stay@*.service", 3)
    lost = fleet.cluster.node(homes["stay@1.service"])
    lost.crash()

    def elsewhere() -> bool:
        found = fleet.homes("stay@*.service")
        return len(found) == 3 and lost.name not in found.values()

    eventually("all on the others", elsewhere, timeout_s=40)
    lost.reboot()
    eventually("the machine back", lambda: len(fleet.ctl("list-machines", "--no-legend").stdout.splitlines()) == 3)
    assert elsewhere()
