"""The agent and a real systemd: loading, starting, stopping, failing, and telling of it. No scheduler runs."""

from __future__ import annotations

import time

import pytest

from registry.model import Target
from tests.cluster.hand import AGENT, KEYS, Hand, elapsed
from tests.cluster.nodes import eventually, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n"


def test_a_unit_is_linked_at_run_time_started_and_told_of(hand: Hand) -> None:
    reloads = hand.reloads()
    hand.put({"one.service": SLEEPER})
    state = hand.launched("one.service")
    assert (state["load"], state["active"], state["sub"]) == ("loaded", "active", "running")
    assert state["main_pid"] == int(hand.show("one.service", "MainPID"))
    assert abs(state["since"] - time.time()) < 60
    assert hand.show("one.service", "UnitFileState") == "linked-runtime"
    assert hand.shell("readlink /run/systemd/system/one.service") == "/run/fleet/units/one.service"
    assert hand.reloads() == reloads  # a new file needs none


def test_a_withdrawn_unit_leaves_nothing_behind(hand: Hand) -> None:
    installed = SLEEPER + "[Install]\nWantedBy=multi-user.target\n"
    hand.put({"one.service": installed, "two.service": SLEEPER, "bad.service": "[Service]\nExecStart=/bin/false\n"})
    hand.launched("one.service")
    hand.launched("bad.service")
    wants = "/run/systemd/system/multi-user.target.wants/one.service"
    assert hand.shell(f"readlink {wants}")
    hand.withdraw()
    hand.gone("one.service", "two.service", "bad.service")
    assert hand.shell("ls /run/fleet/units /run/fleet/applied") == "/run/fleet/applied:\n\n/run/fleet/units:"
    assert hand.shell("find /run/systemd/system -name 'one*' -o -name 'two*' -o -name 'bad*'") == ""
    assert hand.shell("systemctl list-units --all --no-legend one.service two.service bad.service") == ""


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[Service]\nExecStart=/nowhere/foo\n", "start failed: exit code 203/EXEC (/nowhere/foo: missing or not"),
        ("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 3'\n", "start failed: exit code 3"),
        ("[Service]\nExecStart=/bin/sh -c 'sleep 0.5; exit 3'\n", "start failed: exit code 3"),
        ("[Service]\nType=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep infinity\n", "start timed out"),
        ("[Unit]\nRequires=bad.service\nAfter=bad.service\n" + SLEEPER, "a dependency failed: bad.service"),
        (
            "[Service]\nUser=nobody-at-all\nExecStartPre=/bin/true\nExecStart=/bin/true\n",
            "start failed: exit code 217/USER (User=nobody-at-all does not exist) in ExecStartPre=/bin/true",
        ),
        ("[Service]\nExecStartPre=/no/pre\nExecStart=/bin/true\n", "203/EXEC (/no/pre: missing or not executable)"),
        (SLEEPER + "ExecStartPost=/bin/false\n", "start failed: exit code 1 in ExecStartPost=/bin/false"),
        (SLEEPER + "TimeoutStartSec=1\nExecStartPre=/bin/sleep 99\n", "start timed out in ExecStartPre=/bin/sleep"),
        (SLEEPER + "EnvironmentFile=/no/env\n", "start failed: EnvironmentFile=/no/env does not exist"),
        (SLEEPER + "LoadCredential=x:/no/key\n", "243/CREDENTIALS (LoadCredential=x:/no/key does not exist)"),
        (SLEEPER + "WorkingDirectory=/no/dir\n", "200/CHDIR (WorkingDirectory=/no/dir does not exist)"),
        (SLEEPER + "RootDirectory=/no/root\n", "(RootDirectory=/no/root does not exist) in ExecStart=/bin/sleep"),
        ("[Unit]\nAssertPathExists=/nope\n" + SLEEPER, "start failed: assertion not met: AssertPathExists=/nope"),
        ("[Unit]\nCollectMode=inactive-or-failed\n[Service]\nExecStart=/bin/false\n", "exit code 1 in ExecStart"),
        ("[Service]\nType=oneshot\nExecStart=/bin/sh -c 'kill -9 $$$$'\n", "start failed: killed by signal 9"),
        ("[Service]\nType=bogus\nExecStart=/bin/true\nExecStart=/bin/true\n", "bad unit file setting"),
    ],
)
def test_a_failed_start_says_why_in_one_line(hand: Hand, text: str, error: str) -> None:
    hand.put({"one.service": text, "bad.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n"})
    state = hand.until("one.service", lambda state: state.get("error"))
    assert error in state["error"]
    assert "\n" not in state["error"]
    assert state["target"] == "launched"


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("ConditionPathExists=/nowhere", "ConditionPathExists=/nowhere"),
        ("ConditionPathExists=/etc\nConditionPathExists=!/etc", "ConditionPathExists=!/etc"),
        ("ConditionPathExists=|/no\nConditionPathExists=|!/etc",
         "none of ConditionPathExists=|/no, ConditionPathExists=|!/etc holds"),
        ("[Service]\nExecCondition=/bin/false", "ExecCondition=/bin/false (exit code 1)"),
    ],
)  # fmt: skip
def test_a_condition_that_does_not_hold_is_named_and_no_error(hand: Hand, unit: str, words: str) -> None:
    hand.put({"one.service": f"[Unit]\n{unit}\n" + SLEEPER})
    state = hand.launched("one.service")
    assert "error" not in state
    assert (state["active"], state["skipped"]) == ("inactive", f"condition not met: {words}")
    eventually("the note", lambda: words in str(registry(hand.cluster, "events/")))
    hand.shell(f"systemctl restart {AGENT}")
    assert hand.until("one.service", lambda state: state)["skipped"] == state["skipped"]


