"""`fleetctl backup` and `fleetctl restore FILE`: everything comes back, damage is named by its line, and nothing of
what is restored is an order until all of it is there and was accepted."""

from __future__ import annotations

import json
import stat
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.actions import restore_file
from fleettui.actions.backup import FORMAT, Backup, BadLine, lines_of, parse, read_registry
from fleettui.actions.operator import Operator
from fleettui.actions.rebuild import backup_of as backup_of_running
from fleettui.actions.rebuild import lost_units, sources_of
from fleettui.actions.restore import OVERWRITING
from fleettui.actions.restore_file import BEGINNING, plan, read_file_restoration
from registry.errors import RegistryUnavailable, UserError
from registry.etcd import Etcd, EtcdSettings, KeyValue, Op, TxnResult
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import (
    Assignment,
    Availability,
    Machine,
    Override,
    Record,
    Rollout,
    RolloutStep,
    Sentinel,
    Target,
    Unit,
    UnitState,
    UnitText,
)
from registry.records import encode
from registry.units.file import file_hash
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import HELLO, ONE, TWO, Fleet, eventually
from tests.etcd_server import EtcdServer

KEYS = Keys()
SHA = file_hash(HELLO)
GLOBAL_TEXT = f"{HELLO}[X-Fleet]\nGlobal=true\n"
GLOBAL = file_hash(GLOBAL_TEXT)
NEWER = {"colours/r": b'{"later":1}', "units/odd.service": b'{"hash":"' + SHA.encode() + b'","target":"paused"}'}


def backup_of(records: dict[str, bytes]) -> Backup:
    every = {"cluster": encode(Sentinel("c1")), **records}
    return Backup("c1", 812, 1_790_000_000.5, "0.1", every, {"m1": "core-1"})


def read(backup: Backup) -> Backup:
    return parse(b"".join(lines_of(backup)))


FULL = backup_of(
    {f"units/u{number}.service": encode(Unit("a.service", SHA, Target.LAUNCHED)) for number in range(3)} | NEWER
)
# -- the file


@given(st.dictionaries(st.text(min_size=1).filter(lambda key: not key.startswith("/")), st.binary(), max_size=5))
def test_whatever_lies_in_a_registry_comes_back_as_it_was(records: dict[str, bytes]) -> None:
    records = {key.encode("utf-8", "replace").decode(): value for key, value in records.items()}
    leased = ("machines", "states", "duplicates", "usage", "leader", "cluster")
    backup = backup_of({key: value for key, value in records.items() if key.partition("/")[0] not in leased})
    found = read(backup)
    assert found == replace(backup, digest=found.digest)
    assert len(found.digest) == 64


@given(st.integers(0, len(b"".join(lines_of(FULL))) - 1), st.integers(1, 255))
def test_a_byte_that_is_another_is_found(at: int, change: int) -> None:
    data = bytearray(b"".join(lines_of(FULL)))
    data[at] ^= change
    with pytest.raises(BadLine):
        parse(bytes(data))


def test_damage_is_named_by_its_line_and_reason() -> None:
    lines = list(lines_of(FULL))

    def told(damaged: Sequence[bytes]) -> str:
        with pytest.raises(BadLine) as caught:
            parse(b"".join(damaged))
        return str(caught.value)

    for number in range(1, len(lines)):
        assert "it was cut off" in told(lines[:number])
        assert "cut off" in told([*lines[:number], lines[number][:9]])
    assert told([*lines[:3], lines[3].replace(b"launched", b"inactive"), *lines[4:]]).startswith("line 4: 'units/u")
    assert "line 7: the checksum is not" in told([*lines[:3], *lines[4:]])
    assert "there twice" in told([*lines[:3], lines[2], *lines[3:]])
    assert "belongs to a program that lives" in told(list(lines_of(backup_of({"machines/m1": b"{}"}))))
    assert "line 1: this is no backup" in told([b"PK\x03\x04"])
    assert "line 1: this is no backup" in told([b""])
    newer = lines[0].replace(b'"fleet_backup":1', b'"fleet_backup":2')
    assert f"knows format {FORMAT}; upgrade it" in told([newer, *lines[1:]])


