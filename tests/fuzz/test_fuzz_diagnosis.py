"""What systemd says of a start that came to nothing, with any values of the right types: bounded words."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentd.inquiry import missing, named_as_absent
from agentd.pure.diagnosis import LENGTH, OF_SYSTEMD, RESOURCES, STEPS, cause, failed_step, resources, unmet
from registry.units.name import refusal

texts = st.text(max_size=300) | st.sampled_from(["/", "-/x", "!~", "+/x", "\0", "/" + "x" * 5000])
numbers = st.integers(-5, 2**63)
codes = st.integers(-1, 5)
commands = st.tuples(
    texts, st.lists(texts, max_size=2), st.booleans(), numbers, numbers, numbers, numbers, numbers, codes,
    st.integers(-(2**31), 2**31),
)  # fmt: skip
conditions = st.tuples(texts, st.booleans(), st.booleans(), texts, st.integers(-1, 1))
results = st.sampled_from(["", "exit-code", "signal", "core-dump", "timeout", "resources", "oom-kill"]) | texts
pairs = st.lists(st.tuples(texts, st.booleans()), max_size=3)
values: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("WorkingDirectory", "RootDirectory", "RootImage", "User", "Group"), texts),
    **dict.fromkeys(("SupplementaryGroups", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths"),
                    st.lists(texts, max_size=3)),
    **dict.fromkeys(("LoadCredential", "LoadCredentialEncrypted"), st.lists(st.tuples(texts, texts), max_size=3)),
    **dict.fromkeys(("BindPaths", "BindReadOnlyPaths"),
                    st.lists(st.tuples(texts, texts, st.booleans(), numbers), max_size=3)),
    "EnvironmentFiles": pairs,
}  # fmt: skip


def test_every_property_that_may_be_asked_for_can_be_looked_at() -> None:
    assert set(values) == {name for names in (*RESOURCES.values(), OF_SYSTEMD) for name in names}


@given(st.dictionaries(st.sampled_from(STEPS["service"]), st.lists(commands, max_size=4)), numbers, results, texts)
def test_any_commands_make_a_cause(found: dict[str, Any], since_us: int, result: str, lost: str) -> None:
    step = failed_step(found, since_us)
    words = cause(result, step, lost, "as systemd says")
    assert words
    assert len(words) < 3 * LENGTH + 300
    assert all(name in values for name in resources(result, step))


@given(st.lists(conditions, max_size=6))
def test_any_conditions_make_words_of_a_bounded_length(rows: list[Any]) -> None:
    assert len(unmet(rows)) <= 5 * LENGTH + 50


@given(st.fixed_dictionaries({}, optional=values))
def test_any_resources_can_be_looked_for(found: dict[str, Any]) -> None:
    assert isinstance(missing(found), str)


@given(texts | texts.map(lambda text: f"Unit {text} not found."))
def test_a_refusal_names_nothing_but_units(reason: str) -> None:
    assert all(refusal(name) is None for name in named_as_absent(reason))
