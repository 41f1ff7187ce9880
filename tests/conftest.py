"""Fixtures for every test: a real etcd for the whole run, and a key prefix for each test alone."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from registry.etcd import Etcd, EtcdSettings
from tests.cluster_required import pytest_runtest_makereport  # noqa: F401 - a hook that pytest finds here
from tests.etcd_server import EtcdServer, available_versions, binary

_numbers = itertools.count(1)

EXAMPLES = int(os.environ.get("FLEET_FUZZ_EXAMPLES", "200"))  # of each property that names no number of its own

# Searches have no deadline: a busy machine is no fault of what is searched. Growth of work is counted instead.
settings.register_profile(
    "fleet",
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
settings.load_profile("fleet")

# A shell starts what it does not wait for with SIGINT ignored, and nohup with SIGHUP: programs that tests start
# would inherit that, and could be neither interrupted nor told that their terminal is gone.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_report_header() -> str:
    """Which etcds are tested with."""
    programs = {version: binary(version) for version in available_versions()}
    said = {version: subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
            for version, program in programs.items() if program}  # fmt: skip
    return f"etcd: {', '.join(text.splitlines()[0].rpartition(' ')[2] for text in said.values() if text)}"


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """A running etcd of one member, shared by all tests: use `prefix`, and do not stop it."""
    if not available_versions():
        pytest.skip("no etcd is installed")
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture
async def etcd_client(etcd: EtcdServer) -> AsyncIterator[Etcd]:
    """A client of the shared etcd."""
    async with Etcd(EtcdSettings(etcd.endpoints)) as client:
        yield client


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A key prefix that no other test uses; it ends with a slash."""
    return f"/{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}-{next(_numbers)}/"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the new seeds that were simulated, whether they were right or not."""
    for report in (each for how in ("passed", "failed", "xfailed") for each in terminalreporter.getreports(how)):
        for name, value in getattr(report, "user_properties", ()):
            if name == "simulated":
                terminalreporter.write_line(f"simulated: {value}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of machines first, then those with a long time-out, then etcd: short ones fill the time at the end."""
    keys: dict[Path, list[bool]] = {}
    for item in items:
        machines, long, etcd = (item.get_closest_marker(name) for name in ("cluster", "timeout", "etcd"))
        key = [not machines, not (machines or long), not etcd]
        keys[item.path] = min(keys.get(item.path, key), key)
    items.sort(key=lambda item: keys[item.path])
