"""Explanations read from a snapshot."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from placement.explain import Verdict, explain
from placement.preview import Prediction, preview_drain, preview_starts
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import (
    Assignment,
    Availability,
    Corrupt,
    Machine,
    Override,
    Pending,
    Sentinel,
    Target,
    Unit,
    UnitState,
    UnitText,
)
from registry.units.file import file_hash

KEYS = Keys()


def fleet(
    units: dict[str, tuple[str, str]], *, regions: tuple[str, ...] = ("r1", "r2"), targets: Target = Target.LAUNCHED
) -> Snapshot:
    """Machines a, b, … with these regions; units by name with their [X-Fleet] lines and machine ("" for none)."""
    texts = {name: f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{lines}\n" for name, (lines, _) in units.items()}
    hashes = {name: file_hash(text) for name, text in texts.items()}
    places = [(where, name) for name, (_, where) in units.items() if where]
    machines = [Machine(chr(97 + n), f"h{n}", "::1", f"boot{n}", (("region", r),)) for n, r in enumerate(regions)]
    return Snapshot(
        cluster=Sentinel("c"),
        files={hashes[name]: UnitText(hashes[name], text) for name, text in texts.items()},
        units={name: Unit(name, hashes[name], targets) for name in units},
        machines={each.id: each for each in machines},
        schedule={(m, name): Assignment(name, m, hashes[name], Target.LAUNCHED, 1) for m, name in places},
        states={
            (m, name): UnitState(name, m, hashes[name], 1, Target.LAUNCHED, "loaded", "active", "running")
            for m, name in places
        },
    )


def test_what_is_down_is_not_said_to_stay_where_it_runs() -> None:
    snapshot = fleet({"u.service": ("", "a")})
    state = snapshot.states["a", "u.service"]

    def told(active: str, result: str = "", skipped: str = "") -> str:
        now = replace(state, active=active, result=result, skipped=skipped)
        return explain(replace(snapshot, states={("a", "u.service"): now}), "u.service").summary

    assert told(active="inactive") == "it has ended on a, where a start runs it again"
    assert told(active="failed", result="oom-kill") == "it failed on a... (oom-kill)"
    assert told(active="inactive", skipped="condition not met: X=y") == "condition not met: X=y"
    assert told(active="active", skipped="condition not met: X=y") == "launched on a; it stays where it runs"


def test_every_machine_has_a_verdict() -> None:
    snapshot = fleet({"u.service": ("MachineMetadata=region=r1", "a"), "v.service": ("", "b")})
    found = explain(snapshot, "u.service")
    assert found.summary == "launched on a; it stays where it runs"
    assert [(each.machine, each.verdict, each.units) for each in found.machines] == [
        ("a", Verdict.HERE, 1),
        ("b", Verdict.REFUSED, 1),
    ]
    assert found.machines[1].reasons == ("metadata region=r1 required; it has region=r2",)


def test_all_reasons_of_a_machine_are_told_in_order() -> None:
    snapshot = fleet(
        {"u.service": ("MachineOf=x.service\nConflicts=v*", ""), "v.service": ("", "a")}, regions=("r1",)
    )
    snapshot = replace(snapshot, overrides={"a": Override("a", Availability.CORDONED)})
    (only,) = explain(snapshot, "u.service").machines
    assert only.reasons == (
        "x.service is not scheduled here (MachineOf)",
        "cordoned",
        "conflicts with v.service, which is scheduled here",
    )


def test_a_waiting_unit_is_explained_by_its_pending() -> None:
    snapshot = fleet({"u.service": ("MachineMetadata=region=mars", "")})
    unit = snapshot.units["u.service"]
    pending = Pending("u.service", unit.hash, 1, "no machine has region=mars (2 of 2 refuse)")
    assert explain(replace(snapshot, pending={"u.service": pending}), "u.service").summary == pending.summary


def test_a_ring_of_leaders_is_named() -> None:
    snapshot = fleet({"a.service": ("MachineOf=b.service", ""), "b.service": ("MachineOf=a.service", "")})
    assert "a.service -> b.service -> a.service" in explain(snapshot, "a.service").summary


def test_unknown_inactive_corrupt_and_broken_units_are_explained_too() -> None:
    snapshot = fleet({"u.service": ("", ""), "x.service": ("Nonsense=1", "a")})
    assert explain(snapshot, "no.service").summary == "no.service is not in the registry"
    corrupt = replace(snapshot, corrupt={KEYS.unit("no.service"): Corrupt(KEYS.unit("no.service"), "bad")})
    assert "corrupt record" in explain(corrupt, "no.service").summary
    assert "Nonsense" in explain(snapshot, "x.service").summary
    missing = replace(snapshot, files=MappingProxyType({}))
    assert "is missing from the registry" in explain(missing, "u.service").summary
    idle = fleet({"u.service": ("", "")}, targets=Target.INACTIVE)
    assert explain(idle, "u.service").summary == "its target is inactive, so it needs no machine"


def started(snapshot: Snapshot, lines: str, name: str = "new.service") -> Prediction:
    return preview_starts(snapshot, {name: f"[Service]\nExecStart=/bin/true\n[X-Fleet]\n{lines}\n"})[name]


def drained(snapshot: Snapshot, machine: str) -> dict[str, tuple[str, ...] | str]:
    """By unit, where it goes, or why it stays."""
    return {each.unit: each.machines or each.summary for each in preview_drain(snapshot, (machine,))[machine]}


def test_a_start_is_predicted_by_the_usual_rule() -> None:
    snapshot = fleet({"u.service": ("", "a"), "v.service": ("", "a"), "w.service": ("", "b")})
    assert started(snapshot, "").machines == ("b",)
    assert started(snapshot, "", "u.service").machines == ("a",), "what runs stays"
    assert started(snapshot, "Global=true").machines == ("a", "b")
    assert started(snapshot, "Replaces=[uv].service").machines == ("a",)
    assert started(snapshot, "MachineOf=v.service").machines == ("a",)


def test_a_start_that_finds_no_machine_tells_the_refusals() -> None:
    snapshot = fleet({"u.service": ("Conflicts=*", "a"), "v.service": ("", "")}, targets=Target.INACTIVE)
    snapshot = replace(snapshot, units={"u.service": replace(snapshot.units["u.service"], target=Target.LAUNCHED)})
    found = started(snapshot, "MachineMetadata=region=r1")
    assert found.machines == ()
    assert {each.reason for each in found.refusals} == {
        "u.service conflicts with it (Conflicts=*)",
        "metadata region=r1 required; it has region=r2",
    }
    assert "circle" in started(snapshot, "MachineOf=new.service").summary
    absent = started(snapshot, "MachineOf=v.service")
    assert absent.summary == "waits for v.service, which is scheduled nowhere (MachineOf)"


def test_what_blocks_a_drain() -> None:
    snapshot = fleet(
        {
            "free.service": ("", "a"),
            "pinned.service": ("MachineID=a", "a"),
            "here.service": ("MachineMetadata=region=r1", "a"),
            "everywhere.service": ("Global=true", "a"),
        }
    )
    assert drained(snapshot, "a") == {
        "free.service": ("b",),
        "here.service": "no machine has region=r1 (1 of 1 refuse)",
        "pinned.service": "no machine fits: MachineID=a is not this machine (1 of 1)",
    }
    alone = fleet({"free.service": ("", "a")}, regions=("r1",))
    assert drained(alone, "a") == {"free.service": "there is no other machine"}


def test_corrupt_machines_and_overrides_take_nothing_new() -> None:
    snapshot = fleet({"u.service": ("", "a")})
    keys = (KEYS.override("a"), KEYS.machine("z"))
    damaged = replace(snapshot, corrupt={key: Corrupt(key, "bad") for key in keys})
    found = started(damaged, "")
    assert found.machines == ("b",)
    assert {machine for each in found.refusals for machine in each.machines} == {"a", "z"}


def test_units_of_a_drained_machine_spread_and_followers_go_after_their_leaders() -> None:
    snapshot = fleet(
        {
            "a-follower.service": ("MachineOf=leader.service", "a"),
            "leader.service": ("", "a"),
            "one.service": ("Conflicts=one*.service", "a"),
            "one-too.service": ("Conflicts=one*.service\nMachineMetadata=region=r2", "b"),
            "two.service": ("", "a"),
        },
        regions=("r1", "r2", "r3"),
    )
    found = drained(snapshot, "a")
    print(found)
    assert found == {
        "a-follower.service": ("c",), "leader.service": ("c",), "one.service": ("c",), "two.service": ("b",)
    }  # fmt: skip
