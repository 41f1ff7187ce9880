"""Hands on the host, and forged news on its bus: what is ours is stopped before it is given up; nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry.model import Target
from tests.cluster.hand import AGENT, Hand
from tests.cluster.nodes import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n"
SLOW = SLEEPER + "ExecStop=/bin/sleep 6\n"
AS_NOBODY = "setpriv --reuid nobody --clear-groups busctl --system --destination={to} emit"
MANAGER = "/org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"


def forge(hand: Hand, *signals: str) -> None:
    """Send the agent signals in systemd's words, as a user who has no business there."""
    pid = hand.show(AGENT, "MainPID")
    to = hand.shell(f"busctl --system list --no-legend | awk '$2 == {pid} {{ print $1 }}'").split()
    assert to
    for name in to:
        for signal in signals:
            hand.shell(f"{AS_NOBODY.format(to=name)} {signal}")


def test_a_forged_signal_ends_no_stop(hand: Hand) -> None:
    hand.put({"victim.service": SLOW})
    hand.launched("victim.service")
    hand.withdraw("victim.service")
    eventually("a stop under way", lambda: hand.show("victim.service", "ActiveState") == "deactivating")
    job = hand.shell("systemctl list-jobs --no-legend | awk '$2 == \"victim.service\" { print $1 }'")
    forge(
        hand,
        f"{MANAGER} JobRemoved uoss {job} /org/freedesktop/systemd1/job/{job} victim.service done",
        changed("victim_2eservice", "ActiveState s inactive", "SubState s dead"),
        f"{MANAGER} Reloading b false",
    )
    kept = True
    while kept:  # the claim is asked for first: when it is gone, so is the unit
        kept = "victim.service" in hand.states()
        state = hand.show("victim.service", "ActiveState")
    assert state == "inactive"
    assert hand.show("victim.service", "Result") == "success"


def changed(label: str, *properties: str) -> str:
    """A change of a unit's properties."""
    return (
        f"/org/freedesktop/systemd1/unit/{label} org.freedesktop.DBus.Properties PropertiesChanged"
        f" 'sa{{sv}}as' org.freedesktop.systemd1.Unit {len(properties)} {' '.join(properties)} 0"
    )


def test_forged_properties_are_not_published_and_end_no_agent(hand: Hand) -> None:
    hand.put({"one.service": SLEEPER})
    state = hand.launched("one.service")
    pid = hand.show(AGENT, "MainPID")
    forge(
        hand,
        changed("one_2eservice", "ActiveState s failed", "SubState s exited"),
        changed("one_2eservice", "SubState ay 3 1 2 3", "StateChangeTimestamp s now"),
        changed("one_2eservice", "Job s 7", "LoadState v s masked"),
    )
    hand.put({"two.service": SLEEPER})  # published after whatever the forged ones would have made of the first
    hand.launched("two.service")
    assert hand.states()["one.service"] == state
    assert hand.show(AGENT, "MainPID") == pid
    assert "Traceback" not in hand.said()


def test_a_systemd_that_executes_itself_anew_is_followed(hand: Hand) -> None:
    hand.put({"one.service": SLOW})
    hand.launched("one.service")
    hand.withdraw("one.service")
    eventually("a stop under way", lambda: hand.show("one.service", "ActiveState") == "deactivating")
    hand.shell("systemctl daemon-reexec")
    hand.gone("one.service", within_s=60)
    assert hand.show("one.service", "ActiveState") == "inactive"
    hand.put({"two.service": "[Unit]\nStartLimitIntervalSec=0\n" + SLEEPER})
    hand.launched("two.service")
    hand.shell("systemctl kill -s KILL two.service")
    hand.until("two.service", lambda state: state["active"] == "failed")


HANDS = {
    "its file removed": "rm /run/fleet/units/one.service",
    "its link removed": "rm /run/systemd/system/one.service",
    "both removed": "rm /run/fleet/units/one.service /run/systemd/system/one.service",
    "the directory removed": "rm -r /run/fleet/units",
    "masked": "systemctl mask one.service",
    "masked at run time": "ln -sf /dev/null /run/systemd/system/one.service",
    "edited as a whole": "cp /run/fleet/units/one.service /etc/systemd/system/one.service",
    "laid over by a file of the host's": "printf '[Service]\\nExecStart=/bin/sleep 1000\\n'"
    " > /etc/systemd/system/one.service",
    "edited by a drop-in": "mkdir -p /etc/systemd/system/one.service.d;"
    " printf '[Service]\\nRestart=always\\n' > /etc/systemd/system/one.service.d/a.conf",
    "reverted": "systemctl revert one.service",
    "renamed": "mv /run/fleet/units/one.service /run/fleet/units/other.service",
    "its file edited": "printf '[Service]\\nExecStart=/bin/true\\n' > /run/fleet/units/one.service",
    "its file broken": "echo rubbish > /run/fleet/units/one.service",
    "disabled": "systemctl disable --runtime one.service",
    "the ledger's entry removed": "rm /run/fleet/applied/one.service",
    "the ledger's entry edited": 'echo \'{"unit": 7, "phase": "gone"}\' > /run/fleet/applied/one.service',
    "the ledger removed": "rm -r /run/fleet/applied",
    "all removed but its link": "rm -r /run/fleet/units /run/fleet/applied",
}


