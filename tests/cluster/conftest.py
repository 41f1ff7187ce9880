"""Three real machines for the whole run; each test starts from an idle cluster, and a failure leaves evidence."""

from __future__ import annotations

import fcntl
import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from fleettui.demo.requirements import nodes_missing
from tests.cluster.hand import Hand, prepared, released
from tests.cluster.nodes import registry, start_over

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def booted() -> Iterator[Cluster]:
    """The test cluster, booted once; programs of any state. Most tests want `cluster`."""
    missing = nodes_missing()
    if missing:
        pytest.skip(f"cannot boot nodes: {'; '.join(missing)}")
    with _free_name() as name:
        built = Cluster(name, ttl="4s")
        built.down()
        try:
            built.up()
            yield built
        finally:
            left = built.down()
            assert not left, left


@contextmanager
def _free_name() -> Iterator[str]:
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
    booted.repair()
    sentinel = registry(booted, "cluster")
    yield booted
    if request.node.stash.get(FAILED, False):
        booted.save_journals(ARTIFACTS / re.sub(r"[^\w.-]+", "_", request.node.name))
    _restore(booted, sentinel)


def _restore(cluster: Cluster, sentinel: dict[str, str]) -> None:
    """Undo a wipe: agents rightly have nothing to do with a registry that is not theirs any more."""
    cluster.etcd.thaw()
    cluster.etcd.start()
    if registry(cluster, "cluster") != sentinel:
        for key, value in sentinel.items():
            cluster.etcd.put(f"/fleet/{key}", value)


@pytest.fixture
def cluster(nodes: Cluster) -> Cluster:
    """An idle cluster: three registered machines, a leader, no units."""
    start_over(nodes)
    return nodes


@pytest.fixture
def hand(nodes: Cluster) -> Iterator[Hand]:
    """A test's hand on core-1 of a cluster without schedulers: the agent's behaviour alone."""
    hand = prepared(nodes)
    yield hand
    released(hand)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure for the fixtures that keep evidence."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
