"""Leaving the console for an editor and a shell and coming back, in a real terminal against three real machines."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleettui.demo import nodefiles
from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import active_on, eventually
from tests.cluster.terminal import Terminal
from tests.cluster.test_console_tmux import UNIT

pytestmark = pytest.mark.cluster
NAME = "talker.service"


@pytest.fixture
def editing(cluster: Cluster, tmp_path: Path) -> Iterator[Terminal]:
    """The console with one running unit, and an editor that changes what the unit says.

    The environment tells of another terminal's size, as shells do that export theirs: the terminal itself counts.
    """
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "editing $1"\nsed -i "s/I speak/I sing/" "$1"\n')
    editor.chmod(0o755)
    (tmp_path / NAME).write_text(UNIT)
    done = cluster.fleetctl("start", str(tmp_path / NAME))
    assert done.returncode == 0, done.stderr
    environment = {**cluster.environment, "COLORTERM": "truecolor", "TERM": "xterm-256color",
                   "EDITOR": str(editor), "VISUAL": "", "COLUMNS": "80", "LINES": "24"}  # fmt: skip
    terminal = Terminal(
        f"{shlex.quote(str(nodefiles.program('fleettui')))}; echo left with $?; sleep 60", environment
    )
    terminal.shows(NAME, "● active", timeout_s=40)
    yield terminal
    terminal.close()


def test_a_file_is_edited_reviewed_and_replaced(editing: Terminal, cluster: Cluster) -> None:
    editing.keys("Enter")
    editing.shows("systemctl status on core-", "Main PID", "I speak", timeout_s=40)
    editing.keys("e")
    editing.shows(
        "replace talker.service?", "I sing", "restarts on core-", "fleetctl submit --replace", timeout_s=40
    )
    editing.keys("Enter")  # Cancel has the focus: nothing happens, and the text is kept
    editing.shows("your text is kept in", timeout_s=40)
    editing.keys("e")
    editing.shows("replace talker.service?", "I sing", timeout_s=40)
    editing.keys("Left", "Enter")
    editing.shows("✓ fleetctl submit --replace talker.service", "echo I sing", timeout_s=60)
    assert len(active_on(cluster, NAME)) == 1


def test_a_shell_on_the_units_machine_and_back_to_the_same_place(editing: Terminal, cluster: Cluster) -> None:
    (home,) = active_on(cluster, NAME)
    editing.keys("w")
    editing.shows("machine by machine", timeout_s=40)
    editing.keys("s")
    editing.shows(f"shell on {home}", "exit comes back to the console", timeout_s=40)
    eventually("a prompt", lambda: len(editing.screen.strip().splitlines()) > 1, timeout_s=40)
    editing.keys("-l", "hostname; exit 3\n")
    editing.shows("machine by machine", f"the shell on {home} ended with status 3", "live", timeout_s=40)
    editing.keys("Escape")  # first the message goes, then the detail
    eventually("the message is gone", lambda: "ended with status 3" not in editing.screen, timeout_s=40)
    editing.keys("Escape")
    editing.shows("1 Units", NAME, timeout_s=40)
    editing.keys("C-q")
    left = editing.shows("left with 0", timeout_s=40)
    assert "Traceback" not in left


def test_a_terminal_that_is_closed_in_a_shell_leaves_nothing(editing: Terminal, cluster: Cluster) -> None:
    (home,) = active_on(cluster, NAME)
    editing.keys("s")
    editing.shows(f"shell on {home}", timeout_s=40)
    eventually("a prompt", lambda: len(editing.screen.strip().splitlines()) > 1, timeout_s=40)
    editing.close()  # sees that the console and the shell end with it