def test_what_this_version_does_not_know_or_cannot_read_is_told() -> None:
    found = read(FULL)
    assert found.unknown == {"colours": 1}
    assert "units/odd.service" in found.corrupt


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


# -- the plan


def kvs(records: dict[str, Record | UnitText | bytes], lease: int = 0) -> list[KeyValue]:
    values = {key: each if isinstance(each, bytes) else encode(each) for key, each in records.items()}
    return [KeyValue(key, value, 1, 7, 1, lease) for key, value in values.items()]


def test_a_unit_that_runs_as_the_backup_wants_it_is_not_restarted_though_it_was_since() -> None:
    backup = backup_of(
        {"units/a.service": encode(Unit("a.service", SHA, Target.LAUNCHED)), f"files/{SHA}": HELLO.encode()}
    )
    since = Unit("a.service", SHA, Target.LAUNCHED, 5, attempt=2)
    machine = Machine("m1", "core-1", "10.0.0.1", "boot")
    there = kvs({KEYS.cluster: Sentinel("c1"), KEYS.unit("a.service"): since, KEYS.machine("m1"): machine})
    found = plan(KEYS, backup, there, 9, 0.0)
    assert KEYS.unit("a.service") not in found.writes
    state = UnitState("a.service", "m1", SHA, 5, Target.LAUNCHED, "loaded", "active", "running", attempt=2)
    there = kvs({KEYS.machine("m1"): machine, KEYS.state("m1", "a.service"): state}, lease=9)
    found = plan(KEYS, backup, there, 9, 0.0)
    assert b'"generation":5' in (found.writes[KEYS.unit("a.service")] or b"")
    assert found.after.changes == ()
    assert [pair for pair, line in found.after.lines.items() if line] == [("m1", "a.service")]


def test_an_empty_registry_is_held_before_anything_else_is_there() -> None:
    found = plan(KEYS, FULL, (), 1, 0.0)
    assert found.begins
    assert (found.sentinel.id, found.sentinel.held, found.sentinel.restoring) == ("c1", BEGINNING, FULL.digest)
    over = plan(KEYS, FULL, kvs({KEYS.cluster: Sentinel("c1")}), 1, 0.0)
    assert not over.begins
    assert over.sentinel.held == OVERWRITING


def test_no_schedule_line_is_written_where_an_agent_may_not_hold() -> None:
    line = encode(Assignment("u0.service", "m1", SHA, Target.LAUNCHED, 1))
    backup = backup_of({**FULL.records, "schedule/m1/u0.service": line})
    assert KEYS.schedule("m1", "u0.service") in plan(KEYS, backup, (), 1, 0.0).writes
    live = kvs({KEYS.cluster: Sentinel("c1")}) + kvs({KEYS.machine("m1"): Machine("m1", "h", "10.0.0.1", "b")}, 7)
    assert KEYS.schedule("m1", "u0.service") not in plan(KEYS, backup, live, 1, 0.0).writes


def test_another_cluster_s_registry_is_refused_unless_it_is_wanted() -> None:
    other: dict[str, Record | UnitText | bytes] = {KEYS.cluster: Sentinel("c2")}
    begun = plan(KEYS, FULL, kvs(other), 1, 0.0)
    assert (begun.begins, begun.replaces, begun.sentinel.id) == (True, "c2", "c1")
    with pytest.raises(UserError, match="have joined it: m1"):
        plan(KEYS, FULL, kvs({**other, KEYS.machine("m1"): Machine("m1", "h", "10.0.0.1", "b")}), 1, 0.0)
    used = kvs({**other, KEYS.unit("z.service"): Unit("z.service", SHA, Target.LOADED)})
    with pytest.raises(UserError, match="of cluster c2 and has units"):
        plan(KEYS, FULL, used, 1, 0.0)
    forced = plan(KEYS, FULL, used, 1, 0.0, force=True)
    assert (forced.sentinel.id, forced.writes[KEYS.unit("z.service")]) == ("c2", None)


