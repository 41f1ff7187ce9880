"""Journals followed where units go, and where they write faster than anybody reads: real machines."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from fleettui.console.journal import Ask, News, Remark, Wanted
from fleettui.console.journal.buffer import JournalBuffer
from fleettui.console.sources import journal_live
from fleettui.console.sources.journal_live import LiveJournals
from fleettui.demo import nodefiles
from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from fleettui.remote import JournalEntry, Remote, journal
from registry.model import Machine
from registry.program.config import SshTable
from tests.cluster.nodes import active_on, eventually

pytestmark = pytest.mark.cluster
WITHIN_S = 250
AFTER = 5  # lines after the flood: each comes half a second after the one before
COUNTER = """[Unit]
Description=counts
[Service]
ExecStart=/bin/sh -c 'n=0; while :; do n=$((n+1)); echo "$(hostname) $n"; sleep 0.05; done'
"""
READY = "ready to write"
# Once it is told to: so many lines a second, so many in all, every one numbered, then one now and then; the clock
# keeps the pace. It waits because a busy host may take longer to connect than to write them all.
WRITER = """import os, sys, time
print("{ready}", flush=True)
while not os.path.exists("{go}"):
    time.sleep(0.02)
pace, total, start = {pace}, {total}, time.monotonic()
for n in range(total):
    if n % 100 == 0:
        time.sleep(max(0.0, start + n / pace - time.monotonic()))
    sys.stdout.write(f"line {{n}} GET /index.html 200 some words as they are in any journal, 12 ms\\n")
while True:
    n += 1
    print(f"line {{n}} afterwards", flush=True)
    time.sleep(0.5)
