"""The demo without nodes: this machine as a fleet of one, on the user's own systemd, with an etcd of its own.

Three transient services of `systemd --user` (etcd, agent, scheduler) are all there is to find and to stop; they
live until `down` or the end of the user's session, whichever is first.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from fleettui.demo import nodefiles
from fleettui.demo.credentials import Credentials
from fleettui.demo.etcdserver import find_binary
from fleettui.demo.paths import user_directory
from fleettui.demo.process import Completed, ToolFailed, run, wait_until
from registry.roles import agent_of, scheduler_of

ETCD, AGENT, SCHEDULER = SERVICES = ("fleet-demo-etcd", "fleet-demo-agentd", "fleet-demo-scheduler")


class UserMachine:
    """A fleet of one machine. `up` and `down` may be repeated and interrupted at will."""

    def __init__(self) -> None:
        self.state = user_directory()
        self.config = self.state / "fleet.toml"
        self.port = 23300 + 2 * (os.getuid() % 300)
        self.endpoint = f"https://127.0.0.1:{self.port}"
        self.machine = Path("/etc/machine-id").read_text().strip()  # as the agent will say
        self.credentials = Credentials(self.state / "access", "demo")

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with the operator's configuration of this machine in it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FLEET_", "FLEETCTL_"))}
        return kept | {"FLEET_CONFIG": str(self.config)}

    def complete(self) -> bool:
        """Whether all three programs run."""
        return self.config.exists() and all(state == "active" for state in self.states().values())

    def up(self) -> None:
        """Start what is not running. Raises ToolFailed with what the journal says."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.credentials.make(["127.0.0.1", "localhost"], [self.machine])
        self.config.write_text(
            f"{self.credentials.table([self.endpoint])}\n"
            '[agent]\nbus = "user"\npublic_ip = "127.0.0.1"\nttl = "5s"\n\n'
            '[agent.metadata]\nnode = "n1"\nregion = "r1"\n'
        )
        self._start(ETCD, self._etcd())
        wait_until("etcd answering", self._etcd_listens, timeout_s=20)
        self.credentials.turn_users_on([self.endpoint], [self.machine])
        for service, name, user in (
            (AGENT, "fleet-agentd", agent_of(self.machine)),
            (SCHEDULER, "fleet-scheduler", scheduler_of(self.machine)),
        ):
            self._start(
                service,
                [str(nodefiles.program(name))],
                "--property=NotifyAccess=main",  # they say how they are; nobody waits until they are ready
                f"--setenv=FLEET_ETCD_USERNAME={user.name}",
                f"--setenv=FLEET_ETCD_PASSWORD_FILE={self.credentials.password(user.name)}",
            )

    def down(self) -> list[str]:
        """Stop the programs, the agent first: it stops its units. Returns what could not be removed."""
        for service in (AGENT, SCHEDULER, ETCD):
            run(["systemctl", "--user", "stop", service], check=False, timeout_s=150)
            run(["systemctl", "--user", "reset-failed", service], check=False)
        shutil.rmtree(self.state, ignore_errors=True)
        left = [f"service {name}" for name, state in self.states().items() if state == "active"]
        return left + ([f"directory {self.state}"] if self.state.exists() else [])

    def states(self) -> dict[str, str]:
        """The state of each of the three services, in systemd's word."""
        shown = run(["systemctl", "--user", "is-active", *SERVICES], check=False).stdout.split()
        return dict(zip(SERVICES, shown, strict=False))

    def fleetctl(self, *arguments: str, timeout_s: float = 60) -> Completed:
        """Run fleetctl as the operator of this machine; the exit code is the caller's to judge."""
        command: list[str | Path] = [nodefiles.program("fleetctl"), *arguments]
        return run(command, timeout_s=timeout_s, check=False, environment=self.environment)

    def _start(self, service: str, command: list[str], *more: str) -> None:
        if self.states().get(service) == "active":
            return
        options = [
            f"--setenv=FLEET_CONFIG={self.config}",
            "--property=Restart=always",
            "--property=RestartSec=1s",
            "--property=TimeoutStopSec=120",
            *more,
        ]
        words = ["systemd-run", "--user", "--quiet", "--collect", f"--unit={service}", *options, *command]
        try:
            run(words)
        except ToolFailed as error:
            raise ToolFailed(f"cannot start {service} on your systemd: {error}") from error

    def _etcd_listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _etcd(self) -> list[str]:
        client, peer = self.endpoint, f"https://127.0.0.1:{self.port + 1}"
        return [
            str(find_binary()), "--name=demo", f"--data-dir={self.state}/etcd", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=demo={peer}", "--log-level=warn",
            *self.credentials.etcd_options(),
        ]  # fmt: skip