def test_a_backup_of_what_machines_run_changes_nothing_of_it() -> None:
    """Global units, units that were restarted, stopped ones; one whose text nobody has is left out."""
    rows = {
        ("m1", "a.service"): UnitState("a.service", "m1", SHA, 4, Target.LAUNCHED, "loaded", "active", "running"),
        ("m1", "g.service"): UnitState(
            "g.service", "m1", GLOBAL, 1, Target.LAUNCHED, "loaded", "active", "running"
        ),
        ("m2", "g.service"): UnitState(
            "g.service", "m2", GLOBAL, 1, Target.LAUNCHED, "loaded", "active", "running"
        ),
        ("m2", "s.service"): UnitState("s.service", "m2", SHA, 1, Target.LOADED, "loaded", "inactive", attempt=3),
        ("m2", "x.service"): UnitState("x.service", "m2", "e" * 64, 1, Target.LAUNCHED, "loaded", "active"),
        ("m9", "z.service"): UnitState("z.service", "m9", SHA, 1, Target.LAUNCHED, "loaded", "active"),
    }
    machines = {each: Machine(each, each, "10.0.0.1", "boot", held="so") for each in ("m1", "m2")}
    mark = Sentinel("c1", held=BEGINNING, restoring="of what runs")
    snapshot = Snapshot(9, mark, states=rows, machines=machines)
    assert sources_of(snapshot)[SHA] == [("m1", "a.service"), ("m2", "s.service")]
    texts = {file_hash(text): text.encode() for text in (HELLO, GLOBAL_TEXT)}
    found = read(backup_of_running(snapshot, texts, 1_790_000_000.0))
    assert found.counts == {"cluster": 1, "files": 2, "schedule": 4, "units": 3}
    there = kvs({KEYS.cluster: mark}) + kvs({KEYS.machine(name): each for name, each in machines.items()}, 7)
    there += kvs(
        {KEYS.state(*pair): state for pair, state in rows.items() if pair[1] not in ("x.service", "z.service")}, 7
    )
    planned = plan(KEYS, found, there, 9, 0.0)
    assert (planned.after.changes, planned.after.silent, planned.awaited) == ((), (), ())
    assert lost_units(snapshot, ["e" * 64]) == ["x.service"]


# -- the registry


@pytest.fixture
def operator(etcd_client: Etcd, prefix: str) -> Operator:
    return Operator(etcd_client, Keys.under(prefix), "op@test")


class Cut(Etcd):
    """A client whose connection breaks before its n-th write."""

    left = 0

    async def txn(self, compares: Sequence[Any], then: Sequence[Op], orelse: Sequence[Op] = ()) -> TxnResult:
        self.left -= 1
        if self.left < 0:
            raise RegistryUnavailable("cut")
        return await super().txn(compares, then, orelse)


def contents(found: Backup) -> dict[str, bytes]:
    return {key: value for key, value in found.records.items() if not key.startswith(("events/", "cluster"))}


@pytest.mark.etcd
async def test_interrupted_at_any_write_the_fleet_is_held_and_the_same_restore_goes_on(
    etcd: EtcdServer, operator: Operator, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_file, "BATCH", 2)
    for number in range(5):
        fleet.run(f"u{number}.service")
    fleet.override(Override(TWO, Availability.CORDONED))
    for key, value in NEWER.items():
        fleet.put(f"{operator.keys.prefix}{key}", value)
    backup = read(await read_registry(operator))
    for number in range(1, 40):
        fleet.delete(operator.keys.unit("u1.service"))
        fleet.delete(operator.keys.override(TWO))
        fleet.add("u2.service", Target.INACTIVE, text=f"{HELLO}# {number}\n")
        fleet.add("since.service")
        async with Cut(EtcdSettings(etcd.endpoints)) as client:
            cut = replace(operator, etcd=client)
            client.left = number
            try:
                await restore_file.restore(cut, await read_file_restoration(cut, backup))
            except RegistryUnavailable:
                mark = json.loads(fleet.get(operator.keys.cluster) or b"{}")
                assert (mark["held"], mark["restoring"]) == (OVERWRITING, backup.digest)
                await restore_file.restore(operator, await read_file_restoration(operator, backup))
                whole = False
            else:
                whole = True
        after = contents(await read_registry(operator))
        known = {key: value for key, value in contents(backup).items() if key != "units/u2.service"}
        assert known.items() <= after.items()
        assert json.loads(after["units/u2.service"])["target"] == "launched"
        assert "units/since.service" not in after
        assert not {"held", "restoring"} & json.loads(fleet.get(operator.keys.cluster) or b"{}").keys()
        if whole:
            break
    assert number > 3