"""


def machine(node: Node) -> Machine:
    key = " ".join(node.root.host_key().split()[:2])
    return Machine(node.spec.machine_id, node.name, node.spec.address, "boot", host_keys=(key,))


def ssh(cluster: Cluster) -> SshTable:
    identity = str(cluster.layout.state / "id_ed25519")
    return SshTable(user="root", identity_files=(identity,), timeout=5.0)


@contextmanager
def following(cluster: Cluster, path: Path, *arguments: str) -> Iterator[None]:
    """`fleetctl journal -f` with its output in a file."""
    program = str(nodefiles.program("fleetctl"))
    with path.open("w") as out:
        process = subprocess.Popen(
            [program, "journal", "-f", *arguments], stdout=out, stderr=subprocess.STDOUT, env=cluster.environment
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def test_fleetctl_follows_a_unit_to_its_next_machine_and_back(cluster: Cluster, tmp_path: Path) -> None:
    path, out = tmp_path / "counter.service", tmp_path / "out"
    path.write_text(COUNTER)
    assert cluster.fleetctl("start", str(path)).returncode == 0
    (first,) = active_on(cluster, "counter.service")

    def numbers(host: str) -> list[int]:
        return [int(found[1]) for found in re.finditer(rf"^{host} (\d+)$", out.read_text(), re.MULTILINE)]

    with following(cluster, out, "--output=cat", "--lines=5", "counter.service"):
        eventually("lines of the first machine", lambda: len(numbers(first)) > 10)
        assert cluster.fleetctl("drain", first).returncode == 0
        eventually("moved", lambda: active_on(cluster, "counter.service") not in ([], [first]), timeout_s=40)
        (second,) = active_on(cluster, "counter.service")
        eventually("lines of the second machine", lambda: len(numbers(second)) > 10, timeout_s=40)
    told = out.read_text()
    assert f"counter.service is on {second} now" in told
    for host in (first, second):
        got = numbers(host)
        assert got == list(range(got[0], got[0] + len(got))), got
    assert numbers(second)[0] == 1, "what it said before we looked there is there too"


def test_a_journal_is_read_from_every_machine_where_the_unit_ran(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "counter.service"
    path.write_text(COUNTER)
    assert cluster.fleetctl("start", str(path)).returncode == 0
    (first,) = active_on(cluster, "counter.service")
    assert cluster.fleetctl("drain", first).returncode == 0
    eventually("moved", lambda: active_on(cluster, "counter.service") not in ([], [first]), timeout_s=40)
    (second,) = active_on(cluster, "counter.service")
    done = cluster.fleetctl("journal", "--output=cat", "--lines=100000", "counter.service")
    assert (done.returncode, done.stderr) == (0, "")
    hosts = [line.split()[0] for line in done.stdout.splitlines() if line.split()[0] in cluster.nodes]
    assert hosts.index(first) < hosts.index(second), "merged by time"
    assert cluster.fleetctl("destroy", "counter.service").returncode == 0
    after = cluster.fleetctl("journal", "--output=cat", "--lines=100000", "counter.service")
    assert after.returncode == 0, after.stderr
    assert {line.split()[0] for line in after.stdout.splitlines()} >= {first, second}
    cluster.node(first).cut()
    eventually("away", lambda: len(cluster.fleetctl("list-machines", "--no-legend").stdout.splitlines()) == 2)
    cut = cluster.fleetctl("journal", "--output=cat", "counter.service")
    assert "not in the fleet now" in cut.stderr
    assert second in cut.stdout


async def read_flood(remote: Remote, node: Node, buffer: JournalBuffer, pace: int, total: int) -> list[News]:
    """Read into the buffer as the console does what is written once we follow, until all of it must have come."""
    unit = f"flood{pace}.service"
    go = f"/run/{unit}.go"
    news: list[News] = []
    node.exec(["rm", "-f", go])
    write(node, unit, WRITER.format(pace=pace, total=total, ready=READY, go=go))
    stream = LiveJournals(remote).open([Wanted(machine(node), unit)], Ask())
    try:
        async with asyncio.timeout(WITHIN_S), aclosing(stream.batches()) as batches:
            async for batch in batches:
                items = [each for each in batch if isinstance(each, Remark | JournalEntry)]
                news += items
                buffer.take(items)
                if any(isinstance(each, JournalEntry) and each.message == READY for each in items):
                    await asyncio.to_thread(node.exec, ["touch", go])
                if max(told(items)[0], default=0) >= total + AFTER and missing(news) == told(news)[1]:
                    return news  # what was dropped last is told up to a second later
    finally:
        await asyncio.to_thread(node.exec, ["systemctl", "stop", unit])
    raise AssertionError("the stream ended")


def missing(news: Sequence[News]) -> int:
    """How many numbers below the last one did not come."""
    numbers, _ = told(news)
    return numbers[-1] + 1 - len(numbers)


def write(node: Node, unit: str, script: str) -> None:
    command = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "-p", "LogRateLimitIntervalSec=0",
               "/usr/bin/python3", "-c", script]  # fmt: skip
    done = node.exec(command)
    assert done.returncode == 0, done.stderr


def told(news: Sequence[News]) -> tuple[list[int], int]:
    """The numbers that came, and how many lines are said to be dropped."""
    came = [each.message for each in news if isinstance(each, JournalEntry)]
    numbers = [int(message.split()[1]) for message in came if message.startswith("line ")]
    return numbers, sum(each.dropped for each in news if isinstance(each, Remark))


@pytest.mark.timeout(300)
async def test_five_thousand_lines_a_second_come_whole_into_a_ring_that_does_not_grow(
    nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "QUEUED", 5_000)  # a test host may be busy for long
    total = 60_000
    buffer = JournalBuffer(capacity=20_000)
    async with Remote(ssh(nodes)) as remote:
        news = await read_flood(remote, nodes.node("core-1"), buffer, 5_000, total)
    numbers, dropped = told(news)
    assert dropped == 0
    assert numbers == list(range(numbers[-1] + 1))
    assert len(buffer.ring) == 20_000
    assert buffer.hidden == 0


@pytest.mark.timeout(300)
async def test_what_is_written_faster_than_it_is_shown_is_dropped_and_every_line_of_it_counted(
    nodes: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "QUEUED", 16)
    monkeypatch.setattr(journal_live, "RATE", 300)  # below what the busiest host brings here
    monkeypatch.setattr(journal_live, "BURST", 100)
    monkeypatch.setattr(journal_live, "FIRST_BURST", 100)
    total = 80_000
    buffer = JournalBuffer(capacity=5_000)
    async with Remote(ssh(nodes)) as remote:
        news = await read_flood(remote, nodes.node("core-1"), buffer, 100_000, total)
    numbers, dropped = told(news)
    assert dropped > 0
    assert numbers == sorted(set(numbers)), "nothing twice, nothing out of order"
    assert missing(news) == dropped, "all that is missing is said to be missing, and nothing else"
    assert buffer.dropped == dropped
    assert len(buffer.ring) <= 5_000
