"""The demo's example units on real machines, handed in by the real fleetctl."""

from __future__ import annotations

import http.client

import pytest

from fleettui.demo import images, showcase
from fleettui.demo.cluster import Cluster
from tests.cluster.nodes import active_on, eventually, registry

pytestmark = pytest.mark.cluster


@pytest.fixture
def shown(cluster: Cluster) -> Cluster:
    for node in cluster.nodes.values():
        images.load_image(node)
    assert showcase.start(cluster.fleetctl, containers=True) == []
    return cluster


def test_each_example_shows_what_it_says(shown: Cluster) -> None:
    web = eventually("the web server", lambda: active_on(shown, "hello-web.service"))
    assert len(web) == 1
    eventually("its page", lambda: _page(shown, web[0], 8080) == f"Hello from {web[0]}\n")
    eventually("its sidecar beside it", lambda: active_on(shown, "hello-log.service") == web)
    eventually("the sidecar's words", lambda: "the web server says" in _journal(shown, web[0], "hello-log"))
    eventually("the global unit everywhere", lambda: len(active_on(shown, "node-load.service")) == len(shown.nodes))
    eventually("the instances apart", lambda: _instances(shown) == [["core-1"], ["core-2"], ["core-3"]])
    timer = eventually("the timer", lambda: active_on(shown, "tick.timer"))
    eventually("a tick", lambda: "tick on" in _journal(shown, timer[0], "tick"), timeout_s=40)


def test_the_container_runs_under_its_unit(shown: Cluster) -> None:
    place = eventually("the container", lambda: active_on(shown, "hello-container.service"))
    eventually("its output", lambda: "count 1 in a container" in _journal(shown, place[0], "hello-container"))
    shown.fleetctl("stop", "hello-container.service")
    eventually("its end", lambda: not active_on(shown, "hello-container.service"))
    assert shown.exec(place[0], ["podman", "ps", "--quiet"]).stdout == ""


def test_the_one_that_fails_and_the_one_without_a_place_say_so(shown: Cluster) -> None:
    eventually("a failure reported", lambda: _failed(shown))
    eventually("a reason", lambda: registry(shown, "pending/mars.service"))
    assert "region" in shown.fleetctl("why", "mars.service").stdout


def _instances(cluster: Cluster) -> list[list[str]]:
    return sorted(active_on(cluster, f"web@{number}.service") for number in (1, 2, 3))


def _failed(cluster: Cluster) -> bool:
    return any("failed" in value for key, value in registry(cluster, "states/").items() if "broken" in key)


def _journal(cluster: Cluster, node: str, unit: str) -> str:
    return cluster.node(node).journal("-o", "cat", "-u", unit, "-n", "50")


def _page(cluster: Cluster, node: str, port: int) -> str:
    connection = http.client.HTTPConnection(cluster.node(node).spec.address, port, timeout=3)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()
