"""Decisions to transactions: nothing is split that belongs together, nothing exceeds etcd's limits."""

from __future__ import annotations

from base64 import b64decode

from placement.decisions import Assign, Clear, Decision, MoveSource, Wait, Withdraw
from registry.etcd import MAX_OPS
from registry.keys import Table
from registry.model import Assignment, Pending, Target
from scheduler.commit import EVENTS_PER_DECISION, MAX_BYTES, Audit, Intent, intents, transactions
from tests.placement.world import KEYS


def audit() -> Audit:
    numbers = iter(range(10_000))
    return Audit("host", lambda: (0.0, f"{next(numbers):013d}-0"))


def line(name: str, where: str = "a1") -> Assignment:
    return Assignment(name, where, "0" * 64, Target.LAUNCHED, 1)


def written(found: list[Intent]) -> list[list[str]]:
    """The keys of each transaction's operations, in order."""
    return [[b64decode(op.body["key"]).decode() for op in batch.ops] for batch in transactions(found)]


def guards(intent: Intent) -> list[str]:
    return [b64decode(guard.body["key"]).decode() for guard in intent.guards]


def test_a_move_is_one_transaction_guarded_by_what_it_relies_on() -> None:
    lost = Assign(line("u.service", "b2"), (MoveSource("a1", lost=True),), "machine lost")
    known = {KEYS.unit("u.service"), KEYS.schedule("a1", "u.service"), KEYS.pending("u.service")}

    def revision_of(key: str) -> int:
        return 7 if key in known else 0

    (intent,) = intents([lost, Clear("u.service")], KEYS, revision_of, audit())
    old, words = KEYS.schedule("a1", "u.service"), KEYS.pending("u.service")
    assert guards(intent) == [KEYS.unit("u.service"), KEYS.machine("a1"), old, words]
    assert written([intent])[0] == [
        KEYS.schedule("a1", "u.service"),
        KEYS.schedule("b2", "u.service"),
        KEYS.event("host", "0000000000000-0"),
        KEYS.pending("u.service"),
    ]
    unclaimed = Assign(line("u.service", "b2"), (MoveSource("a1", lost=False),))
    (intent,) = intents([unclaimed], KEYS, revision_of, audit())
    assert guards(intent) == [KEYS.unit("u.service"), KEYS.state("a1", "u.service"), old]


def test_what_is_displaced_goes_with_what_displaces_it() -> None:
    decisions: list[Decision] = [
        Assign(line("new.service")),
        Withdraw("old.service", "a1", "replaced", "new.service"),
    ]
    (intent,) = intents(decisions, KEYS, lambda _: 1, audit())
    assert {KEYS.schedule("a1", "new.service"), KEYS.schedule("a1", "old.service")} <= set(written([intent])[0])


def test_no_transaction_exceeds_etcds_limits_and_no_key_comes_twice() -> None:
    decisions: list[Decision] = [Assign(line(f"u{number}.service")) for number in range(1000)]
    decisions += [Assign(line("g.service", f"m{number}")) for number in range(300)]
    batches = list(transactions(intents(decisions, KEYS, lambda _: 0, audit())))
    keys = [b64decode(op.body["key"]) for batch in batches for op in batch.ops]
    assert len(keys) == len(set(keys)) == 1301, "and one event tells of them all"
    assert all(len(batch.ops) <= MAX_OPS and len(batch.guards) < MAX_OPS for batch in batches)
    assert len(batches) < 15


def test_large_records_share_no_transaction_beyond_its_bytes() -> None:
    waits = [Wait(Pending(f"u{n}.service", "0" * 64, 1, "s" * 60_000)) for n in range(100)]
    batches = list(transactions(intents(waits, KEYS, lambda _: 1, audit())))
    assert len(batches) > 5
    assert all(batch.size_bytes <= MAX_BYTES for batch in batches)


def test_the_schedule_is_written_before_the_words() -> None:
    decisions: list[Decision] = [Wait(Pending("a.service", "0" * 64, 1, "s")), Assign(line("b.service"))]
    assert written(intents(decisions, KEYS, lambda _: 1, audit()))[0][0] == KEYS.schedule("a1", "b.service")


def test_few_acts_are_told_one_by_one_and_many_by_their_counts() -> None:
    few: list[Decision] = [Assign(line(f"u{number}.service")) for number in range(EVENTS_PER_DECISION)]
    many = [*few, Withdraw("x.service", "a1", "destroyed")]
    events = KEYS.table(Table.EVENTS)
    told = [
        sum(key.startswith(events) for batch in written(intents(each, KEYS, lambda _: 1, audit())) for key in batch)
        for each in (few, many)
    ]
    assert told == [EVENTS_PER_DECISION, 1]