def test_a_unit_that_starts_after_all_is_no_longer_said_to_be_held(hand: Hand) -> None:
    hand.put({"one.service": "[Unit]\nConditionPathExists=/run/go\n" + SLEEPER})
    assert hand.launched("one.service")["skipped"]
    hand.shell("touch /run/go; systemctl start one.service; rm /run/go")
    hand.until("one.service", lambda state: state["active"] == "active" and "skipped" not in state)


def test_a_later_failure_names_its_step(hand: Hand) -> None:
    hand.put({"one.service": "[Service]\nExecStart=/bin/sleep 3\nExecStopPost=/bin/false\n"})
    hand.launched("one.service")
    state = hand.until("one.service", lambda state: state.get("cause"))
    assert "exit code 1 in ExecStopPost=/bin/false" in state["cause"]


def test_whatever_waits_for_a_unit_names_it_and_starts_when_it_is_there(hand: Hand) -> None:
    others = {
        "look.path": "[Path]\nPathExists=/nowhere\nUnit=tick.service\n",
        "req.service": "[Unit]\nRequires=tick.service\n" + SLEEPER,
        "bind.service": "[Unit]\nBindsTo=tick.service\nAfter=tick.service\n" + SLEEPER,
        "far.service": "[Unit]\nRequires=req.service\n" + SLEEPER,
        "isite.service": "[Unit]\nRequisite=tick.service\nAfter=tick.service\n" + SLEEPER,
    }
    hand.put({"tick.timer": "[Timer]\nOnActiveSec=1h\n"})
    state = hand.launched("tick.timer")
    assert state["error"] == "waits for tick.service, which is not loaded on core-1"
    assert (state["active"], state["waits"]) == ("inactive", ["tick.service"])
    hand.put(others)
    for name in others:
        assert "waits for tick.service, which is not loaded on core-1" in hand.launched(name)["error"]
    pid = hand.show(AGENT, "MainPID")
    hand.shell(f"systemctl restart {AGENT}")
    hand.back(pid)
    hand.put({"tick.service": SLEEPER}, target=Target.LOADED)
    for name in ("tick.timer", *others):
        if name != "isite.service":  # which wants it to run
            state = hand.until(name, lambda state: state["active"] == "active")
            assert not state.keys() & {"error", "waits"}
    hand.put({"tick.service": SLEEPER}, target=Target.LAUNCHED)
    hand.until("isite.service", lambda state: state["active"] == "active")


def test_a_socket_waits_for_its_service_and_says_that_it_may_not_run_yet(hand: Hand) -> None:
    hand.put({"door.socket": "[Socket]\nListenStream=/run/door.sock\n"})
    assert hand.launched("door.socket")["error"] == "waits for door.service, which is not loaded on core-1"
    hand.put({"door.service": SLEEPER}, target=Target.LOADED)
    hand.until("door.socket", lambda state: state["active"] == "active")
    hand.put({"late.service": SLEEPER})
    hand.launched("late.service")
    hand.put({"late.socket": "[Socket]\nListenStream=/run/late.sock\n"})
    state = hand.launched("late.socket")
    assert state["error"] == "start failed: late.service, which it is to start, runs already; stop that first"
    assert "waits" not in state


def test_units_that_come_together_start_whichever_is_first(hand: Hand) -> None:
    names = [f"t{number}" for number in range(6)]
    hand.put(dict.fromkeys((f"{name}.timer" for name in names), "[Timer]\nOnActiveSec=1h\n"))
    hand.put(dict.fromkeys((f"{name}.service" for name in names), SLEEPER), target=Target.LOADED)
    for name in names:
        hand.until(f"{name}.timer", lambda state: state.get("active") == "active")