@pytest.mark.etcd
def test_a_backup_is_its_owner_s_alone_whole_or_not_there_and_holds_nothing_leased(
    fleetctl: Fleetctl, fleet: Fleet
) -> None:
    fleet.run("a.service")
    done = fleetctl("backup", "fleet.backup")
    assert done.returncode == 0, done.stderr
    assert "1 unit" in done.stderr
    path = fleetctl.home / "fleet.backup"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    head, *records = map(json.loads, path.read_text().splitlines())
    assert (head["cluster"], head["records"]["units"], head["machines"][ONE]) == ("c1", 1, "core-1")
    kinds = {record["key"].partition("/")[0] for record in records[:-1]}
    assert kinds == {"cluster", "files", "units", "schedule"}
    piped = fleetctl("backup", "-")
    assert piped.stdout.splitlines()[1:-1] == path.read_text().splitlines()[1:-1]
    assert "Traceback" not in (failed := fleetctl("backup", "/nowhere/fleet.backup")).stderr
    assert failed.returncode == 1
    assert [each.name for each in fleetctl.home.iterdir() if "backup" in each.name] == ["fleet.backup"]


@pytest.mark.etcd
def test_restoring_over_a_live_registry_shows_asks_and_changes_only_what_was_told(
    fleetctl: Fleetctl, fleet: Fleet
) -> None:
    for name in ("a.service", "b.service", "gone.service"):
        fleet.run(name)
    assert fleetctl("backup", "fleet.backup").returncode == 0
    fleet.run("since.service", TWO)
    for key in (fleet.keys.unit("gone.service"), fleet.keys.schedule(ONE, "gone.service")):
        fleet.delete(key)
    fleet.delete(fleet.keys.state(ONE, "gone.service"))
    since = Unit("a.service", SHA, Target.LAUNCHED, 7)
    fleet.put(fleet.keys.unit("a.service"), since)
    fleet.assign(since, ONE)
    fleet.report(since, ONE)
    fleet.put(f"{fleet.keys.prefix}colours/red", b"1")
    before = fleet.get(fleet.keys.cluster)
    told = fleetctl("restore", "fleet.backup")
    assert told.returncode == 0, told.stderr
    assert "stop since.service on 8bfb2cc5" in told.stdout
    assert "start gone.service on" in told.stdout
    assert "Restoring it changes 2 units" in told.stdout
    assert "colours (1)" in told.stdout
    assert "Nothing was written" in told.stdout
    assert (fleet.get(fleet.keys.cluster), fleet.unit("gone.service")) == (before, None)
    assert "add --yes" in fleetctl("restore", "fleet.backup", "--accept").stderr
    done = fleetctl("restore", "fleet.backup", "--accept", "--yes")
    assert done.returncode == 0, done.stderr
    assert fleet.unit("since.service") is None
    assert fleet.unit("gone.service")
    assert fleet.get(f"{fleet.keys.prefix}colours/red") == b"1"
    again = fleetctl("restore", "fleet.backup")
    assert "Restoring it writes 0 records" in again.stdout
    assert fleet.get(fleet.keys.schedule(ONE, "a.service")), "the scheduler's own lines are left to it"


@pytest.mark.etcd
async def test_a_rollout_that_was_under_way_is_paused(operator: Operator, fleet: Fleet) -> None:
    """What it would do next was not among the changes that were shown."""
    unit = fleet.run("a.service")
    rollout = Rollout("r1", (RolloutStep("a.service", unit.hash, unit.hash, 1),))
    fleet.put(operator.keys.rollout("r1"), rollout)
    backup = read(await read_registry(operator))
    fleet.delete(operator.keys.rollout("r1"))
    fleet.put(operator.keys.rollout("r2"), replace(rollout, name="r2"))
    found = await read_file_restoration(operator, backup)
    assert [each.name for each in found.after.rollouts] == ["r1", "r2"]
    await restore_file.restore(operator, found)
    for name in ("r1", "r2"):
        record = json.loads(fleet.get(operator.keys.rollout(name)) or b"{}")
        assert (record["state"], "restored" in record["note"]) == ("paused", True)


