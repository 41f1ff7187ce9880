"""`fleetctl apply` of a folder of 50 units on real machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import SLEEPER, Fleet
from tests.cluster.nodes import registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

COUNT = 50


def everything(fleet: Fleet) -> dict[str, str]:
    """What an operator may have written."""
    return {
        key: each
        for table in ("units/", "files/", "events/")
        for key, each in registry(fleet.cluster, table).items()
    }


def test_a_folder_of_50_units_is_shown_applied_changed_pruned_and_quiet(cluster: Cluster, tmp_path: Path) -> None:
    fleet, folder = Fleet(cluster, tmp_path), tmp_path / "shop"
    folder.mkdir()
    for number in range(COUNT):
        (folder / f"shop-{number}.service").write_text(f"# {number}\n{SLEEPER}")
    before = everything(fleet)
    shown = cluster.fleetctl("apply", "--dry-run", str(folder))
    assert shown.returncode == 2, shown.stderr
    assert shown.stdout.count("shop-") >= COUNT
    assert everything(fleet) == before
    fleet.ctl("apply", str(folder), timeout_s=120)
    fleet.settled("shop-*.service", COUNT)
    untouched = fleet.running("shop-*.service")

    # By hand, by somebody else; then one file is changed, one added, one removed.
    fleet.ctl("start", "--replace", fleet.write("shop-1.service", f"# by hand\n{SLEEPER}"))
    (folder / "shop-2.service").write_text(f"# changed\n{SLEEPER}")
    (folder / "shop-3.service").unlink()
    (folder / "shop-new.service").write_text(SLEEPER)
    done = cluster.fleetctl("apply", "--prune", "--yes", "--at-a-time", "1", "--healthy-for", "1s", str(folder))
    assert done.returncode == 1, done.stdout
    assert "shop-1.service" in done.stdout + done.stderr
    assert fleet.ctl("cat", "shop-1").stdout.startswith("# by hand")
    assert fleet.ctl("cat", "shop-2").stdout.startswith("# changed")
    running = fleet.running("shop-*.service")
    assert {unit for _, unit in running} == {unit for _, unit in untouched} - {"shop-3.service"} | {
        "shop-new.service"
    }
    touched = {unit for (_, unit), truth in running.items() if truth not in untouched.values()}
    assert touched == {"shop-1.service", "shop-2.service", "shop-new.service"}

    # As a timer would run it.
    fleet.ctl("apply", "--adopt", str(folder))
    assert fleet.ctl("cat", "shop-1").stdout.startswith("# 1\n")
    before = everything(fleet)
    quiet = fleet.ctl("apply", "--prune", "--yes", str(folder))
    assert (quiet.stdout, quiet.stderr) == ("", "")
    assert everything(fleet) == before