def test_a_unit_of_the_host_that_comes_later_is_found_by_the_tick_and_no_start_is_asked_for_before(
    hand: Hand,
) -> None:
    hand.put({"one.service": "[Unit]\nRequires=hosts-own.service\n" + SLEEPER})
    assert hand.launched("one.service")["waits"] == ["hosts-own.service"]
    pid = hand.show(AGENT, "MainPID")

    def starts() -> list[str]:
        said = hand.node.journal(f"_PID={pid}", "-o", "cat").splitlines()
        return [line for line in said if line.startswith("one.service: start (")]

    before = len(starts())
    time.sleep(2)
    assert len(starts()) == before
    hand.shell("printf '[Service]\\nExecStart=/bin/sleep 999\\n' > /run/systemd/system/hosts-own.service")
    try:
        hand.until("one.service", lambda state: state["active"] == "active", within_s=60)
        assert starts()[before:] == ["one.service: start (what it waited for is there)"]
    finally:
        hand.withdraw("one.service")
        hand.shell("systemctl stop hosts-own.service; rm /run/systemd/system/hosts-own.service")


def test_a_dependency_that_is_there_and_fails_is_a_failure_and_not_tried_again(hand: Hand) -> None:
    bad = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
    hand.put({"bad.service": bad})
    hand.launched("bad.service")
    hand.put({"one.service": "[Unit]\nRequires=bad.service\nAfter=bad.service\n" + SLEEPER})
    state = hand.launched("one.service")
    assert "a dependency failed: bad.service" in state["error"]
    assert "waits" not in state
    hand.put({"bad.service": bad.replace("false", "true")}, generation=2)
    hand.launched("bad.service", 2)
    time.sleep(1)
    assert hand.states()["one.service"]["active"] == "inactive"


def test_a_change_is_in_the_registry_within_100_ms(hand: Hand) -> None:
    hand.put({"one.service": "[Unit]\nStartLimitIntervalSec=0\n" + SLEEPER})
    hand.launched("one.service")
    late: list[float] = []
    for _ in range(5):
        hand.shell("systemctl kill -s KILL one.service")
        state = hand.until("one.service", lambda state: state["active"] == "failed")
        late.append(time.time() - state["since"])
        hand.shell("systemctl start one.service")
        hand.until("one.service", lambda state: state["active"] == "active")
    assert min(late) < 0.5  # 100 ms, and what it takes us to look on a busy host


def test_a_batch_of_replacements_is_reloaded_once(hand: Hand) -> None:
    names = [f"b{number}.service" for number in range(30)]
    keeper = f"[Unit]\nAfter={' '.join(names)}\n" + SLEEPER  # so that systemd keeps all of them loaded
    hand.put({"keeper.service": keeper} | dict.fromkeys(names, SLEEPER))
    for name in names:
        hand.launched(name)
    reloads = hand.reloads()
    hand.put(dict.fromkeys(names, SLEEPER + "RestartSec=7\n"), generation=2)
    for name in names:
        assert hand.launched(name, 2, within_s=40)["active"] == "active"
    assert 1 <= hand.reloads() - reloads <= 3  # one, unless stops on a busy host take unlike times
    assert hand.show("b7.service", "RestartUSec") == "7s"


def test_a_slow_stop_delays_no_other(hand: Hand) -> None:
    slow = SLEEPER + "ExecStop=/bin/sleep 8\n"
    hand.put({"slow.service": slow, "one.service": SLEEPER, "two.service": SLEEPER})
    for name in ("slow.service", "one.service", "two.service"):
        hand.launched(name)
    began = time.monotonic()
    changed = SLEEPER + "RestartSec=7\n"
    hand.put({"slow.service": changed, "one.service": changed}, generation=2)
    hand.withdraw("two.service")
    hand.gone("two.service")
    hand.launched("one.service", 2)
    assert hand.show("slow.service", "ActiveState") == "deactivating"
    hand.launched("slow.service", 2)
    assert elapsed(began) > 7.5  # and it was let finish


def test_a_start_under_way_can_be_stopped_at_once(hand: Hand) -> None:
    hand.put({"one.service": "[Service]\nType=notify\nTimeoutStartSec=80\nExecStart=/bin/sleep infinity\n"})
    hand.until("one.service", lambda state: state.get("active") == "activating")
    began = time.monotonic()
    hand.withdraw("one.service")
    hand.gone("one.service")
    assert elapsed(began) < 20


