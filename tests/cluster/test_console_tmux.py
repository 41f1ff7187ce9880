"""The console in a real terminal against three real machines: an operator's first ten minutes, and the bad days."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import active_on, eventually, registry
from tests.cluster.terminal import CONFIRMED, Terminal

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
UNIT = "[Unit]\nDescription=talks\n[Service]\nExecStart=/bin/sh -c 'while :; do echo I speak; sleep 0.2; done'\n"
WRONG = "/usr/local/bin/helo"


@pytest.fixture
def editor(tmp_path: Path) -> str:
    """An editor that puts the right program into a unit file."""
    script = tmp_path / "editor"
    script.write_text(f'#!/bin/sh\nsed -i "s#{WRONG}#/bin/sleep infinity#" "$1"\n')
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """A pager that counts lines and waits for Enter."""
    script = tmp_path / "pager"
    script.write_text('#!/bin/sh\necho "$(grep -c "I speak" "$1") lines to read"; stat -c %a "$1"; read line\n')
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def console(cluster: Cluster, editor: str, pager: str) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    terminal = Terminal.console(cluster, EDITOR=editor, VISUAL="", PAGER=pager)
    yield terminal
    terminal.close()


def started(cluster: Cluster, directory: Path, name: str, text: str = UNIT, instances: int = 0) -> None:
    """Start a unit, or instances of a template, behind the console's back."""
    path = directory / name
    path.write_text(text)
    names = [str(directory / name.replace("@", f"@{number}")) for number in range(instances)] or [str(path)]
    cluster.fleetctl("start", "--no-block", *names)