@pytest.fixture
def tidied(hand: Hand) -> Iterator[Hand]:
    """A hand on a host that is tidied up afterwards."""
    yield hand
    hand.shell(
        "rm -rf /etc/systemd/system/one.service /etc/systemd/system/one.service.d; cd /run/systemd/system;"
        ' [ "$(readlink -e one.service)" = /run/fleet/units/one.service ] || rm -f one.service;'
        " rm -f /run/fleet/units/other.service; systemctl daemon-reload"
    )


@pytest.mark.parametrize("restarted", [False, True], ids=["", "agent restarted"])
@pytest.mark.parametrize("how", HANDS)
def test_a_unit_that_hands_were_laid_on_is_given_up_only_when_it_is_down(
    tidied: Hand, how: str, restarted: bool
) -> None:
    hand = tidied
    hand.put({"one.service": SLEEPER + "[Install]\nWantedBy=multi-user.target\n"})
    pid = hand.launched("one.service")["main_pid"]
    hand.shell(f"{HANDS[how]}; systemctl daemon-reload")
    if restarted:
        old = hand.show(AGENT, "MainPID")
        hand.shell(f"systemctl restart {AGENT}")
        hand.back(old)
    hand.withdraw("one.service")
    hand.gone("one.service", within_s=60)
    assert hand.show("one.service", "ActiveState") == "inactive"
    assert hand.shell(f"kill -0 {pid} 2>&1 || true") != ""
    assert hand.shell("find /run/systemd/system -path '*.wants/*'") == ""


def test_a_directory_that_cannot_be_written_keeps_the_claim_and_says_why(hand: Hand) -> None:
    hand.put({"one.service": SLEEPER})
    hand.launched("one.service")
    within = (
        f"nsenter --mount --target $(systemctl show --value --property MainPID {AGENT})"  # it has mounts of its own
    )
    units = "/run/fleet/units"
    hand.shell(f"{within} mount --bind {units} {units} && {within} mount -o remount,ro,bind {units}")
    try:
        hand.withdraw("one.service")
        state = hand.until("one.service", lambda state: state.get("error"))
        assert "Read-only file system" in state["error"]
        assert hand.show("one.service", "ActiveState") == "inactive"
    finally:
        hand.shell(f"{within} umount {units}")
    hand.gone("one.service", within_s=60)


def test_what_the_host_has_started_under_the_name_since_is_left_alone(tidied: Hand) -> None:
    hand = tidied
    hand.put({"one.service": SLEEPER})
    hand.launched("one.service")
    hand.shell("cp /run/fleet/units/one.service /etc/systemd/system/; systemctl daemon-reload")
    hand.shell("systemctl restart one.service")
    pid = hand.show("one.service", "MainPID")
    hand.withdraw("one.service")
    hand.gone("one.service")
    assert hand.show("one.service", "MainPID") == pid
    hand.shell("systemctl stop one.service")


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ("restart", SLEEPER),
        ("replace", SLEEPER + "# another\n"),
        ("unload", SLEEPER),
    ],
)
def test_an_order_for_a_name_that_the_host_has_taken_since_is_refused_and_not_begun_over_and_over(
    tidied: Hand, order: str, text: str
) -> None:
    hand = tidied
    hand.put({"one.service": SLEEPER})
    pid = hand.launched("one.service")["main_pid"]
    hand.shell(
        "printf '[Service]\nExecStart=/bin/sleep 1000\n' > /etc/systemd/system/one.service; systemctl daemon-reload"
    )
    before = hand.said().count("one.service: stop")
    target = Target.LOADED if order == "unload" else Target.LAUNCHED
    hand.put({"one.service": text}, target=target, generation=1 + (order == "restart"))
    state = hand.until("one.service", lambda state: state.get("error"))
    assert "name belongs to this host (/etc/systemd/system/one.service)" in state["error"]
    assert hand.said().count("one.service: stop") - before < 5
    assert hand.show("one.service", "MainPID") == str(pid), "what runs goes on: only giving it up stops it"
    hand.shell("rm /etc/systemd/system/one.service; systemctl daemon-reload")
    hand.until("one.service", lambda state: not state.get("error"), within_s=60)
    hand.withdraw("one.service")
    hand.gone("one.service", within_s=60)
    assert hand.show("one.service", "ActiveState") == "inactive"


