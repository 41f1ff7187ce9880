"""What a template's row tells depends on its instances, not on how they came to be as they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleettui.console.tables.rows import SEVERITY, Health
from fleettui.console.tables.units import UNKNOWN, Meter, RowSummary, UnitRow

HEAD = UnitRow("web@.service", "web@.service", is_group=True, target="template")
rows = st.builds(
    UnitRow, st.sampled_from([f"web@{n}.service" for n in range(6)]), st.just("web@1.service"),
    target=st.sampled_from(["launched", "loaded"]), condition=st.sampled_from(list(Health)),
    word=st.sampled_from(["active", "failed"]), reason=st.sampled_from(["", "a", "b"]), drifting=st.booleans(),
    meter=st.sampled_from([UNKNOWN, Meter(1, 0.5), Meter(7)]),
)  # fmt: skip


@given(st.lists(rows, max_size=20))
def test_a_gathering_is_what_its_last_rows_make(changes: list[UnitRow]) -> None:
    kept, last = RowSummary(), dict[str, UnitRow]()
    for row in changes:
        if row.key in last:
            kept.drop(last[row.key])
        kept.put(row)
        last[row.key] = row
    assert kept.group(HEAD) == RowSummary(reversed(last.values())).group(HEAD)


@given(st.lists(rows, min_size=1, max_size=8, unique_by=lambda row: row.key))
def test_a_group_is_as_bad_as_its_worst_and_counts_them(members: list[UnitRow]) -> None:
    group = RowSummary(members).group(HEAD)
    worst = min((row.condition for row in members), key=SEVERITY.__getitem__)
    assert group.condition is worst
    assert group.members == len(members)
    assert group.running == sum(row.condition is Health.ACTIVE for row in members)
    assert group.drifting is any(row.drifting for row in members)
    assert group.word in {row.word for row in members if row.condition is worst}
    assert group.target == ("mixed" if len({row.target for row in members}) > 1 else members[0].target)


def test_a_template_without_instances_says_so() -> None:
    gone = UnitRow("web@1.service", "web@1.service")
    summary = RowSummary([gone])
    summary.drop(gone)
    assert not summary
    assert summary.group(HEAD).word == "no instances"