@pytest.mark.etcd
def test_a_damaged_file_is_refused_by_its_line_and_nothing_is_changed(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.run("a.service")
    fleetctl("backup", "fleet.backup")
    path: Path = fleetctl.home / "fleet.backup"
    lines = path.read_text().splitlines()
    number = next(at for at, text in enumerate(lines, 1) if '"units/' in text)
    lines[number - 1] = lines[number - 1].replace("launched", "inactive")
    path.write_text("\n".join([*lines, ""]))
    done = fleetctl("restore", "fleet.backup", "--accept", "--yes")
    assert done.returncode == 1
    assert f"fleet.backup:{number}: 'units/a.service' is not what its checksum says" in done.stderr
    assert fleetctl("restore", "nowhere.backup").returncode == 1


@pytest.mark.etcd
def test_an_empty_registry_is_held_until_its_machines_have_said_what_runs_and_all_is_accepted(
    fleetctl: Fleetctl, fleet: Fleet, etcd: EtcdServer
) -> None:
    """The machines are played here; tests/cluster/test_backup.py has real ones."""
    units = [fleet.run(name) for name in ("a.service", "b.service")]
    assert fleetctl("backup", "fleet.backup").returncode == 0
    prefix = fleet.keys.prefix
    etcd.post("/kv/deleterange", {"key": encoded(prefix), "range_end": encoded(prefix[:-1] + "0")})
    look = fleetctl("restore", "fleet.backup")
    assert (look.returncode, fleet.get(fleet.keys.cluster)) == (0, None)
    assert "The registry is empty" in look.stdout

    process = fleetctl.start("restore", "fleet.backup", "--accept", "--yes")
    eventually(lambda: fleet.get(fleet.keys.cluster))
    mark = json.loads(fleet.get(fleet.keys.cluster) or b"")
    assert (mark["id"], mark["held"]) == ("c1", BEGINNING)
    assert [fleet.unit(each.name) for each in units] == [None, None]
    machine = Machine(ONE, "core-1", "10.199.0.11", "boot1", held=BEGINNING)
    fleet.report(units[0], ONE)
    fleet.put(fleet.keys.machine(ONE), machine)
    eventually(lambda: "held" not in json.loads(fleet.get(fleet.keys.cluster) or b""))
    assert fleet.unit("b.service") == units[1]
    fleet.put(fleet.keys.machine(ONE), replace(machine, held=""))
    told, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    assert "Waiting for core-1 (7aea1bb4...) to say what runs there" in complaints
    assert "start b.service on 7aea1bb4.../10.199.0.11 (the registry has it there)" in told
    assert "Restoring it changes 1 unit" in told
    assert "Restored and accepted" in told


@pytest.mark.etcd
def test_only_an_empty_registry_is_rebuilt(fleetctl: Fleetctl, fleet: Fleet) -> None:
    refused = fleetctl("backup", "--rebuild", "0" * 32, "x.backup")
    assert (refused.returncode, "is not empty: it is of cluster c1" in refused.stderr) == (1, True)
    assert fleet.get(fleet.keys.cluster) == encode(Sentinel("c1"))
    assert "systemctl status fleet-agentd" in fleetctl("backup", "--rebuild", "a/b", "x.backup").stderr
    assert not (fleetctl.home / "x.backup").exists()


@pytest.mark.etcd
def test_a_restore_that_was_cut_off_is_not_accepted_without_its_file(fleetctl: Fleetctl, fleet: Fleet) -> None:
    fleet.put(fleet.keys.cluster, Sentinel("c1", held=OVERWRITING, restoring="abcdef0123456789"))
    done = fleetctl("restore", "--accept", "--yes")
    assert done.returncode == 1
    assert "run fleetctl restore FILE with it again" in done.stderr
    assert "abcdef012345" in done.stderr