def test_the_newest_wish_wins_while_an_older_one_is_under_way(hand: Hand) -> None:
    slow = SLEEPER + "ExecStop=/bin/sleep 2\n"
    hand.put({"one.service": slow})
    hand.launched("one.service")
    for generation in range(2, 6):
        hand.put({"one.service": SLEEPER + f"RestartSec={generation}\n"}, generation=generation)
        time.sleep(0.2)
    hand.launched("one.service", 5)
    assert hand.show("one.service", "RestartUSec") == "5s"
    assert hand.show("one.service", "ActiveState") == "active"


def test_stopping_a_unit_leaves_it_loaded_and_a_timer_s_activity_alone(hand: Hand) -> None:
    hand.put({"one.service": SLEEPER})
    hand.launched("one.service")
    hand.put({"one.service": SLEEPER}, target=Target.LOADED)
    hand.until("one.service", lambda state: state["target"] == "loaded" and state["active"] == "inactive")
    hand.shell("systemctl start one.service")  # as a timer or a socket would
    hand.until("one.service", lambda state: state["active"] == "active")
    hand.shell(f"systemctl restart {AGENT}")
    time.sleep(2)
    assert hand.show("one.service", "ActiveState") == "active"


def test_the_hosts_own_unit_is_refused_and_untouched(hand: Hand) -> None:
    before = hand.show("ssh.service", "MainPID")
    hand.put({"ssh.service": SLEEPER, "one.service": SLEEPER})
    state = hand.until("ssh.service", lambda state: state.get("error"))
    where = hand.show("ssh.service", "FragmentPath")
    assert where.endswith("/lib/systemd/system/ssh.service")
    assert state["error"] == f"name belongs to this host ({where}); choose another name"
    assert state.get("load", "") == ""
    hand.launched("one.service")
    hand.withdraw("ssh.service")
    hand.gone("ssh.service")
    assert hand.show("ssh.service", "MainPID") == before


def test_a_masked_name_is_the_hosts(hand: Hand) -> None:
    hand.shell("ln -s /dev/null /etc/systemd/system/taken.service")
    try:
        hand.put({"taken.service": SLEEPER})
        state = hand.until("taken.service", lambda state: state.get("error"))
        assert "it is masked" in state["error"]
    finally:
        hand.shell("rm /etc/systemd/system/taken.service")


def test_a_file_that_is_missing_or_not_what_its_hash_says_changes_nothing(hand: Hand) -> None:
    hand.put({"one.service": SLEEPER})
    pid = hand.launched("one.service")["main_pid"]
    changed = SLEEPER + "RestartSec=7\n"
    hand.put({"one.service": changed}, generation=2)  # the text is there for a moment only, perhaps
    hand.launched("one.service", 2)
    pid = int(hand.show("one.service", "MainPID"))
    line = '{"hash":"' + "0" * 64 + '","target":"launched","generation":3}'
    hand.cluster.etcd.put(KEYS.schedule(hand.machine, "one.service"), line)
    state = hand.until("one.service", lambda state: state.get("error"))
    assert "missing from the registry" in state["error"]
    assert int(hand.show("one.service", "MainPID")) == pid


def test_a_corrupt_line_leaves_its_unit_exactly_as_it_is(hand: Hand) -> None:
    hand.put({"one.service": SLEEPER, "two.service": SLEEPER})
    pid = hand.launched("one.service")["main_pid"]
    hand.cluster.etcd.put(KEYS.schedule(hand.machine, "one.service"), "{not json")
    hand.withdraw("two.service")
    hand.gone("two.service")
    assert int(hand.show("one.service", "MainPID")) == pid
    hand.shell(f"systemctl restart {AGENT}")
    time.sleep(1.5)
    assert int(hand.show("one.service", "MainPID")) == pid


def test_other_kinds_of_unit(hand: Hand) -> None:
    hand.put(
        {
            "tick.timer": "[Timer]\nOnActiveSec=1h\n[Install]\nWantedBy=timers.target\n",
            "tick.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
            "door.socket": "[Socket]\nListenStream=/run/door.sock\n",
            "door.service": SLEEPER,
            "group.target": "[Unit]\nDescription=a group\n",
            "work-shop.slice": "[Slice]\nTasksMax=100\n",
            "look.path": "[Path]\nPathExists=/nowhere\nUnit=tick.service\n",
            r"a\x2db@1:2.service": SLEEPER,
        }
    )
    names = ["tick.timer", "door.socket", "group.target", "work-shop.slice", "look.path", r"a\x2db@1:2.service"]
    for name in names:
        state = hand.launched(name)
        assert state["active"] == "active", state
    hand.withdraw()
    hand.gone(*names)
