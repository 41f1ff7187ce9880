"""The demo without root: one machine on an ordinary user's own systemd, tried inside a node."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.process import Completed
from tests.cluster.nodes import eventually

pytestmark = pytest.mark.cluster

PREPARE = """
set -e
chmod 711 /root
rm -f /etc/systemd/system/systemd-logind.service
systemctl daemon-reload
systemctl start systemd-logind.service
useradd --create-home --uid 4242 --shell /bin/bash visitor
systemd-run --quiet --wait loginctl enable-linger visitor  # of logind's own control groups, as it wants
"""
CLEAN = """
systemd-run --quiet --wait loginctl terminate-user visitor
systemd-run --quiet --wait loginctl disable-linger visitor
userdel --force --remove visitor
systemctl stop systemd-logind
"""
RUNTIME = ("XDG_RUNTIME_DIR=/run/user/4242", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/4242/bus")
ENVIRONMENT = ("HOME=/home/visitor", f"PATH={Path(sys.prefix, 'bin')}:/usr/bin")


class Visitor:
    """An ordinary user on the first machine."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def run(self, *command: str, runtime: Sequence[str] = RUNTIME) -> Completed:
        session = ["runuser", "-u", "visitor", "--", "env", *ENVIRONMENT, *runtime]
        return self.cluster.exec("core-1", [*session, *command], timeout_s=60)

    def demo(self, *arguments: str, runtime: Sequence[str] = RUNTIME) -> Completed:
        program = "import sys; from fleettui.demo.commands import main; sys.exit(main(sys.argv[1:]))"
        return self.run(str(Path(sys.prefix, "bin", "python")), "-c", program, *arguments, runtime=runtime)

    def active(self, unit: str) -> bool:
        return self.run("systemctl", "--user", "is-active", unit).stdout == "active\n"

    def services(self) -> str:
        return self.run("systemctl", "--user", "list-units", "--no-legend", "--plain", "fleet-demo-*").stdout


@pytest.fixture
def visitor(cluster: Cluster) -> Iterator[Visitor]:
    node = cluster.node("core-1")
    node.exec(["userdel", "visitor"])
    prepared = node.exec(["bash", "-c", PREPARE])
    assert prepared.returncode == 0, prepared.stderr
    someone = Visitor(cluster)
    eventually("the user's systemd", lambda: someone.run("systemctl", "--user", "show").returncode == 0)
    yield someone
    node.exec(["bash", "-c", CLEAN])


def test_an_ordinary_user_gets_one_machine_and_can_remove_it(visitor: Visitor) -> None:
    up = visitor.demo("up")
    assert up.returncode == 0, up.stderr
    assert "on your own systemd" in up.stdout
    assert "booting machines needs root" in up.stdout
    eventually("all three programs", lambda: visitor.demo("status").stdout.count(" active") == 3, interval_s=0.5)
    eventually("the web server", lambda: visitor.active("hello-web.service"), interval_s=0.5)
    told = eventually(
        "the agent in the unit's journal",
        lambda: (
            visitor.run("journalctl", "--user-unit=hello-web", "-o", "cat", "SYSLOG_IDENTIFIER=fleet-agentd").stdout
        ),
    )
    assert "hello-web.service: start (" in told
    status = ("systemctl", "--user", "show", "-P", "StatusText", "fleet-demo-agentd")
    eventually("its status", lambda: "registered as " in visitor.run(*status).stdout)
    assert visitor.demo("up", "--no-examples").returncode == 0  # once more changes nothing
    assert visitor.active("hello-web.service")
    down = visitor.demo("down")
    assert "nothing is left" in down.stdout, down.stderr
    assert visitor.services() == ""
    assert not visitor.active("hello-web.service")
    assert visitor.run("ls", "-A", "/home/visitor/.local/state/fleet").stdout == ""


def test_a_fault_needs_machines(visitor: Visitor) -> None:
    refused = visitor.demo("kill", "core-1")
    assert refused.returncode == 1
    assert refused.stderr == "error: no machine to kill: booting machines needs root\n"


def test_without_any_systemd_it_says_what_to_install(visitor: Visitor) -> None:
    refused = visitor.demo("up", runtime=())
    assert refused.returncode == 1
    assert "no `systemd --user` answers" in refused.stderr
    assert "sudo make setup" in refused.stderr
    assert "Traceback" not in refused.stderr
