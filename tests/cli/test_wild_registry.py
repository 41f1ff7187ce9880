"""A registry full of odd records: every verb that reads tells of the others, and the scheduler goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator

import pytest

from registry.keys import Keys
from registry.model import Machine, Target
from registry.units.file import file_hash
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import HELLO, ONE, Fleet
from tests.etcd_server import EtcdServer
from tests.registry import wild

pytestmark = pytest.mark.etcd

READS = (
    ("list-machines",), ("list-machines", "--full", "--fields=machine,ip,metadata,hostname,units,state,version"),
    ("list-machines", "--json"), ("list-units",), ("list-units", "--full", "--fields=unit,load,hash,reason"),
    ("list-units", "--json"), ("list-unit-files",), ("list-unit-files", "--fields=unit,hash,dstate,global,desc"),
    ("list-unit-files", "--json"), ("why", "odd-future.service"), ("why", "odd-max.service", "odd-none.service"),
    ("why", "hello.service", "--json"), ("events", "--lines=99999"), ("events", "--json"), ("events", "--unit=*"),
    ("cat", "hello.service"), ("cat", "odd-future.service"), ("why", "odd-bytes.service"),
    ("why", "odd-target.service"),
)  # fmt: skip
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")


@pytest.fixture
def registry(fleet: Fleet, etcd: EtcdServer) -> Fleet:
    """A fleet with one unit that runs, and odd records in every table."""
    fleet.run("hello.service")
    for key, value in wild.odd(fleet.keys, ONE, "hello.service", file_hash(HELLO)):
        etcd.post("/kv/put", {"key": b64encode(key).decode(), "value": b64encode(value).decode()})
    return fleet


@pytest.mark.parametrize("words", READS, ids=" ".join)
@pytest.mark.usefixtures("registry")
def test_every_verb_that_reads_tells_of_the_others(fleetctl: Fleetctl, words: tuple[str, ...]) -> None:
    done = fleetctl(*words)
    assert "Traceback" not in done.stderr
    assert "unforeseen" not in done.stderr
    assert done.returncode == 0 or "odd-" in words[1]
    assert not OBEYED.search(done.stdout + done.stderr)
    if words[0].startswith("list-unit") or "hello.service" in words:
        assert "hello" in done.stdout
    if words[0] == "list-machines":
        assert ONE[:8] in done.stdout


@pytest.mark.usefixtures("registry")
def test_what_is_corrupt_is_named_and_what_another_version_wrote_is_not(fleetctl: Fleetctl) -> None:
    told = fleetctl("list-units").stderr + fleetctl("list-machines").stderr + fleetctl("events").stderr
    for name in (
        "odd-target.service",
        "odd-since.service",
        "machines/odd-zone",
        "0000000000001-odd",
        r"units/\udcff",
    ):
        assert f"{name}" in told
    assert "odd-future" not in told
    assert "rollouts" not in told


def test_an_operator_changes_what_another_version_wrote_and_keeps_its_fields(
    fleetctl: Fleetctl, registry: Fleet
) -> None:
    assert fleetctl("stop", "--no-block", "odd-future.service").returncode == 0
    assert b'"colour":{"a":[1]}' in (registry.get(registry.keys.unit("odd-future.service")) or b"")


def test_a_unit_whose_numbers_are_at_their_end_is_refused_and_not_corrupted(
    fleetctl: Fleetctl, registry: Fleet
) -> None:
    before = registry.get(registry.keys.unit("odd-max.service"))
    done = fleetctl("restart", "--no-block", "odd-max.service")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert registry.get(registry.keys.unit("odd-max.service")) == before


def test_what_is_done_to_all_units_is_done_to_those_that_can_be_read(fleetctl: Fleetctl, registry: Fleet) -> None:
    registry.add("other.service", Target.LAUNCHED)
    done = fleetctl("restart", "--no-block", "*")
    assert "Traceback" not in done.stderr
    for name in ("hello.service", "other.service", "odd-future.service"):
        unit = registry.unit(name)
        assert unit is not None
        assert unit.generation == 2
    assert "odd-max.service" in done.stderr
    assert r"\udcff" not in done.stdout


@pytest.fixture
def scheduler(etcd: EtcdServer, prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {
        "PATH": os.environ["PATH"],
        "FLEET_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "FLEET_ETCD_PREFIX": Keys.under(prefix).prefix,
        "FLEET_SCHEDULER_LEASE_TTL": "2s",
    }
    process = subprocess.Popen([sys.executable, "-m", "scheduler"], env=environ, stderr=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_the_scheduler_places_the_others_and_says_what_is_wrong_once(
    registry: Fleet, etcd: EtcdServer, request: pytest.FixtureRequest
) -> None:
    registry.delete(registry.keys.leader)
    process: subprocess.Popen[bytes] = request.getfixturevalue("scheduler")
    registry.add("fresh.service", Target.LAUNCHED)
    prefix = b64encode(registry.keys.schedule("").rstrip("/").encode()).decode()

    def placed() -> bool:
        end = b64encode(registry.keys.schedule("").rstrip("/").encode()[:-1] + b"f").decode()
        kvs = etcd.post("/kv/range", {"key": prefix, "range_end": end, "keys_only": True}).get("kvs", [])
        return any(b64decode(each["key"]).endswith(b"/fresh.service") for each in kvs)

    deadline = time.monotonic() + 60
    while not placed():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    registry.put(registry.keys.machine("f" * 32), Machine("f" * 32, "late", "10.0.0.9", "b"))
    time.sleep(3)
    assert process.poll() is None
    process.terminate()
    log = process.communicate(timeout=20)[1].decode()
    assert "Traceback" not in log
    assert log.count("machines/odd-zone") == 1
    assert "place" in log
