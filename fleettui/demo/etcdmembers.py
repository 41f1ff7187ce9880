"""An etcd of several members, used as one server; each member can be killed, hung or cut off by itself.

`members` are the servers; what the class does, it does to all of them, and it asks whichever answers.
"""

from __future__ import annotations

import http.client
import json
import shutil
from pathlib import Path

from fleettui.demo.etcdserver import READY_S, EtcdServer
from fleettui.demo.layout import ClusterLayout
from fleettui.demo.process import ToolFailed, wait_until


class EtcdMembers(EtcdServer):
    """All members of a cluster's etcd."""

    def __init__(self, layout: ClusterLayout, binary: str = "") -> None:
        super().__init__(layout, binary)
        self.members = [EtcdServer(layout, binary, spec) for spec in layout.etcd_members]

    @property
    def logs(self) -> dict[str, str]:
        """What each member has printed, by a file name."""
        return {name: text for each in self.members for name, text in each.logs.items()}

    def start(self) -> None:
        """Start every member that does not run, and wait until all are healthy."""
        for each in self.members:
            each.launch()
        for each in self.members:
            wait_until(f"{each.name} answering", each.answers, timeout_s=READY_S)

    def stop(self) -> None:
        """End all members in order; their data stays."""
        for each in self.members:
            each.stop()

    def kill(self) -> None:
        """End all members as a power cut would; their data stays."""
        for each in self.members:
            each.kill()

    def wipe(self) -> None:
        """Kill all members, forget everything they hold, and start them empty."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        self.start()

    def save(self, file: Path) -> None:
        """Save a snapshot of everything the members hold, from the first one that is healthy."""
        for each in self.members:
            if each.answers():
                each.save(file)
                return
        raise ToolFailed("no member of etcd is healthy")

    def rebuild(self, file: Path) -> None:
        """Replace the data of all members, which are down, by a snapshot's."""
        for each in self.members:
            each.rebuild(file)

    def freeze(self) -> None:
        """Hang all members."""
        for each in self.members:
            each.freeze()

    def thaw(self) -> None:
        """Let every hung member go on."""
        for each in self.members:
            each.thaw()

    def cut(self) -> None:
        """Pull every member's network cable."""
        for each in self.members:
            each.cut()

    def heal(self) -> None:
        """Plug every cable in again."""
        for each in self.members:
            each.heal()

    def running(self) -> bool:
        """Whether any member's process exists."""
        return any(each.running() for each in self.members)

    def answers(self) -> bool:
        """Whether some member is healthy, which takes a quorum."""
        return any(each.answers() for each in self.members)

    def leader(self) -> EtcdServer | None:
        """The member that leads the others; None when none does or nobody answers."""
        for each in self.members:
            try:
                status = json.loads(each.ask("POST", "/v3/maintenance/status", b"{}"))
            except (OSError, ValueError, http.client.HTTPException):
                continue
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return each
        return None

    def ask(self, method: str, path: str, body: bytes) -> bytes:
        """One request to the first member that answers it. Raises ToolFailed when none does."""
        for each in self.members:
            try:
                return each.ask(method, path, body)
            except (OSError, http.client.HTTPException):
                continue
        raise ToolFailed("no member of etcd answers")
