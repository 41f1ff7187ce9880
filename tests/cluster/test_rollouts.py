"""Rollouts on real machines: what is up meanwhile, and who may die on the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.fleet import SLEEPER, Fleet
from tests.cluster.nodes import eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

UNITS = ("web@1.service", "web@2.service", "web@3.service")
GOOD = f"# the second version\n{SLEEPER}"
BAD = "# a bad version\n[Service]\nExecStart=/bin/sh -c 'echo cannot go on; exit 3'\n"


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Fleet:
    found = Fleet(cluster, tmp_path)
    found.write("web@.service", SLEEPER)
    found.ctl("start", *(str(tmp_path / name) for name in UNITS))
    return found


@contextmanager
def at_least(fleet: Fleet, count: int, pattern: str = "web@*.service") -> Iterator[list[int]]:
    """Look at every node all the time; fail if fewer of the units were ever up; of a global one, on fewer nodes."""
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            running = fleet.running(pattern)
            seen.append(len(running if "@" not in pattern else {unit for _, unit in running}))

    watcher = threading.Thread(target=watch, name="at-least")
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()
    assert min(seen) >= count, seen


def written(fleet: Fleet, text: str) -> str:
    """The path of a version of the template."""
    folder = fleet.directory / f"{time.monotonic_ns()}"
    folder.mkdir()
    (folder / "web@.service").write_text(text)
    return str(folder / "web@.service")


def versions(fleet: Fleet) -> set[str]:
    """The texts that the units have."""
    return {fleet.ctl("cat", unit).stdout for unit in UNITS}


def test_invariant_13_of_three_one_is_down_at_a_time_for_a_new_file_a_restart_and_the_way_back(
    fleet: Fleet,
) -> None:
    before = {truth.invocation for truth in fleet.running("web@*.service").values()}
    with at_least(fleet, 2) as seen:
        said = fleet.ctl(
            "rollout", *UNITS, "--file", written(fleet, GOOD), "--healthy-for", "1s", "--name", "r1"
        ).stdout
        assert said.count(" settled on ") == 3
        assert versions(fleet) == {GOOD}
        fleet.ctl("rollout", *UNITS, "--healthy-for", "1s", "--name", "r2")
        assert "cannot be taken back" in fleet.fails("rollout", "undo", "r2")
        assert "went back" in fleet.ctl("rollout", "undo", "r1").stdout
    assert versions(fleet) == {GOOD}  # the restart changed them since: they are left alone
    after = {truth.invocation for truth in fleet.running("web@*.service").values()}
    assert len(after - before) == 3
    assert len(seen) > 5
    events = fleet.ctl("events")
    assert events.stderr == ""  # every record parses
    assert events.stdout.count("; rollout r1\n") == 3
    assert "rollout r1 is finished" in events.stdout


def test_a_bad_version_stops_at_one_unit_and_can_be_taken_back(fleet: Fleet) -> None:
    with at_least(fleet, 2):
        said = fleet.fails("rollout", *UNITS, "--file", written(fleet, BAD), "--healthy-for", "2s", "--name", "bad")
        assert "web@1.service failed" in said
        eventually("its last lines", lambda: "    cannot go on" in fleet.ctl("rollout", "status", "bad").stdout)
        status = fleet.ctl("rollout", "status", "bad").stdout
        assert status.startswith("Rollout bad is paused: web@1.service failed")
        assert status.count("waiting    web@") == 2
        fleet.ctl("rollout", "undo", "bad")
    assert versions(fleet) == {SLEEPER}
    fleet.settled("web@*.service", 3)


def test_bad_versions_stop_and_go_back_though_the_leader_dies_and_etcd_is_away_for_20_s(fleet: Fleet) -> None:
    """One stops at its canary and waits, the other goes back by itself after one that was well."""
    others = [f"api@{number}.service" for number in (1, 2, 3)]
    fleet.write("api@.service", SLEEPER)
    fleet.ctl("start", *(str(fleet.directory / each) for each in others))
    fleet.settled("api@*.service", 3)
    late = "[Service]\nExecStart=/bin/sh -c 'test %i = 1 && exec sleep infinity; sleep 1; exit 3'\n"
    dies = "[Service]\nExecStart=/bin/sh -c 'sleep 8; echo cannot go on; exit 3'\n"
    (fleet.directory / "next").mkdir()
    with at_least(fleet, 2), at_least(fleet, 2, "api@*.service"):
        for name, text, policy in (("web@", late, ("--on-failure", "rollback")), ("api@", dies, ("--canary", "1"))):
            (fleet.directory / "next" / f"{name}.service").write_text(text)
            file = str(fleet.directory / "next" / f"{name}.service")
            words = ("--file", file, "--healthy-for", "10s", "--name", name[:3], "--no-block", *policy)
            fleet.ctl("rollout", f"{name}*", *words)
        eventually("both have begun", lambda: [*states(fleet)] == ["running"] * 2 and turned(fleet) >= 2)
        fleet.shell(fleet.leader(), "systemctl kill -s KILL fleet-scheduler.service")
        fleet.cluster.etcd.kill()
        time.sleep(20)  # the outage
        fleet.cluster.etcd.start()
        eventually("both are stopped", lambda: {*states(fleet)} == {"paused", "went back"}, timeout_s=90)
        fleet.settled("web@*.service", 3)
    assert versions(fleet) == {SLEEPER}
    told = fleet.ctl("rollout", "list").stdout
    assert "web@2.service failed" in told
    assert "api@1.service failed" in told
    assert [fleet.ctl("cat", each).stdout == SLEEPER for each in others] == [False, True, True]
    assert "    cannot go on" in fleet.ctl("rollout", "status", "api").stdout


def states(fleet: Fleet) -> list[str]:
    """The states of all rollouts."""
    return [each["state"] for each in json.loads(fleet.ctl("rollout", "list", "--json").stdout)]


def turned(fleet: Fleet) -> int:
    """How many units have another file than they had."""
    return sum(json.loads(text).get("generation", 1) > 1 for text in registry(fleet.cluster, "units/").values())


def test_units_that_follow_others_have_their_turn_with_them(fleet: Fleet) -> None:
    """Never more than one pair is down; a bad version of what is followed goes back for both; then a redo."""
    follower = f"{SLEEPER}[X-Fleet]\nMachineOf=web@%i.service\n"
    fleet.write("log@.service", follower)
    followers = [f"log@{number}.service" for number in (1, 2, 3)]
    fleet.ctl("start", *(str(fleet.directory / each) for each in followers))
    fleet.ctl("submit", str(fleet.directory / "web@.service"))
    before = fleet.settled("log@*.service", 3) | fleet.settled("web@*.service", 3)
    with at_least(fleet, 2), at_least(fleet, 2, "log@*.service"):
        fleet.ctl("restart", "web@*", "log@*", "--at-a-time", "1", "--healthy-for", "1s")
        good = written(fleet, GOOD)
        assert "went back" in fleet.fails(
            "rollout", "web@.service", "--file", written(fleet, BAD), "--healthy-for", "1s", "--on-failure",
            "rollback", "--name", "bad",
        )  # fmt: skip
        assert versions(fleet) == {SLEEPER}
        fleet.ctl("rollout", "web@.service", "--file", good, "--healthy-for", "1s", "--name", "good")  # a template
        fleet.ctl("rollout", "undo", "good")
        assert versions(fleet) == {SLEEPER}
        fleet.ctl("rollout", "redo", "good")
    assert versions(fleet) == {GOOD} == {fleet.ctl("cat", "web@.service").stdout}
    after = fleet.settled("log@*.service", 3) | fleet.settled("web@*.service", 3)
    assert after == before
    assert all(after[f"log@{number}.service"] == after[f"web@{number}.service"] for number in (1, 2, 3))


def test_invariant_14_a_paused_or_aborted_rollout_writes_nothing(fleet: Fleet) -> None:
    fleet.ctl(
        "rollout", *UNITS, "--file", written(fleet, GOOD), "--healthy-for", "1h", "--name", "slow", "--no-block"
    )
    eventually(
        "the first has its turn", lambda: fleet.ctl("rollout", "status", "slow").stdout.count("under way") == 1
    )
    fleet.ctl("rollout", "pause", "slow")
    before = (registry(fleet.cluster, "units/"), registry(fleet.cluster, "rollouts/"))
    fleet.shell(fleet.leader(), "systemctl restart fleet-scheduler.service")
    fleet.settled("web@*.service", 3)
    assert "is in rollout slow" in fleet.fails("rollout", *UNITS)
    fleet.ctl("restart", "web@3")
    fleet.ctl("rollout", "abort", "slow")
    after = registry(fleet.cluster, "units/")
    assert {key: each for key, each in after.items() if "@3" not in key} == {
        key: each for key, each in before[0].items() if "@3" not in key
    }
    assert versions(fleet) == {GOOD, SLEEPER}
    assert "nothing to pause" in fleet.fails("rollout", "pause", "slow")


def test_a_global_unit_is_rolled_machine_by_machine_and_taken_back(fleet: Fleet) -> None:
    text = f"{SLEEPER}[X-Fleet]\nGlobal=true\n"
    fleet.start("agent.service", text=text)
    eventually("it runs everywhere", lambda: len(fleet.running("agent.service")) == 3)
    folder = fleet.directory / "next"
    folder.mkdir()
    (folder / "agent.service").write_text(f"# the second version\n{text}")
    with at_least(fleet, 2, "agent.service"):
        said = fleet.ctl(
            "rollout", "agent", "--file", str(folder / "agent.service"), "--healthy-for", "1s", "--name", "g1"
        ).stdout
        assert said.count("Unit agent.service settled on ") == 3
        fleet.ctl("restart", "agent", "--at-a-time", "1", "--healthy-for", "1s")
    assert fleet.ctl("cat", "agent.service").stdout.startswith("# the second version")
    (folder / "agent.service").write_text("# a bad version\n" + text.replace("sleep infinity", "false"))
    assert "went back" in fleet.fails(
        "start", "--replace", str(folder / "agent.service"), "--at-a-time", "1", "--healthy-for", "1s",
        "--on-failure", "rollback",
    )  # fmt: skip
    eventually("it runs everywhere", lambda: len(fleet.running("agent.service")) == 3)
    assert fleet.ctl("cat", "agent.service").stdout.startswith("# the second version")
    assert fleet.ctl("events").stderr == ""


def test_a_drain_moves_one_at_a_time_and_each_is_well_before_the_next(fleet: Fleet) -> None:
    with at_least(fleet, 2):
        for node in fleet.cluster.nodes:
            said = fleet.ctl("drain", node, "--at-a-time", "1", "--healthy-for", "1s").stdout
            assert f"Machine {node}" in said or "drained" in said
            assert node not in fleet.homes("web@*.service").values()
            fleet.ctl("uncordon", node)
    fleet.settled("web@*.service", 3)