def test_processes_that_outlive_their_unit_keep_the_claim(hand: Hand) -> None:
    text = (
        "[Service]\nTimeoutStopSec=1\nSendSIGKILL=no\nExecStart=/bin/sh -c"
        " 'trap \"\" TERM; echo $$$$ > /run/stubborn.pid; while :; do sleep 1; done'\n"
    )
    hand.put({"one.service": text})
    hand.launched("one.service")
    eventually("its process", lambda: hand.shell("cat /run/stubborn.pid 2>/dev/null || true"))
    hand.withdraw("one.service")
    state = hand.until("one.service", lambda state: "live on" in state.get("error", ""))
    assert hand.shell("cat /run/stubborn.pid") in state["error"]
    hand.shell("kill -9 $(cat /run/stubborn.pid)")
    hand.gone("one.service", within_s=60)


def test_a_name_that_the_host_has_given_up_is_taken_at_once(hand: Hand) -> None:
    hand.shell("systemd-run --unit=one.service sleep infinity")
    hand.put({"one.service": SLEEPER})
    state = hand.until("one.service", lambda state: state.get("error"))
    assert "name belongs to this host (/run/systemd/transient/one.service)" in state["error"]
    hand.shell("systemctl stop one.service")
    running = lambda state: (state.get("active"), state.get("error", "")) == ("active", "")  # noqa: E731
    hand.until("one.service", running, within_s=10)  # long before the next look at everything
    hand.withdraw()
    hand.gone("one.service")
    hand.shell("printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/one.service")
    hand.put({"one.service": SLEEPER}, target=Target.LAUNCHED)
    hand.until("one.service", lambda state: "name belongs" in state.get("error", ""))
    hand.shell("rm /etc/systemd/system/one.service; systemctl daemon-reload")
    hand.until("one.service", running, within_s=10)


@pytest.mark.parametrize(
    "line",
    [
        "Alias=ssh.service",
        "Alias=other.service ssh.service",
        'Alias="ssh.service"',
        "Also=ssh.service",
        "Also=getty@.service",
        "RequiredBy=sysinit.target",
        "RequiredBy=ssh.service",
        "WantedBy=ssh.service",
        "Alias=s%i.service",
        "Alias=system.slice",
        "Alias=two.service",
    ],
)
def test_an_install_section_takes_nothing_from_the_host(hand: Hand, line: str) -> None:
    before = hand.show("ssh.service", "MainPID")
    links = hand.shell("find /run/systemd/system /etc/systemd/system | sort")
    hand.put({"two.service": SLEEPER})
    hand.launched("two.service")
    name = "one@sh.service" if "%i" in line else "one.slice" if "slice" in line else "one.service"
    text = SLEEPER if name != "one.slice" else "[Slice]\n"
    hand.put({name: f"{text}[Install]\n{line}\n"})
    state = hand.until(name, lambda state: state.get("error"))
    assert f"[Install] {line.partition('=')[0]}=" in state["error"]
    assert "names a unit that this host has (" in state["error"]
    assert hand.show("ssh.service", "MainPID") == before
    hand.withdraw()
    hand.gone(name, "two.service")
    assert hand.shell("find /run/systemd/system /etc/systemd/system | sort") == links
    assert hand.show("ssh.service", "FragmentPath").endswith("/lib/systemd/system/ssh.service")


def test_an_alias_of_its_own_may_be_loaded_again(hand: Hand) -> None:
    text = SLEEPER + "[Install]\nAlias=another.service\nWantedBy=multi-user.target\nAlso=two.service\n"
    hand.put({"two.service": SLEEPER})
    hand.launched("two.service")
    hand.put({"one.service": text})
    assert hand.launched("one.service")["active"] == "active"
    assert hand.shell("readlink -e /run/systemd/system/another.service") == "/run/fleet/units/one.service"
    hand.put({"one.service": text + "#\n"}, generation=2)
    assert hand.launched("one.service", 2)["active"] == "active"
    hand.put({"one.service": SLEEPER}, generation=3)
    assert hand.launched("one.service", 3)["active"] == "active"
    assert hand.shell("find /run/systemd/system -name 'another.service' -o -path '*.wants/*'") == ""
    hand.withdraw("one.service")
    hand.gone("one.service")
    assert hand.shell("readlink /run/systemd/system/two.service") == "/run/fleet/units/two.service"
    hand.shell("systemctl daemon-reload")
    assert hand.show("two.service", "LoadState") == "loaded"


def test_an_alias_of_a_unit_of_ours_is_taken(hand: Hand) -> None:
    hand.put({"one.service": SLEEPER + "[Install]\nAlias=another.service\n"})
    pid = hand.launched("one.service")["main_pid"]
    hand.shell("systemctl daemon-reload")
    hand.put({"another.service": SLEEPER})
    state = hand.until("another.service", lambda state: state.get("error"))
    assert "name is an alias of one.service" in state["error"]
    hand.withdraw("another.service")
    hand.gone("another.service")
    assert int(hand.show("one.service", "MainPID")) == pid


def test_a_host_alias_is_the_hosts_too(hand: Hand) -> None:
    hand.put({"sshd.service": SLEEPER})
    state = hand.until("sshd.service", lambda state: state.get("error"))
    assert "name belongs to this host (" in state["error"]
