"""Acts against a real etcd: races, lost answers, undoing, and what every act leaves in the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.actions import machines, reading, units
from fleettui.actions.disk import Candidate, LocalFile
from fleettui.actions.operator import MAX_BYTES, Operator, batches, commit
from fleettui.actions.outcome import Did
from fleettui.actions.reading import expand, find_machine, read_texts, read_units
from fleettui.actions.resolve import resolve
from registry.errors import Conflict, RegistryUnavailable, UserError
from registry.etcd import MAX_OPS, Compare, Etcd, Op, TxnResult
from registry.keys import Keys, Table
from registry.model import HISTORY_LIMIT, Availability, Event, Machine, Override, Target, Unit, UnitState
from registry.records import encode
from registry.sync.listing import read_snapshot
from registry.units.file import file_hash
from tests.cli.fleet import HELLO

pytestmark = pytest.mark.etcd
OTHER = HELLO + "# other\n"


@pytest.fixture
def operator(etcd_client: Etcd, prefix: str) -> Operator:
    return Operator(etcd_client, Keys.under(prefix), "test@host", now=lambda: 1000.5)


async def unit(operator: Operator, name: str) -> Unit | None:
    return (await read_units(operator, [name]))[name].unit


async def events(operator: Operator) -> list[Event]:
    return list((await read_snapshot(operator.etcd, operator.keys, [Table.EVENTS])).events.values())


async def submitted(operator: Operator, *names: str, target: Target = Target.INACTIVE, text: str = HELLO) -> None:
    await units.submit(operator, [units.UnitSource(name, text) for name in names], target=target, replace=True)


async def test_submit_writes_unit_text_sentinel_and_event(operator: Operator) -> None:
    done = await units.submit(
        operator, [units.UnitSource("a.service", HELLO, "./a.service")], target=Target.LAUNCHED
    )
    expected = Unit("a.service", file_hash(HELLO), Target.LAUNCHED, 1, (), "test@host", 1000.5)
    assert [(each.did, each.before, each.after) for each in done.outcomes] == [(Did.CREATED, None, expected)]
    assert await unit(operator, "a.service") == expected
    assert await read_texts(operator, [expected.hash]) == {expected.hash: HELLO}
    assert await operator.etcd.get(operator.keys.cluster)
    (event,) = await events(operator)
    assert (event.actor, event.verb, event.unit, event.at) == ("test@host", "start", "a.service", 1000.5)
    assert event.id.startswith("0000001000500-")
    assert done.revision > 0


async def test_an_act_that_changes_nothing_writes_nothing(operator: Operator) -> None:
    await submitted(operator, "a.service", target=Target.LAUNCHED)
    before = (await operator.etcd.range(operator.keys.prefix)).kvs
    done = await units.start(operator, ["a.service"])
    assert [each.did for each in done.outcomes] == [Did.UNCHANGED]
    assert (done.written, done.revision) == ((), 0)
    assert (await operator.etcd.range(operator.keys.prefix)).kvs == before


async def reported(operator: Operator, name: str, machine: str, active: str) -> None:
    """What an agent says of a launched unit."""
    await operator.etcd.put(operator.keys.machine(machine), encode(Machine(machine, "h", "1.2.3.4", "boot")))
    state = UnitState(name, machine, "0" * 64, 1, Target.LAUNCHED, "loaded", active)
    await operator.etcd.put(operator.keys.state(machine, name), encode(state))


@pytest.mark.parametrize("asked", [0, 10_000])  # state by state, and all of them at once
async def test_start_is_a_new_attempt_for_what_has_ended_or_failed_somewhere_and_for_nothing_else(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    monkeypatch.setattr(reading, "PLACES_ASKED", asked)
    ended = {"stopped.service": "inactive", "killed.service": "failed", "refused.service": ""}
    alive = {"up.service": "active", "slow.service": "activating", "down.service": "deactivating"}
    await submitted(operator, *ended, *alive, "placed.service", "g.service", target=Target.LAUNCHED)
    for name, active in (ended | alive).items():
        await reported(operator, name, "m1", active)
    await reported(operator, "g.service", "m1", "active")
    await reported(operator, "g.service", "m2", "failed")
    done = await units.start(operator, [*ended, *alive, "placed.service", "g.service"])
    assert {each.name for each in done.written} == {*ended, "g.service"}
    for outcome in done.written:
        record = await unit(operator, outcome.name)
        assert record
        assert (record.attempt, record.generation, record.target) == (1, 1, Target.LAUNCHED)
        assert not outcome.reversible  # what ran before it is gone
    assert {event.verb for event in await events(operator)} == {"start"}


async def test_an_attempt_is_made_by_every_way_to_start_and_by_no_other_verb(operator: Operator) -> None:
    await submitted(operator, "a.service", target=Target.LAUNCHED)
    await reported(operator, "a.service", "m1", "failed")
    for count, source in enumerate((units.UnitSource("a.service"), units.UnitSource("a.service", HELLO)), 1):
        await units.submit(operator, [source], replace=True, target=Target.LAUNCHED)
        assert (await unit(operator, "a.service") or Unit("", "", Target.INACTIVE)).attempt == count
    for target in (Target.INACTIVE, Target.LOADED):
        await units.submit(operator, [units.UnitSource("a.service", HELLO)], target=target)
    await units.load(operator, ["a.service"])
    record = await unit(operator, "a.service")
    assert record
    assert (record.attempt, record.target) == (2, Target.LAUNCHED)


async def test_an_attempt_survives_a_replacement_and_taking_a_start_back(operator: Operator) -> None:
    await submitted(operator, "a.service", target=Target.LAUNCHED)
    await reported(operator, "a.service", "m1", "failed")
    await units.start(operator, ["a.service"])
    replaced = await units.submit(operator, [units.UnitSource("a.service", OTHER)], replace=True)
    await units.restore(operator, replaced.written)
    undone = await unit(operator, "a.service")
    assert undone
    assert file_hash(OTHER) in undone.history  # so that a rollback brings back what was undone
    await units.unload(operator, ["a.service"])
    started = await units.start(operator, ["a.service"])
    await units.restore(operator, started.written)
    record = await unit(operator, "a.service")
    assert record
    assert (record.attempt, record.target) == (2, Target.INACTIVE)  # an older one would be another one


@pytest.mark.parametrize(
    ("act", "targets"),
    [
        (units.load, {"inactive": "loaded", "loaded": "loaded", "launched": "launched"}),
        (units.start, {"inactive": "launched", "loaded": "launched", "launched": "launched"}),
        (units.stop, {"inactive": "inactive", "loaded": "loaded", "launched": "loaded"}),
        (units.unload, {"inactive": "inactive", "loaded": "inactive", "launched": "inactive"}),
    ],
)
async def test_each_verb_moves_the_target_its_way_only(
    operator: Operator, act: units.Act, targets: dict[str, str]
) -> None:
    for target in targets:
        await submitted(operator, f"{target}.service", target=Target(target))
    await act(operator, [f"{target}.service" for target in targets])
    assert {now: record.target for now in targets if (record := await unit(operator, f"{now}.service"))} == targets


async def test_racing_operators_both_get_through(operator: Operator) -> None:
    names = [f"u{number}.service" for number in range(30)]
    await submitted(operator, *names, target=Target.LAUNCHED)
    await asyncio.gather(*(units.restart(operator, names) for _ in range(6)))
    generations = {record.generation for name in names if (record := await unit(operator, name))}
    assert generations == {7}  # no restart was lost, none counted twice


async def test_a_lost_answer_is_asked_for_and_not_done_twice(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submitted(operator, "a.service", target=Target.LAUNCHED)
    txn, losses = operator.etcd.txn, [True]

    async def losing(compares: Sequence[Compare], then: Sequence[Op], orelse: Sequence[Op] = ()) -> TxnResult:
        result = await txn(compares, then, orelse)
        if orelse and losses:
            losses.clear()
            raise RegistryUnavailable("the answer got lost")
        return result

    monkeypatch.setattr(operator.etcd, "txn", losing)
    done = await units.restart(operator, ["a.service"])
    assert [each.did for each in done.outcomes] == [Did.CHANGED]
    record = await unit(operator, "a.service")
    assert record
    assert record.generation == 2


async def test_a_guard_that_fails_writes_neither_record_nor_event(operator: Operator) -> None:
    key = operator.keys.unit("a.service")
    with pytest.raises(Conflict):
        await commit(operator, [Compare.exists(key)], [Op.put(key, b"{}")], [operator.event("start")])
    assert (await operator.etcd.range(operator.keys.prefix)).kvs == ()


async def test_replacing_keeps_the_history_short_and_new_first(operator: Operator) -> None:
    for number in range(HISTORY_LIMIT + 3):
        await submitted(operator, "a.service", text=f"{HELLO}# {number}\n", target=Target.LAUNCHED)
    record = await unit(operator, "a.service")
    assert record
    assert len(record.history) == HISTORY_LIMIT
    assert record.history[0] == file_hash(f"{HELLO}# {HISTORY_LIMIT + 1}\n")
    assert record.generation == HISTORY_LIMIT + 3


async def test_what_was_destroyed_comes_back_whole(operator: Operator) -> None:
    await submitted(operator, "a.service", target=Target.LAUNCHED)
    sha = file_hash(HELLO)
    done = await units.destroy(operator, ["a.service"])
    await operator.etcd.delete(operator.keys.file(sha))  # the garbage was collected meanwhile
    back = await units.restore(operator, done.written)
    assert [each.did for each in back.outcomes] == [Did.CREATED]
    record = await unit(operator, "a.service")
    assert record
    assert (record.target, record.hash, record.generation) == (Target.LAUNCHED, sha, 2)
    assert await read_texts(operator, [sha]) == {sha: HELLO}


async def test_a_file_that_some_machines_have_not_replaces_what_they_have(operator: Operator) -> None:
    await submitted(operator, "a.service", target=Target.LAUNCHED)
    half = Unit("a.service", file_hash(HELLO), Target.LAUNCHED).with_versions({"m1": (file_hash(OTHER), 2)})
    await operator.etcd.put(operator.keys.unit("a.service"), encode(half))  # as a rollout leaves it that is aborted
    again = await units.submit(operator, [units.UnitSource("a.service", HELLO)], replace=True)
    assert [each.did for each in again.outcomes] == [Did.REPLACED]
    record = await unit(operator, "a.service")
    assert record
    assert (record.hash, record.generation, record.on) == (file_hash(HELLO), 3, ())
    once_more = await units.submit(operator, [units.UnitSource("a.service", HELLO)], replace=True)
    assert [each.did for each in once_more.outcomes] == [Did.UNCHANGED]


async def test_a_replacement_a_target_and_a_creation_are_taken_back(operator: Operator) -> None:
    await submitted(operator, "a.service", "b.service", target=Target.LAUNCHED)
    replaced = await units.submit(operator, [units.UnitSource("a.service", OTHER)], replace=True)
    stopped = await units.unload(operator, ["b.service"])
    created = await units.submit(operator, [units.UnitSource("c.service", HELLO)])
    for done in (replaced, stopped, created):
        await units.restore(operator, done.written)
    first, second = await unit(operator, "a.service"), await unit(operator, "b.service")
    assert first
    assert second
    assert (first.hash, first.generation, first.target) == (file_hash(HELLO), 3, Target.LAUNCHED)
    assert (second.generation, second.target) == (1, Target.LAUNCHED)
    assert await unit(operator, "c.service") is None


async def test_what_was_taken_back_is_done_again_and_the_event_says_so(operator: Operator) -> None:
    await submitted(operator, "a.service", "b.service", target=Target.LAUNCHED)
    before = {name: await unit(operator, name) for name in ("a.service", "b.service")}
    replaced = await units.submit(operator, [units.UnitSource("a.service", OTHER)], replace=True)
    destroyed = await units.destroy(operator, ["b.service"])
    created = await units.submit(operator, [units.UnitSource("c.service", HELLO)])
    for done in (replaced, destroyed, created):
        undone = await units.restore(operator, done.written)
        again = await units.restore(operator, undone.written, redo=True)
        assert [each.did for each in again.outcomes] == [each.did for each in done.outcomes]
        assert [each.did for each in (await units.restore(operator, again.written)).outcomes] == [
            each.did for each in undone.outcomes
        ]
    for name, record in before.items():
        found = await unit(operator, name)
        assert found is not None
        assert record is not None
        assert (found.hash, found.target) == (record.hash, record.target)
    assert await unit(operator, "c.service") is None
    assert sorted(each.verb for each in await events(operator) if each.verb in ("undo", "redo")) == [
        "redo", "redo", "redo", *["undo"] * 6
    ]  # fmt: skip


async def test_undoing_does_not_undo_what_others_did_since(operator: Operator) -> None:
    await submitted(operator, "a.service", target=Target.LAUNCHED)
    done = await units.stop(operator, ["a.service"])
    await units.unload(operator, ["a.service"])
    back = await units.restore(operator, done.written)
    assert [each.did for each in back.outcomes] == [Did.REFUSED]
    assert "changed since by test@host" in back.outcomes[0].note
    record = await unit(operator, "a.service")
    assert record
    assert record.target is Target.INACTIVE


async def test_a_corrupt_record_can_be_destroyed_and_nothing_else(operator: Operator) -> None:
    key = operator.keys.unit("a.service")
    await operator.etcd.put(key, b"junk")
    for act in (units.start, units.restart, units.unload):
        (outcome,) = (await act(operator, ["a.service"])).outcomes
        assert outcome.did is Did.REFUSED
        assert "fleetctl destroy a.service" in outcome.note
    assert [each.did for each in (await units.destroy(operator, ["a.service"])).outcomes] == [Did.DESTROYED]
    assert await operator.etcd.get(key) is None


async def test_large_texts_are_split_over_transactions(operator: Operator) -> None:
    body = "#" * 79 + "\n"
    sources = [units.UnitSource(f"u{n}.service", f"{HELLO}# {n}\n{body * 10_000}") for n in range(4)]  # 800 kB each
    done = await units.submit(operator, sources)
    assert [each.did for each in done.outcomes] == [Did.CREATED] * 4


@given(
    st.lists(st.sampled_from(["", "a", "b" * 300_000, "c" * 700_000, "d" * 1_000_000]), max_size=400),
    st.integers(1, 2),
    st.integers(1, 5),
)
def test_batches_hold_every_unit_once_in_order_within_the_limits(
    texts: list[str], ops_each: int, guards: int
) -> None:
    parts = batches(texts, ops_each, [guards if text else 1 for text in texts])
    assert [text for part in parts for text in texts[part]] == texts
    for part in parts:
        stored = {text for text in texts[part] if text}
        assert ops_each * len(texts[part]) + len(stored) < MAX_OPS
        assert sum(guards if text else 1 for text in texts[part]) <= MAX_OPS
        assert sum(map(len, stored)) <= MAX_BYTES


CONTAINER = "[Container]\nImage=localhost/web:1\n"


@pytest.mark.parametrize("first", ["web.service", "web.container"])
async def test_of_two_sources_of_one_service_submitted_at_once_one_is_refused(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    texts = {"web.service": HELLO, "web.container": CONTAINER}
    (second,) = texts.keys() - {first}
    real, beaten = commit, False

    async def overtaken(*arguments: Any) -> int:
        nonlocal beaten
        if not beaten:  # both have found nothing of the other; the second one writes before the first one does
            beaten = True
            done = await units.submit(operator, [units.UnitSource(second, texts[second])])
            assert [each.did for each in done.outcomes] == [Did.CREATED]
        return await real(*arguments)

    monkeypatch.setattr(units, "commit", overtaken)
    (outcome,) = (await units.submit(operator, [units.UnitSource(first, texts[first])])).outcomes
    assert beaten
    assert outcome.did is Did.REFUSED
    assert f"{second} is in the registry; destroy that first" in outcome.note
    assert await unit(operator, first) is None


async def test_whoever_races_for_the_name_of_a_service_one_alone_gets_it(operator: Operator) -> None:
    for number in range(10):
        rivals = {
            f"w{number}.service": HELLO,
            f"w{number}.container": CONTAINER,
            f"w{number}.kube": "[Kube]\nYaml=/k\n",
        }
        done = await asyncio.gather(
            *(units.submit(operator, [units.UnitSource(name, text)]) for name, text in rivals.items())
        )
        outcomes = [each for one in done for each in one.outcomes]
        assert sorted(each.did for each in outcomes) == [Did.CREATED, Did.REFUSED, Did.REFUSED], outcomes
        there = [name for name in rivals if await unit(operator, name)]
        assert there == [each.name for each in outcomes if each.did is Did.CREATED]


async def test_many_units_are_created_with_a_guard_for_each_rival(operator: Operator) -> None:
    names = [f"many@{number}-pod.service" for number in range(MAX_OPS - 1)]
    done = await units.submit(operator, [units.UnitSource(name, HELLO) for name in names])
    assert [each.did for each in done.outcomes] == [Did.CREATED] * len(names)


async def test_overrides_are_made_changed_and_taken_away(operator: Operator) -> None:
    key = operator.keys.override("m1")
    drained = await machines.drain(operator, "m1")
    assert drained.after == Override("m1", Availability.DRAINING, (), "test@host", 1000.5)
    assert (await machines.drain(operator, "m1")).revision == 0
    await machines.set_metadata(operator, "m1", {"rack": "7", "region": ""})
    changed = await machines.set_metadata(operator, "m1", {"region": None})
    assert changed.after.metadata == (("rack", "7"),)
    await machines.restore_machine(operator, changed)
    await machines.set_metadata(operator, "m1", {"rack": None, "region": None})
    await machines.uncordon(operator, "m1")
    assert await operator.etcd.get(key) is None
    assert [each.verb for each in await events(operator)].count("metadata") == 3


async def test_undoing_on_a_machine_respects_others(operator: Operator) -> None:
    cordoned = await machines.cordon(operator, "m1")
    await machines.drain(operator, "m1")
    with pytest.raises(UserError, match="changed since"):
        await machines.restore_machine(operator, cordoned)


@pytest.mark.parametrize("pair", [{"a b": "x"}, {"a": "x,y"}, {"": "x"}, {"a": 'q"'}])
async def test_metadata_that_no_unit_could_ask_for_is_refused(operator: Operator, pair: dict[str, str]) -> None:
    with pytest.raises(UserError):
        await machines.set_metadata(operator, "m1", pair)


async def test_a_name_is_resolved_by_fleets_order(operator: Operator) -> None:
    await submitted(operator, "known.service", "t@.service", "t@9.service")
    on_disk = LocalFile("./t@.service", OTHER)
    found = await resolve(
        operator,
        [
            Candidate("known.service"),
            Candidate("file.service", file=LocalFile("./file.service", OTHER)),
            Candidate("t@1.service", template=on_disk),  # new: the registry's template goes first
            Candidate("t@9.service", template=on_disk),  # known: what the operator may have changed
            Candidate("new@1.service", template=LocalFile("./new@.service", OTHER)),
            Candidate("missing.service"),
        ],
    )
    texts = {source.name: source.text for source in found.sources}
    assert texts == {
        "known.service": None,
        "file.service": OTHER,
        "t@1.service": HELLO,
        "t@9.service": OTHER,
        "new@1.service": OTHER,
    }
    assert found.missing == ("missing.service",)


async def test_names_and_globs_expand_without_repeats(operator: Operator) -> None:
    await submitted(operator, "a.service", "web@1.service", "web@2.service")
    assert await expand(operator, ["web@2", "web@*", "new"]) == ("web@2.service", "web@1.service", "new.service")


def test_a_machine_is_found_by_id_prefix_name_or_address() -> None:
    known = {
        each.id: each for each in (Machine("aa11", "one", "10.0.0.1", "b"), Machine("aa22", "two", "10.0.0.2", "b"))
    }
    assert {find_machine(text, known) for text in ("aa1", "aa11", "one", "10.0.0.1", "AA11", "aa11...")} == {"aa11"}
    assert find_machine("bb", known, ["bb33"]) == "bb33"
    with pytest.raises(UserError, match="could be 2 machines"):
        find_machine("aa", known)
    with pytest.raises(UserError, match="no machine is called"):
        find_machine("cc", known)


def test_a_machine_whose_record_is_corrupt_is_found_by_its_id_and_named_where_no_other_fits() -> None:
    known, lost = {"aa11": Machine("aa11", "one", "10.0.0.1", "b")}, "b" * 32
    assert find_machine("bbb", known, [lost], [lost]) == lost
    with pytest.raises(UserError, match=r"called 'two'; .* corrupt \(bbbbbbbbbbbb\): restart"):
        find_machine("two", known, [lost], [lost])


async def test_the_sentinel_of_a_cluster_is_kept(operator: Operator) -> None:
    await submitted(operator, "a.service")
    before = await operator.etcd.get(operator.keys.cluster)
    await submitted(operator, "b.service")
    assert await operator.etcd.get(operator.keys.cluster) == before


def test_a_record_that_is_written_is_within_what_batches_count() -> None:
    name = "u" * 247 + ".service"
    record = Unit(name, "a" * 64, Target.LAUNCHED, 10**9, ("b" * 64,) * HISTORY_LIMIT, "user@host", 1e9)
    assert len(encode(record)) < 1500


async def test_a_text_made_from_an_older_one_is_refused_and_says_who_was_faster(operator: Operator) -> None:
    await submitted(operator, "a.service", text=HELLO)
    mine = units.UnitSource("a.service", HELLO + "# mine\n", based_on=file_hash(HELLO))
    await submitted(operator, "a.service", text=OTHER)
    (refused,) = (await units.submit(operator, [mine], replace=True)).outcomes
    assert refused.did is Did.REFUSED
    assert "changed meanwhile by test@host; edit again on top of that" in refused.note
    record = await unit(operator, "a.service")
    assert record is not None
    assert record.hash == file_hash(OTHER)
    await units.destroy(operator, ["a.service"])
    (refused,) = (await units.submit(operator, [mine], replace=True)).outcomes
    assert "was destroyed meanwhile" in refused.note
    assert await unit(operator, "a.service") is None


async def test_a_text_made_from_the_present_one_replaces_it(operator: Operator) -> None:
    await submitted(operator, "a.service", text=HELLO)
    (done,) = (
        await units.submit(
            operator, [units.UnitSource("a.service", OTHER, based_on=file_hash(HELLO))], replace=True
        )
    ).outcomes
    assert done.did is Did.REPLACED
