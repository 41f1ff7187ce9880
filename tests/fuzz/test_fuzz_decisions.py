"""The scheduler against any registry: decisions and nothing else, whatever the records say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from placement.cluster_state import ClusterState
from placement.decide import decide
from placement.decisions import Assign, UpdateLine, Wait
from registry.keys import Keys, Table
from registry.mirror import Mirror, RawChange, Snapshot
from registry.records import decode, encode
from scheduler.absence import Absence
from scheduler.collect import garbage
from scheduler.commit import Audit, intents, transactions
from tests.conftest import EXAMPLES
from tests.placement.world import decide_snapshot
from tests.registry import wild

KEYS = Keys()
LARGE = settings(max_examples=max(EXAMPLES // 4, 1))  # a whole registry is much to make
FOLLOWED = tuple(table for table in Table if table not in (Table.EVENTS, Table.USAGE, Table.CRASHES))


def audit() -> Audit:
    numbers = iter(range(10**6))
    return Audit("h", lambda: (1.0, f"e{next(numbers)}"))


@LARGE
@given(wild.snapshots())
def test_any_registry_is_decided_on_and_what_is_decided_can_be_written_and_read(snapshot: Snapshot) -> None:
    state = ClusterState.from_snapshot(snapshot, KEYS)
    decisions = decide(state)
    assert decide_snapshot(snapshot, KEYS) == (decisions if snapshot.cluster else ())
    for each in decisions:
        if isinstance(each, Assign | UpdateLine | Wait):
            record = each.pending if isinstance(each, Wait) else each.line
            key = KEYS.pending(each.unit) if isinstance(each, Wait) else KEYS.schedule(each.machine, each.unit)
            address = KEYS.parse(key)
            assert address is not None
            assert decode(address, encode(record), key) == record
    list(transactions(intents(decisions, KEYS, lambda _: 1, audit())))


@LARGE
@given(st.lists(st.lists(wild.changes(FOLLOWED), max_size=4), max_size=6))
def test_deciding_on_what_changed_is_deciding_from_scratch(steps: list[list[RawChange]]) -> None:
    mirror, state = Mirror(KEYS, FOLLOWED), ClusterState()
    for step in steps:
        for change in step:
            for address in mirror.apply([change]):
                exists = mirror.stamp(change.key) is not None
                state.apply(address, mirror.row(address.table, address), exists=exists)
        scratch = decide(ClusterState.from_snapshot(mirror.snapshot(), KEYS))
        assert decide(state) == scratch
        assert decide(state) == scratch


@LARGE
@given(wild.snapshots(), st.lists(st.sampled_from(wild.IDS), max_size=3))
def test_any_registry_is_swept(snapshot: Snapshot, gone: list[str]) -> None:
    garbage(snapshot, KEYS, lambda _: None, gone)
    Absence().long_gone(snapshot, 1.0)
