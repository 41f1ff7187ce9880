"""What is told of usage: read from the kernel's books as they are, written seldom, under the agent's lease."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from agentd.cgroup_stats import CgroupStats, MachineStats, UnitStats
from agentd.usage import Reporter, differs, usage_of
from registry.etcd import Etcd, KeyValue
from registry.keys import Address, Keys, Table
from registry.model import Target, Unit, Usage
from registry.records import decode, encode
from registry.sync.follow import Follower
from registry.sync.sentinel import ensure_cluster

MIB = 1 << 20
MACHINE = MachineStats((0.5, 0.4, 0.3), 8 << 30, 5 << 30)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def process(root: Path, pid: int, cgroup: str, *, pages: int = 100, ticks: int = 10) -> None:
    place = root / "proc" / str(pid)
    write(place / "cgroup", cgroup)
    write(place / "statm", f"1000 {pages} 50 1 0 90 0\n")
    write(place / "stat", f"{pid} (a (b) c) S " + "0 " * 10 + f"{ticks} {ticks} 0 0\n")


def accounts(root: Path) -> CgroupStats:
    return CgroupStats(root / "proc", root / "cg")


@pytest.mark.parametrize("below", ["", "/payload"])
def test_a_units_account_is_its_cgroups_even_if_its_process_sits_in_a_group_below(
    tmp_path: Path, below: str
) -> None:
    place = "system.slice/system-web.slice/web@1.service"
    process(tmp_path, 7, f"0::/{place}{below}\n")
    write(tmp_path / "cg" / place / "memory.current", "4096\n")
    write(tmp_path / "cg" / place / "cpu.stat", "usage_usec 1500\nuser_usec 1000\n")
    assert accounts(tmp_path).units({"web@1.service": 7}) == {"web@1.service": UnitStats(4096, 1500)}


def test_where_the_kernel_keeps_no_accounts_the_processes_are_summed_and_it_says_so(tmp_path: Path) -> None:
    process(tmp_path, 7, "9:name=systemd:/system.slice/a.service\n4:memory:/\n0::/system.slice/a.service\n")
    process(tmp_path, 8, "", pages=50, ticks=0)
    write(tmp_path / "cg/systemd/system.slice/a.service/cgroup.procs", "7\n8\n9\n")
    found = accounts(tmp_path).units({"a.service": 7})["a.service"]
    assert found == UnitStats(150 * os.sysconf("SC_PAGE_SIZE"), 20 * 1_000_000 // os.sysconf("SC_CLK_TCK"), True)


def test_a_unit_whose_process_is_gone_has_no_account(tmp_path: Path) -> None:
    assert accounts(tmp_path).units({"a.service": 7}) == {}


def test_a_new_main_process_is_looked_up_again(tmp_path: Path) -> None:
    books = accounts(tmp_path)
    process(tmp_path, 7, "0::/old.slice/a.service\n")
    process(tmp_path, 8, "0::/new.slice/a.service\n")
    write(tmp_path / "cg/old.slice/a.service/memory.current", "1\n")
    write(tmp_path / "cg/new.slice/a.service/memory.current", "2\n")
    assert [books.units({"a.service": pid})["a.service"].memory_bytes for pid in (7, 8)] == [1, 2]


def test_this_machine_tells_its_own() -> None:
    found = CgroupStats().machine()
    assert found is not None
    assert 0 < found.available_bytes < found.memory_bytes


def test_this_process_is_found_in_the_books() -> None:
    found = CgroupStats().units({"nonsuch.service": os.getpid()})
    assert (found["nonsuch.service"].memory_bytes or 0) > MIB


def test_a_rate_needs_two_looks_and_never_runs_backwards() -> None:
    now = {"a": UnitStats(MIB, 3_000_000), "b": UnitStats(MIB, 10), "c": UnitStats(MIB, 5)}
    before = {"a": UnitStats(MIB, 1_000_000), "b": UnitStats(MIB, 500)}
    usage = usage_of("m", MACHINE, now, before, 10.0)
    assert usage.units == (("a", MIB, 0.2), ("b", MIB, None), ("c", MIB, None))


BASE = Usage("m", 1.0, (1.0, 1.0, 1.0), 8 << 30, 4 << 30, (("a.service", 100 * MIB, 0.5),))


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (replace(BASE, load=(1.3, 1.1, 1.0)), False),
        (replace(BASE, load=(1.6, 1.1, 1.0)), True),
        (replace(BASE, available_bytes=(4 << 30) - 100 * MIB), False),
        (replace(BASE, available_bytes=3 << 30), True),
        (replace(BASE, units=(("a.service", 105 * MIB, 0.52),)), False),
        (replace(BASE, units=(("a.service", 120 * MIB, 0.5),)), True),
        (replace(BASE, units=(("a.service", 100 * MIB, 0.6),)), True),
        (replace(BASE, units=(("a.service", 100 * MIB, None),)), True),
        (replace(BASE, units=(("b.service", 100 * MIB, 0.5),)), True),
        (replace(BASE, units=()), True),
    ],
)
def test_only_what_would_mislead_is_written(other: Usage, told: bool) -> None:
    assert differs(BASE, other) is told


async def written(etcd: Etcd, key: str, lease: int) -> KeyValue:
    """The key once it hangs on this lease."""
    async with asyncio.timeout(20):
        while (found := await etcd.get(key)) is None or found.lease != lease:  # noqa: ASYNC110 - a registry
            await asyncio.sleep(0.01)
    return found


@pytest.mark.etcd
async def test_reports_lie_under_the_lease_and_come_again_under_a_new_one(
    etcd_client: Etcd, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("FIRST_S", "EVERY_S"):
        monkeypatch.setattr(f"agentd.usage.{pause}", 0.01)
    monkeypatch.setattr("agentd.usage.differs", lambda *_: False)
    keys = Keys.under(prefix)
    leases = [await etcd_client.lease_grant(60), await etcd_client.lease_grant(60)]
    units = SimpleNamespace(machine="m", main_pids=lambda: {"a.service": os.getpid()})
    held = SimpleNamespace(id=leases[0])
    reporter = Reporter(etcd_client, keys, units, held)
    task = asyncio.create_task(reporter.run())
    try:
        found = await written(etcd_client, keys.usage("m"), leases[0])
        record = decode(Address(Table.USAGE, "m"), found.value)
        assert isinstance(record, Usage)
        assert record.units[0][0] == "a.service"
        held.id = leases[1]
        again = await written(etcd_client, keys.usage("m"), leases[1])
        assert again.version == 2, "nothing was written in between, since nothing differed"
    finally:
        task.cancel()


@pytest.mark.etcd
async def test_who_decides_is_not_woken_by_what_machines_use(etcd_client: Etcd, prefix: str) -> None:
    keys = Keys.under(prefix)
    await ensure_cluster(etcd_client, keys, "c")
    follower = Follower(etcd_client, keys)
    task = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(20):
            await follower.next()
            await etcd_client.put(keys.usage("m"), encode(Usage("m")))
            await etcd_client.put(keys.unit("a.service"), encode(Unit("a.service", "a" * 64, Target.INACTIVE)))
            update = await follower.next()
        assert update.changed == (Address(Table.UNITS, "a.service"),)
        assert not follower.mirror.snapshot().usage
    finally:
        task.cancel()


def test_pressure_and_disk_are_told_where_the_kernel_tells_them(tmp_path: Path) -> None:
    write(tmp_path / "proc/loadavg", "0.5 0.4 0.3 1/2 3\n")
    write(tmp_path / "proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 50 kB\n")
    silent = CgroupStats(tmp_path / "proc", tmp_path / "cg", tmp_path / "nowhere").machine()
    assert silent == MachineStats((0.5, 0.4, 0.3), 100 << 10, 50 << 10)
    for number, name in enumerate(("cpu", "memory", "io")):
        text = f"some avg10=9.00 avg60={number}.25 avg300=0 total=1\nfull avg10=0 avg60=7.00 avg300=0 total=0\n"
        write(tmp_path / "proc/pressure" / name, text)
    found = CgroupStats(tmp_path / "proc", tmp_path / "cg", tmp_path).machine()
    assert found is not None
    assert found.pressure == (0.25, 1.25, 2.25)
    assert found.disk_bytes >= found.disk_free_bytes > 0
    usage = usage_of("m", found, {}, {}, 30.0)
    assert decode(Address(Table.USAGE, "m"), encode(usage)) == usage


@pytest.mark.parametrize(
    ("change", "told"),
    [({"pressure": (4.0, 0.0, 0.0)}, False), ({"pressure": (9.0, 0.0, 0.0)}, True), ({"pressure": ()}, True),
     ({"disk_free_bytes": 99 << 30}, False), ({"disk_free_bytes": 80 << 30}, True)],
)  # fmt: skip
def test_little_more_pressure_and_a_few_more_files_are_not_told(change: dict[str, object], told: bool) -> None:
    old = replace(BASE, pressure=(0.0, 0.0, 0.0), disk_bytes=1000 << 30, disk_free_bytes=100 << 30)
    assert differs(old, replace(old, **change)) is told  # type: ignore[arg-type]
