"""The console in a real terminal against three real machines: an operator's first ten minutes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleettui.demo import nodefiles
from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import active_on, eventually, registry

pytestmark = pytest.mark.cluster
UNIT = "[Unit]\nDescription=talks\n[Service]\nExecStart=/bin/sh -c 'while :; do echo I speak; sleep 0.2; done'\n"


class Terminal:
    """A terminal of 140 by 40 with one program in it, driven through tmux."""

    def __init__(self, command: str, environment: dict[str, str]) -> None:
        self._socket = f"fleettest-{uuid.uuid4().hex[:8]}"
        self._environment = environment
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "40", command)

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", self._socket, *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, timeout=10
        )
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._tmux("send-keys", *keys)

    @property
    def screen(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    def shows(self, *texts: str, timeout_s: float = 15) -> str:
        """The screen once all texts are on it."""

        def found() -> str:
            screen = self.screen
            return screen if all(text in screen for text in texts) else ""

        try:
            return eventually(f"{texts} on the screen", found, timeout_s=timeout_s)
        except BaseException:
            print(self.screen)
            raise

    def close(self) -> None:
        """End the terminal and what runs in it."""
        self._tmux("kill-server")


@pytest.fixture
def console(cluster: Cluster) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    environment = {**cluster.environment, "COLORTERM": "truecolor", "TERM": "xterm-256color"}
    program = shlex.quote(str(nodefiles.program("fleettui")))
    terminal = Terminal(f"{program}; echo left with $?; sleep 60", environment)
    yield terminal
    terminal.close()


def test_see_submit_start_read_stop_and_destroy(console: Terminal, cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "talker.service"
    path.write_text(UNIT)
    console.shows("3/3 machines", "no units yet", "live")
    console.keys("2")
    console.shows("core-1", "core-2", "core-3", "ready")
    console.keys("1")

    console.keys("n")
    console.shows("submit a unit file")
    console.keys("-l", str(path))
    console.shows("nothing is wrong with it")
    console.keys("C-s")
    console.shows("✓ fleetctl start talker.service", "talker.service", "● active")
    assert len(active_on(cluster, "talker.service")) == 1

    console.keys("j")
    console.shows("journal  talker · core-", "I speak", "following")

    console.keys("X")
    console.shows("✓ fleetctl stop talker.service", "○ inactive")
    assert active_on(cluster, "talker.service") == []

    console.keys("S")
    console.shows("✓ fleetctl start talker.service", "● active")
    console.keys("D")
    console.shows("Destroy talker.service?", "1 running unit stops on core-")
    console.keys("Enter")  # Cancel has the focus
    eventually("the question is gone", lambda: "Destroy talker.service?" not in console.screen)
    assert registry(cluster, "units/talker.service")
    console.keys("D")
    console.shows("Destroy talker.service?")
    console.keys("Right", "Enter")
    console.shows("✓ fleetctl destroy talker.service", "no units yet")
    assert active_on(cluster, "talker.service") == []

    console.keys("u")
    console.shows("✓ undo: fleetctl start talker.service", "● active")
    assert len(active_on(cluster, "talker.service")) == 1
    console.keys("C-q")
    left = console.shows("left with 0")
    assert "Traceback" not in left
    assert "never retrieved" not in left


def test_a_lost_registry_is_told_and_healed(console: Terminal, cluster: Cluster) -> None:
    console.shows("3/3 machines", "live")
    cluster.etcd.freeze()
    try:
        console.shows("connection lost", timeout_s=20)
    finally:
        cluster.etcd.thaw()
    console.shows("● live", timeout_s=20)
    eventually("the banner is gone", lambda: "connection lost" not in console.screen)
