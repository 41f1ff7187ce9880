"""A real Prometheus scrapes agents and schedulers on real machines: metrics, the board, the alert rules."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleettui.demo.cluster import Cluster
from registry.program.measures import METRICS, Kind, Teller
from tests.cluster.fleet import SLEEPER, Fleet
from tests.cluster.nodes import eventually
from tests.etcd_server import free_ports

CONTRIB = Path(__file__).parent.parent.parent / "contrib"
RULES = CONTRIB / "prometheus/fleet.rules.yml"
BOARD = json.loads((CONTRIB / "grafana/fleet.json").read_text())
QUERIES = sorted({target["expr"] for panel in BOARD["panels"] for target in panel["targets"]})
QUIET = {  # what has nothing to tell in a fleet that is well, and not secured
    each for each in QUERIES if re.search(r"== [01]$|certificate", each)
}
AGENT, SCHEDULER = "fleet-agentd.service", "fleet-scheduler.service"
PORT = 9465

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Prometheus:
    """A Prometheus of Debian's package, on loopback, with its data in a directory."""

    def __init__(self, directory: Path, targets: dict[str, list[str]]) -> None:
        (self._port,) = free_ports(1)
        config = directory / "prometheus.yml"
        jobs = [{"job_name": name, "static_configs": [{"targets": each}]} for name, each in targets.items()]
        timing = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config.write_text(json.dumps({"global": timing, "rule_files": [str(RULES)], "scrape_configs": jobs}))
        command = [
            "setpriv", "--pdeathsig", "KILL", "prometheus", f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{self._port}",
        ]  # fmt: skip
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def api(self, path: str, **query: str) -> Any:
        status, body = get(f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success"), body
        return answer["data"]

    def query(self, text: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.api("query", query=text)["result"]
        return result

    def number(self, text: str) -> float | None:
        found = self.query(text)
        return float(found[0]["value"][1]) if found else None

    def becomes(self, text: str, value: float) -> None:
        """Wait until a query has this one number."""
        eventually(f"{text} is {value}", lambda: self.number(text) == value, timeout_s=90)

    def up(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return get(f"http://127.0.0.1:{self._port}/-/ready")[0] == 200
        except OSError:
            return False

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)


@pytest.fixture
def told(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster whose programs serve metrics on their machines' addresses."""
    drop_in = "[Service]\\nEnvironment=FLEET_METRICS_LISTEN={}:{}\\n"
    for node in cluster.nodes.values():
        text = drop_in.format(node.spec.address, PORT)
        for unit in (AGENT, SCHEDULER):
            place = f"/run/systemd/system/{unit}.d"
            node.exec(["sh", "-c", f"mkdir -p {place} && printf '{text}' > {place}/metrics.conf"])
        node.exec(["systemctl", "daemon-reload"])
        node.exec(["systemctl", "restart", AGENT, SCHEDULER])
    yield cluster
    for node in cluster.nodes.values():
        node.exec(["sh", "-c", "rm -r /run/systemd/system/fleet-*.service.d && systemctl daemon-reload"])
        node.exec(["systemctl", "restart", AGENT, SCHEDULER])


@pytest.fixture
def prometheus(told: Cluster, tmp_path: Path) -> Iterator[Prometheus]:
    addresses = [node.spec.address for node in told.nodes.values()]
    started = Prometheus(
        tmp_path,
        {
            "fleet-agent": [f"{each}:{PORT}" for each in addresses],
            "fleet-scheduler": [f"{each}:{PORT + 1}" for each in addresses],
        },
    )
    try:
        eventually("Prometheus", started.up, timeout_s=60)
        yield started
    finally:
        started.end()


FIGURES = {  # of three machines, with three units that run, one that fits nowhere and two that fail
    "sum(up)": 6,
    "sum(fleet_scheduler_leading)": 1,
    'sum(fleet_machines{state="ready"})': 3,
    'sum(fleet_units{target="launched", active="active"})': 3,
    'sum(fleet_units_pending{rule="metadata"})': 1,
    'sum(fleet_units{active="failed"})': 2,
    "sum(fleet_units_with_error)": 1,
    "sum(fleet_units_drift)": 0,
    "sum(fleet_agent_registered)": 3,
    'sum(fleet_agent_units{active="active"})': 3,
}


def test_one_prometheus_sees_the_whole_fleet(told: Cluster, prometheus: Prometheus, tmp_path: Path) -> None:
    fleet = Fleet(told, tmp_path)
    fleet.start("a@1.service", "a@2.service", "a@3.service")
    mars = fleet.write("mars.service", SLEEPER + "[X-Fleet]\nMachineMetadata=region=mars\n")
    broken = fleet.write("broken.service", "[Service]\nExecStart=/nowhere\n")
    crash = fleet.write("crash.service", "[Service]\nExecStart=/bin/sh -c 'sleep 3; exit 3'\n")
    fleet.ctl("start", "--no-block", mars, broken, crash)
    for query, value in FIGURES.items():
        prometheus.becomes(query, value)
    assert prometheus.query('fleet_agent_tasks_total{kind="start", result="done"}')
    assert prometheus.number("max(fleet_lease_renewal_age_seconds)")
    has_every_metric(prometheus)
    rules_are_sound(prometheus)
    fleet.start("late.service")  # after the first scrape: a rate is made of two
    eventually("rates", lambda: prometheus.query("rate(fleet_scheduler_placements_total[5m]) > 0"), timeout_s=60)
    for query in QUERIES:  # of the board
        assert prometheus.query(query) or query in QUIET, query


def has_every_metric(prometheus: Prometheus) -> None:
    """Whether what docs/metrics.md has is there, nothing else, and what the leader tells once for the fleet."""
    names = set(prometheus.api("label/__name__/values"))
    wanted = {
        f"{each.name}_bucket" if each.kind is Kind.HISTOGRAM else each.queried
        for each in METRICS
        if not each.name.startswith("fleet_certificate")  # this fleet is not secured
    }
    assert wanted <= names, wanted - names
    known = {each.queried + suffix for each in METRICS for suffix in ("", "_bucket", "_sum", "_count")}
    assert {each for each in names if each.startswith("fleet_")} <= known
    for name in [each.queried for each in METRICS if each.teller is Teller.LEADER]:
        prometheus.becomes(f"count(count by (instance) ({name}))", 1)  # one scrape shows the fleet


def rules_are_sound(prometheus: Prometheus) -> None:
    """Whether every alert rule can be evaluated, and one of them is on its way."""
    rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert len(rules) >= 10
    assert {rule["health"] for rule in rules} == {"ok"}
    pending = 'ALERTS{alertname="FleetUnitsPending", alertstate="pending"}'
    eventually("an alert that is pending", lambda: prometheus.query(pending), timeout_s=60)


def test_healthz_and_metrics_say_that_the_registry_is_away(told: Cluster, prometheus: Prometheus) -> None:
    prometheus.becomes("sum(fleet_agent_registered)", 3)
    for node in told.nodes.values():
        for port, words in ((PORT, "registered as"), (PORT + 1, "lead")):
            status, text = get(f"http://{node.spec.address}:{port}/healthz")
            assert (status, words in text) == (200, True), text
    told.etcd.kill()
    node = told.node("core-2")
    for port in (PORT, PORT + 1):
        eventually("unhealthy", lambda at=port: get(f"http://{node.spec.address}:{at}/healthz")[0] == 503)  # type: ignore[misc]
    prometheus.becomes("min(fleet_registry_up)", 0)
    told.etcd.start()
    prometheus.becomes("min(fleet_registry_up)", 1)
