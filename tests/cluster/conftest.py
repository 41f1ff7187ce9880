"""Three real machines for all tests here; each starts from an idle cluster, and a failure leaves evidence."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.noderoot import System
from fleettui.demo.process import ToolFailed
from fleettui.demo.requirements import nodes_missing
from tests.cluster.hand import Hand, prepared, released
from tests.cluster.nodes import eventually, registry, start_over
from tests.cluster.systems import debian_13, system_of_nodes

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
FAILED = pytest.StashKey[bool]()
SENTINELS: dict[str, str] = {}  # by the name of a cluster, the id that its agents know
T = TypeVar("T")
# The demo without root runs in a node by the programs of this host, which another system does not have.
collect_ignore = ["test_user_demo.py"] if os.environ.get("FLEET_NODES") else []


@pytest.fixture(scope="package")
def booted() -> Iterator[Cluster]:
    """The test cluster, booted once for all tests of this directory; programs of any state. Most want `cluster`."""
    missing = nodes_missing()
    if missing:
        pytest.skip(f"cannot boot nodes: {'; '.join(missing)}")
    with booted_cluster() as built:
        yield built


@pytest.fixture(scope="module")
def newer() -> Iterator[Cluster]:
    """Machines of Debian 13, booted for one module."""
    if missing := nodes_missing():
        pytest.skip(f"cannot boot nodes: {'; '.join(missing)}")
    with booted_cluster(system=debian_13()) as built:
        yield built


@contextmanager
def booted_cluster(nodes: int = 3, members: int = 1, system: System | None = None) -> Iterator[Cluster]:
    """A cluster under a name of its own, of which nothing is left afterwards; `system` None: as this run has it."""
    system = system or system_of_nodes()
    with free_name() as name:
        built = Cluster(name, nodes, ttl="4s", members=members, system=system)
        built.down()
        try:
            built.up()
            yield built
        finally:
            left = built.down()
            assert not left, left


@contextmanager
def free_name() -> Iterator[str]:
    """A cluster name that no other test run on this host holds; the kernel frees it with the process."""
    for name in ("test", *(f"test{letter}" for letter in "bcdefghij")):
        with Path(tempfile.gettempdir(), f"fleet-{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield name
            return
    pytest.fail("ten test runs hold a cluster on this host already")


@pytest.fixture
def nodes(booted: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The booted cluster with every fault mended; says nothing about agents and schedulers."""
    _or_replaced(booted, _mended)
    yield booted
    if request.node.stash.get(FAILED, False):
        booted.save_journals(ARTIFACTS / re.sub(r"[^\w.-]+", "_", request.node.name))
    with suppress(OSError, HTTPException, ToolFailed):  # the next test replaces what is broken
        _restore(booted)


def _mended(cluster: Cluster) -> None:
    """Mend every fault, and remember whose registry it is."""
    cluster.repair()
    found = eventually("a fleet's registry", lambda: registry(cluster, "cluster"))
    SENTINELS[cluster.layout.name] = json.loads(found["cluster"])["id"]


def _or_replaced(cluster: Cluster, prepare: Callable[[Cluster], T]) -> T:
    """What `prepare` makes of the cluster; of a new one where the test before has left this one broken."""
    try:
        return prepare(cluster)
    except (AssertionError, OSError, HTTPException, ToolFailed) as error:
        warnings.warn(f"the cluster was left broken and is replaced: {error}", stacklevel=2)
    cluster.down()
    _mended(cluster)
    return prepare(cluster)


def _restore(cluster: Cluster) -> None:
    """Undo a wipe: agents rightly have nothing to do with a registry that is not theirs any more.

    The epoch says that somebody wants this: a test may have accepted a later one meanwhile.
    """
    cluster.etcd.thaw()
    cluster.etcd.start()
    cluster_id = SENTINELS[cluster.layout.name]
    found = registry(cluster, "cluster").get("cluster", "")
    if f'"{cluster_id}"' not in found or '"held"' in found:
        cluster.etcd.put("/fleet/cluster", json.dumps({"id": cluster_id, "epoch": int(time.time() * 1000)}))


@pytest.fixture
def cluster(nodes: Cluster) -> Cluster:
    """An idle cluster: three registered machines, a leader, no units."""
    _or_replaced(nodes, start_over)
    return nodes


@pytest.fixture
def hand(nodes: Cluster) -> Iterator[Hand]:
    """A test's hand on core-1 of a cluster without schedulers: the agent's behaviour alone."""
    hand = _or_replaced(nodes, prepared)
    yield hand
    released(hand)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure for the fixtures that keep evidence."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
