"""One machine of the cluster: a systemd-nspawn container that boots a full systemd.

It boots, runs commands, and fails in every way that a machine can.

A node's processes are those of its cgroup; nothing else is remembered, so any process on this host that knows the
cluster's name can act on its nodes.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fleettui.demo import network
from fleettui.demo.cgroup import Cgroup
from fleettui.demo.layout import ClusterLayout, NodeSpec
from fleettui.demo.noderoot import HOST, NodeRoot, System, remove_traces
from fleettui.demo.process import Completed, ToolFailed, run, spawn, wait_until
from registry.errors import UserError

POWER_OFF = signal.SIGRTMIN + 4  # systemd(1), SIGNALS
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb")
# A machine that reboots itself ends its container with this status; nobody but us would boot it again.
BOOTS_AGAIN = 'while :; do "$@"; status=$?; [ $status = 133 ] || exit $status; done'


class Node:
    """A machine that can be booted, used and broken."""

    def __init__(self, spec: NodeSpec, layout: ClusterLayout, system: System = HOST) -> None:
        self.spec = spec
        self.layout = layout
        self.root = NodeRoot(spec, layout, system)
        self.cgroup = Cgroup(layout.cgroup_prefix + spec.name)
        self.console = self.root.home / "console.log"

    @property
    def name(self) -> str:
        """core-1, core-2, …"""
        return self.spec.name

    def boot(self) -> None:
        """Start the machine; `wait_ready` tells when it answers. A machine that runs is left alone."""
        if self.alive():
            return
        self._clear()
        self.cgroup.create()
        spawn(self.cgroup.launcher(self._nspawn()), self.console)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until SSH answers. Raises ToolFailed with the end of the console's text."""
        try:
            wait_until(f"{self.name} answering SSH", self.answers, timeout_s=timeout_s)
        except ToolFailed as error:
            raise ToolFailed(f"{error}; its console ends: {self.console_tail()}") from error

    def answers(self) -> bool:
        """Whether SSH answers on the machine's address."""
        try:
            with socket.create_connection((self.spec.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def leader(self) -> int | None:
        """The machine's process 1 as the host numbers it; None when the machine is down."""
        for pid in self.cgroup.processes():
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
                if len(numbers) == 2 and numbers[1] == "1":  # of a pid namespace right below ours
                    return pid
        return None

    def alive(self) -> bool:
        """Whether the machine runs (frozen counts)."""
        return self.leader() is not None

    def exec(self, argv: Sequence[str], *, timeout_s: float = 30, text: str | None = None) -> Completed:
        """Run a command inside, as root; its exit code is the caller's to judge. Raises ToolFailed when down."""
        leader = self.leader()
        if leader is None:
            raise ToolFailed(f"{self.name} is down")
        inside = ["nsenter", "--target", str(leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        return run([*inside, "env", "-i", *ENVIRONMENT, *argv], timeout_s=timeout_s, check=False, text=text)

    def crash(self) -> None:
        """End the machine as a power cut would: nothing inside is told."""
        leader = self.leader()
        if leader is not None:
            os.kill(leader, signal.SIGKILL)
            self.thaw()  # systemd-nspawn itself must go on to see the end
            wait_until(f"the end of {self.name}", lambda: not self.cgroup.processes(), timeout_s=10)
        self._clear()

    def power_off(self, timeout_s: float = 150) -> None:
        """Shut the machine down in order, as `systemctl poweroff` does."""
        leader = self.leader()
        if leader is not None:
            os.kill(leader, POWER_OFF)
            wait_until(f"{self.name} powering off", lambda: not self.cgroup.processes(), timeout_s=timeout_s)
        self._clear()

    def reboot(self, timeout_s: float = 60) -> None:
        """Crash the machine (unless it is down) and boot it again; returns when SSH answers."""
        self.crash()
        self.boot()
        self.wait_ready(timeout_s)

    def freeze(self) -> None:
        """Stop every process of the machine, as a hung host would; its address stays, nobody answers."""
        self.cgroup.freeze(frozen=True)

    def thaw(self) -> None:
        """Let a frozen machine go on."""
        self.cgroup.freeze(frozen=False)

    def frozen(self) -> bool:
        """Whether the machine hangs by `freeze`."""
        return self.cgroup.is_frozen()

    def cut(self) -> None:
        """Pull the machine's network cable. Raises UserError when it is down: it has no link then."""
        self._refuse_down()
        network.cut(self.spec)

    def heal(self) -> None:
        """Plug the machine's network cable in again. Raises UserError when it is down."""
        self._refuse_down()
        network.heal(self.spec, self.layout.bridge)

    def mend(self) -> None:
        """Undo freeze, cut and stopped programs; a machine that is down stays down."""
        if not self.alive():
            return
        self.thaw()
        self.heal()
        self.exec(["systemctl", "kill", "--signal=CONT", "fleet-agentd.service", "fleet-scheduler.service"])

    def signal_unit(self, unit: str, name: str) -> None:
        """Send a signal (KILL, STOP, CONT, TERM …) to a unit's main process inside."""
        done = self.exec(["systemctl", "kill", "--kill-whom=main", f"--signal={name}", unit])
        if done.returncode:
            raise ToolFailed(f"cannot signal {unit} on {self.name}: {done.stderr.strip()}")

    def journal(self, *arguments: str) -> str:
        """The machine's journal since its boot; also of a machine that is down, read from its files."""
        if self.alive():
            return self.exec(["journalctl", "--no-pager", "-b", *arguments]).stdout
        directory = self.root.directory / "var/log/journal"
        return run(["journalctl", "--no-pager", "-D", directory, *arguments], check=False).stdout

    def console_tail(self, lines: int = 5) -> str:
        """The last lines that the machine printed on its console, in one."""
        if not self.console.exists():
            return "(nothing)"
        return " | ".join(self.console.read_text(errors="replace").split("\n")[-lines:])

    def programs(self) -> list[Path]:
        """The directories of this host that the machine sees, read only."""
        return self.root.system.programs()

    def _nspawn(self) -> list[str]:
        escaped = (str(path).replace("\\", "\\\\").replace(":", "\\:") for path in self.programs())
        binds = [f"--bind-ro={path}" for path in escaped]
        unified = [] if self.root.system.is_host else ["env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1"]
        containers = [] if self.root.system.is_host else ["--system-call-filter=bpf", "--capability=CAP_BPF"]
        return [
            *unified, "sh", "-c", BOOTS_AGAIN, "sh",
            "systemd-nspawn", "--quiet", "--boot", f"--directory={self.root.directory}",
            f"--machine={self.spec.machine}", f"--hostname={self.spec.name}", f"--uuid={self.spec.machine_id}",
            "--register=no", "--keep-unit", "--settings=no", "--console=read-only", "--link-journal=no",
            "--resolv-conf=off", "--timezone=off", f"--network-bridge={self.layout.bridge}",
            *containers, *binds, "systemd.unit=multi-user.target", "systemd.show_status=no",
        ]  # fmt: skip

    def _refuse_down(self) -> None:
        if not self.alive():
            raise UserError(f"{self.name} is down; reboot it first")

    def _clear(self) -> None:
        self.cgroup.end()
        network.remove_link(self.spec)
        remove_traces(self.spec.machine, self.root.directory)
