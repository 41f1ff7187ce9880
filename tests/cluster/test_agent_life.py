"""The agent's own life on a real machine: it dies, freezes, loses bus, memory or lease, and hands over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from registry.model import Target
from tests.cluster.hand import AGENT, KEYS, Hand, elapsed
from tests.cluster.nodes import eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n"
ONCE = (
    "[Service]\nType=oneshot\nRemainAfterExit={remain}\n"
    "ExecStart=/bin/sh -c 'echo ran >>/var/trace; sleep {sleep}'\n"
)
NAMES = tuple(f"u{number}.service" for number in range(6))


def running(hand: Hand) -> list[str]:
    """What would change if a unit were stopped or started over."""
    return [hand.show(name, "InvocationID") for name in NAMES]


@pytest.fixture
def loaded(hand: Hand) -> Hand:
    """Six units run."""
    hand.put(dict.fromkeys(NAMES, SLEEPER))
    for name in NAMES:
        hand.launched(name)
    return hand


@pytest.mark.parametrize("how", ["restart", "kill -s KILL", "kill -s TERM"])
def test_invariant_4_the_agent_ends_and_its_units_do_not_notice(loaded: Hand, how: str) -> None:
    before, states = running(loaded), loaded.states()
    keys = registry(loaded.cluster, f"machines/{loaded.machine}")
    old = loaded.show(AGENT, "MainPID")
    loaded.shell(f"systemctl {how} {AGENT}")
    loaded.back(old)
    time.sleep(2)
    assert running(loaded) == before
    eventually("the same states", lambda: loaded.states() == states)
    assert registry(loaded.cluster, f"machines/{loaded.machine}").keys() == keys.keys()
    loaded.withdraw(NAMES[0])
    loaded.gone(NAMES[0])


@pytest.mark.parametrize("remain", ["yes", "no"])
@pytest.mark.parametrize("how", ["restart", "kill -s KILL"])
def test_invariant_12_a_start_under_way_is_not_repeated(hand: Hand, how: str, remain: str) -> None:
    hand.put({"one.service": ONCE.format(remain=remain, sleep=4)})
    hand.until("one.service", lambda state: state.get("active") == "activating")
    hand.shell(f"systemctl {how} {AGENT}")
    hand.launched("one.service")
    assert hand.show("one.service", "ActiveState") == ("active" if remain == "yes" else "inactive")
    assert hand.shell("cat /var/trace") == "ran"


def test_invariant_12_a_start_that_ended_while_nobody_looked_is_not_repeated(hand: Hand) -> None:
    hand.put({"one.service": ONCE.format(remain="no", sleep=1.5)})
    hand.until("one.service", lambda state: state.get("active") == "activating")
    hand.shell(f"systemctl kill -s STOP {AGENT}; sleep 2; systemctl kill -s KILL {AGENT}")
    hand.launched("one.service")
    assert hand.shell("cat /var/trace") == "ran"


def test_systemd_executing_itself_anew_goes_unnoticed(loaded: Hand) -> None:
    before = running(loaded)
    loaded.shell("systemctl daemon-reexec")
    loaded.shell(f"systemctl kill -s KILL {NAMES[0]}")
    loaded.until(NAMES[0], lambda state: state["active"] == "failed")
    loaded.put({NAMES[1]: SLEEPER + "RestartSec=7\n"}, generation=2)
    loaded.launched(NAMES[1], 2)
    assert running(loaded)[2:] == before[2:]


def test_a_restarted_bus_goes_unnoticed(loaded: Hand) -> None:
    before = running(loaded)
    agent = loaded.show(AGENT, "MainPID")
    loaded.shell("systemctl restart dbus.service")
    loaded.shell(f"systemctl kill -s KILL {NAMES[0]}")
    loaded.until(NAMES[0], lambda state: state["active"] == "failed")
    loaded.put({"late.service": SLEEPER})
    loaded.launched("late.service")
    assert running(loaded)[1:] == before[1:]
    assert loaded.show(AGENT, "MainPID") == agent


def test_a_daemon_reload_by_somebody_else_goes_unnoticed(loaded: Hand) -> None:
    before, states = running(loaded), loaded.states()
    loaded.shell("for i in 1 2 3; do systemctl daemon-reload; done")
    time.sleep(1)
    assert running(loaded) == before
    assert loaded.states() == states


@pytest.mark.parametrize("lost", ["applied/*", "agent.json", "agent.json /run/fleet/applied"])
def test_an_agent_without_its_memory_adopts_what_it_finds(loaded: Hand, lost: str) -> None:
    before, old = running(loaded), loaded.show(AGENT, "MainPID")
    loaded.shell(f"systemctl kill -s KILL {AGENT}; rm -rf /run/fleet/{lost}")
    loaded.back(old)
    time.sleep(2)
    assert running(loaded) == before
    eventually("all claimed again", lambda: set(loaded.states()) == set(NAMES))
    loaded.withdraw(NAMES[0])
    loaded.gone(NAMES[0])
    assert loaded.show(NAMES[0], "ActiveState") == "inactive"


def test_an_agent_that_was_frozen_beyond_its_lease_gives_up_what_has_moved(loaded: Hand) -> None:
    before = running(loaded)
    loaded.shell(f"systemctl kill -s STOP {AGENT}")
    eventually("the lease gone", lambda: not registry(loaded.cluster, f"machines/{loaded.machine}"))
    loaded.withdraw(NAMES[0], NAMES[1])
    began = time.monotonic()
    loaded.shell(f"systemctl kill -s CONT {AGENT}")
    eventually("two stopped", lambda: [loaded.show(name, "ActiveState") for name in NAMES[:2]] == ["inactive"] * 2)
    assert elapsed(began) < 15
    eventually("claimed again", lambda: set(loaded.states()) == set(NAMES[2:]))
    assert running(loaded)[2:] == before[2:]


def test_a_deleted_state_comes_back(loaded: Hand) -> None:
    loaded.cluster.etcd.delete(KEYS.state(loaded.machine))
    for name in NAMES:
        loaded.shell(f"systemctl kill -s KILL {name}")
    eventually("states", lambda: set(loaded.states()) == set(NAMES))


@pytest.fixture
def cramped(loaded: Hand) -> Iterator[Hand]:
    """The same with an agent whose disk is full; the test may `rm /run/fleet/ballast`."""
    copy = "mkdir -p /run/kept; cp -a /run/fleet/. /run/kept; mount -t tmpfs -o size=1m,mode=0755 none /run/fleet"
    old = loaded.show(AGENT, "MainPID")
    loaded.shell(f"systemctl kill -s STOP {AGENT}; {copy}; cp -a /run/kept/. /run/fleet")
    loaded.shell("dd if=/dev/zero of=/run/fleet/ballast bs=4k 2>/dev/null || true")
    loaded.shell(f"systemctl kill -s KILL {AGENT}")
    loaded.back(old)
    yield loaded
    loaded.shell(f"systemctl stop {AGENT}; umount /run/fleet; rm -rf /run/kept; systemctl start {AGENT}")
    loaded.registered()


def test_invariant_3_a_full_disk_ends_neither_the_agent_nor_a_unit(cramped: Hand) -> None:
    before = running(cramped)
    agent = cramped.show(AGENT, "MainPID")
    cramped.put({"late.service": SLEEPER})
    refused = cramped.until("late.service", lambda state: state.get("error"))
    assert "No space left" in refused["error"]
    cramped.withdraw(NAMES[0])  # a stop needs no room
    cramped.gone(NAMES[0])
    cramped.shell("rm /run/fleet/ballast")
    cramped.launched("late.service", within_s=60)
    assert running(cramped)[1:] == before[1:]
    assert cramped.show(AGENT, "MainPID") == agent


def test_invariant_12_what_a_full_disk_took_is_remembered(cramped: Hand) -> None:
    cramped.registered()
    cramped.shell(f"rm /run/fleet/ballast; systemctl restart {AGENT}")
    cramped.put({"one.service": ONCE.format(remain="no", sleep=2)})
    cramped.until("one.service", lambda state: state.get("active") == "activating")
    cramped.shell("dd if=/dev/zero of=/run/fleet/ballast bs=4k 2>/dev/null || true")
    cramped.launched("one.service")
    old = cramped.show(AGENT, "MainPID")
    cramped.shell(f"systemctl kill -s KILL {AGENT}")
    cramped.back(old)
    time.sleep(1)
    assert cramped.shell("cat /var/trace") == "ran"


def test_a_stop_for_good_hands_over_at_once_and_finishes_what_takes_longer(loaded: Hand) -> None:
    loaded.put({"slow.service": SLEEPER + "ExecStop=/bin/sleep 5\n"})
    loaded.launched("slow.service")
    began = time.monotonic()
    loaded.shell(f"systemctl stop --no-block {AGENT}")
    eventually("leaving", lambda: '"leaving":true' in str(registry(loaded.cluster, "machines/")))
    eventually("all but the slow one", lambda: set(loaded.states()) == {"slow.service"})
    eventually("the machine gone", lambda: loaded.machine not in str(registry(loaded.cluster, "machines/")))
    assert 4.5 < elapsed(began) < 30
    assert loaded.shell("ls /run/fleet/units") == ""
    assert {json.loads(each)["verb"] for each in registry(loaded.cluster, "events/").values()} >= {"join", "leave"}
    loaded.shell(f"systemctl start {AGENT}")
    loaded.launched("slow.service")  # what is still scheduled starts anew


def test_units_are_handed_over_a_few_at_a_time_and_all_of_them_where_nobody_takes_them(loaded: Hand) -> None:
    loaded.shell(f"systemctl stop {AGENT}")
    script = "journalctl --sync; journalctl -b -o short-monotonic --no-hostname -u 'u*.service' | grep Stopping"
    stops = sorted(float(line.partition("[")[2].partition("]")[0]) for line in loaded.shell(script).splitlines())
    stops = stops[-len(NAMES) :]  # not those of earlier tests
    assert stops[4] - stops[0] >= 0.4  # no schedule line went: the fifth waited for half a second
    assert not loaded.states()


def test_a_shutdown_hands_over(loaded: Hand) -> None:
    began = time.monotonic()
    loaded.node.power_off()
    assert loaded.machine not in str(registry(loaded.cluster, "machines/"))
    assert not loaded.states()
    assert elapsed(began) < 60
    loaded.node.boot()
    loaded.node.wait_ready()
    loaded.registered()  # its scheduler has booted with it, and withdraws what no operator asked for
    eventually("nothing is left", lambda: loaded.show(NAMES[0], "LoadState") == "not-found")


def test_invariant_11_a_name_that_the_host_takes_later_is_its_own(loaded: Hand) -> None:
    host = f"/etc/systemd/system/{NAMES[0]}"
    loaded.shell(f"printf '[Service]\\nExecStart=/bin/sleep 1000\\n' >{host}; systemctl daemon-reload")
    loaded.shell(f"systemctl restart {NAMES[0]}")  # until then it is the fleet's that runs
    try:
        before = loaded.show(NAMES[0], "InvocationID")
        loaded.withdraw(NAMES[0])
        loaded.gone(NAMES[0])
        assert loaded.show(NAMES[0], "InvocationID") == before
        assert loaded.show(NAMES[0], "ActiveState") == "active"
    finally:
        loaded.shell(f"systemctl stop {NAMES[0]}; rm {host}; systemctl daemon-reload")


def test_a_second_agent_on_one_machine_is_refused(hand: Hand) -> None:
    done = hand.node.exec(["fleet-agentd"])
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "fleet-agentd: another fleet-agentd already runs on /run/fleet; stop it first"
    )


def test_idle_it_uses_next_to_nothing(hand: Hand) -> None:
    hand.put({f"i{number}.service": SLEEPER for number in range(60)}, target=Target.LAUNCHED)
    for number in range(60):
        hand.launched(f"i{number}.service", within_s=40)
    pid = hand.show(AGENT, "MainPID")
    before = cpu_s(hand, pid)
    time.sleep(5)
    assert cpu_s(hand, pid) - before < 0.2  # 4 % of one core
    resident = int(hand.shell(f"grep VmRSS /proc/{pid}/status").split()[1])
    assert resident < 55 * 1024


def cpu_s(hand: Hand, pid: str) -> float:
    fields = hand.shell(f"cat /proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