def test_see_submit_start_read_stop_and_destroy(console: Terminal, cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "talker.service"
    path.write_text(UNIT)
    console.shows("3/3 machines", "no units yet", "live")
    console.keys("2")
    console.shows("core-1", "core-2", "core-3", "ready")
    console.keys("1")

    console.keys("n")
    console.shows("submit a unit file")
    console.type(str(path))
    console.shows("nothing is wrong with it")
    console.keys("C-s")
    console.shows("✓ fleetctl start talker.service", "talker.service", "● active")
    assert len(active_on(cluster, "talker.service")) == 1

    console.keys("j")
    console.shows("journal  talker · core-", "I speak", "following")
    console.keys("l")
    console.shows("Journal", "I speak", "following")
    console.keys("/")
    console.shows("words as they stand")
    console.type("speak")
    console.keys("Enter")
    console.shows("⌕ speak: ")
    console.keys("o")
    console.shows("lines to read", "600")
    console.keys("Enter")
    console.shows("⌕ speak: ")
    console.keys("Escape", "G", "l")
    console.shows("journal  talker · core-", "following", "UNIT")

    console.keys("X")
    console.shows("✓ fleetctl stop talker.service", "○ inactive")
    assert active_on(cluster, "talker.service") == []

    console.keys("S")
    console.shows("✓ fleetctl start talker.service", "● active")
    console.keys("D")
    console.shows("Destroy talker.service?", "1 running unit stops on core-")
    console.keys("Enter")  # Cancel has the focus
    console.lacks("Destroy talker.service?")
    assert registry(cluster, "units/talker.service")
    console.keys("D")
    console.shows("Destroy talker.service?")
    console.keys(*CONFIRMED)
    console.shows("✓ fleetctl destroy talker.service", "no units yet")
    assert active_on(cluster, "talker.service") == []

    console.keys("u")
    console.shows("✓ undo: fleetctl start talker.service", "● active")
    assert len(active_on(cluster, "talker.service")) == 1
    console.keys("C-q")
    left = console.shows("left with 0")
    assert "Traceback" not in left
    assert "never retrieved" not in left


def test_a_newcomer_with_nothing_but_the_help_mends_the_unit_that_failed(
    console: Terminal, cluster: Cluster, tmp_path: Path
) -> None:
    started(cluster, tmp_path, "talker.service")
    started(cluster, tmp_path, "hello.service", f"[Service]\nExecStart={WRONG}\n")
    console.shows("✖ 1 failed", "? help")
    console.type(console.key_for("failed", "only what is failed"))
    console.lacks("talker.service")
    screen = console.shows("hello.service", "✖ failed")
    assert WRONG in screen  # the reason, without a key

    console.type(console.key_for("why", "why the unit is where it is"))
    console.shows("machine by machine", "203/EXEC", WRONG)
    console.keys("Escape")
    console.type(console.key_for("file", "edit its file"))
    console.shows("replace hello.service?", "/bin/sleep infinity", "restarts on core-")
    console.keys("Left", "Enter")
    console.shows("✓ fleetctl submit --replace hello.service", "● 2 active", "2 hidden; Esc shows all")
    console.keys("Escape")
    rows = [line for line in console.shows("talker.service").splitlines() if "hello.service" in line]
    assert "● active" in rows[0]
    assert len(active_on(cluster, "hello.service")) == 1


def test_all_units_are_stopped_by_a_question_and_not_by_a_key(
    console: Terminal, cluster: Cluster, tmp_path: Path
) -> None:
    started(cluster, tmp_path, "web@.service", instances=6)
    console.shows("● 6 active")
    console.type("*X")
    console.shows("Stop 6 units?", "6 running units stop on core-1 (2), core-2 (2), core-3 (2)")
    console.keys("Enter")  # Cancel has the focus
    console.lacks("Stop 6 units?")
    console.shows("● 6 active")
    console.type(":stop *")
    console.keys("Enter")
    console.shows("Stop 6 units?")
    console.keys(*CONFIRMED)
    console.shows("○ 6 inactive", "✓ fleetctl stop")
    assert not [name for each in range(6) for name in active_on(cluster, f"web@{each}.service")]


def test_a_machine_is_drained_and_its_units_are_seen_to_move(
    console: Terminal, cluster: Cluster, tmp_path: Path
) -> None:
    started(cluster, tmp_path, "web@.service", instances=6)
    console.shows("● 6 active")
    console.keys("2")
    console.shows("core-1", "2 of 2")
    console.keys("D")
    console.shows("Drain core-1?", "2 units leave core-1")
    console.keys(*CONFIRMED)
    console.shows("✓ fleetctl drain core-1", "0 of 0", "3 of 3")
    console.keys("1")
    console.shows("● 6 active", "core-2", "core-3")
    rows = [line for line in console.screen.splitlines() if "web@" in line and "active" in line]
    assert not [row for row in rows if "core-1" in row]
    console.keys("2", "C")
    console.shows("Uncordon core-1?", "nothing moves back by")
    console.keys(*CONFIRMED)
    console.shows("✓ fleetctl uncordon core-1")
    assert all(active_on(cluster, f"web@{number}.service") in (["core-2"], ["core-3"]) for number in range(6))


def test_a_machine_that_is_cut_off_is_said_to_be_lost_and_to_be_back(
    console: Terminal, cluster: Cluster, tmp_path: Path
) -> None:
    started(cluster, tmp_path, "web@.service", instances=3)
    console.shows("3/3 machines", "● 3 active")
    cluster.node("core-2").cut()
    console.keys("2")
    console.shows("2/3 machines", "✖ lost")
    console.keys("1")
    eventually("the others took over", lambda: "core-2" not in console.screen and "● 3 active" in console.screen,
               timeout_s=60)  # fmt: skip
    cluster.node("core-2").heal()
    console.shows("3/3 machines")


def test_a_lost_registry_is_told_and_healed(console: Terminal, cluster: Cluster) -> None:
    console.shows("3/3 machines", "live")
    cluster.etcd.freeze()
    try:
        console.shows("connection lost")
    finally:
        cluster.etcd.thaw()
    console.shows("● live")
    console.lacks("connection lost")
    cluster.etcd.kill()
    console.shows("connection lost")
    cluster.etcd.start()
    console.shows("● live", "3/3 machines")
    console.lacks("connection lost")
