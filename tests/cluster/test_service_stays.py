"""A service of three instances behind a poller: it answers whatever is done to it one at a time."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.nodefiles import program
from tests.cluster.fleet import Fleet
from tests.cluster.nodes import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

UNITS = ("web@1.service", "web@2.service", "web@3.service")
GENTLY = ("--at-a-time", "1", "--healthy-for", "1s")
POLLS = 1000
SERVES = (
    'import http.server as h, os; bad = lambda: os.path.exists("/run/broken-%i"); '
    "get = lambda self: (self.send_response(500 if bad() else 200), self.end_headers()); "
    'handler = type("H", (h.BaseHTTPRequestHandler,), {"do_GET": get}); '
    'h.ThreadingHTTPServer(("", 808%i), handler).serve_forever()'
)
WEB = f"""\
[Service]
ExecStart=/usr/bin/python3 -c '{SERVES}'
[X-Fleet]
HealthCheck=http://127.0.0.1:808%i/healthz
HealthInterval=1s
HealthRetries=1
"""


DEAF = "[X-Fleet]\nHealthCheck=tcp://127.0.0.1:9\nHealthInterval=1s\nHealthRetries=1\n"


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Fleet:
    found = Fleet(cluster, tmp_path)
    found.write("web@.service", WEB)
    found.ctl("start", *(str(tmp_path / name) for name in UNITS))
    eventually("all are healthy", lambda: healths(found) == ["healthy"] * 3)
    return found


def healths(fleet: Fleet) -> list[str]:
    """What the checks of the instances have found."""
    return fleet.ctl("list-units", "--fields", "health", "--no-legend").stdout.split()


def answers(address: str, port: int) -> bool:
    """Whether an instance answers there."""
    try:
        with socket.create_connection((address, port), timeout=0.5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(40)
    except OSError:
        return False


@contextmanager
def polled(fleet: Fleet) -> Iterator[list[bool]]:
    """Ask for any instance, all the time; fail if none answered even once, or if it was asked too seldom."""
    places = [(node.spec.address, 8080 + number) for node in fleet.cluster.nodes.values() for number in (1, 2, 3)]
    polls: list[bool] = []
    stop = threading.Event()

    def poll() -> None:
        last = places[0]
        while not stop.wait(0.01):
            last = next((place for place in (last, *places) if answers(*place)), last)
            polls.append(answers(*last) or any(answers(*place) for place in places))

    poller = threading.Thread(target=poll, name="poller")
    poller.start()
    try:
        yield polls
        eventually("enough polls", lambda: len(polls) >= POLLS, timeout_s=120)
    finally:
        stop.set()
        poller.join()
    assert polls.count(False) == 0, f"{polls.count(False)} of {len(polls)} polls without an instance"
    print(f"0 of {len(polls)} polls without an instance")


def test_a_service_answers_through_rollout_restart_rollback_and_drain(fleet: Fleet) -> None:
    (fleet.directory / "next").mkdir()
    new = fleet.directory / "next" / "web@.service"
    new.write_text(f"# the next version\n{WEB}")
    with polled(fleet):
        fleet.ctl("rollout", "web@*", "--file", str(new), *GENTLY)
        fleet.ctl("restart", "web@*", *GENTLY)
        for unit in UNITS:
            fleet.ctl("rollback", unit, *GENTLY)
        for node in fleet.cluster.nodes:
            fleet.ctl("drain", node, *GENTLY)
            assert node not in fleet.homes("web@*.service").values()
            fleet.ctl("uncordon", node)
    assert fleet.ctl("cat", "web@2.service").stdout == WEB


def test_a_service_answers_while_every_machine_reboots_and_the_laptop_is_interrupted(fleet: Fleet) -> None:
    nodes = list(fleet.cluster.nodes)
    assert fleet.ctl("reboot", *nodes, "--needed").stdout.count("needs no reboot") == 3
    before = {node: fleet.shell(node, "cat /proc/sys/kernel/random/boot_id") for node in nodes}
    for node in nodes:
        fleet.shell(node, "touch /run/reboot-required")
    with polled(fleet):
        for waits_for in ("begins", "reboots", "has booted"):  # interrupted each time, somewhere else
            command = [str(program("fleetctl")), "reboot", *nodes, "--needed", "--healthy-for", "1s"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=fleet.cluster.environment) as run:
                for line in run.stdout or ():
                    if waits_for in line:
                        run.send_signal(signal.SIGINT)
                        break
                run.communicate(timeout=60)
        fleet.ctl("reboot", *nodes, "--needed", "--healthy-for", "1s", timeout_s=300)
    after = {node: fleet.shell(node, "cat /proc/sys/kernel/random/boot_id") for node in nodes}
    assert all(before[node] != after[node] for node in nodes)
    assert fleet.ctl("reboot", *nodes, "--needed").stdout.count("needs no reboot") == 3
    assert "draining" not in fleet.ctl("list-machines", "--fields", "state").stdout
    fleet.settled("web@*.service", 3)


def test_a_unit_that_answers_500_is_not_healthy_and_holds_a_rollout(fleet: Fleet) -> None:
    home = fleet.homes("web@*.service")["web@2.service"]
    fleet.start("deaf.service", text="[Service]\nExecStart=/bin/sleep infinity\n" + DEAF)
    fleet.shell(home, "touch /run/broken-2")
    eventually("it is seen", lambda: healths(fleet).count("unhealthy") == 2)
    assert "cannot reach tcp://127.0.0.1:9" in fleet.cluster.fleetctl("why", "deaf").stdout
    fleet.ctl("destroy", "deaf")
    assert "is not healthy" in (said := fleet.cluster.fleetctl("why", "web@2").stdout)
    assert "status 500" in said
    assert "Health check: unhealthy (status 500" in fleet.ctl("status", "web@2").stdout
    assert "unhealthy" in fleet.ctl("events", "--unit", "web@2.service").stdout
    said = fleet.fails("restart", "web@*", *GENTLY, "--name", "held", timeout_s=120)
    assert "web@2.service failed: it is not healthy" in said
    assert "paused" in said
    fleet.ctl("rollout", "abort", "held")
    fleet.shell(home, "rm /run/broken-2")
    eventually("all are healthy", lambda: healths(fleet) == ["healthy"] * 3)
