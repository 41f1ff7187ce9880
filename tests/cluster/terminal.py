"""The console in a real terminal, driven through tmux as a hand would, and read as an eye would."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from fleettui.demo import nodefiles
from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import eventually

MARK = "FLEET_TEST_TERMINAL"
CONFIRMED = ("Right", "Enter")  # Cancel has the focus when the console asks


class Terminal:
    """A terminal with one program in it. Nothing of it outlives `close`."""

    def __init__(
        self, command: str, environment: Mapping[str, str], *, columns: int = 140, lines: int = 40
    ) -> None:
        self._name = f"fleettest-{uuid.uuid4().hex[:8]}"
        self._home = tempfile.TemporaryDirectory(prefix=self._name)  # no console remembers another one's views
        self._environment = {**environment, MARK: self._name, "XDG_STATE_HOME": self._home.name}
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", f"{columns}", "-y", f"{lines}", command)

    @classmethod
    def console(cls, cluster: Cluster, *, columns: int = 140, lines: int = 40, **environment: str) -> Terminal:
        """The console of a cluster."""
        surroundings = {**cluster.environment, "COLORTERM": "truecolor", "TERM": "xterm-256color", **environment}
        program = shlex.quote(str(nodefiles.program("fleettui")))
        return cls(f"{program}; echo left with $?; sleep 60", surroundings, columns=columns, lines=lines)

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", self._name, *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, timeout=30
        )
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type a text letter by letter."""
        self._tmux("send-keys", "-l", text)

    @property
    def screen(self) -> str:
        """What is on the screen."""
        return self._tmux("capture-pane", "-p")

    @property
    def picture(self) -> str:
        """What is on the screen, in its colours."""
        return self._tmux("capture-pane", "-p", "-e", "-N")

    def shows(self, *texts: str, timeout_s: float = 60) -> str:
        """The screen once all texts are on it."""
        return self._until(
            f"{texts} on the screen", lambda screen: all(each in screen for each in texts), timeout_s
        )

    def lacks(self, *texts: str, timeout_s: float = 60) -> str:
        """The screen once none of the texts is on it, and something else is."""

        def without(screen: str) -> bool:
            return bool(screen.strip()) and not any(each in screen for each in texts)

        return self._until(f"no {texts} on the screen", without, timeout_s)

    def _until(self, what: str, fact: Callable[[str], bool], timeout_s: float) -> str:
        def found() -> str:
            screen = self.screen
            return screen if fact(screen) else ""

        try:
            return eventually(what, found, timeout_s=timeout_s, interval_s=0.1)
        except BaseException:
            print(self.screen)
            raise

    def key_for(self, word: str, does: str) -> str:
        """What a newcomer finds: open the help, type a word, read the key beside what it does, close the help."""
        self.type("?")
        self.shows("type to search")
        self.type(word)
        screen = self.shows(does)
        line = next(line for line in screen.splitlines() if does in line)
        self.keys("Escape")
        self.lacks("Esc closes")
        return line[: line.index(does)].split()[-1]

    def close(self) -> None:
        """End the terminal, and see that what ran in it ends with it."""
        self._tmux("kill-server")
        eventually("the end of what ran in the terminal", lambda: not self._left(), timeout_s=30)
        self._home.cleanup()

    def _left(self) -> list[int]:
        return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and self._is_ours(each)]

    def _is_ours(self, process: Path) -> bool:
        try:
            return f"{MARK}={self._name}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
