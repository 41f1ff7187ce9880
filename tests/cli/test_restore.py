"""`fleetctl restore`: what a history that went back would change, and accepting it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.actions.operator import Operator
from fleettui.actions.restore import OVERWRITING, Restoration, accept, read_restoration, restoration_of
from registry.errors import Conflict
from registry.etcd import Etcd
from registry.keys import Keys
from registry.mirror import RawChange
from registry.model import (
    Assignment,
    Availability,
    Machine,
    Override,
    Record,
    Sentinel,
    Target,
    Unit,
    UnitState,
    UnitText,
)
from registry.records import encode
from registry.units.file import file_hash
from tests.cli.conftest import Fleetctl
from tests.cli.fleet import HELLO, ONE, TWO, Fleet

KEYS = Keys()
SHA = file_hash(HELLO)
OTHER = file_hash("")
MACHINES, NAMES = ("m1", "m2", "m3"), ("a.service", "b.service")
EMPTY: Mapping[str, bytes] = {}
HELD = Sentinel("c1", held="it is at revision 3, and 9 was acted on")


def restoration(records: dict[str, Record | UnitText], garbled: Mapping[str, bytes] = EMPTY) -> Restoration:
    """What accepting a registry with these records comes to, some of which may be other bytes."""
    texts = {KEYS.file(file_hash(text)): UnitText(file_hash(text), text) for text in (HELLO, "")}
    every = {KEYS.cluster: HELD, **texts, **records}
    values = {**{key: encode(record) for key, record in every.items()}, **garbled}
    return restoration_of(KEYS, [RawChange(key, value, 1, 1) for key, value in values.items()], 1, 0.0)


def running(name: str, machine: str, generation: int = 1) -> UnitState:
    return UnitState(name, machine, SHA, generation, Target.LAUNCHED, load="loaded", active="active", sub="running")


pairs = st.sets(st.sampled_from(list(product(MACHINES, NAMES))))


@given(
    st.sets(st.sampled_from(MACHINES)),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(Target))),
    pairs,
    pairs,
    st.sets(st.sampled_from(NAMES)),
)
def test_1_what_runs_somewhere_is_scheduled_nowhere_else_when_it_is_accepted(
    live: set[str], targets: dict[str, Target], lines: set[tuple[str, str]], states: set[tuple[str, str]],
    garbled: set[str],
) -> None:  # fmt: skip
    """So no agent starts a unit that another is only about to stop."""
    records: dict[str, Record | UnitText] = {}
    records |= {KEYS.machine(each): Machine(each, each, "10.0.0.1", "boot", held="so") for each in live}
    records |= {KEYS.unit(name): Unit(name, SHA, target) for name, target in targets.items()}
    homes: dict[str, str] = {name: machine for machine, name in sorted(lines)}  # a unit has one line
    records |= {
        KEYS.schedule(machine, name): Assignment(name, machine, SHA, Target.LAUNCHED, 1)
        for name, machine in homes.items()
    }
    records |= {KEYS.state(machine, name): running(name, machine) for machine, name in states if machine in live}
    unread = {KEYS.schedule(machine, name): (machine, name) for name, machine in homes.items() if name in garbled}
    found = restoration(records, dict.fromkeys(unread, b"\xff"))
    settled = {**found.snapshot.schedule, **found.lines}
    schedule = {pair: line for pair, line in settled.items() if line is not None}
    still = {pair for pair in unread.values() if pair not in found.lines}
    for name, target in targets.items():
        runs = {machine for machine, unit in states if unit == name and machine in live}
        has = {machine for machine, unit in schedule if unit == name}
        if target.scheduled and runs:
            assert len(has) == 1
            assert has <= runs
            assert {machine for machine, unit in still if unit == name} <= has
        if not target.scheduled:  # ordered while all was held: a line would start it for a moment
            assert not has
        if target is not Target.LAUNCHED:
            assert not any(line.target is Target.LAUNCHED for (_, unit), line in schedule.items() if unit == name)
    starts = {each.unit for each in found.changes if each.verb in ("start", "move")}
    assert not any(
        target.scheduled and name in starts and any(unit == name and machine in live for machine, unit in states)
        for name, target in targets.items()
    )


def test_each_machine_s_changes_are_told_and_nothing_else() -> None:
    records: dict[str, Record | UnitText] = {KEYS.machine("m1"): Machine("m1", "core-1", "10.0.0.1", "boot")}
    for name, generation in (("stays.service", 1), ("back.service", 1), ("gone.service", 1)):
        records[KEYS.unit(name)] = Unit(name, SHA, Target.LAUNCHED, generation)
        records[KEYS.schedule("m1", name)] = Assignment(name, "m1", SHA, Target.LAUNCHED, generation)
    records[KEYS.state("m1", "stays.service")] = running("stays.service", "m1")
    records[KEYS.state("m1", "back.service")] = running("back.service", "m1", 4)
    records[KEYS.state("m1", "made.service")] = running("made.service", "m1")
    records[KEYS.unit("lost.service")] = Unit("lost.service", SHA, Target.LAUNCHED)
    records[KEYS.schedule("m9", "lost.service")] = Assignment("lost.service", "m9", SHA, Target.LAUNCHED, 1)
    told = {(each.verb, each.unit, each.machine) for each in restoration(records).changes}
    assert told == {
        ("restart", "back.service", "m1"),
        ("start", "gone.service", "m1"),
        ("stop", "made.service", "m1"),
        ("start", "lost.service", "m1"),
    }


@pytest.mark.parametrize(
    ("unit", "active", "told"),
    [
        (Unit("a.service", SHA, Target.LAUNCHED), "active", set()),
        (Unit("a.service", SHA, Target.LOADED), "active", {"stop"}),
        (Unit("a.service", SHA, Target.INACTIVE), "active", {"stop"}),
        (None, "active", {"stop"}),
        (Unit("a.service", SHA, Target.LAUNCHED, 2), "active", {"restart"}),
        (Unit("a.service", OTHER, Target.LAUNCHED), "active", {"restart"}),
        (Unit("a.service", SHA, Target.LAUNCHED, attempt=1), "failed", {"start"}),
        (Unit("a.service", SHA, Target.LAUNCHED, attempt=1), "active", set()),
    ],
)
def test_what_was_ordered_while_everything_is_held_is_told_too(
    unit: Unit | None, active: str, told: set[str]
) -> None:
    records: dict[str, Record | UnitText] = {
        KEYS.machine("m1"): Machine("m1", "core-1", "10.0.0.1", "boot"),
        KEYS.schedule("m1", "a.service"): Assignment("a.service", "m1", SHA, Target.LAUNCHED, 1),
        KEYS.state("m1", "a.service"): replace(running("a.service", "m1"), active=active),
    }
    if unit is not None:
        records[KEYS.unit("a.service")] = unit
    assert {each.verb for each in restoration(records).changes} == told


@pytest.fixture
def held(fleet: Fleet) -> Fleet:
    """A fleet that holds everything: a unit runs on one machine and is scheduled on another."""
    fleet.put(fleet.keys.cluster, HELD)
    for number, machine in enumerate((ONE, TWO), 1):
        record = Machine(machine, f"core-{number}", f"10.199.0.{10 + number}", "boot", held=HELD.held)
        fleet.put(fleet.keys.machine(machine), record)
    fleet.delete(fleet.keys.machine("9c0c3dd6" * 4))
    fleet.put(fleet.keys.file(SHA), UnitText(SHA, HELLO))
    fleet.put(fleet.keys.unit("a.service"), Unit("a.service", SHA, Target.LAUNCHED))
    fleet.put(fleet.keys.schedule(ONE, "a.service"), Assignment("a.service", ONE, SHA, Target.LAUNCHED, 1))
    fleet.put(fleet.keys.state(TWO, "a.service"), running("a.service", TWO))
    fleet.put(fleet.keys.state(ONE, "made.service"), running("made.service", ONE))
    return fleet


@pytest.mark.etcd
@pytest.mark.usefixtures("fleet")
def test_a_history_that_is_in_no_doubt_needs_no_word(fleetctl: Fleetctl) -> None:
    done = fleetctl("restore", "--accept", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to accept" in done.stdout
    assert "history" not in fleetctl("list-machines").stderr


@pytest.mark.etcd
@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("command", ["list-machines", "list-units", "why a.service", "cordon core-1"])
def test_every_command_says_that_everything_is_held(fleetctl: Fleetctl, command: str) -> None:
    done = fleetctl(*command.split())
    assert "WARNING: the registry's history went back: it is at revision 3" in done.stderr
    assert "fleetctl restore --accept" in done.stderr


@pytest.mark.etcd
@pytest.mark.usefixtures("held")
def test_a_machine_that_holds_shows_it(fleetctl: Fleetctl) -> None:
    assert "ready,held" in fleetctl("list-machines", "--fields", "machine,state").stdout


@pytest.mark.etcd
def test_accepting_tells_first_wants_a_yes_and_keeps_what_runs_where_it_runs(
    fleetctl: Fleetctl, held: Fleet
) -> None:
    told = fleetctl("restore")
    assert told.returncode == 0
    assert "2 machines are there (core-1, core-2);" in told.stdout
    assert "stop made.service on 7aea1bb4" in told.stdout
    assert "a.service" not in told.stdout.replace("made.service", "")
    refused = fleetctl("restore", "--accept")
    assert refused.returncode == 1
    assert "add --yes" in refused.stderr
    assert held.get(held.keys.cluster) == encode(HELD)
    accepting = fleetctl.start("restore", "--accept", "--yes")
    assert accepting.stdout
    assert "Accepted" in "".join(iter(accepting.stdout.readline, "")) or accepting.wait(60) is not None
    found = json.loads(held.get(held.keys.cluster) or b"{}")
    assert found["epoch"] > 1_600_000_000_000
    assert "held" not in found
    assert held.get(held.keys.schedule(ONE, "a.service")) is None
    assert held.get(held.keys.schedule(TWO, "a.service"))


@pytest.mark.etcd
async def test_who_says_meanwhile_that_all_is_held_is_no_reason_to_refuse(
    etcd_client: Etcd, prefix: str, held: Fleet
) -> None:
    operator = Operator(etcd_client, Keys.under(prefix), "op@test")
    found = await read_restoration(operator)
    held.put(held.keys.cluster, replace(HELD, held="it is at revision 4, and 9 was acted on"))
    held.put(held.keys.state(ONE, "other.service"), running("other.service", ONE))
    with pytest.raises(Conflict):  # another unit would be stopped by now
        await accept(operator, found)
    assert b"revision 4" in (held.get(held.keys.cluster) or b"")
    held.delete(held.keys.state(ONE, "other.service"))
    assert await accept(operator, found) == json.loads(held.get(held.keys.cluster) or b"")["epoch"]


@pytest.mark.etcd
def test_yes_alone_accepts_nothing(fleetctl: Fleetctl, held: Fleet) -> None:
    assert fleetctl("restore", "--yes").returncode == 2
    assert held.get(held.keys.cluster) == encode(HELD)


@pytest.mark.etcd
@pytest.mark.parametrize("mark", ["", HELD.held])
def test_an_epoch_that_no_clock_has_reached_is_named_and_reset(
    fleetctl: Fleetctl, fleet: Fleet, held: Fleet, mark: str
) -> None:
    del held
    if not mark:
        for number, machine in enumerate((ONE, TWO), 1):
            fleet.put(fleet.keys.machine(machine), Machine(machine, f"core-{number}", "10.199.0.11", "boot"))
    fleet.put(fleet.keys.cluster, Sentinel("c1", epoch=2**63 - 1, held=mark))
    told = fleetctl("list-units").stderr
    assert "more than a day ahead of this host's clock" in told
    assert "fleetctl restore --accept" in told
    assert "ahead of this host's clock" in fleetctl("restore").stdout
    accepting = fleetctl.start("restore", "--accept", "--yes")
    assert accepting.stdout
    assert any("Accepted" in line for line in iter(accepting.stdout.readline, ""))
    assert 1_600_000_000_000 < json.loads(fleet.get(fleet.keys.cluster) or b"{}")["epoch"] < 10**13


@pytest.mark.etcd
@pytest.mark.parametrize(("field", "command"), [("generation", "restart a"), ("attempt", "start a"),
                                                ("generation", "start --replace ./a.service")])  # fmt: skip
def test_a_number_that_can_grow_no_more_is_refused_with_the_remedy(
    fleetctl: Fleetctl, fleet: Fleet, field: str, command: str
) -> None:
    fleet.put(fleet.keys.file(SHA), UnitText(SHA, HELLO))
    most = 2**63 - 1
    unit = Unit("a.service", SHA, Target.LAUNCHED)
    grown = replace(unit, generation=most) if field == "generation" else replace(unit, attempt=most)
    fleet.put(fleet.keys.unit("a.service"), grown)
    fleet.put(fleet.keys.schedule(ONE, "a.service"), Assignment("a.service", ONE, SHA, Target.LAUNCHED, 1))
    failed = replace(running("a.service", ONE), active="failed", sub="failed", result="exit-code")
    fleet.put(fleet.keys.state(ONE, "a.service"), failed)
    fleetctl.write("a.service", f"{HELLO}\n# another text\n")
    done = fleetctl(*command.split(), "--no-block")
    assert done.returncode == 1
    assert f"field '{field}' is" in done.stderr
    assert "destroy it and submit it again" in done.stderr
    assert fleetctl("destroy", "a", "--no-block").returncode == 0
    assert fleetctl("submit", "./a.service").returncode == 0


@pytest.mark.etcd
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("stop a", "Error stopping unit a.service: everything is held"),
        ("destroy a", "Error destroying unit a.service: everything is held"),
        ("unload a", "it is stopped once that is accepted"),
        ("restart a", "and is replaced when that is accepted"),
    ],
)
def test_what_is_asked_while_everything_is_held_is_answered_at_once(
    fleetctl: Fleetctl, held: Fleet, command: str, told: str
) -> None:
    held.put(held.keys.state(ONE, "a.service"), running("a.service", ONE))
    held.delete(held.keys.state(TWO, "a.service"))
    done = fleetctl(*command.split())
    assert done.returncode == 1
    assert told in done.stderr
    assert "fleetctl restore" in done.stderr


def test_a_unit_that_cannot_stay_moves_and_one_that_nobody_takes_is_named() -> None:
    """By the rules that place units."""
    records: dict[str, Record | UnitText] = {
        KEYS.machine(each): Machine(each, each, "10.0.0.1", "boot", held="so") for each in ("m1", "m2")
    }
    records[KEYS.override("m1")] = Override("m1", Availability.DRAINING)
    picky = "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=disk=ssd\n"
    records[KEYS.file(file_hash(picky))] = UnitText(file_hash(picky), picky)
    records[KEYS.unit("picky.service")] = Unit("picky.service", file_hash(picky), Target.LAUNCHED)
    records[KEYS.unit("a.service")] = Unit("a.service", SHA, Target.LAUNCHED)
    records[KEYS.schedule("m1", "a.service")] = Assignment("a.service", "m1", SHA, Target.LAUNCHED, 1)
    records[KEYS.state("m1", "a.service")] = running("a.service", "m1")
    found = restoration(records)
    assert [(each.verb, each.unit, each.source, each.machine) for each in found.changes] == [
        ("move", "a.service", "m1", "m2")
    ]
    assert list(found.waiting) == ["picky.service"]
    assert "disk" in found.waiting["picky.service"]


def test_a_line_that_lags_behind_its_unit_is_brought_after_it_before_an_agent_goes_by_it() -> None:
    """It would restart what runs as the unit says, and the scheduler's line after it once more."""
    records: dict[str, Record | UnitText] = {
        KEYS.machine("m1"): Machine("m1", "m1", "10.0.0.1", "boot", held="so"),
        KEYS.unit("a.service"): Unit("a.service", SHA, Target.LAUNCHED, 2, attempt=1),
        KEYS.schedule("m1", "a.service"): Assignment("a.service", "m1", SHA, Target.LAUNCHED, 1),
        KEYS.state("m1", "a.service"): replace(running("a.service", "m1", 2), attempt=1),
    }
    found = restoration(records)
    assert found.changes == ()
    assert found.lines == {("m1", "a.service"): Assignment("a.service", "m1", SHA, Target.LAUNCHED, 2, 1)}
    records[KEYS.cluster] = replace(HELD, held=OVERWRITING)
    assert restoration(records).lines == {}, "agents do not hold"


def test_a_line_has_what_lies_beside_its_unit_before_an_agent_goes_by_it() -> None:
    texts = {"web.container": "[Container]\nImage=a\nNetwork=app.network\n", "app.network": "[Network]\n"}
    sha = {name: file_hash(text) for name, text in texts.items()}
    records: dict[str, Record | UnitText] = {
        KEYS.file(file_hash(each)): UnitText(file_hash(each), each) for each in texts.values()
    }
    records |= {
        KEYS.unit(name): Unit(name, sha[name], Target.LAUNCHED if "web" in name else Target.INACTIVE)
        for name in texts
    }
    records[KEYS.machine("m1")] = Machine("m1", "core-1", "10.0.0.1", "boot", held="so", podman_version="5.4.2")
    records[KEYS.state("m1", "web.container")] = replace(running("web.container", "m1"), hash=sha["web.container"])
    line = restoration(records).lines["m1", "web.container"]
    assert line is not None
    assert line.beside == (("app.network", sha["app.network"]),)
