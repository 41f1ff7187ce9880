"""Where Quadlets are placed: on machines whose Podman runs them, with the files that they need beside them."""

from __future__ import annotations

from dataclasses import replace

from placement.cluster_state import ClusterState
from placement.decide import decide
from placement.decisions import Assign, UpdateLine, Wait, records_after
from placement.explain import explain
from registry.keys import Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import Machine, Target, Unit, UnitText
from registry.units.file import file_hash

WEB = "[Container]\nImage=localhost/web\nVolume=data.volume:/data\n"
DATA = "[Volume]\nImage=base.image\nDriver=image\n"
BASE = "[Image]\nImage=localhost/base\n"
OLD, NEW, NONE = (letter * 32 for letter in "abc")


def machine(id_: str, podman: str) -> Machine:
    return Machine(id_, f"host-{id_[0]}", "10.0.0.1", "boot", podman_version=podman)


def snapshot(**texts: str) -> Snapshot:
    """Machines of three kinds, and units with these texts ("web_container"); web.container is to run."""
    units = {name.replace("_", "."): text for name, text in texts.items()}
    machines = {each.id: each for each in (machine(OLD, "4.9.3"), machine(NEW, "5.4.2"), machine(NONE, ""))}
    records = {
        name: Unit(name, file_hash(text), Target.LAUNCHED if name == "web.container" else Target.INACTIVE)
        for name, text in units.items()
    }
    files = {file_hash(text): UnitText(file_hash(text), text) for text in units.values()}
    return Snapshot(machines=machines, units=records, files=files)


def test_it_goes_where_podman_is_new_enough_and_each_other_machine_says_why_not() -> None:
    found = decide(ClusterState.from_snapshot(snapshot(web_container="[Container]\nImage=a\n"), Keys()))
    assert [each.machine for each in found if isinstance(each, Assign)] == [NEW]
    lone = snapshot(web_container="[Container]\nImage=a\n")
    machines = {id_: each for id_, each in lone.machines.items() if id_ != NEW}
    (wait,) = decide(ClusterState.from_snapshot(replace(lone, machines=machines), Keys()))
    assert isinstance(wait, Wait)
    assert wait.pending.summary == "no machine has podman 5.3 or newer"
    assert {
        each.machine: each.reasons for each in explain(replace(lone, machines=machines), "web.container").machines
    } == {
        OLD: ("podman 5.3 or newer required; its generator is of 4.9.3",),
        NONE: ("podman 5.3 or newer required; it has none with a generator for Quadlets",),
    }
    assert wait.pending.rule == "podman"


def test_its_line_brings_what_it_needs_and_what_that_needs() -> None:
    state = ClusterState.from_snapshot(snapshot(web_container=WEB, data_volume=DATA, base_image=BASE), Keys())
    (assign,) = decide(state)
    assert isinstance(assign, Assign)
    assert assign.line.beside == (("base.image", file_hash(BASE)), ("data.volume", file_hash(DATA)))


def test_what_is_missing_is_named_and_its_coming_places_it() -> None:
    state = ClusterState.from_snapshot(snapshot(web_container=WEB, data_volume=DATA), Keys())
    (wait,) = decide(state)
    assert isinstance(wait, Wait)
    assert "it needs base.image beside it, which nobody has submitted" in wait.pending.summary
    for address, record in records_after(wait):
        state.apply(address, record, exists=True)
    sha256 = file_hash(BASE)
    state.apply(Address(Table.FILES, sha256), UnitText(sha256, BASE), exists=True)
    state.apply(Address(Table.UNITS, "base.image"), Unit("base.image", sha256, Target.INACTIVE), exists=True)
    assert [each.machine for each in decide(state) if isinstance(each, Assign)] == [NEW]


def test_another_version_of_what_lies_beside_changes_the_line_and_nothing_else() -> None:
    state = ClusterState.from_snapshot(snapshot(web_container=WEB, data_volume="[Volume]\n"), Keys())
    (assign,) = decide(state)
    for address, record in records_after(assign):
        state.apply(address, record, exists=record is not None)
    assert decide(state) == ()
    text = "[Volume]\nLabel=a=b\n"
    state.apply(Address(Table.FILES, file_hash(text)), UnitText(file_hash(text), text), exists=True)
    state.apply(
        Address(Table.UNITS, "data.volume"), Unit("data.volume", file_hash(text), Target.INACTIVE), exists=True
    )
    (update,) = decide(state)
    assert isinstance(assign, Assign)
    assert isinstance(update, UpdateLine)
    assert update.line == replace(assign.line, beside=(("data.volume", file_hash(text)),))
